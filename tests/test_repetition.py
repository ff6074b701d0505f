"""What recurs in a source is found as the plain definitions have it, and goes where a policy says so."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from random import Random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.graph import STAGES
from flows.making import Pipeline
from flows.query import rows
from flows.recipe.loading import load_recipe
from tasks.repetition.recur import Texts, stretches, tally
from tasks.select.measured import read_signals
from tasks.text.buffers import buffers

WORDS = [f"word{n}" for n in range(4000)]
SPAN = 3


def parts_of(texts: list[str], parts: int) -> list[Texts]:
    """Documents dealt to parts; their keys go down, so that the last is the first."""
    keys = np.arange(len(texts), 0, -1).astype(np.uint64)
    return [Texts(*buffers(pa.array(texts[n::parts], pa.string())), keys[n::parts].copy()) for n in range(parts)]


def pieces_of_lines(lines: list[str]) -> set[object]:
    """Lines wherever they stand, and those of the first and last ten at their places."""
    places = {(place, line) for place, line in enumerate(lines[:10])}
    return {*lines, *places, *((~place, line) for place, line in enumerate(lines[::-1][:10]))}


@given(st.lists(st.text(alphabet="ab \n", max_size=40), min_size=1, max_size=6), st.integers(1, 3), st.integers(1, 3))
@settings(deadline=None)
def test_repeated_spans_are_the_union_of_windows_that_stand_elsewhere_first(
    texts: list[str], parts: int, ranges: int
) -> None:
    dealt = parts_of(texts, parts)

    def source() -> Iterator[Texts]:
        return iter(dealt)

    nothing, _, spans = tally(source, 10**6, 10**6, SPAN, ranges)
    found = set()
    for number, part in enumerate(dealt):
        marked = stretches(part, nothing.names, nothing.names, nothing.names, spans, SPAN)
        for text, start, stop in zip(marked.text.tolist(), marked.start.tolist(), marked.stop.tolist(), strict=True):
            document = number + text * parts
            first = len(texts[document][:start].split())
            found |= {(document, word) for word in range(first, first + len(texts[document][start:stop].split()))}
    places: dict[tuple[str, ...], list[tuple[int, int]]] = {}
    for document in reversed(range(len(texts))):  # in the order of keys
        words = texts[document].split()
        for at in range(len(words) - SPAN + 1):
            places.setdefault(tuple(words[at : at + SPAN]), []).append((document, at))
    expected = {(document, at + n) for where in places.values() for document, at in where[1:] for n in range(SPAN)}
    assert found == expected


@given(st.lists(st.text(alphabet="ab \n", max_size=30), min_size=1, max_size=6), st.integers(1, 3), st.integers(2, 3))
@settings(deadline=None)
def test_lines_and_paragraphs_are_counted_once_a_document(texts: list[str], ranges: int, least: int) -> None:
    dealt = parts_of(texts, 2) if len(texts) > 1 else parts_of(texts, 1)
    pieces = {
        "lines": [pieces_of_lines([line.strip() for line in text.split("\n") if line.strip()]) for text in texts],
        "paragraphs": [{"\n".join(lines) for lines in paragraphs_of(text)} for text in texts],
    }
    tallied = tally(lambda: iter(dealt), least, least, SPAN, ranges)
    for kind, found in (("lines", tallied.lines), ("paragraphs", tallied.paragraphs)):
        counts = Counter(piece for own in pieces[kind] for piece in own)
        assert sorted(found.documents.tolist()) == sorted(count for count in counts.values() if count >= least)
        assert (np.diff(found.names.astype(object)) > 0).all()


def paragraphs_of(text: str) -> list[list[str]]:
    """Lines that no blank line parts."""
    groups = groupby((line.strip() for line in text.split("\n")), key=bool)
    return [list(lines) for some, lines in groups if some]


def passage(draw: Random, words: int) -> str:
    return " ".join(draw.choices(WORDS, k=words))


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """Pages of one site: a line and a paragraph of boilerplate on each, a long quotation on two of them."""
    folder, draw = tmp_path_factory.mktemp("repetition"), Random(1)
    quotation = passage(draw, 60)
    texts = []
    for n in range(12):
        own = [passage(draw, 40) for _ in range(3)]
        middle = f"{own[1]} {quotation} {passage(draw, 5)}" if n < 2 else own[1]
        texts.append(f"Skip to content\n{own[0]}\n\n{middle}\n\nAll rights reserved.\nNone is given.\n\n{own[2]}")
    lines = [json.dumps({"text": text, "url": f"http://x.example/{n}"}) for n, text in enumerate(texts)]
    (folder / "texts.jsonl").write_text("\n".join(lines))
    (folder / "quotation").write_text(quotation)
    recipe = folder / "recipe.toml"
    recipe.write_text(
        f'name = "r"\nstore = "{folder}/store"\n[sources.a]\npolicy = "p"\n[sources.a.jsonl]\nfiles = ["{folder}/texts.jsonl"]\n'
        '[policies.p]\ndrop_lines = ["recurring_line", "recurring_paragraph", "repeated_span"]\n'
        'rules = [{ signal = "repeated_span_char_share", max = 0.9 }]\n'
    )
    made = Pipeline(load_recipe(str(recipe)))
    for name in STAGES[1 : STAGES.index("select") + 1]:
        made.make(name)
    return made


def test_recurring_text_is_measured(pipeline: Pipeline) -> None:
    found = rows(pipeline.store, "SELECT url, * FROM signals JOIN documents USING (doc_id) ORDER BY url")
    for row in found:
        boiler = len("Skip to content") + len("All rights reserved.") + len("None is given.")
        assert row["recurring_line_char_share"] == pytest.approx(boiler / row["n_chars"])
    assert sum(row["repeated_span_char_share"] > 0 for row in found) == 1  # the other is where it stands first
    kinds = rows(pipeline.store, "SELECT kind, count(*) AS n FROM recurring_text GROUP BY kind ORDER BY kind")
    assert kinds == [
        {"kind": "recurring_edge", "n": 12},  # Skip to content
        {"kind": "recurring_line", "n": 36},
        {"kind": "recurring_paragraph", "n": 12},
        {"kind": "repeated_span", "n": 1},
    ]


def test_a_policy_takes_recurring_text_out_and_leaves_it_where_it_stands_first(pipeline: Pipeline) -> None:
    quotation = (Path(pipeline.recipe.store).parent / "quotation").read_text()
    corpus = [row["text"] for row in rows(pipeline.store, "FROM corpus")]
    assert len(corpus) == 12
    assert sum(quotation in text for text in corpus) == 1
    for text in corpus:
        assert "Skip to content" not in text
        assert "rights reserved" not in text
        assert not text.startswith("\n")
    before = {row["id"]: row for row in rows(pipeline.store, "SELECT doc_id AS id, text FROM documents")}
    assert all(len(text.split()) >= 100 for text in corpus)
    assert len(before) == 12


def test_paragraphs_recur_by_their_own_count(pipeline: Pipeline) -> None:
    assert rows(pipeline.store, "SELECT DISTINCT recurring_paragraph_char_share > 0 AS some FROM signals") == [
        {"some": True}
    ]


def test_a_document_in_several_archives_recurs_no_more_than_once(tmp_path: Path) -> None:
    draw = Random(2)
    page = json.dumps({"text": f"{passage(draw, 40)}\n\n{passage(draw, 70)}", "url": "http://x.example/page"})
    for n in range(4):
        (tmp_path / f"{n}.jsonl").write_text(
            page + "\n" + json.dumps({"text": passage(draw, 50), "url": f"http://x.example/{n}"})
        )
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        f'name = "r"\nstore = "{tmp_path}/store"\n[extract]\npart_bytes = 900\n[sources.a]\npolicy = "p"\n[sources.a.jsonl]\n'
        f'files = ["{tmp_path}/*.jsonl"]\n[policies.p]\ndrop_lines = ["recurring_line", "recurring_paragraph", "repeated_span"]\n'
    )
    made = Pipeline(load_recipe(str(recipe)))
    for name in STAGES[1 : STAGES.index("select") + 1]:
        made.make(name)
    assert rows(made.store, "SELECT count(*) AS n FROM recurring_text") == [{"n": 0}]
    assert rows(made.store, "SELECT count(*) AS n FROM corpus") == [{"n": 5}]


def test_a_document_is_taken_from_the_source_whose_policy_lets_it_pass(tmp_path: Path) -> None:
    page = json.dumps({"text": passage(Random(3), 60), "url": "http://x.example/page"})
    (tmp_path / "texts.jsonl").write_text(page)
    recipe = tmp_path / "recipe.toml"
    source = f'[sources.NAME]\npolicy = "NAME"\n[sources.NAME.jsonl]\nfiles = ["{tmp_path}/texts.jsonl"]\n'
    rules = '[policies.a]\nrules = [{ signal = "gopher_word_count", min = 100 }]\n[policies.b]\nrules = []\n'
    recipe.write_text(
        f'name = "r"\nstore = "{tmp_path}/store"\n{source.replace("NAME", "a")}{source.replace("NAME", "b")}{rules}'
    )
    made = Pipeline(load_recipe(str(recipe)))
    for name in STAGES[1 : STAGES.index("select") + 1]:
        made.make(name)
    assert rows(made.store, "SELECT source FROM corpus") == [{"source": "b"}]


def test_each_signal_of_repetition_is_read_as_itself(pipeline: Pipeline) -> None:
    elect = pipeline.plan["elect"][0].stage
    names = ["recurring_line_char_share", "recurring_paragraph_char_share", "repeated_span_char_share"]
    source = next(iter(pipeline.recipe.sources))
    read = read_signals(pipeline.store, elect.inputs, source, ["gopher_word_count", *names]).to_pylist()
    shown = {row["doc_id"]: row for row in rows(pipeline.store, "FROM signals")}
    assert read
    assert all(row[name] == shown[row["doc_id"]][name] for row in read for name in ("gopher_word_count", *names))
    assert len({tuple(row[name] for row in read) for name in names}) == 3
