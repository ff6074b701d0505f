"""Sites as people reported them of other crawlers: redirects, sitemaps and addresses as servers really send them."""

from __future__ import annotations

import datetime
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.making import Pipeline
from flows.query import rows
from flows.recipe.loading import load_recipe
from tasks.crawl.archive import Exchange
from tasks.crawl.claims import Claim
from tasks.crawl.links import entries_of, facts_of
from tasks.crawl.scope import is_generated
from tasks.crawl.settings import CrawlSettings
from tasks.crawl.visit import visit_of
from tests.conftest import SHARED
from warehouse.errors import GristmillError

REPORT = SHARED / "reports" / "23-crawl"
reported = pytest.mark.skipif(not REPORT.is_dir(), reason="the shared reports are not on this machine")
XML = '<?xml version="1.0"?>'
XHTML = 'xmlns="http://www.sitemaps.org/schemas/sitemap/0.9" xmlns:xhtml="http://www.w3.org/1999/xhtml"'


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """The first of three ports at which the report's sites answer."""
    for first in range(28_731, 28_931, 10):
        process = subprocess.Popen(
            [sys.executable, str(REPORT / "site.py"), str(first)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for _ in range(100):
            time.sleep(0.05)
            if process.poll() is not None:  # a port is taken
                break
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{first}/", timeout=2).read()
            except OSError:
                continue
            yield first
            process.terminate()
            process.wait()
            return
        process.kill()
        process.wait()
    pytest.fail("no three free ports")


def crawled(recipe: str, port: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    shutil.copy(REPORT / f"{recipe}.toml", folder)
    path = folder / f"{recipe}.toml"
    path.write_text(re.sub(r"2873(\d)", lambda found: str(port + int(found.group(1)) - 1), path.read_text()))
    monkeypatch.chdir(folder)
    pipeline = Pipeline(load_recipe(path.name))
    for node in ("crawl", "extract"):
        pipeline.make(node)
    return pipeline


@reported
def test_a_site_with_odd_addresses_is_crawled_whole(tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = crawled("recipe", port, tmp_path, monkeypatch)
    root = f"http://127.0.0.1:{port}"
    kept = {row["url"].removeprefix(root) for row in rows(pipeline.store, "SELECT url FROM documents")}
    assert kept == {
        "/",
        "/caf%C3%A9-%D8%A7%D9%84",
        "/cyrillic",
        "/find?w=%EF%F0%E8%F7%E0%EB",
        "/standards/iso-2768-1.html",
        "/standards/iso-9001-1.html",
        "/from-html-sitemap",
        "/show?id=7&part=2",
        "/after-ampersand",
        "/en/quay",
        "/fr/quai",
        "/en/ferry",
        "/fr/bac",
    }


@reported
def test_pages_without_a_type_are_pages(tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = crawled("untyped", port, tmp_path, monkeypatch)
    assert [row["title"] for row in rows(pipeline.store, "SELECT title FROM documents ORDER BY 1")] == [
        "Front",
        "Second page of it",
    ]


@reported
def test_a_seed_that_moves_to_another_host_says_so(tmp_path: Path, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(GristmillError, match=rf"moves to http://127\.0\.0\.1:{port + 2}/\): name in seeds where"):
        crawled("moved", port, tmp_path, monkeypatch)


def addresses(body: str) -> list[str]:
    return [found.url for found in entries_of(body.encode(), "http://a.example/")]


def test_a_sitemap_with_bare_ampersands_gives_its_addresses() -> None:
    body = f"{XML}<urlset><url><loc>http://a.example/?a=1&b=2&amp;c=3&#38;d=4</loc></url></urlset>"
    assert addresses(body) == ["http://a.example/?a=1&b=2&c=3&d=4"]


def test_addresses_in_cdata_and_in_utf_16_are_as_they_are() -> None:
    entry = "<url><loc><![CDATA[http://a.example/p?a=1&b=2]]></loc></url>"
    assert addresses(f"{XML}<urlset>{entry}</urlset>") == ["http://a.example/p?a=1&b=2"]
    bare = "<url><loc>http://a.example/q?a=1&b=2</loc></url>"
    assert addresses(f"{XML}<urlset>{entry}{bare}</urlset>") == [
        "http://a.example/p?a=1&b=2",
        "http://a.example/q?a=1&b=2",
    ]
    wide = '<?xml version="1.0" encoding="UTF-16"?><urlset><url><loc>http://a.example/?a=1&amp;b=2</loc></url></urlset>'
    assert [found.url for found in entries_of(wide.encode("utf-16"), "http://a.example/")] == [
        "http://a.example/?a=1&b=2"
    ]


def test_a_sitemap_gives_the_page_before_its_versions_in_other_languages() -> None:
    french = '<xhtml:link rel="alternate" hreflang="fr" href="http://a.example/fr"/>'
    for entry in (f"{french}<loc>http://a.example/en</loc>", f"<loc>http://a.example/en</loc>{french}"):
        assert addresses(f"{XML}<urlset {XHTML}><url>{entry}</url></urlset>") == [
            "http://a.example/en",
            "http://a.example/fr",
        ]


@pytest.mark.parametrize(
    "body",
    [
        f"{XML}<urlset {XHTML}><url><loc>http://a.example/x</loc></url></urlset>",
        f"\ufeff \n{XML}\n<!-- made by hand -->\n<sitemapindex><sitemap><loc>http://a.example/x</loc></sitemap></sitemapindex>",
        "<rss version='2.0'><channel><item><link>http://a.example/x</link></item></channel></rss>",
        '<feed xmlns="http://www.w3.org/2005/Atom"><entry><link href="http://a.example/x"/></entry></feed>',
    ],
)
def test_sitemaps_and_feeds_are_known_by_what_they_hold(body: str) -> None:
    for kind in ("text/html; charset=utf-8", "", "text/xml", "application/octet-stream"):
        assert [found.url for found in facts_of(body.encode(), kind, "http://a.example/", True).links] == [
            "http://a.example/x"
        ]


def test_a_page_about_feeds_is_a_page() -> None:
    body = b"<!DOCTYPE html><html><body><a href=/y>the &lt;rss> element</a><rss></rss></body></html>"
    assert [found.url for found in facts_of(body, "text/html", "http://a.example/", True).links] == [
        "http://a.example/y"
    ]


@pytest.mark.parametrize(
    ("url", "generated"),
    [
        ("http://a.example/iso-2768-1.html", False),
        ("http://a.example/din-2041-10", False),
        ("http://a.example/part/2768/1", False),
        ("http://a.example/2031/5/", True),
        ("http://a.example/calendar/2031-05", True),
        ("http://a.example/c?year=2031", True),
    ],
)
def test_numbers_of_things_are_no_calendar(url: str, generated: bool) -> None:
    assert is_generated(url) == generated


@pytest.mark.parametrize("wanted", [True, False])
def test_a_soft_404_is_looked_for_only_where_it_is_asked_for(wanted: bool) -> None:
    settings = CrawlSettings(seeds=("http://127.0.0.1/",), private_networks=("127.0.0.0/8",), soft_404=wanted)
    body = b"<html><head><title>404 not found</title></head><body>Nothing here.</body></html>"
    now = datetime.datetime.now(datetime.UTC)
    answer = Exchange("http://127.0.0.1/x", 200, "", [], [("Content-Type", "text/html")], body, now, 0.1)
    claim = Claim(1, "http://127.0.0.1/x", 1, 1, 0, None, 0)
    assert visit_of(claim, answer, settings, 0).verdict == ("removed" if wanted else "kept")


def test_bytes_of_utf_8_in_a_location_are_an_address() -> None:
    settings = CrawlSettings(seeds=("http://127.0.0.1/",), private_networks=("127.0.0.0/8",))
    now = datetime.datetime.now(datetime.UTC)
    for said in ("/café".encode().decode("latin-1"), "/caf%C3%A9"):
        answer = Exchange("http://127.0.0.1/x", 301, "", [], [("Location", said)], b"", now, 0.1)
        visit = visit_of(Claim(1, "http://127.0.0.1/x", 1, 1, 0, None, 0), answer, settings, 0)
        assert [found.url for found in visit.links] == ["http://127.0.0.1/caf%C3%A9"]
