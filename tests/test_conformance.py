"""Other people's test data: robots.txt, URLs, charsets, sitemaps and archives, read from where they lie."""

from __future__ import annotations

import codecs
import contextlib
import io
import json
import tarfile
import time
from pathlib import Path

import ada_url
import charset_normalizer
import pytest
from warcio.archiveiterator import ArchiveIterator

from tasks.crawl.links import entries_of
from tasks.crawl.robots import parse_robots
from tasks.extract.warc import Malformed, Record, records
from tasks.web.charsets import decode
from tasks.web.urls import canonical_url, domain_of
from tests.conftest import SHARED

DATA = SHARED / "conformance"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the shared conformance data are not on this machine")

# Google's matcher compares encoded octets as they are written, and its own comment calls these three cases a limit of
# its code. RFC 9309, section 2.2.2, has both sides brought to one encoding first, and so has Gristmill.
ENCODED_ALIKE_BY_THE_RFC = {
    ("/foo/bar/ツ", "http://foo.bar/foo/bar/ツ"),
    ("/foo/bar/%E3%83%84", "http://foo.bar/foo/bar/ツ"),
    ("/foo/bar/%62%61%7A", "http://foo.bar/foo/bar/baz"),
}


def test_139_of_googles_142_robots_cases_agree_and_the_rest_follow_the_rfc() -> None:
    lines = (DATA / "robots" / "google-robotstxt" / "cases.jsonl").read_text().splitlines()
    cases = [json.loads(line) for line in lines]
    differing = []
    for case in cases:
        robots = parse_robots(case["robots_txt"].encode("utf-8", "surrogateescape"), case["user_agent"])
        if robots.allows(case["url"]) != case["allowed"]:
            differing.append((case["robots_txt"].split("Allow: ")[-1].strip(), case["url"]))
    assert len(cases) == 142
    assert set(differing) == ENCODED_ALIKE_BY_THE_RFC
    assert len(differing) == 3


def test_thousands_of_real_robots_files_are_read_without_a_crash_and_in_time() -> None:
    slowest, count = 0.0, 0
    with tarfile.open(DATA / "robots" / "protego-real-robots.tar.gz") as archive:
        for member in archive:
            if member.isfile():
                content = archive.extractfile(member).read()  # type: ignore[union-attr]
                started = time.process_time()
                robots = parse_robots(content, "gristmill")
                robots.allows("http://host.example/a/b.html?c=d")
                slowest, count = max(slowest, time.process_time() - started), count + 1
    assert count > 4000
    assert slowest < 2


def test_crawler_commons_robots_files_with_odd_encodings_and_groups() -> None:
    folder = DATA / "robots" / "crawler-commons-resources" / "robots"
    for name in ("robots-with-utf8-bom.txt", "robots-with-utf16le-bom.txt", "robots-with-utf16be-bom.txt"):
        assert not parse_robots((folder / name).read_bytes(), "foobot").allows("http://host.example/profile")
    merged = parse_robots((folder / "rfc9309-example-rule-group-merging.txt").read_bytes(), "ExampleBot")
    assert [merged.allows(f"http://host.example/{path}") for path in ("foo", "bar", "baz", "qux")] == [
        False,
        False,
        False,
        True,
    ]
    longest = parse_robots((folder / "rfc9309-example-longest-match-robots.txt").read_bytes(), "foobot")
    assert longest.allows("http://host.example/example/page/")
    assert not longest.allows("http://host.example/example/page/disallowed.gif")
    assert parse_robots((folder / "crawl-delay-group-merging.txt").read_bytes(), "dotbot").crawl_delay is not None


def test_canonical_urls_are_idempotent_and_never_merge_what_whatwg_tells_apart() -> None:
    cases = json.loads((DATA / "url-conformance" / "wpt" / "urltestdata.json").read_text())
    places: dict[str, tuple[str, str, str]] = {}
    read = 0
    for case in cases:
        if isinstance(case, str):
            continue
        try:
            url = canonical_url(case["input"], case.get("base") or "")
        except ValueError:
            continue
        assert not case.get("failure"), case
        assert canonical_url(url) == url
        parsed = ada_url.URL(case["input"], case["base"]) if case.get("base") else ada_url.URL(case["input"])
        place = (parsed.protocol, parsed.host, parsed.pathname)
        assert places.setdefault(url.partition("?")[0], place) == place
        assert domain_of(url) == parsed.host
        assert "@" not in domain_of(url)
        read += 1
    assert read > 200


def test_charsets_are_found_at_least_as_well_as_by_charset_normalizer() -> None:
    right = theirs = total = 0
    with tarfile.open(DATA / "charset-samples" / "chardet-tests.tar.gz") as archive:
        for member in archive:
            encoding = _codec(member.name.split("/")[-2]) if member.isfile() else None
            if encoding is None:
                continue
            body = archive.extractfile(member).read()  # type: ignore[union-attr]
            try:
                meant = {_plain(body.decode(name)) for name in _written_as(encoding)}
                if encoding == "big5":  # the Encoding Standard's index has these for what Python reads as the first
                    meant |= {text.translate(str.maketrans("•､‾∼¢£¥", "‧﹑¯～￠￡￥")) for text in meant}
            except UnicodeDecodeError:
                continue
            total += 1
            right += _plain(decode(body, "")) in meant
            best = charset_normalizer.from_bytes(body).best()
            theirs += best is not None and _plain(str(best)) in meant
    print(f"{right} of {total} decoded right, charset-normalizer {theirs}")
    assert total > 400
    assert right >= theirs
    assert right > 0.95 * total


def _codec(folder: str) -> str | None:
    for name in (folder, folder.rpartition("-")[0]):
        with contextlib.suppress(LookupError):
            if name:
                return codecs.lookup(name).name
    return None


def _written_as(encoding: str) -> list[str]:
    """The encoding, and what the web means by its name (WHATWG Encoding)."""
    return [encoding, *{"shift_jis": ["cp932"], "iso8859-1": ["cp1252"]}.get(encoding, [])]


def _plain(text: str) -> str:
    return text.lstrip("\ufeff").replace("\0", "")


ARCHIVES = sorted(p for p in (DATA / "warc").rglob("*") if p.is_file() and p.suffix != ".txt") if DATA.is_dir() else []


@pytest.mark.parametrize("path", ARCHIVES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_archive_is_read_with_as_many_records_as_warcio_finds(path: Path) -> None:
    theirs, fault = 0, None
    with (
        path.open("rb") as stream,
        contextlib.redirect_stderr(io.StringIO()),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        try:
            for _ in ArchiveIterator(stream, no_record_parse=True):
                theirs += 1
        except Exception as error:
            fault = error
    with path.open("rb") as stream, contextlib.redirect_stderr(io.StringIO()):
        found = list(records(stream, path.name, 1 << 24))
    ours = [record for record in found if not isinstance(record, Malformed)]
    if fault is None:
        assert len(ours) == theirs
    else:  # warcio stops there: what it found is found, and what comes after is found or reported
        assert len(ours) >= theirs
        assert len(found) > theirs
    assert [record.offset for record in ours] == sorted(record.offset for record in ours)


ARCS = [path for path in ARCHIVES if path.name.endswith((".arc", ".arc.gz")) and "trunc" not in path.name]


@pytest.mark.parametrize("path", ARCS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_the_bodies_of_old_archives_are_those_that_warcio_reads(path: Path) -> None:
    with contextlib.redirect_stderr(io.StringIO()):
        with path.open("rb") as stream:
            ours = [record.body for record in records(stream, path.name, 1 << 24) if isinstance(record, Record)]
        with path.open("rb") as stream:
            theirs = [record.raw_stream.read() for record in ArchiveIterator(stream, arc2warc=True)]
    assert ours == theirs
    assert any(ours) or path.name == "bad.arc"


def test_broken_records_in_the_midst_of_an_archive_cost_only_themselves(tmp_path: Path) -> None:
    whole = (DATA / "warc" / "aut" / "warc" / "example.warc.gz").read_bytes()
    offsets = [record.offset for record in records(io.BytesIO(whole), "x.warc.gz", 1 << 24)]  # type: ignore[union-attr]
    broken = bytearray(whole)
    hurt = offsets[100:700:100]
    for offset in hurt:
        broken[offset + 40 : offset + 60] = bytes(20)
    found = list(records(io.BytesIO(bytes(broken)), "x.warc.gz", 1 << 24))
    kept = {record.offset for record in found if not isinstance(record, Malformed)}
    assert set(offsets) - kept <= set(hurt)
    assert sum(isinstance(record, Malformed) for record in found) >= len(hurt) - (len(kept) - len(offsets) + len(hurt))


def test_sitemaps_and_feeds_of_every_kind_give_their_links() -> None:
    folder = DATA / "robots" / "crawler-commons-resources"
    counts = {
        path.name: len(list(entries_of(path.read_bytes(), "http://www.example.com/x")))
        for kind in ("sitemaps", "rss")
        for path in (folder / kind).iterdir()
        if path.is_file()
    }
    assert len(counts) == 11
    assert all(counts.values()), counts
    gz = DATA / "sitemaps-feeds" / "trafilatura-sitemap.xml.gz"
    assert list(entries_of(gz.read_bytes(), "http://www.example.com/sitemap.xml.gz"))
