"""Corpora that are too small for a share of documents: held out is the end of each, and what cannot be is said in time."""

from __future__ import annotations

import math
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.query import rows
from models.draws import uniform
from tasks.tokens.divide import held_out_end
from tasks.tokens.tokenizer import Codec
from tests.known import pipeline_over
from tests.test_known_scores import SETTINGS, prose
from warehouse.artifact import read_tables
from warehouse.errors import GristmillError


@given(st.text(min_size=1, max_size=60), st.floats(0.01, 0.99))
def test_an_end_is_about_its_share_and_neither_side_is_empty(text: str, share: float) -> None:
    place = held_out_end(text, share)
    if len(text) == 1:
        assert place == 0
    else:
        assert 1 <= place < len(text)
        assert place >= min(int(len(text) * (1 - share)), len(text) - 1)
        first = next((i for i in range(max(1, int(len(text) * (1 - share))), len(text) - 1) if text[i].isspace()), None)
        assert first is None or place == first


def test_where_an_end_begins_by_hand() -> None:
    assert held_out_end("one two three four five", 0.3) == len("one two three four")
    assert held_out_end("x" * 100, 0.25) == 75


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_a_single_document_holds_out_its_end_and_is_trained_and_evaluated(tmp_path: Path, share: float) -> None:
    """Whatever the share: the hash of one document holds out all of it, or nothing."""
    text = prose(Random(4), 60 if share < 0.9 else 400)
    settings = SETTINGS.replace("validation_share = 0.3", f"validation_share = {share}")
    pipeline = pipeline_over(tmp_path, {"book": [text]}, sections=settings, until="evaluate")
    (corpus,) = rows(pipeline.store, "FROM corpus")
    spans = {span["split"]: span for span in rows(pipeline.store, "FROM token_spans")}
    assert set(spans) == {"train", "validation"}
    codec = Codec.load(pipeline.store, pipeline.plan["tokenizer"][0].ref)
    place = held_out_end(text, share)
    halves = {"train": text[:place], "validation": text[place:]}
    for split, span in spans.items():
        assert span["length"] == len(codec.encode(halves[split])) + 1
        assert (span["n_bytes"], span["n_words"]) == (len(halves[split]), len(halves[split].split()))
    assert corpus["token_count"] == sum(span["length"] for span in spans.values())
    found = {
        (row["run"], row["metric"]): row
        for row in rows(pipeline.store, "FROM evaluations WHERE task = 'held-out text'")
    }
    assert len(found) == 16
    assert all(
        row["n"] == 1 and math.isnan(row["stderr"]) and row["value"] > 0
        for (_, m), row in found.items()
        if "accuracy" not in m
    )


def test_a_source_that_can_hold_out_documents_holds_out_no_ends(tmp_path: Path) -> None:
    draw = Random(6)
    many = [prose(draw, 2) for _ in range(40)]
    pipeline = pipeline_over(tmp_path, {"many": many, "one": [prose(draw, 30)]}, sections=SETTINGS)
    splits: dict[str, set[str]] = {}
    for span in rows(pipeline.store, "FROM token_spans"):
        splits.setdefault(span["doc_id"], set()).add(span["split"])
    for row in rows(pipeline.store, "SELECT id, source FROM corpus"):
        whole = {"validation"} if uniform(0, "split", [row["id"]])[0] < 0.3 else {"train"}
        assert splits[row["id"]] == (whole if row["source"] == "many" else {"train", "validation"})


def test_held_out_text_shorter_than_the_context_is_validated_in_a_window_of_its_own(tmp_path: Path) -> None:
    text = prose(Random(5), 30)
    settings = SETTINGS.replace("validation_share = 0.3", "validation_share = 0.02").replace(
        "context = 8", "context = 64"
    )
    pipeline = pipeline_over(tmp_path, {"book": [text]}, sections=settings, until="pretrain")
    (span,) = read_tables(pipeline.store, pipeline.plan["pack"][0].ref, "token_spans").filter(
        [split == "validation" for split in read_tables(pipeline.store, pipeline.plan["pack"][0].ref, "token_spans")["split"].to_pylist()]
    ).to_pylist()  # fmt: skip
    assert span["length"] < 64
    (row,) = rows(pipeline.store, "SELECT value FROM metrics WHERE name = 'validation_loss'")
    assert 4 < row["value"] < 7


def test_what_cannot_be_evaluated_is_said_before_it_is_trained(tmp_path: Path) -> None:
    draw = Random(6)
    texts = {"pages": [prose(draw, 30)], "none": ["a b c", *[prose(draw, 3) for _ in range(9)]]}
    tables = {"pages": "weight = 0.0", "none": "weight = 1.0"}
    pipeline = pipeline_over(tmp_path, {"pages": texts["pages"], "none": ["w " * 9]}, sections=SETTINGS, tables=tables)
    with pytest.raises(GristmillError, match="nothing of the sources that are trained on can be held out"):
        pipeline.make("pretrain")
    assert not list(Path(pipeline.store.url).glob("scratch/pretrain/*/train.log"))
    # What the sentence says helps.
    helped = pipeline_over(tmp_path, texts, sections=SETTINGS, tables=tables, until="pretrain")
    assert rows(helped.store, "SELECT count(*) AS n FROM metrics WHERE name = 'validation_loss'") == [{"n": 1}]
