"""extract from other people's archives: WARC, WET and ARC files streamed into documents and rows of ``pages``."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, ClassVar

from tasks.core.confined import Thing
from tasks.extract.extraction import Extraction
from tasks.extract.files import ExternalFile, FilesSettings, external_files, hashed
from tasks.extract.page import Extracted, ExtractSettings, PageRefused, Read, read_html
from tasks.extract.warc import Malformed, Record, body_of, records
from tasks.web.charsets import decode
from tasks.web.http import BodyRefused
from tasks.web.urls import canonical_url
from warehouse.store import Store

OK = 200
PART_DIGITS = 12


class WarcSettings(FilesSettings):
    """Archives of web pages that somebody else crawled: WARC, WET or ARC, such as Common Crawl's."""


class ExtractArchive(Extraction):
    """Documents of one source, from its archive files; a file is a part. Its pages are rows of ``pages``."""

    version = 5
    gives_pages: ClassVar[bool] = True

    def __init__(self, store: Store, settings: ExtractSettings, archives: WarcSettings, source: str) -> None:
        super().__init__(store, settings, {}, source)
        self._files: dict[str, ExternalFile] = {}
        for file in external_files(store, archives):
            name = f"{source}-{hashed(file.digest)[:PART_DIGITS]}"
            equal = sum(known.digest == file.digest for known in self._files.values())
            self._files[f"{name}-{equal}" if equal else name] = file

    @property
    def source_identity(self) -> dict[str, Any]:
        return {**self.settings.identity(), "archives": [file.digest for file in self._files.values()]}

    def plan(self) -> Sequence[str]:
        return list(self._files)

    def part_source(self, part: str) -> Sequence[str]:
        return [self._files[part].digest]

    def pieces(self, part: str) -> Sequence[str]:
        return [self._files[part].name]

    def things(self, part: str, first: int) -> Iterator[Thing[list[Read]]]:
        """One file from its beginning to its end, past what is malformed in it."""
        file = self._files[part]
        with file.open() as stream:
            for record in records(stream, file.name, self.settings.max_html_bytes):
                if isinstance(record, Malformed):
                    refusal = PageRefused("malformed record", record.reason, failed=True)
                    read = Read(f"{file.name}@{record.offset}", 0, found=refusal)
                    yield Thing(read, partial(list, [read]))
                elif record.kind != "other" and "://" in record.url:
                    row = self._row(record, file)
                    yield Thing(Read(row["url"], len(record.body), row=row), partial(self._record, record, row))

    def _record(self, record: Record, row: dict[str, Any]) -> list[Read]:
        """Reads a record."""
        read, body = Read(row["url"], len(record.body), row=row), b""
        refusal = None if _is_address(record.url) else PageRefused("not a web address")
        if refusal is None and record.kind != "revisit":
            try:
                body = body_of(record, self.settings.max_html_bytes)
                row["digest"] = hashlib.sha256(body).hexdigest()
            except BodyRefused as error:
                refusal = PageRefused("body", str(error), failed=True)
        if refusal is None and record.status not in (OK, None):
            refusal = PageRefused("status other than 200", f"status {record.status}")
        if refusal is not None:
            row["error"] = refusal.rule if refusal.failed else None
            return [read._replace(found=refusal)]
        read = read._replace(digest=str(row["digest"]))
        if record.kind == "conversion":
            return [read._replace(found=Extracted(decode(body, "text/plain; charset=utf-8")))]
        if record.kind == "revisit":  # its text is that of the record that it refers to
            return [read]
        return [read_html(read, record.content_type, body, self.settings)]

    def _row(self, record: Record, file: ExternalFile) -> dict[str, Any]:
        """The record as a row of ``pages``."""
        url = canonical_url(record.url) if _is_address(record.url) else record.url
        return {
            "url": url,
            "final_url": url,
            "status": record.status or (OK if record.kind in ("conversion", "resource") else None),
            "fetched_at": _time(record.date),
            "content_type": record.content_type,
            "body_bytes": len(record.body),
            "crawl": self.subject,
            "warc_path": file.public,
            "warc_offset": record.offset,
            "digest": None,
            "error": None,
            "record": "revisit" if record.kind == "revisit" else "response",
        }


def _is_address(url: str) -> bool:
    try:
        canonical_url(url)
    except ValueError:
        return False
    return True


def _time(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
