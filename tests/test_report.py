"""The report's figures: what each source gave, what was taken out and why, and no bar below nothing."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from random import Random

import pytest

from flows.graph import STAGES
from flows.making import Pipeline
from flows.query import connect, rows
from flows.recipe.loading import load_recipe
from flows.reporting import publish_report
from tasks.report.page import render
from tests.conftest import Run
from tests.known import chain, pipeline_over, publish
from tests.test_known_scores import SETTINGS, prose
from warehouse.store import Store

POLICY = """
[policies.long]
rules = [{ signal = "gopher_word_count", min = 20 }]
[decontaminate.sets.quiz]
files = ["QUIZ"]
question = ["query"]
"""


def texts_between(page: str, start: str, stop: str) -> list[str]:
    """What pictures of a part of the page say, in their order."""
    part = page.split(start)[1].split(stop, maxsplit=1)[0]
    return [
        html.unescape(re.sub(r"<[^>]+>", "", text)).strip()
        for text in re.findall(r"<text[^>]*>(.*?)</text>", part, re.S)
    ]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Pipeline, str]:
    """12 documents: 9 plays of which two are equal, 3 pages of which one is short; one play holds a question of a quiz."""
    folder, draw = tmp_path_factory.mktemp("report"), Random(12)
    plays = [prose(draw, 40) for _ in range(8)]
    plays.append(plays[2])
    quiz = " ".join(draw.choices("alpha beta gamma delta epsilon zeta eta theta".split(), k=16))  # noqa: SIM905
    plays[4] = f"{plays[4]} {quiz} {prose(draw, 40)}"
    pages = [prose(draw, 40), "too short", quiz]
    (folder / "quiz.jsonl").write_text(json.dumps({"query": quiz}))
    sections = SETTINGS + POLICY.replace("QUIZ", str(folder / "quiz.jsonl"))
    tables = {"plays": "weight = 3.0", "pages": 'policy = "long"\nweight = 1.0'}
    pipeline = pipeline_over(
        folder, {"plays": plays, "pages": [*pages, prose(draw, 40)]}, sections=sections, tables=tables
    )
    publish(pipeline, chain(pipeline.plan["tokenizer"][0].stage.settings.model_dump()["vocabulary"], seed=7), folder)
    pipeline.make("evaluate")
    return pipeline, Path(publish_report(pipeline)).read_text()


def test_the_funnel_starts_from_what_each_source_gave_and_ends_at_the_corpus(told: tuple[Pipeline, str]) -> None:
    pipeline, page = told
    texts = texts_between(page, "Where did the documents go?", "What is the mixture?")
    first = texts.index("pages gave")
    assert texts[first : first + 5] == [
        "pages gave",
        "plays gave",
        "all sources gave",
        "select: gopher_word_count below 20",
        "select: duplicate exact",
    ]
    assert [text for text in texts[first + 5 :] if text != "documents"] == ["4", "9", "13", "11  (−2)", "10  (−1)"]
    assert rows(pipeline.store, "SELECT count(*) AS n FROM corpus") == [{"n": 10}]


def test_it_says_what_was_decontaminated(told: tuple[Pipeline, str]) -> None:
    pipeline, page = told
    assert "decontaminated against quiz by n-grams of 13 words: 2 documents held text of them" in page
    assert "Nothing was decontaminated" not in page
    assert rows(pipeline.store, "SELECT count(DISTINCT doc_id) AS n FROM contamination") == [{"n": 2}]


def test_cards_count_what_they_say(told: tuple[Pipeline, str]) -> None:
    pipeline, page = told
    cards = {
        label: figure for figure, label in re.findall(r'<div class="card"><b>([^<]*)</b><span>([^<]*)</span>', page)
    }
    (tokens,) = rows(pipeline.store, "SELECT sum(length)::BIGINT AS n FROM token_spans")
    (run,) = rows(
        pipeline.store, "SELECT statistics->>'parameters' AS parameters FROM artifacts WHERE stage = 'pretrain'"
    )
    assert cards == {
        "pages or texts given": "13",
        "documents extracted": "13",
        "documents in the corpus": "10",
        "tokens": f"{tokens['n']:,}",
        "parameters": f"{int(run['parameters']):,}",
        "tokens trained on": str(3 * 2 * 8),
    }


def test_scores_samples_and_mixture_stand_in_the_page_as_in_sql(told: tuple[Pipeline, str]) -> None:
    pipeline, page = told
    names = {"baseline-unigram": "unigram", "baseline-bigram": "bigram", "baseline-5-gram": "interpolated 5-gram"}
    found = re.findall(
        r"<tr(?: class=\"us\")?><td>([^<]*)</td><td>([^<]*)</td><td>([^<]*)</td><td class=\"n\">([^<]*)</td>", page
    )
    shown = {(task, metric, model): value for task, metric, model, value in found}
    for row in rows(pipeline.store, "FROM evaluations", recipe="known"):
        value = shown[row["task"], row["metric"], names.get(row["run"], "pretrain")]
        assert float(value.replace(",", "")) == pytest.approx(row["value"], rel=2e-2, abs=6e-4)
    for sample in rows(pipeline.store, "FROM samples"):
        assert html.escape(sample["prompt"]) in page
        assert html.escape(sample["text"], quote=False)[:20] in page.replace("&#39;", "'").replace("&#34;", '"')
    for row in rows(pipeline.store, "FROM mixture"):
        line = f'<td>{row["source"]}</td><td class="n">{row["documents"]}</td><td class="n">{row["tokens"]:,}</td>'
        assert f'{line}<td class="n">{row["weight"]:.0%}</td><td class="n">{row["epochs"]:.2f}</td>' in page
    bits = {
        row["run"]: row["value"]
        for row in rows(pipeline.store, "FROM evaluations WHERE metric = 'bits a byte' AND task = 'held-out text'")
    }
    (ours,) = [value for run, value in bits.items() if run not in names]
    verdict = re.search(r"<p>pretrain has ([\d.]+) bits a byte on held-out text: (.*?)\.</p>", page)
    assert verdict is not None
    assert float(verdict[1]) == pytest.approx(ours, abs=6e-4)
    for name, label in names.items():
        more = "fewer" if ours < bits[name] else "more"
        assert f"{abs(bits[name] - ours):.3f} {more} than the {label} ({bits[name]:.3f})" in verdict[2]


def test_the_cost_sums_the_work_that_made_what_is_shown(told: tuple[Pipeline, str]) -> None:
    pipeline, page = told
    for row in rows(
        pipeline.store,
        "SELECT stage, count(*) AS parts, sum(wall_s) AS wall, sum(cpu_s) AS cpu, max(peak_rss_bytes) AS memory FROM work "
        "WHERE part IS NOT NULL GROUP BY stage",
    ):
        wall, cpu, memory = f"{row['wall']:,.1f} s", f"{row['cpu']:,.1f} s", f"{row['memory'] / 1e6:,.0f} MB"
        cells = "".join(f'<td class="n">{cell}</td>' for cell in (f"{row['parts']:,}", wall, cpu, memory))
        assert f"<td>{row['stage']}</td>{cells}" in page, row
        assert row["memory"] > 50e6


def test_the_funnel_of_a_crawl_starts_from_the_pages_that_it_knows(finished: Run) -> None:
    store = Store(str(finished.store))
    pipeline = Pipeline(load_recipe("demo-tiny", finished.overrides))
    with connect(store, own=pipeline.own) as connection:
        page = render(connection, pipeline.recipe.name, STAGES, {}, {}, lambda *_: [])
    texts = texts_between(page, "Where did the documents go?", "What is the mixture?")
    known = {
        row["subject"]: row["documents_in"]
        for row in rows(store, "SELECT subject, documents_in FROM artifacts WHERE stage = 'crawl'")
    }
    (used,) = rows(store, "SELECT count(DISTINCT doc_id) AS n FROM token_spans")
    numbers = [
        int(found[1].replace(",", "")) for text in texts if (found := re.match(r"([\d,]+)(?:  \(−[\d,]+\))?$", text))
    ]
    labels = [
        text for text in texts if text.endswith(" gave") or re.match(r"(?:crawl|extract|select|relatives): ", text)
    ]
    numbers = numbers[-len(labels) :]  # before them stand those of the axis
    assert numbers[: len(known)] == [known[name] for name in sorted(known)]
    assert numbers[len(known)] == sum(known.values())
    assert numbers[-1] == used["n"]
    assert min(numbers) >= 0
