"""Settings reach their place: each of these tests fails where one is ignored, or swapped with its neighbour."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from flows.making import Pipeline
from flows.query import rows
from flows.recipe.loading import load_recipe
from models.bert import build
from tasks.crawl.settings import SOFTWARE, CrawlSettings, CuratedLinks
from tasks.dedup.match import MatchSettings
from tasks.extract.page import ExtractSettings
from tasks.extract.table import ExtractTable, TableSettings, TextSettings
from tasks.train.settings import ModelSettings
from tests.conftest import free_port
from tests.known import pipeline_over, publish
from tests.test_crawl import Site, crawled
from tests.test_known_scores import SETTINGS, prose
from tests.test_politeness import HTML, LOOPBACK, Told, page, told, urls_of
from tests.test_revisit import crawl_anew
from tests.test_sources import documents_of
from warehouse.store import Store

__all__ = ["told"]  # the fixture


class Asked(Told):
    """A site that remembers the headers of requests, and how many are under way at once."""

    def __init__(self, *arguments: Any) -> None:
        self.agents: list[str] = []
        super().__init__(*arguments)
        handler, site = self.server.RequestHandlerClass, self

        class Remembering(handler):  # type: ignore[misc, valid-type]
            def do_GET(self) -> None:  # noqa: N802
                site.agents.append(self.headers["User-Agent"])
                super().do_GET()

        self.server.RequestHandlerClass = Remembering


@pytest.fixture
def asked() -> Iterator[type[Asked]]:
    made = []

    class Kept(Asked):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            made.append(self)

    yield Kept
    for site in made:
        site.server.shutdown()


@pytest.mark.parametrize(
    ("changes", "agent"),
    [
        ({}, SOFTWARE),
        ({"contact": "me@example.org"}, f"{SOFTWARE} (+me@example.org)"),
        ({"user_agent": "mybot/2 (mail@example.org)"}, "mybot/2 (mail@example.org)"),
    ],
)
def test_the_user_agent_on_the_wire_is_the_one_that_was_set(
    asked: type[Asked], tmp_path: Path, changes: dict[str, Any], agent: str
) -> None:
    robots = "User-agent: mybot\nDisallow: /only\n\nUser-agent: gristmill\nDisallow: /other\n"
    site = asked({"/": page("/only", "/other"), "/only": page(text="a"), "/other": page(text="b")}, robots)
    crawled(tmp_path, site.settings(**changes))
    assert set(site.agents) == {agent}
    assert len(site.agents) >= 4  # robots.txt and the probe among them
    forbidden, allowed = ("/only", "/other") if "user_agent" in changes else ("/other", "/only")
    assert (site.hits[forbidden], site.hits[allowed]) == (0, 1)


def test_limits_of_a_crawl_are_those_that_were_set(told: type[Told], tmp_path: Path) -> None:
    hop = {f"/hop/{n}": (302, {"Location": f"/hop/{n + 1}"}, b"") for n in range(4)} | {"/hop/4": page(text="there")}
    packed = gzip.compress(b"<html>" + b"word " * 2000 + b"</html>")
    answers = {
        "/": page("/hop/0", "/packed", "/heavy", "/" + "x" * 300, "/file.xyz", "/file.htm", "/tagged"),
        "/packed": (200, {**HTML, "Content-Encoding": "gzip"}, packed),
        "/heavy": (200, {**HTML, "X-Heavy": "h" * 6000}, b"<html>heavy</html>"),
        "/" + "x" * 300: page(text="long"),
        "/file.xyz": page(text="xyz"),
        "/file.htm": page(text="htm"),
        "/tagged": (200, {**HTML, "X-Robots-Tag": "noindex"}, b"<html>tagged</html>"),
        **hop,
    }
    site = told(answers)
    changed = {
        "max_redirects": 2, "max_decoded_bytes": 5000, "max_header_bytes": 3000, "max_url_chars": 200, "skip": ("xyz",), "obey_robots_tags": False,
    }  # fmt: skip
    tight, wide = (
        urls_of(crawled(tmp_path / "a", site.settings(**changed))[0]),
        urls_of(crawled(tmp_path / "b", site.settings())[0]),
    )
    assert {name: row["verdict"] for name, row in tight.items() if row["verdict"] == "kept"}.keys() == {
        "",
        "file.htm",
        "tagged",
    }
    assert {name: row["status"] for name, row in tight.items() if name.startswith("hop")} == {
        "hop/0": 302,
        "hop/1": 302,
        "hop/2": 302,
    }
    assert site.hits["/hop/3"] == 1  # by the crawl without that limit alone
    reasons = {name: row["rule"] for name, row in tight.items() if row["verdict"] != "kept"}
    assert reasons["file.xyz"] == "no text"
    assert (reasons["heavy"], reasons["hop/1"], reasons["hop/2"]) == ("no answer", "redirect", "redirects without end")
    assert len(reasons) == 7
    assert not reasons.keys() & {"", "file.htm", "tagged"}
    kept = {name for name, row in wide.items() if row["verdict"] == "kept"}
    assert {"hop/4", "packed", "heavy", "x" * 300, "file.xyz", "file.htm"} <= kept
    assert "tagged" not in kept


def test_sitemaps_patterns_and_requests_at_once(told: type[Told], tmp_path: Path) -> None:
    listed = b"<urlset><url><loc>ROOT/listed</loc></url></urlset>"
    answers = {
        "/": page(*(f"/n/{n}" for n in range(9))),
        **{f"/n/{n}": page(text=f"n {n} " + "w" * n) for n in range(9)},
    }
    site = told({**answers, "/listed": page(text="listed")}, "")
    site.robots = f"Sitemap: {site.root}/map.xml\n"
    site.answers["/map.xml"] = (200, {"Content-Type": "application/xml"}, listed.replace(b"ROOT", site.root.encode()))
    assert "listed" in urls_of(crawled(tmp_path / "a", site.settings())[0])
    without = urls_of(crawled(tmp_path / "b", site.settings(sitemaps=False, urls_per_pattern=4))[0])
    assert "listed" not in without
    assert sum(name.startswith("n/") and row["verdict"] == "kept" for name, row in without.items()) == 4
    slow = Site(delay=0.05)
    under_way, most = [0], [0]
    real = slow.answer

    def counted(path: str) -> Any:
        under_way[0] += 1
        most[0] = max(most[0], under_way[0])
        try:
            import time

            time.sleep(0.05)
            return real(path)
        finally:
            under_way[0] -= 1

    slow.answer = counted  # type: ignore[method-assign]
    crawled(tmp_path / "c", slow.settings(concurrent_requests=2, requests_per_host=8, max_pages=12))
    slow.server.shutdown()
    assert most[0] == 2


def test_pages_rest_for_the_longest_time_that_was_set(told: type[Told], tmp_path: Path) -> None:
    site = told({"/": page(text="still the same")})
    settings = {"revisit_min_s": 0.0, "revisit_max_s": 0.0}
    first, _, last = (urls_of(crawl_anew(tmp_path, site.settings(**settings))[0])[""] for _ in range(3))
    assert (first["visits"], last["visits"]) == (1, 3)
    assert last["next_visit_at"] == last["visited_at"]
    assert last["changes"] == 0
    assert last["changed_at"] == first["changed_at"]


def test_curated_links_by_their_columns(told: type[Told], tmp_path: Path) -> None:
    site = told({f"/{name}": page(text=name) for name in ("a", "b", "c")})
    lines = [{"link": f"{site.root}/{name}", "karma": n} for n, name in enumerate("abc")]
    (tmp_path / "links.jsonl").write_text("\n".join(map(json.dumps, lines)))
    links = CuratedLinks(file=str(tmp_path / "links.jsonl"), url_column="link", score_column="karma", min_score=1.0)
    settings = CrawlSettings.model_validate(
        site.settings().model_dump() | {"seeds": (), "links": links.model_dump(), "contact": "x@y.example"}
    )
    found = urls_of(crawled(tmp_path, settings)[0])
    assert {name for name, row in found.items() if row["verdict"] == "kept"} == {"b", "c"}
    assert settings.private_networks == LOOPBACK


ROWS = [{"text": f"Text {n} of some words.", "name": f"n{n}", "day": f"2020-01-0{n + 1}T10:00:00Z"} for n in range(3)]


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_columns_and_files_of_tables(tmp_path: Path, kind: Any) -> None:
    for n, row in enumerate(ROWS):
        if kind == "parquet":
            pq.write_table(pa.Table.from_pylist([row]), tmp_path / f"{n}.parquet")
        else:
            (tmp_path / f"{n}.jsonl").write_text(json.dumps(row))
    (tmp_path / "all.paths").write_text("".join(f"{n}.{kind}\n" for n in range(3)))
    lists = TableSettings(
        files=(str(tmp_path / "all.paths"),), base=f"{tmp_path}/", id_column="name", date_column="day"
    )
    found = documents_of(ExtractTable(Store(str(tmp_path / "s")), ExtractSettings(), kind, lists, "t"))
    assert {(row["url"].rpartition(":")[2].rpartition("/")[2], row["published"]) for row in found} == {
        (f"n{n}", f"2020-01-0{n + 1}") for n in range(3)
    }
    two = lists.model_copy(update={"max_files": 2})
    found = documents_of(ExtractTable(Store(str(tmp_path / "s")), ExtractSettings(), kind, two, "t"))
    assert len(found) == 2
    assert {row["text"] for row in found} == {row["text"] for row in ROWS[:2]}


def test_lists_of_text_files(tmp_path: Path) -> None:
    for n in range(3):
        (tmp_path / f"{n}.txt").write_text(f"Book {n}. " + "It was. " * 9)
    (tmp_path / "all.paths").write_text("0.txt\n1.txt\n2.txt\n")
    texts = TextSettings(files=(str(tmp_path / "all.paths"),), base=f"{tmp_path}/", max_files=1)
    (found,) = documents_of(ExtractTable(Store(str(tmp_path / "s")), ExtractSettings(), "text", texts, "books"))
    assert found["text"].startswith("Book 0.")


def test_settings_of_quality(tmp_path: Path) -> None:
    draw = Random(4)
    sources = {
        "good": [prose(draw, 4) for _ in range(130)],
        "bad": [" ".join(draw.choices("abcdef", k=40)) for _ in range(150)],
    }

    def made(*overrides: str) -> dict[str, Any]:
        sections = '\n[quality]\npositive = ["good"]\nnegative = ["bad"]\n'
        (row,) = rows(
            pipeline_over(tmp_path, sources, *overrides, sections=sections, until="quality").store, "FROM classifiers"
        )
        return row

    usual = made()
    assert (usual["positives"], usual["negatives"], usual["held_out"]) == (130, 150, 13 + 15)
    fewer = made("quality.documents=100")
    assert (fewer["positives"], fewer["negatives"], fewer["held_out"]) == (100, 100, 20)
    assert made("quality.held_out_share=0.5")["held_out"] == 65 + 75
    assert made("quality.seed=2")["intercept"] != usual["intercept"]


def test_settings_of_repetition(tmp_path: Path) -> None:
    """A line in four documents, a paragraph in two, a run of nine words in two."""
    draw = Random(9)
    line, paragraph, run = (
        "Subscribe to our letter",
        "First of two\nand the second",
        " ".join(f"r{n}" for n in range(9)),
    )
    texts = [f"{prose(draw, 3)}\n{line}\n{prose(draw, 2)}" for _ in range(4)]
    texts += [f"{prose(draw, 3)}\n\n{paragraph}\n\n{prose(draw, 2)}" for _ in range(2)]
    texts += [f"{prose(draw, 3)} {run} {prose(draw, 2)}" for _ in range(2)]

    def found(*overrides: str) -> dict[str, int]:
        pipeline = pipeline_over(tmp_path, {"s": texts}, *overrides, until="repetition")
        counted = rows(
            pipeline.store,
            "SELECT kind, count(*) AS n, any_value(substr(d.text, r.start + 1, r.stop - r.start)) AS words "
            "FROM recurring_text r JOIN documents d USING (doc_id) GROUP BY kind",
        )
        for row in counted:
            assert {"recurring_line": line, "recurring_paragraph": paragraph}.get(row["kind"], run) in f"{row['words']}"
        return {row["kind"]: row["n"] for row in counted}

    assert found() == {}
    assert found("repetition.line_documents=4") == {"recurring_line": 4}
    assert found("repetition.line_documents=5") == {}
    assert found("repetition.paragraph_documents=2") == {"recurring_paragraph": 2}
    assert found("repetition.span_words=9") == {"repeated_span": 1}  # where it stands first it stays
    assert found("repetition.span_words=10") == {}
    assert found("repetition.line_documents=4", "repetition.memory_mb=1") == {"recurring_line": 4}


def test_settings_of_decontamination(tmp_path: Path) -> None:
    draw = Random(3)
    quiz = " ".join(f"q{n}" for n in range(12))
    texts = [f"{prose(draw, 8)} {quiz} {prose(draw, 8)}", prose(draw, 9)]
    for name in ("one", "two"):
        (tmp_path / f"{name}.jsonl").write_text(
            json.dumps({"query": quiz if name == "one" else "other words", "key": f"k-{name}"})
        )
    (tmp_path / "all.paths").write_text("one.jsonl\ntwo.jsonl\n")

    def made(*lines: str, sets: str = 'id = "key"') -> Pipeline:
        head = "\n[decontaminate]\n" + "\n".join(lines)
        one = f'[decontaminate.sets.quiz]\nfiles = ["{tmp_path}/all.paths"]\nbase = "{tmp_path}/"\nquestion = ["query"]\n{sets}'
        return pipeline_over(tmp_path, {"s": texts}, sections=f"{head}\n{one}", until="select")

    assert rows(made().store, "FROM contamination") == []  # twelve words are no 13-gram
    pipeline = made("words = 12")
    (row,) = rows(pipeline.store, "FROM contamination")
    assert (row["benchmark"], row["example_id"], row["ngram"], row["field"]) == ("quiz", "k-one", quiz, "question")
    (document,) = rows(pipeline.store, "SELECT text FROM documents WHERE doc_id = ?", [row["doc_id"]])
    assert document["text"][row["start"] : row["stop"]] == quiz
    assert row["context"] == document["text"][row["start"] - 80 : row["stop"] + 80]
    assert rows(made("words = 12", sets='id = ""').store, "SELECT example_id FROM contamination") == [
        {"example_id": "0"}
    ]
    overlap = rows(made("words = 12", "report_words = 5").store, "FROM evaluation_overlap ORDER BY example_id")
    assert [(one["benchmark"], one["n_grams"], one["found"], one["share"]) for one in overlap] == [
        ("quiz", 8, 8, 1.0),
        ("quiz", 0, 0, None),
    ]
    assert rows(
        made("words = 12", sets='max_files = 1\nid = "key"').store, "SELECT count(*) AS n FROM evaluation_overlap"
    ) == [{"n": 1}]
    assert rows(made("words = 12", "most_documents = 1").store, "SELECT count(*) AS n FROM contamination") == [{"n": 1}]
    texts.append(f"{prose(draw, 3)} {quiz}")
    assert rows(made("words = 12", "most_documents = 1").store, "FROM contamination") == []
    assert rows(made("words = 12", "most_documents = 2").store, "SELECT count(*) AS n FROM contamination") == [{"n": 2}]
    texts.pop()

    def left(*cut: str) -> str:
        recipe = load_recipe(str(tmp_path / "recipe.toml"), cut)
        pipeline = Pipeline(recipe)
        for name in ("overlap", "decontaminate", "elect", "select"):
            pipeline.make(name)
        return "".join(
            row["text"] for row in rows(pipeline.store, "SELECT text FROM corpus WHERE id = ?", [row["doc_id"]])
        )

    made("words = 12")
    before, after = document["text"].split(quiz)
    assert (
        left("decontaminate.cut.margin_chars=0", "decontaminate.cut.min_piece_chars=1")
        == f"{before.strip()}\n\n{after.strip()}"
    )
    assert (
        left("decontaminate.cut.margin_chars=10", "decontaminate.cut.min_piece_chars=1")
        == f"{before[:-10].strip()}\n\n{after[10:].strip()}"
    )
    longer = max(before, after, key=len)
    assert (
        left("decontaminate.cut.margin_chars=0", f"decontaminate.cut.min_piece_chars={len(longer)}") == longer.strip()
    )
    assert left("decontaminate.cut.margin_chars=0", "decontaminate.cut.most_pieces=1") == ""


def test_personal_data_is_replaced_by_kind_and_a_language_alone_is_kept(tmp_path: Path) -> None:
    draw = Random(3)
    text = f"{prose(draw, 5)} Write to jo@example.org from 8.8.8.8."
    german = (
        "Der Hund und die Katze sind heute nicht zu Hause, denn das Wetter ist schön und sie gehen gern spazieren. " * 4
    )

    def corpus(policy: str) -> list[str]:
        tables = {"s": 'policy = "p"'}
        pipeline = pipeline_over(tmp_path, {"s": [text, german]}, sections=f"\n{policy}", tables=tables, until="select")
        return sorted(
            (row["text"] for row in rows(pipeline.store, "SELECT text FROM corpus")), key=lambda text: "Write" in text
        )

    assert corpus('[policies.p]\nreplace_pii = ["email"]')[-1].endswith("Write to <EMAIL> from 8.8.8.8.")
    assert corpus('[policies.p]\nreplace_pii = ["ip"]')[-1].endswith("Write to jo@example.org from <IP>.")
    assert corpus(
        '[policies.p]\nreplace_pii = []\nrules = [{ signal = "language", only = "de", reference = "this test" }]'
    ) == [german.strip()]


def test_a_pareto_draw_keeps_more_of_what_scores_higher(tmp_path: Path) -> None:
    draw = Random(5)
    sources = {
        "good": [prose(draw, 4) for _ in range(60)],
        "bad": [" ".join(draw.choices("abcdef", k=40)) for _ in range(60)],
    }
    sections = (
        '\n[quality]\npositive = ["good"]\nnegative = ["bad"]\n'
        '[policies.p]\nrules = [{ signal = "quality_score", pareto = 9.0, reference = "GPT-3" }]'
    )
    pipeline = pipeline_over(
        tmp_path, sources, sections=sections, tables={"good": 'policy = "p"', "bad": 'policy = "p"'}, until="select"
    )
    kept = {
        row["source"]: row["n"]
        for row in rows(pipeline.store, "SELECT source, count(*) AS n FROM corpus GROUP BY source")
    }
    assert kept["good"] > 3 * kept.get("bad", 0)
    for row in rows(
        pipeline.store,
        "SELECT value, threshold, verdict, rule FROM decisions WHERE stage = 'select' AND rule LIKE 'quality%'",
    ):
        assert row["value"] <= row["threshold"]


def test_settings_of_the_network(tmp_path: Path) -> None:
    sizes = (
        "model.layers=2",
        "model.head_width=24",
        "model.band=5",
        "model.dropout=0.25",
        "model.attention_dropout=0.5",
    )
    recipe = load_recipe("demo-tiny", (*sizes, "model.family=gpt"))
    arch = recipe.trainings["pretrain"].model.architecture(100)
    assert (arch.layers, arch.head_width, arch.band, arch.dropout, arch.attention_dropout) == (2, 24, 5, 0.25, 0.5)
    model = build(arch)
    assert model.blocks[0].attention.qkv.weight.shape == (3 * arch.heads * 24, arch.width)
    assert [block.attention.band for block in model.blocks] == [0, 5]
    assert {block.attention.dropout for block in model.blocks} == {0.5}
    assert {block.dropout.p for block in model.blocks} == {0.25} == {model.dropout.p}
    model.train()
    ids = torch.zeros(1, 8, dtype=torch.int64)
    assert not torch.equal(model(ids), model(ids))
    assert ModelSettings(family="gpt1").architecture(9).norm == "post"


def test_sizes_that_are_given_win_over_those_of_a_preset_or_a_depth() -> None:
    model = ModelSettings.model_validate({"preset": "gpt2-small", "layers": 3, "context": 128})
    assert (model.layers, model.width, model.heads, model.context) == (3, 768, 12, 128)
    assert ModelSettings.model_validate({"depth": 8, "width": 64, "heads": 2}).width == 64


@pytest.mark.parametrize("recompute", [False, True])
def test_recompute_reaches_the_network(tmp_path: Path, recompute: bool) -> None:
    from tasks.train.job import Job
    from tasks.train.process import network_of
    from warehouse.artifact import Ref

    settings = load_recipe("demo-tiny", (f"pretrain.recompute={str(recompute).lower()}", "pretrain.seed=5")).trainings[
        "pretrain"
    ]
    ref = Ref(stage="x", key="x")
    made = network_of(
        Job(store="s", run=ref, tokens=ref, tokenizer=ref, vocabulary=64, settings=settings, folder=tmp_path)
    )
    assert made.recompute is recompute
    assert torch.equal(made.tokens.weight, build(made.arch).initialise(5).tokens.weight)


def test_settings_of_evaluation(tmp_path: Path) -> None:
    from tasks.tokens.tokenizer import Codec
    from tests.known import chain

    draw = Random(3)
    base = SETTINGS.replace("temperature = 0.0", "temperature = 1.0")
    pipeline = pipeline_over(tmp_path, {"plays": [prose(draw, 9) for _ in range(60)]}, sections=base)
    publish(pipeline, chain(Codec.load(pipeline.store, pipeline.plan["tokenizer"][0].ref).size, seed=7), tmp_path)

    def asked(*overrides: str) -> tuple[list[str], dict[str, int]]:
        other = Pipeline(load_recipe(str(tmp_path / "recipe.toml"), overrides))
        other.make("evaluate")
        found = rows(other.store, "SELECT task, max(n) AS n FROM evaluations GROUP BY task")
        return [row["text"] for row in rows(other.store, "SELECT text FROM samples")], {
            row["task"]: row["n"] for row in found
        }

    texts, counted = asked()
    assert counted["held-out text"] == 9
    assert counted["last-word cloze"] > 2
    assert asked("evaluate.max_clozes=2")[1]["last-word cloze"] == 2
    assert asked("evaluate.max_documents=4")[1]["held-out text"] == 4
    for override in (
        "evaluate.seed=2",
        "evaluate.top_k=1",
        "evaluate.top_p=0.05",
        "evaluate.temperature=0.0",
        "evaluate.sample_tokens=3",
    ):
        assert asked(override)[0] != texts, override
    assert asked("evaluate.top_k=1")[0] == asked("evaluate.temperature=0.0")[0] == asked("evaluate.top_p=0.000001")[0]


def test_pages_beyond_the_limits_of_extraction_are_refused(told: type[Told], tmp_path: Path) -> None:
    from tasks.crawl.stage import content_input
    from tasks.extract.stage import Extract
    from warehouse.artifact import load, read_tables

    site = told({"/": page("/large"), "/large": page(text="<p>" + "large words " * 2000 + "</p>")})
    crawl, _ = crawled(tmp_path, site.settings())
    for limit, refused in ((10_000, ["too large"]), (1_000_000, [])):
        settings = ExtractSettings(max_html_bytes=limit, page_seconds=20)
        stage = Extract(
            crawl.store, settings, {"pages": content_input(crawl.store, load(crawl.store, crawl.ref))}, "site"
        )
        documents_of(stage)
        decisions = read_tables(crawl.store, stage.ref, "decisions").to_pylist()
        assert [row["rule"] for row in decisions if row["url"].endswith("/large")] == refused


def test_a_demo_site_is_limited_to_so_many_works() -> None:
    import httpx

    from flows.making import serve_demo_site

    counts = []
    for override in ("sources.works.demo_limit=1", "sources.works.demo_limit=2"):
        seeds = f'sources.works.crawl.seeds=["http://127.0.0.1:{free_port()}/"]'
        source = load_recipe("demo-tiny", (override, seeds)).sources["works"]
        with serve_demo_site(source) as address:
            counts.append(httpx.get(address, trust_env=False).text.count("<a "))
    assert 0 < counts[0] < counts[1]


def test_so_many_archives_are_read(told: type[Told], tmp_path: Path) -> None:
    from tasks.extract.archive import ExtractArchive, WarcSettings

    for name in ("a", "b"):
        site = told({"/": page(text=f"the front page of {name}, at some length")})
        crawl, _ = crawled(tmp_path / name, site.settings())
        (archive,) = (tmp_path / name / crawl.ref.folder / "warc").iterdir()
        (tmp_path / f"{name}.warc.gz").write_bytes(archive.read_bytes())
    for limit, found in ((None, {"a", "b"}), (1, {"a"})):
        settings = WarcSettings(files=(str(tmp_path / "*.warc.gz"),), max_files=limit)
        documents = documents_of(
            ExtractArchive(Store(str(tmp_path / f"s{limit}")), ExtractSettings(min_chars=1), settings, "cc")
        )
        assert {row["text"].split("page of ")[1][0] for row in documents} == found


def test_what_a_recipe_fills_in_for_a_stage() -> None:
    overrides = (
        "sign.shingle_words=3",
        "sources.works.priority=9",
        "sources.works.weight=3.0",
        "sources.reference.weight=1.0",
    )
    recipe = load_recipe("demo-tiny", (*overrides, "match.window=7", "match.memory_mb=99", "sign.bands=4"))
    match = recipe.match_settings()
    assert isinstance(match, MatchSettings)
    assert (match.priority, match.shingle_words, match.window) == ({"works": 9, "reference": 1}, 3, 7)
    band = recipe.band_settings()
    assert (band.bands, band.window, band.memory_mb) == (4, 7, 99)
    assert recipe.trainings["pretrain"].mixture == {"works": 3.0, "reference": 1.0}
    assert recipe.shares == {"works": 0.75, "reference": 0.25}
    assert load_recipe("demo-tiny", ("pretrain.mixture={works = 2.0}",)).trainings["pretrain"].mixture == {"works": 2.0}
    assert load_recipe("demo-tiny", ("evaluate.precision=bf16",)).evaluate.precision == "bf16"
