"""A site that lies is crawled to its end: every page that its robots.txt allows, once, through ten kills."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tasks.core.stage import run_stages
from tasks.crawl.settings import CrawlSettings
from tasks.crawl.stage import content_input, crawl_to_use
from tasks.extract.page import ExtractSettings
from tasks.extract.stage import Extract
from tests.conftest import PROJECT
from tests.lying_site import LyingSite
from tests.test_crawl import DRIVER
from warehouse.artifact import load, read_tables
from warehouse.store import Store

PAGES, KILLS = 2000, 10


def settings_for(site: LyingSite) -> CrawlSettings:
    return CrawlSettings(
        seeds=(f"{site.root}/",),
        delay_s=0.0,
        requests_per_host=8,
        autothrottle=False,
        backoff_s=0.05,
        timeout_s=10.0,
        robots_lifetime_s=1.0,
        retries=4,
        patience=30,
        private_networks=("127.0.0.0/8",),
    )


@pytest.mark.timeout(600)
def test_lying_site_is_crawled_to_its_end_through_ten_kills(tmp_path: Path) -> None:
    site, draw = LyingSite(PAGES), random.Random(3)
    settings = settings_for(site)
    command = [sys.executable, "-c", DRIVER, str(tmp_path), settings.model_dump_json()]
    kills = 0
    while kills < KILLS:
        target = site.requests + draw.randint(40, 220)
        with subprocess.Popen(command, cwd=PROJECT, start_new_session=True) as process:
            while site.requests < target and process.poll() is None:
                time.sleep(0.005)
            assert process.poll() is None, "the crawl ended before it was killed often enough"
            os.killpg(process.pid, signal.SIGKILL)
        kills += 1
    store = Store(str(tmp_path))
    crawl = crawl_to_use(store, settings, "site", False)
    (manifest,) = run_stages([crawl])
    urls = {row["url"]: row for row in read_tables(store, crawl.ref, "urls").to_pylist()}
    expected = site.expected()
    kept = {url: row["digest"] for url, row in urls.items() if row["verdict"] == "kept" and "/calendar/" not in url}
    assert kept == expected
    assert manifest.counts.balanced
    _no_page_twice(store, crawl.ref, set(expected))
    _corpus_holds(store, crawl.ref, set(expected))
    _refusals_have_reasons(urls, site.root)
    again = sum(hits - 1 for path, hits in site.hits.items() if path.startswith("/page/"))
    lies = sum(1 for n in range(PAGES) if site.path(n).startswith("/page/") and n % 10 in (3, 7))
    print(f"{PAGES} pages, {KILLS} kills: {again} fetched again, {lies} of them after a lie")
    storms = site.requests // 300 * 12
    assert (
        again <= lies + 4 * len([n for n in range(PAGES) if n % 10 == 4]) + storms + KILLS * settings.requests_per_host
    )


def _no_page_twice(store: Store, ref, expected: set[str]) -> None:
    fetched = [row["url"] for row in read_tables(store, ref, "pages").to_pylist() if row["url"] in expected]
    assert len(fetched) == len(set(fetched)) == len(expected)


def _corpus_holds(store: Store, ref, expected: set[str]) -> None:
    pages = content_input(store, load(store, ref))
    (made,) = run_stages([Extract(store, ExtractSettings(extractor="resiliparse"), {"pages": pages}, "site")])
    found = [url for url in read_tables(store, made.ref, "documents")["url"].to_pylist() if "/calendar/" not in url]
    assert sorted(found) == sorted(expected)


def _refusals_have_reasons(urls: dict[str, dict], root: str) -> None:
    rules = {url.removeprefix(root): (row["verdict"], row["rule"]) for url, row in urls.items()}
    assert rules["/bomb/1"] == rules["/unsaid"] == ("failed", "body")
    assert rules["/headers"] == ("failed", "no answer")
    assert rules["/loop/a"] == rules["/loop/b"] == rules["/chain/1"] == ("removed", "redirect")
    assert rules["/chain/6"] == ("removed", "redirects without end")
    assert rules["/soft/missing"] == ("removed", "soft 404")
    assert {rule for path, rule in rules.items() if path.startswith("/private/")} == {("removed", "robots.txt")}
    late = {rule for path, rule in rules.items() if path.startswith("/late/")}
    assert ("removed", "robots.txt") in late
    assert {verdict for verdict, _ in late} == {"removed"}
    assert ("removed", "trap: calendar without end") in rules.values() or ("removed", "too deep") in rules.values()
    assert all(row["rule"] for row in urls.values() if row["verdict"] != "kept")
