"""More signals by hand, each where a near miss would give another figure."""

from __future__ import annotations

import math
from pathlib import Path

import pyarrow as pa
import pytest

from tasks.core.stage import Input
from tasks.signals.lines import without_lines
from tasks.signals.stage import Annotate, AnnotateSettings
from tests.known import pipeline_over
from tests.test_signals import measure
from warehouse.artifact import Ref


def test_a_line_is_as_long_as_its_words_and_what_stands_between_them() -> None:
    found = measure("aa bb\ncc\naa bb")
    assert found["gopher_duplicate_line_char_share"] == pytest.approx(5 / 14)
    assert measure("aa  bb\ncc\naa  bb")["gopher_duplicate_line_char_share"] == pytest.approx(6 / 16)
    assert measure("aa bb\ncc\naa  bb")["gopher_duplicate_line_char_share"] == 0  # not the same line


def test_the_entropy_of_words_is_in_nats() -> None:
    assert measure("a b A B")["redpajama_unigram_entropy"] == pytest.approx(math.log(2))
    assert measure("a b c d")["redpajama_unigram_entropy"] == pytest.approx(math.log(4))
    assert measure("a a a b")["redpajama_unigram_entropy"] == pytest.approx(0.75 * math.log(4 / 3) + 0.25 * math.log(4))


def test_capitals_are_counted_among_letters() -> None:
    assert measure("AB 123 456 789 !!!")["refinedweb_capital_line_count"] == 1
    assert measure("AB cd 123")["refinedweb_capital_line_count"] == 0  # half is not more than half
    assert measure("ABC cd 123")["refinedweb_capital_line_count"] == 1


@pytest.mark.parametrize(
    ("rule", "goes"),
    [
        ("refinedweb_numeric", "12 345"),
        ("refinedweb_counter", "3 likes"),
        ("refinedweb_capitals", "BUY NOW TODAY"),
        ("refinedweb_single_word", "alone"),
    ],
)
def test_each_line_rule_takes_out_its_own_lines(rule: str, goes: str) -> None:
    lines = ["BUY NOW TODAY", "12 345", "3 likes", "three plain words here", "alone"]
    (kept,) = without_lines(pa.chunked_array([["\n".join(lines)]]), (rule,))
    assert kept.split("\n") == [line for line in lines if line != goes]


def test_compression_is_that_of_the_level_that_is_named() -> None:
    text = Path(__file__).read_text() * 3
    packed = pa.Codec("zstd", 3).compress(text.encode(), asbytes=True)
    assert len(packed) != len(pa.Codec("zstd").compress(text.encode(), asbytes=True))
    assert measure(text)["compression_ratio"] == pytest.approx(len(packed) / len(text.encode()))


def test_the_language_score_is_that_of_the_likeliest_language() -> None:
    found = measure(
        "This is a plain English sentence about the weather, and nobody would take it for anything else. " * 3
    )
    assert found["language"] == "en"
    assert float(found["language_score"]) > 0.8
    assert measure("")["language_score"] <= 1


def test_signals_are_measured_anew_where_the_classifier_is_another_one(tmp_path: Path) -> None:
    pipeline = pipeline_over(tmp_path, {"a": ["one text of some words", "another text of words"]}, until="extract")
    (extract,) = pipeline.plan["extract"]
    documents = Input.of(extract.ref)

    def names(**quality: Input) -> list[str | None]:
        stage = Annotate(pipeline.store, AnnotateSettings(), {"documents": documents, **quality}, "a")
        return [stage._part_name(part) for part in stage.plan()]

    first, second = (Input.of(Ref(stage="quality", key=key)) for key in ("1" * 32, "2" * 32))
    assert names() == names()
    assert len({tuple(names()), tuple(names(quality=first)), tuple(names(quality=second))}) == 3
