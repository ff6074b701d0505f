"""A later crawl asks only what has changed; the archive and the views keep the history."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from warcio.archiveiterator import ArchiveIterator

from tasks.core.stage import run_stages
from tasks.crawl.settings import CrawlSettings
from tasks.crawl.stage import Crawl, content_input, crawl_to_use
from tasks.extract.page import ExtractSettings
from tasks.extract.stage import Extract
from tests.loopback import root_of, serve
from warehouse import log
from warehouse.artifact import load, read_tables
from warehouse.catalog import connect
from warehouse.store import Store

PAGES = 40


class Shelf:
    """A site whose pages can be changed and taken away; it answers conditional requests unless told not to."""

    def __init__(self) -> None:
        self.pages = {f"/p/{n}": f"Page {n}. " + "word " * 400 for n in range(PAGES)}
        self.validators, self.failing, self.robots = True, False, ""
        self.sent, self.hits = 0, Counter[str]()
        shelf = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                shelf.hits[self.path] += 1
                text = shelf.front() if self.path == "/" else shelf.pages.get(self.path)
                if self.path == "/robots.txt":
                    text = shelf.robots or None
                html = f"<html><body>{text}</body></html>" if self.path != "/robots.txt" else text
                body = str(html).encode() if text is not None else b""
                etag = f'"{hashlib.md5(body).hexdigest()}"'
                status = 503 if shelf.failing else 404 if text is None else 200
                if shelf.validators and status == 200 and self.headers.get("If-None-Match") == etag:
                    status, body = 304, b""
                self.send_response(status)
                if shelf.validators:
                    self.send_header("ETag", etag)
                self.send_header("Content-Type", "text/html")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                shelf.sent += len(body)

        self.server = serve(Handler)
        self.root = root_of(self.server)

    def front(self) -> str:
        return "".join(f'<a href="{path}">x</a>' for path in sorted(self.pages))

    def settings(self, **changes: object) -> CrawlSettings:
        values: dict[str, object] = {
            "seeds": (f"{self.root}/",),
            "delay_s": 0.0,
            "requests_per_host": 4,
            "autothrottle": False,
            "backoff_s": 0.02,
            "retries": 1,
            "patience": 3,
            "private_networks": ("127.0.0.0/8",),
        }
        return CrawlSettings(**(values | changes))  # type: ignore[arg-type]


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    made = Shelf()
    yield made
    made.server.shutdown()


def crawl_anew(folder: Path, settings: CrawlSettings) -> tuple[Crawl, dict[str, dict]]:
    """The next crawl in number, noted as a run would, and its own rows of pages by URL."""
    crawl = crawl_to_use(Store(str(folder)), settings, "shelf", fresh=True)
    run_stages([crawl])
    log.note_stage(crawl.store, log.new_run(crawl.store, "test"), [crawl.ref])
    rows = read_tables(crawl.store, crawl.ref, "pages").to_pylist()
    assert len({row["url"] for row in rows}) == len(rows)
    return crawl, {row["url"]: row for row in rows}


def documents_of(crawl: Crawl) -> tuple[str, dict[str, str]]:
    """The key of the documents, and their texts by URL."""
    pages = content_input(crawl.store, load(crawl.store, crawl.ref))
    (made,) = run_stages([Extract(crawl.store, ExtractSettings(extractor="resiliparse"), {"pages": pages}, "shelf")])
    return made.key, {row["url"]: row["text"] for row in read_tables(crawl.store, made.ref, "documents").to_pylist()}


def test_second_crawl_of_an_unchanged_site_is_all_304_and_hardly_any_bytes(shelf: Shelf, tmp_path: Path) -> None:
    first, _ = crawl_anew(tmp_path, shelf.settings())
    sent_at_first, shelf.sent = shelf.sent, 0
    second, pages = crawl_anew(tmp_path, shelf.settings())
    assert (first.sequence, second.sequence) == (1, 2)
    assert len(pages) == PAGES + 1
    assert {(row["status"], row["record"]) for row in pages.values()} == {(304, "revisit")}
    assert shelf.sent < 0.02 * sent_at_first
    assert documents_of(second) == documents_of(first)
    (archive,) = second.store.names(f"{second.ref.folder}/warc")
    with (tmp_path / second.ref.folder / "warc" / archive).open("rb") as stream:
        records = [record for record in ArchiveIterator(stream) if record.rec_type == "revisit"]
    assert len(records) == PAGES + 1
    assert {r.rec_headers["WARC-Profile"].rpartition("/")[2] for r in records} == {"server-not-modified"}
    assert {r.rec_headers["WARC-Refers-To-Target-URI"] for r in records} == set(pages)


def test_same_bytes_without_validators_are_a_revisit_too(shelf: Shelf, tmp_path: Path) -> None:
    shelf.validators = False
    first, _ = crawl_anew(tmp_path, shelf.settings())
    second, pages = crawl_anew(tmp_path, shelf.settings())
    assert {(row["status"], row["record"]) for row in pages.values()} == {(200, "revisit")}
    assert documents_of(second) == documents_of(first)


def test_changed_new_and_vanished_pages_change_the_corpus_and_history_tells_it(shelf: Shelf, tmp_path: Path) -> None:
    first, _ = crawl_anew(tmp_path, shelf.settings())
    shelf.pages["/p/1"] = "Rewritten. " + "new " * 300
    shelf.pages["/p/new"] = "Just arrived. " + "fresh " * 300
    del shelf.pages["/p/2"]
    second, _ = crawl_anew(tmp_path, shelf.settings())
    before, after = documents_of(first)[1], documents_of(second)[1]
    assert set(before) - set(after) == {f"{shelf.root}/p/2"}
    assert set(after) - set(before) == {f"{shelf.root}/p/new"}
    assert [url for url in set(after) & set(before) if after[url] != before[url]] == [f"{shelf.root}/p/1"]
    urls = {row["url"]: row for row in read_tables(second.store, second.ref, "urls").to_pylist()}
    assert (urls[f"{shelf.root}/p/2"]["verdict"], urls[f"{shelf.root}/p/2"]["rule"]) == ("removed", "vanished")
    assert (urls[f"{shelf.root}/p/1"]["changes"], urls[f"{shelf.root}/p/3"]["changes"]) == (1, 0)
    with connect(second.store) as views:
        history = views.execute(
            "SELECT crawl, status, record FROM pages WHERE url = ? ORDER BY fetched_at", [f"{shelf.root}/p/2"]
        ).fetchall()
    assert history == [("shelf-0001", 200, "response"), ("shelf-0002", 404, "response")]


def test_pages_that_cannot_be_had_today_stay_in_the_corpus(shelf: Shelf, tmp_path: Path) -> None:
    first, _ = crawl_anew(tmp_path, shelf.settings(obey_robots=False))
    shelf.failing = True
    second, _ = crawl_anew(tmp_path, shelf.settings(obey_robots=False))
    assert documents_of(second) == documents_of(first)


def test_interval_grows_while_nothing_changes_and_resting_pages_stay(shelf: Shelf, tmp_path: Path) -> None:
    settings = shelf.settings(revisit_min_s=3600.0)
    first, _ = crawl_anew(tmp_path, settings)
    asked = sum(shelf.hits.values())
    second, pages = crawl_anew(tmp_path, settings)  # nothing is due for an hour
    assert not pages
    assert sum(shelf.hits.values()) == asked
    assert documents_of(second) == documents_of(first)


def test_interval_doubles_for_what_stays_and_halves_for_what_changes(shelf: Shelf, tmp_path: Path) -> None:
    crawl_anew(tmp_path, shelf.settings())
    shelf.pages["/p/1"] = "Changed once."
    second, _ = crawl_anew(tmp_path, shelf.settings())
    rows = {
        row["url"].removeprefix(shelf.root): row for row in read_tables(second.store, second.ref, "urls").to_pylist()
    }

    def wait(path: str) -> float:
        return (rows[path]["next_visit_at"] - rows[path]["visited_at"]).total_seconds()

    assert wait("/p/1") < wait("/p/3") / 2
    assert wait("/p/3") > 0


def test_page_that_grows_beyond_its_limit_stays_what_it_was_and_comes_back(shelf: Shelf, tmp_path: Path) -> None:
    first, _ = crawl_anew(tmp_path, shelf.settings(max_page_bytes=100_000))
    before, usual = documents_of(first), shelf.pages["/p/1"]
    shelf.pages["/p/1"] = "huge " * 100_000
    second, pages = crawl_anew(tmp_path, shelf.settings(max_page_bytes=100_000))
    assert "not answered this time" in pages[f"{shelf.root}/p/1"]["error"]
    assert documents_of(second) == before
    shelf.pages["/p/1"] = usual
    third, pages = crawl_anew(tmp_path, shelf.settings(max_page_bytes=100_000))
    assert pages[f"{shelf.root}/p/1"]["status"] == 304
    assert documents_of(third) == before


def test_pages_that_robots_txt_forbids_since_leave_the_corpus_even_if_not_asked(shelf: Shelf, tmp_path: Path) -> None:
    crawl_anew(tmp_path, shelf.settings())
    shelf.robots = "User-agent: *\nDisallow: /p/9\n"  # the last in line: the budget ends before it
    second, _ = crawl_anew(tmp_path, shelf.settings(max_pages=3))
    kept = set(documents_of(second)[1])
    assert f"{shelf.root}/p/9" not in kept
    assert f"{shelf.root}/p/2" in kept  # not reached, and still what it was


def test_crawl_goes_on_without_the_archive_of_an_earlier_one_by_fetching_anew(shelf: Shelf, tmp_path: Path) -> None:
    first, _ = crawl_anew(tmp_path, shelf.settings())
    for path in (tmp_path / first.ref.folder / "warc").iterdir():
        path.unlink()
    settings = shelf.settings()
    crawl = Crawl(first.store, settings, "shelf", 2, first.ref.key)
    run_stages([crawl])
    rows = read_tables(crawl.store, crawl.ref, "pages").to_pylist()
    assert {(row["status"], row["record"]) for row in rows} == {(200, "response")}
