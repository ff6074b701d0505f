"""extract: the pages of a crawl to documents."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from fastwarc.warc import ArchiveIterator, WarcRecordType

from tasks.core.confined import Thing
from tasks.extract.extraction import Extraction
from tasks.extract.page import FORGOTTEN, PageRefused, Read, read_html
from tasks.web.http import BodyRefused, decoded_body
from warehouse.artifact import Manifest, archived, load, part_name, read_tables, verified_path

COLUMNS = ["url", "content_type", "body_bytes", "digest", "warc_path", "warc_offset", "bucket", "verdict"]
LOST = "archive lost"
LARGEST_BODY = 1 << 30  # bytes; the crawl that kept it had its own limit


class Extract(Extraction):
    """Documents of one source, from what its crawl holds: every page that is kept, wherever its body was archived."""

    version = 6
    _dealt: tuple[str, list[dict[str, Any]]] = ("", [])  # the pages of the part that was asked for last

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._lost: dict[str, bool] = {}

    def plan(self) -> Sequence[str]:
        size = self._crawl.statistic("decoded_bytes")
        return [part_name(self.subject, n) for n in range(max(1, math.ceil(size / self.settings.part_bytes)))]

    def documents_expected(self) -> int:
        return self._crawl.counts.kept

    @property
    def source_identity(self) -> dict[str, Any]:
        return self.settings.identity()

    def part_source(self, part: str) -> Sequence[str]:
        pages = [[page["url"], page["content_type"], page["digest"]] for page in self._pages(part)]
        lost = [page["url"] for page in self._pages(part) if self._is_lost(page["warc_path"])]
        pages += [[url, LOST] for url in lost]
        return [hashlib.sha256(json.dumps(sorted(pages, key=str)).encode()).hexdigest()]

    def pieces(self, part: str) -> Sequence[str]:
        return [part]

    def things(self, part: str, first: int) -> Iterator[Thing[list[Read]]]:
        """The part's pages, in the order of the archive."""
        open_file: dict[str, Any] = {}
        for page in self._pages(part):
            read = Read(page["url"], page["body_bytes"], page["digest"])
            yield Thing(read, partial(self._page, read, page, open_file))

    @property
    def _crawl(self) -> Manifest:
        return load(self.store, self.inputs["pages"].ref)

    def _pages(self, part: str) -> list[dict[str, Any]]:
        """The pages that are dealt to a part by their URLs, in the order of the archive."""
        if self._dealt[0] == part:
            return self._dealt[1]
        names = self.plan()
        number, parts = names.index(part), len(names)
        table = read_tables(self.store, self.inputs["pages"].ref, "urls", COLUMNS)
        mine = pa.array(table["bucket"].to_numpy() % parts == np.int64(number))
        table = table.filter(pc.and_(mine, pc.equal(table["verdict"], "kept")))
        pages: list[dict[str, Any]] = table.sort_by(
            [("warc_path", "ascending"), ("warc_offset", "ascending")]
        ).to_pylist()
        self._dealt = part, pages
        return pages

    def _page(self, read: Read, page: dict[str, Any], open_file: dict[str, Any]) -> list[Read]:
        """Reads a page; ``open_file`` holds the archive file that was read last."""
        path = page["warc_path"]
        if path not in open_file:
            for stream in open_file.values():
                stream.close()
            open_file.clear()
            file = self._archive_file(path)
            if file is None:
                return [read._replace(found=PageRefused(LOST, path, failed=True))]
            open_file[path] = file.open("rb")
        open_file[path].seek(page["warc_offset"])
        record = next(iter(ArchiveIterator(open_file[path])))
        if record.record_type != WarcRecordType.response:
            return [read._replace(found=PageRefused(FORGOTTEN, "purged from the archive"))]
        coding = (record.http_headers.get("Content-Encoding") or "") if record.http_headers else ""
        try:
            body = decoded_body(record.reader.read(), coding, LARGEST_BODY)
        except BodyRefused as error:
            return [read._replace(found=PageRefused("body", str(error), failed=True))]
        return [read_html(read, page["content_type"] or "", body, self.settings)]

    def _is_lost(self, path: str) -> bool:
        if path not in self._lost:
            self._lost[path] = archived(self.store, path) is None
        return self._lost[path]

    def _archive_file(self, path: str) -> Path | None:
        """The local copy of an archive file; None where that is lost. Raises CorruptPart, once, where its bytes changed."""
        found = archived(self.store, path)
        return None if found is None else verified_path(self.store, *found)
