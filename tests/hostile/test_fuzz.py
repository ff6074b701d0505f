"""Any bytes at all into each reader of foreign or stored bytes: an answer or a refusal, within time and memory.

``make fuzz`` draws other examples, and thirty times as many.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.core.confined import Ended, Limits, Thing, read_confined
from tasks.crawl.links import entries_of, facts_of
from tasks.crawl.purge import note_of as purge_note
from tasks.crawl.robots import parse_robots, tags_of
from tasks.extract.page import read_page
from tasks.extract.warc import Malformed, Record, body_of, records
from tasks.web.charsets import decode
from tasks.web.http import BodyRefused, decoded_body
from tests.hostile.test_small_bombs import GOOD, warc
from warehouse import log
from warehouse.artifact import Counts, FileRecord, Manifest, PartRecord
from warehouse.removals import Removal
from warehouse.reuse import note_of

LIMITS = Limits(5.0, 500 << 20)
SITEMAP = b'<?xml version="1.0"?><urlset><url><loc>http://a.example/1</loc><lastmod>2026-01-01</lastmod></url></urlset>'
ROBOTS = b"User-agent: *\nDisallow: /a*b$\nCrawl-delay: 2\nSitemap: http://a.example/s.xml\n"
HTML = (
    GOOD.encode() + b'<a href="../x?y=1#z" rel="nofollow">l</a><base href="/b/"><meta name="robots" content="noindex">'
)


@st.composite
def spoiled(draw: st.DrawFn, whole: bytes) -> bytes:
    """Bytes with some pieces cut out, doubled, or replaced by others."""
    content = bytearray(whole)
    for _ in range(draw(st.integers(0, 6))):
        start = draw(st.integers(0, len(content)))
        stop = min(len(content), start + draw(st.integers(0, 40)))
        piece = draw(st.one_of(st.binary(max_size=12), st.just(bytes(content[start:stop]) * 3), st.just(b"\0" * 9)))
        content[start:stop] = piece
    return bytes(content)


@given(
    st.one_of(st.binary(max_size=300), spoiled(gzip.compress(HTML))),
    st.sampled_from(["gzip", "deflate", "gzip, gzip", "", "br", "gzip,deflate"]),
)
def test_bodies(body: bytes, coding: str) -> None:
    with contextlib.suppress(BodyRefused):
        assert len(decoded_body(body, coding, 100_000)) <= 100_000


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.one_of(st.binary(max_size=300), spoiled(HTML)), st.text(max_size=40))
def test_pages(body: bytes, content_type: str) -> None:
    text = decode(body, f"text/html; charset={content_type}")
    text.encode("utf-8", "surrogatepass")
    found = read_page(text, "http://a.example/d/")
    assert isinstance(found.text, str)
    facts = facts_of(body, f"text/html; {content_type}", "http://a.example/d/", feeds=True)
    assert all(link.url.startswith("http") for link in facts.links)


@given(st.one_of(st.binary(max_size=300), spoiled(SITEMAP), spoiled(gzip.compress(SITEMAP))))
def test_sitemaps_and_feeds(body: bytes) -> None:
    assert all(link.url.startswith("http") for link in entries_of(body, "http://a.example/s.xml"))


@given(st.one_of(st.binary(max_size=300), spoiled(ROBOTS)), st.text(max_size=40))
def test_robots(body: bytes, path: str) -> None:
    robots = parse_robots(body, "gristmill")
    assert robots.allows("http://a.example/robots.txt") in (True, False)
    assert robots.allows(f"http://a.example/{path}") in (True, False)
    assert robots.crawl_delay is None or (robots.crawl_delay >= 0 and math.isfinite(robots.crawl_delay))


@given(
    st.lists(st.text(max_size=60), max_size=3),
    st.lists(st.tuples(st.text(max_size=12), st.text(max_size=40)), max_size=3),
)
def test_robots_tags(headers: list[str], metas: list[tuple[str, str]]) -> None:
    from datetime import UTC, datetime

    assert tags_of(headers, metas, "gristmill", datetime.now(UTC)).nofollow in (True, False)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return warc(tmp_path_factory.mktemp("fuzz") / "a.warc.gz", [GOOD, GOOD]).read_bytes()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.data(), st.booleans())
def test_archives(archive: bytes, data: st.DataObject, packed: bool) -> None:
    whole = archive if packed else gzip.decompress(archive)
    content = data.draw(spoiled(whole))
    count = 0
    for record in records(io.BytesIO(content), "a.warc.gz" if packed else "a.warc", 100_000):
        count += 1
        assert count < 10_000
        if isinstance(record, Record):
            assert len(record.body) <= 100_001
            try:
                assert len(body_of(record, 100_000)) <= 100_001
            except BodyRefused:
                continue
        else:
            assert isinstance(record, Malformed)


TABLE = pa.table({"text": ["some words of a text"] * 40 + ["others"] * 40, "id": [str(n) for n in range(80)]})


def parquet_rows(content: bytes) -> Iterator[Thing[int]]:
    def read() -> int:
        try:
            return sum(
                batch.num_rows for batch in pq.ParquetFile(pa.BufferReader(content)).iter_batches(use_threads=False)
            )
        except (pa.ArrowException, OSError, ValueError):
            return -1

    yield Thing("table", read)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_tables(data: st.DataObject) -> None:
    """In a process of its own: what is broken can end it."""
    out = io.BytesIO()
    pq.write_table(TABLE, out, row_group_size=20)
    (found,) = read_confined(parquet_rows, data.draw(spoiled(out.getvalue())), limits=LIMITS)
    assert isinstance(found, int | Ended)


RUN = log.RunRecord(id="20260101T000000.000000-a", recipe="a", started_at="x", stages={"a": ["b"]})
WISH = Removal(at="x", kind="url", value="v", reason="r", urls=("u",))
WORK = {"stage": "a", "key": "b", "started_at": "2026-01-01T00:00:00+00:00", "wall_s": 1}
PURGE = {"reason": "x", "places": {"artifacts/crawl/k/warc/x.warc.gz": [0, 9]}}
PART = PartRecord(part="a", files=(FileRecord(path="t/a.parquet", rows=1, bytes=2, sha256="x"),))
WHOLE = Manifest(
    stage="a", subject="", version=1, key="k", settings={}, inputs={}, counts=Counts(), rows=0, bytes=0, parts=(PART,)
)
RECORDS: dict[str, tuple[Callable[[bytes], Any], str]] = {
    "run": (log.RunRecord.model_validate_json, RUN.model_dump_json()),
    "work": (log.work_row, json.dumps(WORK)),
    "removal": (Removal.model_validate_json, WISH.model_dump_json()),
    "purge": (purge_note, json.dumps(PURGE)),
    "note": (note_of, json.dumps({"key": "a", "part": "b"})),
    "part": (PartRecord.model_validate_json, PART.model_dump_json()),
    "manifest": (Manifest.model_validate_json, WHOLE.model_dump_json()),
}


@pytest.mark.parametrize("kind", RECORDS)
@given(data=st.data())
def test_stored_records(kind: str, data: st.DataObject) -> None:
    """Each gives a record, or an error that its readers pass over."""
    read, text = RECORDS[kind]
    whole = text.encode()
    read(whole)
    with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
        read(data.draw(st.one_of(st.binary(max_size=80), spoiled(whole))))


def test_a_spoiled_file_is_really_spoiled(tmp_path: Path) -> None:
    seen = set()

    @settings(max_examples=50, database=None)
    @given(spoiled(b"0123456789" * 5))
    def draw(content: bytes) -> None:
        seen.add(content)

    draw()
    assert len(seen) > 10
