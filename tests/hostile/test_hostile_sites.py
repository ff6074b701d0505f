"""Sites whose small answers would take all memory, or hold up every other host."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from tests.hostile.test_small_bombs import BOMBS
from tests.test_crawl import crawled
from tests.test_politeness import HTML, Told, page, told, urls_of  # noqa: F401
from warehouse.artifact import read_tables

LIMITS = {"page_seconds": 1.0, "page_memory_bytes": 300 << 20, "retries": 0}


def test_pages_that_end_their_reader_fail_and_hold_up_no_other_host(
    told: type[Told],  # noqa: F811
    tmp_path: Path,
) -> None:
    bomb = b"<html>" + BOMBS["formatting"].encode() + b'<a href="/behind">x</a>'
    slow = b"<html>" + b"<div>" * 200_000 + b"</html>"
    evil = told(
        {
            "/": page("/bomb", "/slow", "/after"),
            "/bomb": (200, HTML, bomb),
            "/slow": (200, HTML, slow),
            "/after": page(text="fine"),
        }
    )
    good = told({"/": page(*(f"/{n}" for n in range(20))), **{f"/{n}": page(text=f"page {n}") for n in range(20)}})
    settings = evil.settings(**LIMITS, seeds=(f"{evil.root}/", f"{good.root}/"))
    crawl, pages = crawled(tmp_path, settings)
    rows = {row["url"]: row for row in read_tables(crawl.store, crawl.ref, "urls").to_pylist()}
    assert (rows[f"{evil.root}/bomb"]["verdict"], rows[f"{evil.root}/bomb"]["rule"]) == ("failed", "page")
    assert "limit" in rows[f"{evil.root}/bomb"]["detail"]
    assert rows[f"{evil.root}/after"]["verdict"] == "kept"
    assert sum(row["verdict"] == "kept" and url.startswith(good.root) for url, row in rows.items()) == 21
    order = [row["url"] for row in sorted(pages, key=lambda row: row["fetched_at"])]
    assert f"{good.root}/19" in order


def test_empty_gzip_members_within_gzip_cost_their_page_and_no_time(
    told: type[Told],  # noqa: F811
    tmp_path: Path,
) -> None:
    packed = gzip.compress(gzip.compress(b"") * 350_000)
    assert len(packed) < 20_000
    site = told(
        {"/": page("/x", "/y"), "/x": (200, {**HTML, "Content-Encoding": "gzip, gzip"}, packed), "/y": page(text="y")}
    )
    rows = urls_of(crawled(tmp_path, site.settings(**LIMITS))[0])
    assert (rows["x"]["verdict"], rows["x"]["rule"]) == ("failed", "body")
    assert "members" in rows["x"]["detail"]
    assert rows["y"]["verdict"] == "kept"


@pytest.mark.parametrize("length", [300, 5_000])
def test_links_that_nobody_follows_are_stored_within_bounds(
    told: type[Told],  # noqa: F811
    tmp_path: Path,
    length: int,
) -> None:
    links = [f"http://elsewhere.example/{n}/" + "x" * length for n in range(10_000)]
    site = told({"/": page("/good", *links), "/good": page(text="good")})
    crawl, _ = crawled(tmp_path, site.settings(max_page_bytes=80 << 20, max_decoded_bytes=80 << 20))
    rows = read_tables(crawl.store, crawl.ref, "urls").to_pylist()
    refused = [row for row in rows if row["verdict"] == "removed"]
    assert len(refused) == 1_000
    assert len({row["url"] for row in refused}) == 1_000
    assert max(len(row["url"]) for row in rows) <= 520
    assert {row["url"]: row["verdict"] for row in rows}[f"{site.root}/good"] == "kept"
