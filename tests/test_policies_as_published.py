"""Policies as their papers ran them: rules one after the other, marks of citations, and what a site writes on every page."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from flows.graph import made_from
from flows.making import Pipeline
from flows.query import rows
from flows.recipe.loading import load_recipe
from tasks.extract.page import read_page
from tasks.select import policy as policies
from tasks.select.policy import Policy, Rule
from tasks.signals.lines import without_lines
from tasks.signals.stage import measure
from tests.conftest import SHARED

SENTENCES = [
    "The lock keeper writes the level of the river in a blue book every morning before the first barge comes.",
    "Pilots who know the lower reaches do without the gauge, but the insurers ask for it all the same.",
    "In a wet year nobody reads the book; in a dry one the millers send a boy for it at six.",
    "A second gauge has been promised since the bridge was mended, and the stone for it is already cut.",
    "Whoever stands on the quay at noon can see the old marks, some of them older than the mill itself.",
    "The book of last spring is kept in a tin, because mice had eaten the one before it.",
]
LABELLED = "\n".join(f"River notes\n{sentence}" if at % 3 == 0 else sentence for at, sentence in enumerate(SENTENCES))


def made(folder: Path, monkeypatch: pytest.MonkeyPatch, policy: str, texts: dict[str, str], more: str = "") -> Pipeline:
    monkeypatch.chdir(folder)
    Path("in.jsonl").write_text("\n".join(json.dumps({"id": name, "text": text}) for name, text in texts.items()))
    Path("r.toml").write_text(
        f'name="r"\nstore="store"\nworkers=1\n{more}\n[sources.s]\npolicy="{policy}"\n[sources.s.jsonl]\nfiles=["in.jsonl"]\n'
    )
    pipeline = Pipeline(load_recipe("r.toml"))
    for node in made_from("select"):
        pipeline.make(node)
    return pipeline


def test_signals_of_what_c4_leaves_by_hand() -> None:
    found = {
        name: column[0]
        for name, column in measure(pa.array(["River notes\nA b c.\nRiver notes\nD e f g\nA b c."])).items()
    }
    assert found["fineweb_terminal_line_share"] == pytest.approx(2 / 5)
    assert found["fineweb_left_terminal_line_share"] == pytest.approx(2 / 3)  # the lines of two words are gone
    assert found["fineweb_duplicate_line_char_share"] == pytest.approx(17 / 41)
    assert found["fineweb_left_duplicate_line_char_share"] == pytest.approx(6 / 19)
    assert found["fineweb_newline_word_ratio"] == pytest.approx(4 / 14)
    assert found["fineweb_left_newline_word_ratio"] == pytest.approx(2 / 10)
    assert found["fineweb_left_short_line_share"] == 1.0


def test_fineweb_runs_its_own_rules_on_what_c4_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = made(tmp_path, monkeypatch, "fineweb", {"labelled": LABELLED})
    assert rows(pipeline.store, "SELECT text FROM corpus") == [{"text": "\n".join(SENTENCES)}]


def test_a_policy_is_in_sequence_only_where_it_says_so() -> None:
    rule = Rule(signal="fineweb_duplicate_line_char_share", max=0.01)
    table = pa.table(
        {"doc_id": ["a"]} | {name: pa.array(column) for name, column in measure(pa.array([LABELLED])).items()}
    )
    for sequential, broken in ((False, True), (True, False)):
        (check,) = Policy(rules=(rule,), sequential=sequential).checks(table, 1, {})
        assert check.broken.tolist() == [broken]
    assert policies.load("fineweb").sequential
    assert "fineweb_left_duplicate_line_char_share above 0.01" in policies.load("fineweb").labels


def test_a_policy_in_sequence_is_read_and_changed_as_it_is_written() -> None:
    fineweb = policies.load("fineweb")
    written = [rule.signal for rule in fineweb.rules]
    assert "fineweb_short_line_share" in written
    assert "fineweb_left_short_line_share" in fineweb.signals
    assert "fineweb_short_line_share" not in fineweb.signals
    at_once = Policy.model_validate(fineweb.model_dump() | {"sequential": False})
    assert "fineweb_short_line_share" in at_once.signals


def test_brackets_that_end_programs_are_no_sites_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {
        f"f{n}": f"int f{n}(int x) {{\n" + "\n".join(f"  x += {n * k};" for k in range(9)) + "\n  return x;\n}"
        for n in range(1, 9)
    }
    for policy in ("documentation", "site"):
        (tmp_path / policy).mkdir()
        pipeline = made(tmp_path / policy, monkeypatch, policy, texts, "remove_duplicates = false")
        found = [row["text"] for row in rows(pipeline.store, "SELECT text FROM corpus")]
        assert len(found) == 8
        assert all(text.endswith("  return x;\n}") for text in found)


def test_c4_takes_citation_marks_out_of_lines_that_stay() -> None:
    text = "The marks were cut[1] in three goes.[12]\nEdit [edit] this [citation needed] line [] now [a].\nx[1]"
    assert without_lines(pa.chunked_array([[text]]), ("c4_citations",)) == [
        "The marks were cut in three goes.\nEdit  this  line  now [a].\nx"
    ]
    for name in ("c4", "fineweb"):
        assert "c4_citations" in policies.load(name).drop_lines


def pages(count: int) -> dict[str, str]:
    found = {}
    for number in range(count):
        body = "".join(f"<p>{SENTENCES[(number + at) % 6]}</p>" for at in range(5))
        html = (
            "<html><body><div class=tagline>Quiet. Honest. Afloat.<br>Choose the second boat.</div>"
            f"<div class=langs><p>Available in: <a href=e>en</a> | <a href=f>fr</a></p></div><h1>Chapter {number}</h1>{body}"
            "<p>Written by the society, and free for all.</p></body></html>"
        )
        found[f"page {number}"] = read_page(html, "http://a.example/").text
    return found


def test_what_a_site_writes_at_the_head_and_the_end_of_its_pages_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = pages(6)
    assert all(text.startswith("Quiet. Honest. Afloat.\n") for text in texts.values())
    pipeline = made(tmp_path, monkeypatch, "site", texts, "remove_duplicates = false")
    found = {row["url"]: row["text"].split("\n") for row in rows(pipeline.store, "SELECT url, text FROM corpus")}
    assert len(found) == 6
    for number in range(6):
        lines = found[f"s:page {number}"]
        assert lines[0] == f"Chapter {number}"
        assert lines[1:] == [SENTENCES[(number + at) % 6] for at in range(5)]  # which recur too, in the midst


def test_how_many_pages_make_a_line_a_sites_own_is_a_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    more = "remove_duplicates = false\n[repetition]\nedge_documents = {}"
    for folder, least, edge in (("few", 6, "Quiet. Honest. Afloat."), ("many", 7, None)):
        (tmp_path / folder).mkdir()
        pipeline = made(tmp_path / folder, monkeypatch, "site", pages(6), more.format(least))
        found = rows(
            pipeline.store,
            "SELECT n_chars, recurring_edge_char_share AS share FROM signals JOIN documents USING (doc_id)",
        )
        lines = [
            "Quiet. Honest. Afloat.",
            "Choose the second boat.",
            "Available in: en | fr",
            "Written by the society, and free for all.",
        ]
        expected = sum(map(len, lines)) if edge else 0
        assert [row["share"] * row["n_chars"] for row in found] == pytest.approx([expected] * 6)
        shown = rows(pipeline.store, "SELECT recurring_edge_char_share AS share FROM repetition")
        assert sorted(row["share"] for row in shown) == sorted(row["share"] for row in found)
        assert (edge is not None) == any(
            row["kind"] == "recurring_edge" for row in rows(pipeline.store, "SELECT kind FROM recurring_text")
        )


@pytest.mark.skipif(not (SHARED / "reports").is_dir(), reason="the shared reports are not on this machine")
def test_the_reported_site_loses_its_slogan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = SHARED / "reports" / "37-page-7"
    texts = {path.stem: read_page(path.read_text(), "http://a.example/").text for path in sorted(folder.glob("*.html"))}
    pipeline = made(tmp_path, monkeypatch, "site", texts)
    found = [row["text"] for row in rows(pipeline.store, "SELECT text FROM corpus ORDER BY url")]
    assert [text.split("\n")[0] for text in found] == [f"Chapter {number}" for number in range(5)]
    assert all(len(text.split("\n")) == 5 for text in found)
