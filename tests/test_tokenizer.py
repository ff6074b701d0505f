"""The tokenizer: nothing is lost, and the fast encoding is the stored one."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.pack import TokenStream, is_validation
from tasks.tokenizer import SELF_CHECK, Codec
from tests.conftest import SHARED, Run
from warehouse import log
from warehouse.artifact import read_tables
from warehouse.store import Store


@pytest.fixture(scope="module")
def codec(finished: Run) -> Codec:
    store = Store(str(finished.store))
    return Codec.load(store, log.current(store)["tokenizer"][0])


@given(st.text())
@settings(deadline=None)
def test_any_text_survives_the_round_trip(codec: Codec, text: str) -> None:
    assert codec.decode(codec.encode(text)) == text


@given(st.text() | st.text(alphabet=" \n\r\t\u00a0\u2028ab7.'sé"))
@settings(deadline=None, max_examples=300)
def test_fast_encoding_equals_the_stored_tokenizer(codec: Codec, text: str) -> None:
    assert codec.encode != codec._slow
    assert codec.encode(text) == codec._slow(text)
    assert codec.encoder([text]) == codec.encode


def test_fast_encoding_that_differs_is_not_used(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "encode", lambda text: codec._slow(text)[:-1])
    assert codec.encoder(["some text"]) == codec._slow


def test_self_check_is_long_enough_to_use_merges(codec: Codec) -> None:
    assert any(len(codec.encode(text)) < len(text.encode()) for text in SELF_CHECK)


def test_split_pattern_encodes_as_gpt2_does() -> None:
    folder = SHARED / "bpe" / "gpt-bpe"
    if not folder.exists():
        pytest.skip("the shared data folder with GPT-2's published vocabulary is not here")
    import json

    import tiktoken

    from tasks.tokenizer import FAST_SPLIT, _byte_characters

    encoder = json.loads(next(folder.rglob("encoder.json")).read_text())
    to_byte = {character: byte for byte, character in _byte_characters().items()}
    ranks = {bytes(to_byte[c] for c in token): rank for token, rank in encoder.items() if token != "<|endoftext|>"}
    gpt2 = tiktoken.Encoding(
        "gpt2-here", pat_str=FAST_SPLIT, mergeable_ranks=ranks, special_tokens={"<|endoftext|>": 50256}
    )
    assert gpt2.encode_ordinary("Hello world, it's 2019!") == [15496, 995, 11, 340, 338, 13130, 0]


def test_token_spans_hold_exactly_the_documents(finished: Run, codec: Codec) -> None:
    store = Store(str(finished.store))
    current = log.current(store)
    corpus = {row["id"]: row["text"] for row in read_tables(store, current["select"][0], "corpus").to_pylist()}
    ref = current["pack"][0]
    spans = read_tables(store, ref, "token_spans").to_pylist()
    assert {span["doc_id"] for span in spans} == set(corpus)
    for span in spans:
        stream = TokenStream(store, ref, span["source"], span["split"])
        offset = next(shard.offset for shard in stream.shards if shard.name == span["shard"])
        tokens = stream.read(offset + span["start"], span["length"]).tolist()
        assert tokens[-1] == codec.end_of_text
        assert codec.decode(tokens[:-1]) == corpus[span["doc_id"]]
        assert (span["split"] == "validation") == is_validation(span["doc_id"], 0.1)
