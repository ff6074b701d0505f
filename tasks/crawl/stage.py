"""crawl: seeds to pages. The one stage that is not a pure function of its inputs: its key is its name and number."""

from __future__ import annotations

import hashlib
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tasks.core.process import events
from tasks.core.stage import Input, Made, Report, Stage
from tasks.crawl.frontier import Frontier
from tasks.crawl.history import NOT_REACHED, hosts_table, urls_table
from tasks.crawl.live import Job
from tasks.crawl.settings import CrawlSettings
from warehouse.artifact import Counts, FileRecord, Manifest, PartWriter, Ref, complete, lost_archives, read_manifest
from warehouse.errors import GristmillError
from warehouse.log import runs
from warehouse.schemas import URLS
from warehouse.store import Store, sha256_of

PREVIOUS = "previous"
MOVED_SEEDS = (
    "SELECT seed.url, seed.detail FROM urls seed JOIN urls target ON target.url = seed.detail "
    "WHERE seed.depth = 0 AND seed.rule = 'redirect' AND target.rule = 'another host'"
)


class Crawl(Stage):
    """One numbered crawl of one source."""

    name = "crawl"
    version = 2
    in_worker = False
    settings: CrawlSettings

    def __init__(
        self, store: Store, settings: CrawlSettings, source: str, sequence: int, previous: str | None = None
    ) -> None:
        super().__init__(store, settings, _previous(previous), source)
        self.sequence = sequence

    @property
    def identity(self) -> dict[str, Any]:
        return {**self.settings.identity(), "sequence": self.sequence}

    @property
    def crawl(self) -> str:
        """The crawl's name and number, as rows and archive files carry it."""
        return f"{self.subject}-{self.sequence:04d}"

    def plan(self) -> Sequence[str]:
        return ["archive"]

    def make(self, part: str, writer: PartWriter, report: Report) -> Made:
        """Runs the crawler until its frontier is empty, then takes its files and writes what it knows of every URL."""
        scratch = self.store.scratch("crawl", self.ref.key)
        previous = self.inputs.get(PREVIOUS)
        job = Job(
            store=self.store.url,
            ref=self.ref,
            crawl=self.crawl,
            settings=self.settings,
            scratch=scratch,
            previous=previous.ref if previous else None,
        )
        if not job.frontier.exists():
            self._forget_files()
        (scratch / "job.json").write_text(job.model_dump_json())
        command = [sys.executable, "-m", "tasks.crawl.spider", str(scratch / "job.json")]
        for event in events(command, scratch / "crawl.log"):
            if "done" in event:
                report.progress(self, event["done"], event["known"], f"{event['done']:,} of {event['known']:,} URLs")
        frontier = Frontier(job.frontier)
        try:
            self._check_any_page(frontier, scratch)
            for seed in frontier.rows(MOVED_SEEDS):
                report.note(
                    self, f"{seed['url']} moves to {seed['detail']}, another host: name it in seeds to crawl it"
                )
            frontier.end(NOT_REACHED)
            writer.files.extend(self._archive_files())
            writer.batches("urls", URLS, urls_table(frontier, self.crawl))
            writer.table("hosts", hosts_table(frontier, self.crawl))
            return made_of(frontier)
        finally:
            frontier.close()

    def committed(self) -> None:
        shutil.rmtree(self.store.scratch("crawl", self.ref.key), ignore_errors=True)

    def _check_any_page(self, frontier: Frontier, scratch: Path) -> None:
        """Raises GristmillError where nothing at all was fetched, and lets the next run start over."""
        if frontier.first("SELECT 1 FROM urls WHERE verdict = 'kept' LIMIT 1"):
            return
        found = frontier.first("SELECT rule, detail FROM urls WHERE rule IS NOT NULL AND depth = 0 ORDER BY id LIMIT 1")
        reason = (found["detail"] or found["rule"]) if found else "no answer"
        advice = "check its seeds and that the site is up"
        if found and found["rule"] == "redirect":
            reason, advice = f"it moves to {reason}", "name in seeds where the site is now"
        self._forget_files()
        shutil.rmtree(scratch, ignore_errors=True)
        raise GristmillError(
            f"no page of the source {self.subject} could be fetched from {', '.join(self.settings.seeds) or 'its links'} "
            f"({reason}): {advice}, then run the same command again"
        )

    def _archive_files(self) -> list[FileRecord]:
        files = []
        for table in ("pages", "warc"):
            for name in self.store.names(f"{self.ref.folder}/{table}"):
                local = self.store.local_copy(f"{self.ref.folder}/{table}/{name}")
                rows = pq.read_metadata(local).num_rows if table == "pages" else 0
                files.append(
                    FileRecord(path=f"{table}/{name}", rows=rows, bytes=local.stat().st_size, sha256=sha256_of(local))
                )
        return files

    def _forget_files(self) -> None:
        """Files without their frontier cannot be continued: the links of their pages are gone."""
        for table in ("pages", "warc"):
            for name in self.store.names(f"{self.ref.folder}/{table}"):
                self.store.delete(f"{self.ref.folder}/{table}/{name}")


def made_of(frontier: Frontier) -> Made:
    """Counts, funnel and content digest of a crawl.

    The content digest covers what was served (URL, type, bytes), not when or how: two crawls that found the
    same bytes have the same one, and everything after the crawl has the same keys.
    """
    funnel, removed, failed = {}, 0, 0
    for row in frontier.rows(
        "SELECT verdict, rule, count(*) AS n, coalesce(sum(body_bytes), 0) AS bytes FROM urls "
        "WHERE verdict != 'kept' GROUP BY 1, 2 ORDER BY 1 DESC, 2"
    ):
        removed, failed = (
            removed + row["n"] * (row["verdict"] == "removed"),
            failed + row["n"] * (row["verdict"] == "failed"),
        )
        funnel[row["rule"]] = [row["n"], row["bytes"]]
    digest, kept, size, decoded = hashlib.sha256(), 0, 0, 0
    query = "SELECT url, content_type, digest, body_bytes, decoded_bytes FROM urls WHERE verdict = 'kept' ORDER BY url"
    for row in frontier.rows(query):
        digest.update(f"{row['url']}\t{row['content_type']}\t{row['digest']}\n".encode())
        kept, size, decoded = kept + 1, size + row["body_bytes"], decoded + row["decoded_bytes"]
    return Made(
        counts=Counts(documents_in=kept + removed + failed, kept=kept, removed=removed, failed=failed),
        statistics={
            "content_digest": digest.hexdigest(),
            "bytes_in": size + sum(taken[1] for taken in funnel.values()),
            "decoded_bytes": decoded,
            "fetched": frontier.fact("fetched"),
            "funnel": funnel,
        },
    )


def crawls_of(store: Store, source: str) -> list[Manifest]:
    """The complete crawls of a source, oldest first."""
    found = [read_manifest(store, Ref(stage=Crawl.name, key=key)) for key in store.names(f"artifacts/{Crawl.name}")]
    mine = [manifest for manifest in found if manifest is not None and manifest.subject == source]
    return sorted(mine, key=lambda manifest: int(manifest.settings["sequence"]))


def crawl_to_use(store: Store, settings: CrawlSettings, source: str, fresh: bool) -> Crawl:
    """The newest crawl of a source with these settings, or (none yet, or ``fresh``) the next one in number."""
    known = crawls_of(store, source)
    wanted = settings.identity()
    same = [
        manifest
        for manifest in known
        if {k: v for k, v in manifest.settings.items() if k != "sequence"} == wanted and complete(store, manifest.ref)
    ]
    if fresh:  # one that a killed run finished and never showed is this run's
        shown = {key for record in runs(store) for key in record.stages.get(Crawl.name, [])}
        same = [manifest for manifest in same if manifest.key not in shown]
    chosen = same[-1] if same else None
    number = int(chosen.settings["sequence"]) if chosen else int(known[-1].settings["sequence"]) + 1 if known else 1
    before = [manifest.key for manifest in known if complete(store, manifest.ref)]
    previous = chosen.inputs.get(PREVIOUS) if chosen else before[-1] if before else None
    return Crawl(store, settings, source, number, previous)


def _previous(key: str | None) -> dict[str, Input]:
    return {PREVIOUS: Input.of(Ref(stage=Crawl.name, key=key))} if key else {}


def content_input(store: Store, manifest: Manifest) -> Input:
    """A finished crawl as an input, identified by the content of its pages alone, and by what of it was lost since."""
    lost: list[str] = []
    crawl: Manifest | None = manifest
    while crawl is not None:  # a page that did not change since lies in the archive of an earlier crawl
        lost += [f"{crawl.key}/{path}" for path in lost_archives(store, crawl)]
        before = crawl.inputs.get(PREVIOUS)
        crawl = read_manifest(store, Ref(stage=Crawl.name, key=before)) if before else None
    without = f" without {', '.join(lost)}" if lost else ""
    return Input(ref=manifest.ref, identity=f"content:{manifest.statistic('content_digest')}{without}")
