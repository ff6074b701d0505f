"""extract from other people's archives: WARC, WET and ARC files streamed into documents and rows of ``pages``."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from tasks.extract.extraction import Extraction
from tasks.extract.files import ExternalFile, FilesSettings, external_files
from tasks.extract.page import Documents, Extracted, ExtractSettings, PageRefused
from tasks.extract.warc import Malformed, Record, body_of, records
from tasks.http import BodyRefused, decode
from tasks.urls import canonical_url
from warehouse.artifact import PartWriter
from warehouse.schemas import PAGES
from warehouse.store import Store

OK = 200
PART_DIGITS = 12


class WarcSettings(FilesSettings):
    """Archives of web pages that somebody else crawled: WARC, WET or ARC, such as Common Crawl's."""


class ExtractArchive(Extraction):
    """Documents of one source, from its archive files; a file is a part. Its pages are rows of ``pages``."""

    version = 3

    def __init__(self, store: Store, settings: ExtractSettings, archives: WarcSettings, source: str) -> None:
        super().__init__(store, settings, {}, source)
        self._files = {
            f"{source}-{hashlib.sha256(file.digest.encode()).hexdigest()[:PART_DIGITS]}": file
            for file in external_files(store, archives)
        }

    @property
    def source_identity(self) -> dict[str, Any]:
        return {**self.settings.identity(), "archives": [file.digest for file in self._files.values()]}

    def plan(self) -> Sequence[str]:
        return list(self._files)

    def part_source(self, part: str) -> Sequence[str]:
        return [self._files[part].digest]

    def read(self, part: str, documents: Documents, writer: PartWriter) -> None:
        """Reads one file from its beginning to its end, past what is malformed in it."""
        file, pages = self._files[part], []
        limit = self.settings.max_html_bytes
        with file.open() as stream:
            for record in records(stream, file.name, limit):
                if isinstance(record, Malformed):
                    place = f"{file.name}@{record.offset}"
                    documents.refuse(place, 0, PageRefused("malformed record", record.reason, failed=True))
                elif record.kind != "other" and "://" in record.url:
                    pages.append(self._take(record, file, documents))
        writer.table("pages", pa.Table.from_pylist(pages, schema=PAGES))

    def _take(self, record: Record, file: ExternalFile, documents: Documents) -> dict[str, Any]:
        """Gives a record to the documents; returns its row of ``pages``."""
        digest, refusal, body = None, None, b""
        try:
            url = canonical_url(record.url)
        except ValueError:
            url, refusal = record.url, PageRefused("not a web address")
        if refusal is None and record.kind != "revisit":
            try:
                body = body_of(record, self.settings.max_html_bytes)
                digest = hashlib.sha256(body).hexdigest()
            except BodyRefused as error:
                refusal = PageRefused("body", str(error), failed=True)
        if refusal is None and record.status not in (OK, None):
            refusal = PageRefused("status other than 200", f"status {record.status}")
        if refusal is not None:
            documents.refuse(url, len(record.body), refusal)
        elif record.kind == "conversion":
            documents.read_text(url, Extracted(decode(body, "text/plain; charset=utf-8")), str(digest))
        elif record.kind != "revisit":
            documents.read_html(url, record.content_type, body, str(digest))
        return {
            "url": url,
            "final_url": url,
            "status": record.status or (OK if record.kind in ("conversion", "resource") else None),
            "fetched_at": _time(record.date),
            "content_type": record.content_type,
            "body_bytes": len(record.body),
            "crawl": self.subject,
            "warc_path": file.address,
            "warc_offset": record.offset,
            "digest": digest,
            "error": refusal.rule if refusal is not None and refusal.failed else None,
            "record": "revisit" if record.kind == "revisit" else "response",
        }


def _time(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
