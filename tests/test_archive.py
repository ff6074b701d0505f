"""The crawl's archive: finished by size, whole after kills and lost power, read by everybody."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from warcio.archiveiterator import ArchiveIterator

from tasks.core.stage import run_stages
from tasks.crawl.stage import content_input, crawl_to_use
from tasks.extract.page import ExtractSettings
from tasks.extract.stage import Extract
from tests.conftest import PROJECT
from tests.test_crawl import DRIVER, PAGES, Site, crawled
from warehouse.artifact import load
from warehouse.errors import GristmillError
from warehouse.store import Store


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    yield made
    made.server.shutdown()


def test_archive_files_rotate_by_size_and_are_whole_after_kills(tmp_path: Path) -> None:
    slow = Site(delay=0.03)
    settings = slow.settings(requests_per_host=2, warc_bytes=9_000)
    command = [sys.executable, "-c", DRIVER, str(tmp_path), settings.model_dump_json()]
    for hits in (12, 30, 45):
        with subprocess.Popen(command, cwd=PROJECT, start_new_session=True) as process:
            while sum(slow.hits.values()) < hits:
                time.sleep(0.005)
            os.killpg(process.pid, signal.SIGKILL)
        for path in (tmp_path / "artifacts").rglob("*.warc.gz"):
            assert _records_with_valid_digests(path)
    crawl, rows = crawled(tmp_path, settings)
    files = sorted((tmp_path / crawl.ref.folder / "warc").iterdir())
    assert [path.name for path in files] == [f"site-0001-{n:05d}.warc.gz" for n in range(1, len(files) + 1)]
    assert len(files) > 3
    kinds = [kind for path in files for kind in _records_with_valid_digests(path)]
    answered = sum(row["status"] is not None for row in rows)
    assert kinds.count("warcinfo") == len(files)
    robots = kinds.count("response") - answered  # robots.txt is archived as well, once a start
    assert 1 <= robots <= 4
    assert kinds.count("request") == kinds.count("metadata") == answered + robots
    slow.server.shutdown()


def _records_with_valid_digests(path: Path) -> list[str]:
    kinds = []
    with path.open("rb") as stream:
        for record in ArchiveIterator(stream, check_digests="raise"):
            record.content_stream().read()
            kinds.append(record.rec_type)
    return kinds


def test_record_that_a_kill_left_half_written_is_cut_off(tmp_path: Path) -> None:
    slow = Site(delay=0.03)
    settings = slow.settings(requests_per_host=2)
    command = [sys.executable, "-c", DRIVER, str(tmp_path), settings.model_dump_json()]
    with subprocess.Popen(command, cwd=PROJECT, start_new_session=True) as process:
        while sum(slow.hits.values()) < 20:
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGKILL)
    (archive,) = (tmp_path / "scratch" / "crawl").rglob("*.warc.gz")
    with archive.open("ab") as stream:
        stream.write(archive.read_bytes()[:150])
    slow.delay = 0.0
    crawl, rows = crawled(tmp_path, settings)
    (whole,) = (tmp_path / crawl.ref.folder / "warc").iterdir()
    kinds = _records_with_valid_digests(whole)
    assert kinds.count("warcinfo") == 1
    assert kinds.count("response") >= sum(row["status"] is not None for row in rows)
    slow.server.shutdown()


@pytest.mark.parametrize("lost", [1, 2_000, 10**9])
def test_records_that_a_lost_power_took_are_fetched_again(tmp_path: Path, lost: int) -> None:
    slow = Site(delay=0.03)
    settings = slow.settings(requests_per_host=2)
    command = [sys.executable, "-c", DRIVER, str(tmp_path), settings.model_dump_json()]
    with subprocess.Popen(command, cwd=PROJECT, start_new_session=True) as process:
        while sum(slow.hits.values()) < 30:
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGKILL)
    (archive,) = (tmp_path / "scratch" / "crawl").rglob("*.warc.gz")
    os.truncate(archive, max(0, archive.stat().st_size - lost))
    slow.delay = 0.0
    crawl, rows = crawled(tmp_path, settings)
    assert {row["url"] for row in rows if row["status"] == 200} >= {f"{slow.root}/page/{n}" for n in range(PAGES)}
    assert len({row["url"] for row in rows}) == len(rows)
    pages = content_input(crawl.store, load(crawl.store, crawl.ref))
    (made,) = run_stages([Extract(crawl.store, ExtractSettings(extractor="resiliparse"), {"pages": pages}, "site")])
    assert made.counts.kept == load(crawl.store, crawl.ref).counts.kept
    slow.server.shutdown()


def test_crawl_onto_a_full_disk_stops_with_a_sentence_and_goes_on_later(site: Site, tmp_path: Path) -> None:
    settings = site.settings(warc_bytes=4_000)
    crawl = crawl_to_use(Store(str(tmp_path)), settings, "site", False)
    blocked = tmp_path / crawl.ref.folder / "warc"
    blocked.parent.mkdir(parents=True)
    blocked.write_text("in the way")  # the folder of the archive cannot be made
    with pytest.raises(GristmillError, match=r"the crawl stopped: the store .* is not a folder"):
        run_stages([crawl])
    blocked.unlink()
    _, rows = crawled(tmp_path, settings)
    assert {row["url"] for row in rows if row["status"] == 200} >= {f"{site.root}/page/{n}" for n in range(PAGES)}
    assert len({row["url"] for row in rows}) == len(rows)
