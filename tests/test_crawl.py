"""The crawl: what robots allow, once each, through redirects, faults and kills; an archive that others can read."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from fastwarc.warc import ArchiveIterator as FastIterator
from fastwarc.warc import WarcRecordType
from hypothesis import given
from hypothesis import strategies as st
from warcio.archiveiterator import ArchiveIterator

from tasks.core.stage import run_stages
from tasks.crawl.claims import Link
from tasks.crawl.frontier import Frontier
from tasks.crawl.settings import CrawlSettings
from tasks.crawl.stage import Crawl, content_input, crawl_to_use
from tasks.extract.page import ExtractSettings
from tasks.extract.stage import Extract
from tasks.web.urls import canonical_url
from tests.conftest import PROJECT
from tests.loopback import root_of, serve
from warehouse import log
from warehouse.artifact import load, read_tables
from warehouse.errors import GristmillError
from warehouse.store import Store

PAGES = 60


class Site:
    """A small site with a tree of pages, a forbidden corner, redirects, errors and a trap of spellings."""

    def __init__(self, delay: float = 0.0) -> None:
        self.hits: Counter[str] = Counter()
        self.delay = delay
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                site.hits[self.path] += 1
                time.sleep(site.delay)
                status, headers, body = site.answer(self.path)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self.server = serve(Handler)
        self.root = root_of(self.server)

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        html = {"Content-Type": "text/html; charset=utf-8"}
        if path == "/robots.txt":
            return 200, {"Content-Type": "text/plain"}, b"User-agent: *\nDisallow: /secret\n"
        if path == "/moved":
            return 301, {"Location": "/page/7"}, b""
        if path == "/away":
            return 302, {"Location": "http://localhost:1/elsewhere"}, b""
        if path == "/broken":
            return 500, html, b"no"
        if path.startswith("/page/"):
            number = int(path.removeprefix("/page/"))
            links = [2 * number + 1, 2 * number + 2]
            body = "".join(f'<a href="/page/{n}#top">n</a>' for n in links if n < PAGES)
            return 200, html, f"<html><title>{number}</title><p>Text of page {number}.</p>{body}</html>".encode()
        if path == "/":
            links = [
                "page/0",
                "./page/0?utm_source=x",
                "PAGE",
                "secret/1",
                "moved",
                "away",
                "broken",
                "gone",
                "mailto:a@b.example",
                "http://[bad",
            ]
            return 200, html, ("<html>" + "".join(f'<a href="{link}">x</a>' for link in links) + "</html>").encode()
        return 404, html, b"not here"

    def settings(self, **changes: object) -> CrawlSettings:
        values: dict[str, object] = {
            "seeds": (f"{self.root}/",),
            "delay_s": 0.0,
            "requests_per_host": 4,
            "autothrottle": False,
            "retries": 1,
            "backoff_s": 0.02,
            "private_networks": ("127.0.0.0/8",),
        }
        return CrawlSettings(**(values | changes))  # type: ignore[arg-type]


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    yield made
    made.server.shutdown()


def crawled(store: Path, settings: CrawlSettings, fresh: bool = False) -> tuple[Crawl, list[dict]]:
    crawl = crawl_to_use(Store(str(store)), settings, "site", fresh)
    run_stages([crawl])
    return crawl, read_tables(crawl.store, crawl.ref, "pages").to_pylist()


def test_every_allowed_page_once_and_no_forbidden_one(site: Site, tmp_path: Path) -> None:
    crawl, rows = crawled(tmp_path, site.settings())
    pages = {row["url"]: row for row in rows}
    assert len(pages) == len(rows)
    assert {url for url in pages if "/page/" in url} == {f"{site.root}/page/{n}" for n in range(PAGES)}
    assert not any(path.startswith("/secret") for path in site.hits)
    assert pages[f"{site.root}/secret/1"]["error"] == "robots.txt forbids it"
    assert pages[f"{site.root}/moved"]["final_url"] == f"{site.root}/page/7"
    assert pages[f"{site.root}/away"]["final_url"] == "http://localhost:1/elsewhere"
    urls = {row["url"]: row for row in read_tables(crawl.store, crawl.ref, "urls").to_pylist()}
    assert urls["http://localhost:1/elsewhere"]["rule"] == "another host"
    assert (pages[f"{site.root}/gone"]["status"], pages[f"{site.root}/broken"]["status"]) == (404, 500)
    assert pages[f"{site.root}/page/59"]["depth"] == 6  # 59, 29, 14, 6, 2, 0 and the seed
    assert site.hits["/page/0"] == 1  # two spellings of one page


def test_archive_is_read_alike_by_warcio_and_fastwarc_at_the_stored_offsets(site: Site, tmp_path: Path) -> None:
    crawl, rows = crawled(tmp_path, site.settings())
    for name in crawl.store.names(f"{crawl.ref.folder}/warc"):
        path = tmp_path / crawl.ref.folder / "warc" / name
        with path.open("rb") as stream:
            theirs = [
                (r.rec_headers["WARC-Target-URI"], r.content_stream().read())
                for r in ArchiveIterator(stream)
                if r.rec_type == "response"
            ]
        with path.open("rb") as stream:
            ours = [
                (r.headers["WARC-Target-URI"], r.reader.read())
                for r in FastIterator(stream, record_types=WarcRecordType.response)
            ]
        assert theirs == ours
        assert ours
    for row in rows:
        if row["warc_offset"] is not None:
            with (tmp_path / row["warc_path"]).open("rb") as stream:
                stream.seek(row["warc_offset"])
                record = next(iter(FastIterator(stream)))
                assert record.headers["WARC-Target-URI"] == row["url"]
                assert len(record.reader.read()) == row["body_bytes"]


DRIVER = """
import sys
from tasks.crawl.settings import CrawlSettings
from tasks.crawl.stage import crawl_to_use
from tasks.extract.page import ExtractSettings
from tasks.extract.stage import Extract
from tasks.core.stage import run_stages
from warehouse.store import Store
run_stages([crawl_to_use(Store(sys.argv[1]), CrawlSettings.model_validate_json(sys.argv[2]), "site", False)])
"""


def test_crawl_killed_again_and_again_ends_with_the_same_content(tmp_path: Path) -> None:
    slow = Site(delay=0.08)
    settings = slow.settings(requests_per_host=2)
    draw = random.Random(1)
    command = [sys.executable, "-c", DRIVER, str(tmp_path / "killed"), settings.model_dump_json()]
    kills = 0
    for _ in range(5):
        before = sum(slow.hits.values())
        with subprocess.Popen(command, cwd=PROJECT, start_new_session=True) as process:
            target = before + draw.randint(4, 14)
            while sum(slow.hits.values()) < target and process.poll() is None:
                time.sleep(0.01)
            kills += process.poll() is None
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    slow.delay = 0.0
    _crawl, rows = crawled(tmp_path / "killed", settings)
    assert kills == 5
    refetched = sum(slow.hits[f"/page/{n}"] - 1 for n in range(PAGES))
    assert refetched <= kills * settings.requests_per_host  # the requests under way
    _, reference = crawled(tmp_path / "whole", settings)
    assert {(r["url"], r["final_url"], r["status"], r["digest"], r["error"]) for r in rows} == {
        (r["url"], r["final_url"], r["status"], r["digest"], r["error"]) for r in reference
    }
    assert len(rows) == len(reference)
    slow.server.shutdown()


def test_second_crawl_of_an_unchanged_site_has_the_same_content(site: Site, tmp_path: Path) -> None:
    first, _ = crawled(tmp_path, site.settings())
    again, _ = crawled(tmp_path, site.settings())
    assert again.ref == first.ref
    unseen, _ = crawled(tmp_path, site.settings(), fresh=True)
    assert unseen.ref == first.ref  # a crawl that was finished and never shown is the next one
    log.note_stage(first.store, log.new_run(first.store, "test"), [first.ref])
    second, _ = crawled(tmp_path, site.settings(), fresh=True)
    assert (first.sequence, second.sequence) == (1, 2)
    assert (
        content_input(first.store, load(first.store, first.ref)).identity
        == content_input(second.store, load(second.store, second.ref)).identity
    )


def test_pages_that_redirect_to_one_url_give_one_document(site: Site, tmp_path: Path) -> None:
    crawl, _ = crawled(tmp_path, site.settings())
    pages = content_input(crawl.store, load(crawl.store, crawl.ref))
    (made,) = run_stages([Extract(crawl.store, ExtractSettings(extractor="resiliparse"), {"pages": pages}, "site")])
    assert made.counts.documents_in == load(crawl.store, crawl.ref).counts.kept
    urls = read_tables(crawl.store, made.ref, "documents")["url"].to_pylist()
    assert urls.count(f"{site.root}/page/7") == 1
    assert site.hits["/page/7"] == 1


def test_site_that_does_not_answer_is_one_sentence_and_the_crawl_works_once_it_does(site: Site, tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    settings = site.settings(seeds=("http://nowhere.invalid/",), retries=0, contact="me@example.org")
    with pytest.raises(
        GristmillError,
        match=r"no page of the source site could be fetched from http://nowhere.invalid/ \(.*\): check its seeds",
    ):
        run_stages([crawl_to_use(store, settings, "site", False)])
    assert crawled(tmp_path, site.settings())[1]


def test_page_budget_is_kept(site: Site, tmp_path: Path) -> None:
    crawl, rows = crawled(tmp_path, site.settings(max_pages=10))
    assert sum(row["status"] is not None for row in rows) == 10
    urls = read_tables(crawl.store, crawl.ref, "urls").to_pylist()
    assert any(row["rule"] == "not reached" for row in urls)


@pytest.mark.parametrize(("status", "allowed"), [(404, True), (403, True), (500, False), (503, False)])
def test_robots_that_cannot_be_read_forbid_or_allow_as_the_rfc_says(
    site: Site, tmp_path: Path, status: int, allowed: bool
) -> None:
    usual = site.answer
    site.answer = lambda path: (status, {}, b"User-agent: *\nDisallow: /page") if path == "/robots.txt" else usual(path)  # type: ignore[method-assign]
    if allowed:
        _, rows = crawled(tmp_path, site.settings())
        assert sum(row["status"] == 200 for row in rows) > PAGES
    else:
        with pytest.raises(GristmillError, match=rf"robots.txt could not be read: status {status}"):
            crawled(tmp_path, site.settings())
        assert not any(path.startswith("/page") for path in site.hits)


def test_frontier_gives_claimed_urls_again_after_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "f.sqlite"
    frontier = Frontier(path)
    with frontier.transaction():
        frontier.add([Link(f"http://x.example/{n}", n % 3) for n in range(10)] * 2)
    (host,) = frontier.hosts_waiting([], 0.0, 5)
    claimed = frontier.claim(host, 4)
    assert [claim.depth for claim in claimed] == [0, 0, 0, 0]
    with frontier.transaction():
        frontier.settle(claimed[0], "kept", None, {"status": 200})
    frontier.close()
    frontier = Frontier(path)
    assert frontier.waiting == 9
    assert len(frontier.claim(host, 100)) == 9


@given(st.text(max_size=40))
def test_canonical_url_is_idempotent_or_refuses(text: str) -> None:
    try:
        once = canonical_url(f"http://host.example/{text}")
    except ValueError:
        return
    assert canonical_url(once) == once


def test_canonical_url_drops_what_does_not_name_a_page() -> None:
    assert (
        canonical_url("HTTP://User:Secret@Host.Example:80/a/../b?z=1&utm_source=x&a=2#part")
        == "http://host.example/b?a=2&z=1"
    )
    with pytest.raises(ValueError, match="not an http"):
        canonical_url("mailto:someone@host.example")
