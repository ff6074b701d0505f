"""A crawl by hand: what a revisit refers to, what is asked conditionally, which crawl the next one builds on."""

from __future__ import annotations

import datetime
from email.utils import format_datetime
from pathlib import Path

import pytest
from warcio.archiveiterator import ArchiveIterator

from tasks.crawl.archive import Exchange
from tasks.crawl.claims import Claim
from tasks.crawl.links import facts_of
from tasks.crawl.purge import purge
from tasks.crawl.settings import CrawlSettings
from tasks.crawl.visit import visit_of
from tasks.web.charsets import decode
from tests.test_politeness import HTML, Told, page, told  # noqa: F401
from tests.test_revisit import Shelf, crawl_anew, documents_of, shelf  # noqa: F401
from warehouse.artifact import read_tables

DAY = 86_400.0


def records_of(crawl: object, kind: str) -> dict[str, object]:
    """URL -> header lookup, of the records of a kind in a crawl's archive."""
    found = {}
    for name in crawl.store.names(f"{crawl.ref.folder}/warc"):  # type: ignore[attr-defined]
        with (Path(crawl.store.url) / crawl.ref.folder / "warc" / name).open("rb") as stream:  # type: ignore[attr-defined]
            for record in ArchiveIterator(stream):
                if record.rec_type == kind:
                    found[record.rec_headers["WARC-Target-URI"]] = record.rec_headers
    return found


@pytest.mark.parametrize("validators", [True, False])
def test_a_revisit_refers_to_the_date_of_the_body_that_was_archived(
    shelf: Shelf,  # noqa: F811
    tmp_path: Path,
    validators: bool,
) -> None:
    shelf.validators = validators
    first, _ = crawl_anew(tmp_path, shelf.settings(revisit_max_s=0.0))
    archived = {url: headers["WARC-Date"] for url, headers in records_of(first, "response").items()}  # type: ignore[index]
    for _ in range(2):  # the second revisit refers to the body too, not to the first one
        again, pages = crawl_anew(tmp_path, shelf.settings(revisit_max_s=0.0))
        revisits = records_of(again, "revisit")
        assert set(revisits) == set(pages)
        for url, headers in revisits.items():
            assert headers["WARC-Refers-To-Date"][:19] == archived[url][:19]  # type: ignore[index]
            assert headers["WARC-Date"] > archived[url]  # type: ignore[index]


def test_pages_with_a_date_alone_are_asked_whether_they_have_changed_since(
    told: type[Told],  # noqa: F811
    tmp_path: Path,
) -> None:
    date = format_datetime(datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC), usegmt=True)
    status, headers, body = page("/1", text="words")
    site = told({"/": (status, {**headers, "Last-Modified": date}, body), "/1": page(text="other words")})
    asked: dict[str, str | None] = {}
    handler = site.server.RequestHandlerClass
    usual = handler.do_GET  # type: ignore[attr-defined]

    def remembering(self: object) -> None:
        asked[self.path] = self.headers.get("If-Modified-Since")  # type: ignore[attr-defined]
        usual(self)

    handler.do_GET = remembering  # type: ignore[attr-defined]
    settings = site.settings(revisit_max_s=0.0)
    crawl_anew(tmp_path, settings)
    assert asked["/"] is None
    crawl_anew(tmp_path, settings)
    assert asked["/"] == date
    assert asked["/1"] is None


def test_a_crawl_builds_on_the_newest_one_before_it(shelf: Shelf, tmp_path: Path) -> None:  # noqa: F811
    url, settings = f"{shelf.root}/p/0", shelf.settings(revisit_max_s=0.0)  # everything is due at once
    first, _ = crawl_anew(tmp_path, settings)
    assert documents_of(first)[1][url].startswith("Page 0.")
    shelf.pages["/p/0"] = "Something else. " + "word " * 400
    second, pages = crawl_anew(tmp_path, settings)
    assert pages[url]["record"] == "response"
    third, pages = crawl_anew(tmp_path, settings)
    assert (third.sequence, pages[url]["record"], pages[url]["status"]) == (3, "revisit", 304)
    (row,) = [row for row in read_tables(third.store, third.ref, "urls").to_pylist() if row["url"] == url]
    assert (row["visits"], row["changes"]) == (3, 1)
    assert documents_of(third)[1][url].startswith("Something else.")
    assert documents_of(third) == documents_of(second)


def test_all_responses_that_are_to_be_purged_from_one_file_go(shelf: Shelf, tmp_path: Path) -> None:  # noqa: F811
    crawl, pages = crawl_anew(tmp_path, shelf.settings())
    urls = [f"{shelf.root}/p/{n}" for n in (0, 3, 7)]
    assert len({pages[url]["warc_path"] for url in urls}) == 1
    assert purge(crawl.store, [(pages[url]["warc_path"], pages[url]["warc_offset"]) for url in urls], "asked") == 3
    kept = set(documents_of(crawl)[1])
    assert kept == {url for url in pages if "/p/" in url or url.endswith("/")} - set(urls)


def claim_of(**known: object) -> Claim:
    values = {"digest": None, "status": 200, "visits": 1, "changes": 0, "visited_at": 0.0, "changed_at": 0.0}
    return Claim(1, "http://a.example/", 1, 1, 0, None, 0, {**values, **known} if known else {})


def test_a_page_is_looked_at_again_within_thirty_days_at_the_latest() -> None:
    settings = CrawlSettings(seeds=("http://a.example/",), contact="me@a.example")
    body = b"<html><body>the same words</body></html>"
    at = datetime.datetime(2026, 6, 1, tzinfo=datetime.UTC)
    answer = Exchange("http://a.example/", 200, "", [], list(HTML.items()), body, at, 0.1)
    first = visit_of(claim_of(), answer, settings, 0)
    for since, until_next in ((4 * DAY, 8 * DAY), (14 * DAY, 28 * DAY), (20 * DAY, 30 * DAY), (300 * DAY, 30 * DAY)):
        known = claim_of(digest=first.page["digest"], visited_at=at.timestamp() - since)
        visit = visit_of(known, answer, settings, 0)
        assert visit.page["next_visit_at"] - at.timestamp() == pytest.approx(until_next)


def test_links_that_ask_not_to_be_followed_are_not() -> None:
    html = (
        b'<a href="/yes">x</a><a rel="nofollow" href="/no">x</a><a rel="ugc  NoFollow" href="/no2">x</a>'
        b'<area href="/area"><area rel=nofollow href="/no3"><a rel="noopener" href="/yes2">x</a>'
    )
    found = [link.url for link in facts_of(html, "text/html", "http://a.example/d/", feeds=False).links]
    assert found == [f"http://a.example/{name}" for name in ("yes", "area", "yes2")]


def test_an_error_page_is_a_short_one_with_such_a_title() -> None:
    def not_found(title: str, words: int) -> bool:
        html = f"<title>{title}</title><body>{'longish ' * words}</body>".encode()
        return facts_of(html, "text/html", "http://a.example/", feeds=False).not_found

    assert not_found("404 - Page not found", 149)
    assert not not_found("404 - Page not found", 150)
    assert not not_found("A history of the number 405", 10)


def test_the_charset_of_the_header_is_believed_where_the_bytes_allow_it() -> None:
    short = {
        "koi8-r": "Новости",
        "windows-1250": "Žluť",
        "iso-8859-2": "kůň",
        "Shift_JIS": "日本",
        "EUC-KR": "한국",
        "Big5": "中文",
    }
    for name, text in short.items():  # too short for anybody to tell the encoding from the bytes
        assert decode(text.encode(name), f'text/html; charset="{name}"') == text
        assert decode(text.encode(name), "text/html") != text
    assert decode("naïve".encode(), "text/html; charset=iso-8859-1") == "naïve"  # valid UTF-8 says more than headers
