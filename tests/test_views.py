"""Views that a crawl, a wish to forget and a run leave, each column against what a site said or a hand counted."""

from __future__ import annotations

import datetime
from pathlib import Path
from random import Random

import pytest

from flows.making import Pipeline
from flows.query import rows
from tasks.dedup.digest import digests
from tasks.extract.page import doc_id_of
from tests.conftest import Run
from tests.known import pipeline_over
from tests.test_known_scores import prose
from tests.test_politeness import HTML, Told, page, told
from warehouse import log
from warehouse.store import Store

__all__ = ["told"]


GERMAN = b'<html lang="de"><link rel="canonical" href="/eins"><p>Ein Text mit einigen Wortern hier.</p></html>'


@pytest.fixture
def crawled_site(told: type[Told], tmp_path: Path) -> tuple[Told, Pipeline]:
    from tests.known import load_recipe

    answers = {
        "/": page("/one", "/moved", "/gone", "/kept", text="The front page of a small site with some words on it."),
        "/one": (200, {**HTML, "ETag": '"e1"', "Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}, GERMAN),
        "/moved": (301, {"Location": "/one"}, b""),
        "/kept": page(text="Another page that says something else, and at length."),
    }  # fmt: skip
    site = told(answers, "User-agent: *\nDisallow: /no\n")
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        f'name = "r"\nstore = "{tmp_path}/store"\n[sources.site.crawl]\nseeds = ["{site.root}/"]\ndelay_s = 0.0\nautothrottle = false\n'
        'retries = 0\nprivate_networks = ["127.0.0.0/8"]\n[extract]\nmin_chars = 1\n'
    )
    pipeline = Pipeline(load_recipe(str(recipe)))
    pipeline.make("crawl")
    Pipeline(pipeline.recipe).make("extract")
    return site, pipeline


def test_pages_urls_and_hosts_say_what_the_site_said(crawled_site: tuple[Told, Pipeline]) -> None:
    site, pipeline = crawled_site
    began = datetime.datetime.now(datetime.UTC) - datetime.timedelta(minutes=2)
    host = site.root.removeprefix("http://")
    pages = {row["url"].removeprefix(site.root): row for row in rows(pipeline.store, "FROM pages")}
    assert set(pages) == {"/", "/one", "/eins", "/moved", "/gone", "/kept"}
    one = pages["/one"]
    body = site.answers["/one"][2]
    assert (one["status"], one["content_type"], one["body_bytes"], one["depth"]) == (200, "text/html", len(body), 1)
    assert (one["etag"], one["last_modified"]) == ('"e1"', "Mon, 01 Jan 2024 00:00:00 GMT")
    assert (one["referrer"], one["record"], one["error"]) == (f"{site.root}/", "response", None)
    assert (one["final_url"], one["crawl"]) == (f"{site.root}/one", "site-0001")
    assert 0 < one["seconds"] < 5
    assert began < one["fetched_at"] < datetime.datetime.now(datetime.UTC)
    assert (pages["/moved"]["status"], pages["/moved"]["final_url"]) == (301, f"{site.root}/one")
    assert pages["/gone"]["status"] == 404
    urls = {row["url"].removeprefix(site.root): row for row in rows(pipeline.store, "FROM urls")}
    found = urls["/one"]
    assert (found["verdict"], found["host"], found["visits"], found["changes"]) == ("kept", host, 1, 0)
    assert (found["etag"], found["last_modified"], found["content_type"]) == (
        one["etag"],
        one["last_modified"],
        "text/html",
    )
    assert (found["body_bytes"], found["decoded_bytes"], found["digest"]) == (len(body), len(body), one["digest"])
    assert (found["warc_path"], found["warc_offset"]) == (one["warc_path"], one["warc_offset"])
    assert (found["hops"], found["referrer"], found["priority"]) == (0, f"{site.root}/", urls["/kept"]["priority"])
    assert found["visited_at"] == found["changed_at"] == one["fetched_at"]
    assert len({row["bucket"] for row in urls.values()}) == len(urls)
    (known,) = rows(pipeline.store, "FROM hosts")
    assert known["host"] == host
    assert (known["robots_status"], known["robots_txt"]) == (200, site.robots)
    assert (known["soft_404"], known["left_alone"], known["crawl"]) == (False, None, "site-0001")
    assert known["pages"] == 6
    assert known["bytes"] == sum(row["body_bytes"] for row in pages.values())
    documents = {row["url"].removeprefix(site.root): row for row in rows(pipeline.store, "FROM documents")}
    assert (documents["/one"]["language_hint"], documents["/one"]["canonical"]) == ("de", f"{site.root}/eins")
    assert documents["/one"]["digest"] == one["digest"]
    assert (documents["/one"]["warc_path"], documents["/one"]["warc_offset"]) == (one["warc_path"], one["warc_offset"])
    assert documents["/one"]["crawl"] == "site-0001"


def test_signatures_are_of_the_documents(tmp_path: Path) -> None:
    pipeline = pipeline_over(
        tmp_path,
        {"s": ["one two three four five six", "seven eight nine ten eleven twelve"]},
        sections="\n[sign]\nseed = 3",
        until="sign",
    )
    documents = {row["doc_id"]: row for row in rows(pipeline.store, "FROM documents")}
    for row in rows(pipeline.store, "FROM signatures"):
        document = documents[row["doc_id"]]
        assert (row["n_shingles"], row["n_chars"]) == (2, len(document["text"]))
        assert (row["url_key"], row["url_check"]) == tuple(digests_of(document["url"]))
        assert row["doc_key"] == digests_of(document["doc_id"])[0]
        assert row["text_key"] != row["text_check"]
    other = pipeline_over(
        tmp_path,
        {"s": ["one two three four five six", "seven eight nine ten eleven twelve"]},
        sections="\n[sign]\nseed = 4",
        until="sign",
    )
    bands = [{row["doc_id"]: row["band_00"] for row in rows(one.store, "FROM signatures")} for one in (other,)]
    Pipeline(pipeline.recipe).make("sign")
    bands.append({row["doc_id"]: row["band_00"] for row in rows(pipeline.store, "FROM signatures")})
    assert bands[0] != bands[1]
    assert rows(
        pipeline.store, "SELECT count(DISTINCT text_key) AS n, count(DISTINCT text_check) AS m FROM signatures"
    ) == [{"n": 2, "m": 2}]


def digests_of(text: str) -> list[int]:
    import pyarrow as pa

    first = digests(pa.chunked_array([[text]]))[0].tolist()
    return [int(number) for number in first]


def test_recurring_text_is_a_stretch_of_the_document(tmp_path: Path) -> None:
    draw, line = Random(9), "Subscribe to our létter"
    pipeline = pipeline_over(
        tmp_path,
        {"s": [f"{prose(draw, 2)}\n{line}\n{prose(draw, 1)}" for _ in range(3)]},
        sections="\n[repetition]\nline_documents = 3",
        until="repetition",
    )
    found = rows(pipeline.store, "SELECT r.start, r.stop, d.text FROM recurring_text r JOIN documents d USING (doc_id)")
    assert len(found) == 3
    assert all(row["text"][row["start"] : row["stop"]] == line for row in found)
    for row in rows(pipeline.store, "SELECT * FROM repetition JOIN documents USING (doc_id)"):
        assert row["recurring_line_char_share"] == pytest.approx(len(line) / len(row["text"]))


def test_what_was_forgotten_and_whom_it_affects(copied: Run) -> None:
    store = Store(str(copied.store))
    (document,) = rows(
        store, "SELECT id, url FROM corpus JOIN token_spans ON doc_id = id WHERE split = 'train' ORDER BY url LIMIT 1"
    )
    done = copied.here("forget", "demo-tiny", "--doc-id", document["id"], "--reason", "asked by its author")
    assert done.returncode == 0, done.stderr
    (removal,) = rows(store, "FROM removals")
    assert (removal["kind"], removal["value"], removal["reason"], removal["documents"]) == (
        "doc_id",
        document["id"],
        "asked by its author",
        1,
    )
    affected = {row["what"]: row for row in rows(store, "FROM affected")}
    assert {row["identity"] for row in affected.values()} == {removal["identity"]}
    current = log.current(store)
    (span,) = rows(store, "SELECT * FROM token_spans WHERE doc_id = ?", [document["id"]])
    steps = [row["step"] for row in rows(store, f"FROM steps_of('{document['url']}')")]
    for what, stage, table in (("corpus part", "select", "corpus"), ("token shard", "pack", "train")):
        row = affected[what]
        assert (row["stage"], row["key"], row["documents"]) == (stage, current[stage][0].key, 1)
        assert row["part"] == span["shard"].removeprefix("train/").removesuffix(".bin"), table
    assert affected["corpus part"]["tokens"] is None
    assert affected["token shard"]["tokens"] == span["length"]
    if steps:
        row = affected["checkpoint"]
        assert (row["first_step"], row["steps"], row["tokens"], row["key"]) == (
            min(steps),
            len(set(steps)),
            span["length"],
            current["pretrain"][0].key,
        )


def test_runs_say_which_artifacts_each_used(finished: Run) -> None:
    store = Store(str(finished.store))
    found = rows(store, "FROM runs")
    assert {row["recipe"] for row in found} == {"demo-tiny"}
    (run,) = {row["run"] for row in found}
    assert run.endswith("-demo-tiny")
    assert {row["started_at"][:10] for row in found} == {f"{run[:4]}-{run[4:6]}-{run[6:8]}"}
    shown = {(row["stage"], row["key"]) for row in rows(store, "SELECT stage, key FROM artifacts")}
    assert {(row["stage"], row["key"]) for row in found} == shown


def test_work_is_told_in_its_units(finished: Run) -> None:
    for row in rows(Store(str(finished.store)), "FROM work"):
        assert 0 <= row["wall_s"] < 600
        assert row["started_at"].year >= 2026
        if row["part"] is not None:
            assert row["cpu_s"] >= 0
            assert 20e6 < row["peak_rss_bytes"] < 20e9  # bytes, not pages or kilobytes
            assert row["reused"] is False


def test_a_documents_id_is_a_function_of_its_url_and_text(finished: Run) -> None:
    for row in rows(Store(str(finished.store)), "SELECT doc_id, url, text FROM documents LIMIT 20"):
        assert row["doc_id"] == doc_id_of(row["url"], row["text"])
    ids = {
        doc_id_of("http://a/", "x"),
        doc_id_of("http://b/", "x"),
        doc_id_of("http://a/", "y"),
        doc_id_of("http://a/x", ""),
    }
    assert len(ids) == 4
