"""What decides about duplicates, in cases small enough to say who stays: windows, policies of two archives, evidence kept."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa

from flows.making import Pipeline
from flows.query import rows
from flows.recipe.loading import load_recipe
from tasks.decontaminate.cut import CutSettings, without_stretches
from tasks.decontaminate.sets import EvaluationSet, pieces
from tasks.dedup.candidates import ends_of, first_bands, packed
from tasks.dedup.minhash import Scheme
from tasks.dedup.near import near_duplicates
from tests.known import pipeline_over
from tests.test_known_corpus import words
from tests.test_known_scores import prose
from warehouse.store import Store

SIGN = "\n[sign]\nhashes = 128\nbands = 64\nrows = 2\nshingle_words = 2\n"


def kept(pipeline: Pipeline) -> set[str]:
    return {
        f"{row['source']}/{row['url'].rpartition('/')[2]}"
        for row in rows(pipeline.store, "SELECT source, url FROM corpus")
    }


def test_a_pair_shows_the_first_band_that_it_was_found_in() -> None:
    a, b = np.array([1, 5], np.uint64), np.array([2, 9], np.uint64)
    pairs, bands = first_bands([packed(a[:0], b[:0]), packed(a[:1], b[:1]), packed(a, b), packed(a, b)])
    found = dict(zip(zip(*(side.tolist() for side in ends_of(pairs)), strict=True), bands.tolist(), strict=True))
    assert found == {(1, 2): 1, (5, 9): 2}


def test_the_window_bounds_with_how_many_a_document_is_compared(tmp_path: Path) -> None:
    """Eight texts with one band in common: in a window of one each is compared with its neighbour alone."""
    texts = [words("a", 60, **{f"w{n + 20}": f"x{n}"}) for n in range(8)]

    def compared(window: int) -> int:
        pipeline = pipeline_over(
            tmp_path,
            {"s": texts},
            f"match.window={window}",
            "sign.bands=1",
            "sign.rows=1",
            sections=SIGN,
            until="match",
        )
        return len(rows(pipeline.store, "FROM duplicate_pairs WHERE band = 0"))

    assert compared(1) < compared(64)


def test_of_one_document_in_two_archives_the_one_that_passes_is_taken(tmp_path: Path) -> None:
    same = {"text": words("a", 30), "url": "http://x.example/0"}
    tables = {"first": 'policy = "strict"', "second": ""}
    policy = '\n[policies.strict]\nrules = [{ signal = "gopher_word_count", min = 40 }]\n'
    sources: dict[str, Any] = {"first": [same, words("b", 50)], "second": [same, words("c", 50)]}
    pipeline = pipeline_over(tmp_path, sources, sections=policy, tables=tables, until="select")
    assert kept(pipeline) == {"second/0", "first/1", "second/1"}
    # Where both pass, it is taken once, from the first by name; and from both where duplicates are to stay.
    tables = {"first": "", "second": ""}
    assert kept(pipeline_over(tmp_path, sources, sections=policy, tables=tables, until="select")) == {
        "first/0",
        "first/1",
        "second/1",
    }
    every = pipeline_over(tmp_path, sources, "remove_duplicates=false", sections=policy, tables=tables, until="select")
    assert sorted(
        row["source"] for row in rows(every.store, "SELECT source FROM corpus WHERE url LIKE '%x.example/0'")
    ) == ["first", "second"]


def test_where_a_rule_removes_the_preferred_one_the_next_that_passes_survives(tmp_path: Path) -> None:
    """Three alike: the preferred one and the next are too long for their policy."""
    texts = [words("a", 62), words("a", 61), words("a", 60)]
    policy = '\n[policies.strict]\nrules = [{ signal = "gopher_word_count", max = 60 }]\n' + SIGN
    pipeline = pipeline_over(tmp_path, {"s": texts}, sections=policy, tables={"s": 'policy = "strict"'}, until="select")
    assert [
        row["rank"]
        for row in rows(
            pipeline.store, "SELECT rank FROM duplicates JOIN documents USING (doc_id) ORDER BY n_words DESC"
        )
    ] == [0, 1, 2]
    assert kept(pipeline) == {"s/2"}


def test_only_the_preferred_document_of_a_cluster_counts_for_what_recurs(tmp_path: Path) -> None:
    line = "One line of boilerplate"
    body = words("a", 60)
    texts = [f"{body} {n}\n{line}" for n in range(3)] + [f"{words('b', 40)}\n{line}", f"{words('c', 40)}\n{line}"]
    sections = SIGN + "[repetition]\nline_documents = 4\n"
    pipeline = pipeline_over(tmp_path, {"s": texts}, sections=sections, until="repetition")
    assert rows(pipeline.store, "SELECT count(*) AS n FROM duplicates") == [{"n": 3}]
    assert (
        rows(pipeline.store, "FROM recurring_text WHERE kind = 'recurring_line'") == []
    )  # of the cluster one counts: three have it
    three = pipeline_over(tmp_path, {"s": texts}, "repetition.line_documents=3", sections=sections, until="repetition")
    assert rows(three.store, "SELECT count(*) AS n FROM recurring_text WHERE kind = 'recurring_line'") == [{"n": 5}]


def test_evidence_of_other_shingles_is_not_taken_for_that_of_these(tmp_path: Path) -> None:
    texts = [words("a", 41), words("a", 41, w20="x")]
    first = pipeline_over(tmp_path, {"s": texts}, sections=SIGN, until="match")
    (pair,) = rows(first.store, "FROM duplicate_pairs")
    other = Pipeline(load_recipe(str(tmp_path / "recipe.toml"), ("sign.shingle_words=3",)))
    for stage in ("sign", "band", "match"):
        other.make(stage)
    (again,) = rows(other.store, "FROM duplicate_pairs")
    assert (round(pair["jaccard"] * 42), round(again["jaccard"] * 42)) == (38, round(36 / 42 * 42))
    assert again["jaccard"] == 36 / 42


def test_stretches_within_stretches_go_once() -> None:
    text = "".join(chr(97 + n % 26) for n in range(100))
    settings = CutSettings(margin_chars=0, min_piece_chars=1)
    assert without_stretches(text, [], settings, [(10, 60), (20, 30), (50, 70)]) == text[:10] + text[70:]
    assert without_stretches(text, [(40, 50)], settings, [(0, 10), (45, 60)]) == text[10:40] + "\n\n" + text[60:]


def test_fields_of_evaluation_sets_are_texts_lists_or_records(tmp_path: Path) -> None:
    row = {"q": "asked", "choices": {"text": ["one", "two"], "label": ["A", "B"]}, "a": ["three"]}
    (tmp_path / "set.jsonl").write_text(json.dumps(row))
    one = EvaluationSet(files=(str(tmp_path / "set.jsonl"),), question=("q", "choices"), answer=("a",))
    found = [(piece.field, piece.text) for piece in pieces(Store(str(tmp_path / "s")), "x", one)]
    assert found == [("question", text) for text in ("asked", "one", "two", "A", "B")] + [("answer", "three")]


def test_thirteen_words_contaminate_only_where_all_of_them_are_there(tmp_path: Path) -> None:
    quiz = words("q", 13)
    (tmp_path / "quiz.jsonl").write_text(json.dumps({"query": quiz}))
    texts = [
        f"{words('a', 60)} {words('q', 13, w12='x')} {words('b', 60)}",
        f"{words('c', 60)} {quiz} {words('d', 60)}",
    ]
    sections = f'\n[decontaminate.sets.quiz]\nfiles = ["{tmp_path}/quiz.jsonl"]\nquestion = ["query"]\n'
    pipeline = pipeline_over(tmp_path, {"s": texts}, sections=sections, until="decontaminate")
    assert [row["ngram"] for row in rows(pipeline.store, "FROM contamination")] == [quiz]


def test_a_source_of_higher_priority_survives_a_better_score(tmp_path: Path) -> None:
    draw = Random(6)
    good, bad = ([prose(draw, 5) for _ in range(24)], [" ".join(draw.choices("pqrstu", k=60)) for _ in range(24)])
    shared = words("a", 60)
    sources = {"first": [*bad, shared], "second": [*good, f"{shared} {good[0].split()[0]}"]}
    sections = SIGN + '[quality]\npositive = ["second"]\nnegative = ["first"]\n'
    tables = {"first": "priority = 2", "second": "priority = 1"}
    pipeline = pipeline_over(tmp_path, sources, sections=sections, tables=tables, until="select")
    ranked = "FROM duplicates JOIN documents USING (doc_id) JOIN signals USING (doc_id) WHERE text LIKE 'a0 a1 %'"
    found = {row["source"]: row for row in rows(pipeline.store, f"SELECT source, quality_score, rank {ranked}")}
    assert found["second"]["quality_score"] > found["first"]["quality_score"]
    assert (found["first"]["rank"], found["second"]["rank"]) == (0, 1)
    # Where neither source is preferred, the better score is.
    tables = {"first": "priority = 1", "second": "priority = 1"}
    other = pipeline_over(tmp_path, sources, sections=sections, tables=tables, until="match")
    assert rows(other.store, f"SELECT source {ranked} AND rank = 0") == [{"source": "second"}]


def test_pairs_of_texts_in_memory_are_those_of_their_threshold() -> None:
    texts = pa.array([words("a", 41), words("a", 41, w20="x"), words("a", 41), words("b", 41)])
    scheme = Scheme(128, 64, 2, 2, 1)
    for threshold, near in ((0.9, {(0, 1), (0, 2), (1, 2)}), (0.95, {(0, 2)})):
        found = near_duplicates(texts, scheme, threshold)
        assert {
            tuple(sorted(pair)) for pair in zip(*(side.tolist() for side in found.all_pairs()), strict=True)
        } == near
        assert all(similar == 38 / 42 for similar in found.jaccard.tolist() if similar < 1)
