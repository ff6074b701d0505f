"""The tokenizer: nothing is lost, and the fast encoding is the stored one."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import ByteLevelBPETokenizer, Regex, Tokenizer, models, pre_tokenizers

from models.draws import uniform
from tasks.tokens.encode import LETTER, NUMBER, SPACE, UNSURE, Encoder, _kinds
from tasks.tokens.pack import TokenStream
from tasks.tokens.tokenizer import END_OF_TEXT, SELF_CHECK, Codec
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


TEXTS = st.lists(st.text() | st.text(alphabet=" \n\r\t\u00a0\u2028\x1cab7.'sé\U000323af", max_size=200), max_size=4)


@given(TEXTS)
@settings(deadline=None, max_examples=300)
def test_compiled_encoding_equals_the_stored_tokenizer(codec: Codec, texts: list[str]) -> None:
    encoder = Encoder(codec.tokenizer)
    for text, tokens in zip(texts, encoder(texts), strict=True):
        if tokens is None:
            assert UNSURE in [_kinds()[ord(character)] for character in text]
        else:
            assert tokens.tolist() == codec.encode(text)


@pytest.mark.parametrize(
    ("kind", "pattern"), [(LETTER, r"\p{L}+"), (NUMBER, r"\p{N}+"), (SPACE, r"\s+")], ids=["letter", "number", "space"]
)
def test_characters_are_what_the_stored_pattern_takes_them_for(kind: int, pattern: str) -> None:
    codes = np.flatnonzero(_kinds() != UNSURE)
    codes = codes[(codes < 0xD800) | (codes > 0xDFFF)]
    assert len(codes) > 140_000
    rest = pre_tokenizers.Split(Regex(pattern), behavior="removed").pre_tokenize_str("".join(map(chr, codes.tolist())))
    taken = np.ones(len(codes), np.bool_)
    for _, (start, stop) in rest:
        taken[start:stop] = False
    assert (taken == (_kinds()[codes] == kind)).all()


@given(st.text(alphabet="abcdeé中", min_size=65, max_size=3000))
@settings(deadline=None, max_examples=50)
def test_long_pieces_are_merged_in_the_same_order(codec: Codec, text: str) -> None:
    (tokens,) = Encoder(codec.tokenizer)([text])
    assert tokens is not None
    assert tokens.tolist() == codec.encode(text)


@pytest.mark.timeout(60)  # in time that grows with the square of its length it would take hours
def test_a_megabyte_without_a_space_is_encoded_like_any_text(codec: Codec) -> None:
    text = "".join(Random(1).choices("abcdefghij", k=1_000_000))
    (tokens,) = Encoder(codec.tokenizer)([text])
    assert tokens is not None
    assert tokens.tolist() == codec.encode(text)


def test_words_that_begin_alike_keep_their_own_tokens(codec: Codec) -> None:
    """Pieces that were met are looked up by their first bytes: one that goes on has tokens of its own."""
    encoder, word = Encoder(codec.tokenizer), "internationalisations" * 2
    texts = [" ".join(word[:size] for size in range(first, first + 12)) for first in range(8, 24)]
    texts += [" ".join(word[:size] for size in range(30, 8, -1))]
    for text, tokens in zip(texts, encoder(texts), strict=True):
        assert tokens is not None
        assert tokens.tolist() == codec.encode(text)


def test_compiled_encoding_that_differs_is_not_used(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong(Encoder):
        def __call__(self, texts: list[str]) -> list[npt.NDArray[np.int32] | None]:
            return [np.zeros(1, np.int32) for _ in texts]

    monkeypatch.setitem(vars(codec), "_compiled", Wrong(codec.tokenizer))
    assert [tokens.tolist() for tokens in codec.encode_all(["some text", "more"])] == [
        codec.encode("some text"),
        codec.encode("more"),
    ]


def test_a_page_that_writes_the_end_of_text_token_ends_no_document(codec: Codec) -> None:
    (tokens,) = codec.encode_all([f"before{END_OF_TEXT}after"])
    assert codec.end_of_text not in tokens
    assert tokens.tolist() == codec.encode(f"before{END_OF_TEXT}after")


def test_a_tokenizer_that_splits_or_merges_otherwise_is_not_taken_for_one_of_this_kind(codec: Codec) -> None:
    stored = json.loads(codec.tokenizer.to_str())
    assert Encoder(Tokenizer.from_str(json.dumps(stored)))
    digits = {"type": "Digits", "individual_digits": True}
    split = stored["pre_tokenizer"]["pretokenizers"]
    word = {**stored["added_tokens"][0], "id": codec.size, "content": "gristmill", "special": False}
    changes: tuple[dict[str, object], ...] = (
        {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [digits, split[1]]}},
        {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [digits, *split]}},
        {"pre_tokenizer": split[1]},
        {"pre_tokenizer": None},
        {"normalizer": {"type": "Lowercase"}},
        {"truncation": {"direction": "Right", "max_length": 9, "strategy": "LongestFirst", "stride": 0}},
        {"added_tokens": [*stored["added_tokens"], word]},
        {"model": {**stored["model"], "ignore_merges": True}},
    )
    for change in changes:
        with pytest.raises(ValueError, match="the tokenizer"):
            Encoder(Tokenizer.from_str(json.dumps(stored | change)))


def test_texts_are_encoded_whole_where_a_tokenizer_was_stored_with_a_length(codec: Codec, tmp_path: Path) -> None:
    short = Tokenizer.from_str(codec.tokenizer.to_str())
    short.enable_truncation(5)
    short.save(str(tmp_path / "tokenizer.json"))
    text = "many words " * 40
    assert Codec(tmp_path / "tokenizer.json").encode(text) == codec.encode(text)


def test_a_tokenizer_of_another_kind_encodes_by_itself(tmp_path: Path) -> None:
    words = Tokenizer(models.WordLevel({"a": 0, "b": 1, END_OF_TEXT: 2}, unk_token="b"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.save(str(tmp_path / "tokenizer.json"))
    assert [tokens.tolist() for tokens in Codec(tmp_path / "tokenizer.json").encode_all(["a b a"])] == [[0, 1, 0]]


def test_self_check_is_long_enough_to_use_merges(codec: Codec) -> None:
    assert any(len(codec.encode(text)) < len(text.encode()) for text in SELF_CHECK)


def test_gpt2s_published_vocabulary_is_encoded_as_its_tokenizer_does() -> None:
    folder = SHARED / "bpe" / "gpt-bpe"
    if not folder.exists():
        pytest.skip("the shared data folder with GPT-2's published vocabulary is not here")
    gpt2 = ByteLevelBPETokenizer(str(next(folder.rglob("encoder.json"))), str(next(folder.rglob("gpt2/vocab.bpe"))))
    encoder = Encoder(gpt2._tokenizer)
    (tokens,) = encoder(["Hello world, it's 2019!"])
    assert tokens is not None
    assert tokens.tolist() == [15496, 995, 11, 340, 338, 13130, 0]
    texts = [path.read_text(errors="replace")[:50_000] for path in sorted((SHARED / "prose").rglob("*.txt"))[:8]]
    assert texts
    for text, found in zip(texts, encoder(texts), strict=True):
        assert found is not None
        assert found.tolist() == gpt2.encode(text).ids


def test_token_spans_hold_exactly_the_documents(finished: Run, codec: Codec) -> None:
    store = Store(str(finished.store))
    current = log.current(store)
    corpus = {row["id"]: row["text"] for row in read_tables(store, current["select"][0], "corpus").to_pylist()}
    ref = current["pack"][0]
    spans = read_tables(store, ref, "token_spans").to_pylist()
    related = set(read_tables(store, current["relatives"][0], "decisions")["doc_id"].to_pylist())
    assert {span["doc_id"] for span in spans} == set(corpus) - related
    held = {row["doc_id"]: row["group_id"] for row in read_tables(store, current["split"][0], "held_out").to_pylist()}
    assert (uniform(0, "split", held.values()) < 0.1).all()
    for span in spans:
        stream = TokenStream(store, ref, span["source"], span["split"])
        offset = next(shard.offset for shard in stream.shards if shard.name == span["shard"])
        tokens = stream.read(offset + span["start"], span["length"]).tolist()
        assert tokens[-1] == codec.end_of_text
        assert codec.decode(tokens[:-1]) == corpus[span["doc_id"]]
        assert (span["split"] == "validation") == (span["doc_id"] in held)
