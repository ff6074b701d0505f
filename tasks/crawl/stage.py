"""crawl: seeds to pages. The one stage that is not a pure function of its inputs: its key is its name and number."""

from __future__ import annotations

import hashlib
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.crawl.settings import CrawlSettings
from tasks.crawl.spider import Job
from tasks.process import events
from tasks.stage import Input, Made, Report, Stage
from warehouse.artifact import Counts, FileRecord, Manifest, PartWriter, Ref, complete, read_manifest
from warehouse.errors import GristmillError
from warehouse.log import runs
from warehouse.store import Store, sha256_of

OK = 200


class Crawl(Stage):
    """One numbered crawl of one source."""

    name = "crawl"
    version = 1
    in_worker = False
    settings: CrawlSettings

    def __init__(self, store: Store, settings: CrawlSettings, source: str, sequence: int) -> None:
        super().__init__(store, settings, {}, source)
        self.sequence = sequence

    @property
    def identity(self) -> dict[str, Any]:
        return {**self.settings.identity(), "sequence": self.sequence}

    def plan(self) -> Sequence[str]:
        return ["archive"]

    def make(self, part: str, writer: PartWriter, report: Report) -> Made:
        """Runs the crawler until its frontier is empty, then takes its batches as the part's files."""
        scratch = self.store.scratch("crawl", self.ref.key)
        frontier = scratch / "frontier.sqlite"
        if not frontier.exists():
            self._forget_batches()
        job = scratch / "job.json"
        job.write_text(
            Job(
                store=self.store.url,
                ref=self.ref,
                crawl=f"{self.subject}-{self.sequence:04d}",
                settings=self.settings,
                frontier=frontier,
            ).model_dump_json()
        )
        for event in events([sys.executable, "-m", "tasks.crawl.spider", str(job)], scratch / "crawl.log"):
            report.progress(self, event["done"], event["known"], f"{event['done']:,} of {event['known']:,} known URLs")
        pages = self._pages()
        if not pc.any(pc.equal(pages["status"], OK)).as_py():
            self._start_over(scratch)
            reason = (
                next((error for error in pages["error"].to_pylist() if error), None) or f"status {pages['status'][0]}"
            )
            raise GristmillError(
                f"no page of the source {self.subject} could be fetched from {', '.join(self.settings.seeds)} "
                f"({reason}): check its seeds and that the site is up, then run the same command again"
            )
        writer.files.extend(self._batch_files())
        return made_of(pages)

    def committed(self) -> None:
        shutil.rmtree(self.store.scratch("crawl", self.ref.key), ignore_errors=True)

    def _pages(self) -> pa.Table:
        folder = f"{self.ref.folder}/pages"
        return pa.concat_tables(
            [pq.read_table(self.store.local_copy(f"{folder}/{name}")) for name in self.store.names(folder)]
        )

    def _batch_files(self) -> list[FileRecord]:
        files = []
        for table in ("pages", "warc"):
            for name in self.store.names(f"{self.ref.folder}/{table}"):
                local = self.store.local_copy(f"{self.ref.folder}/{table}/{name}")
                rows = pq.read_metadata(local).num_rows if table == "pages" else 0
                files.append(
                    FileRecord(path=f"{table}/{name}", rows=rows, bytes=local.stat().st_size, sha256=sha256_of(local))
                )
        return files

    def _forget_batches(self) -> None:
        """Batches without their frontier cannot be continued: the links of their pages are gone."""
        for table in ("pages", "warc"):
            for name in self.store.names(f"{self.ref.folder}/{table}"):
                self.store.delete(f"{self.ref.folder}/{table}/{name}")

    def _start_over(self, scratch: Path) -> None:
        self._forget_batches()
        shutil.rmtree(scratch, ignore_errors=True)


def made_of(pages: pa.Table) -> Made:
    """Counts, funnel and content digest of a crawl's pages.

    The content digest covers what was served (URL, type, bytes), not when or how: two crawls that fetched the
    same bytes have the same one, and everything after the crawl has the same keys.
    """
    forbidden = pc.sum(pc.fill_null(pc.starts_with(pages["error"], "robots.txt"), False)).as_py() or 0
    failed = (pages.num_rows - pages["error"].null_count) - forbidden
    kept_mask = pc.fill_null(pc.equal(pages["status"], OK), False)
    kept = pages.filter(kept_mask)
    other_status = pages.num_rows - forbidden - failed - kept.num_rows
    lines = sorted(
        {
            f"{row['url']}\t{row['final_url']}\t{row['content_type']}\t{row['digest']}"
            for row in kept.select(["url", "final_url", "content_type", "digest"]).to_pylist()
        }
    )
    size = pc.sum(pages["body_bytes"]).as_py() or 0
    lost = size - (pc.sum(kept["body_bytes"]).as_py() or 0)
    return Made(
        counts=Counts(documents_in=pages.num_rows, kept=kept.num_rows, removed=forbidden + other_status, failed=failed),
        statistics={
            "content_digest": hashlib.sha256("\n".join(lines).encode()).hexdigest(),
            "bytes_in": size,
            "funnel": {
                "robots.txt": [forbidden, 0],
                "status other than 200": [other_status, lost],
                "no answer": [failed, 0],
            },
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
    if same:
        return Crawl(store, settings, source, int(same[-1].settings["sequence"]))
    return Crawl(store, settings, source, int(known[-1].settings["sequence"]) + 1 if known else 1)


def content_input(manifest: Manifest) -> Input:
    """A finished crawl as an input, identified by the content of its pages alone."""
    return Input(ref=manifest.ref, identity=f"content:{manifest.statistic('content_digest')}")
