"""The archive: WARC 1.1 batches written whole or not at all, each with its rows of ``pages``."""

from __future__ import annotations

import datetime
import hashlib
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from warehouse.artifact import COMPRESSION, Ref
from warehouse.schemas import PAGES
from warehouse.store import Store


@dataclass
class Fetch:
    """One request and what came of it."""

    url: str
    depth: int
    referrer: str | None
    final_url: str | None = None
    status: int | None = None
    reason: str = ""
    request_headers: list[tuple[str, str]] = field(default_factory=list)
    response_headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    error: str | None = None
    fetched_at: datetime.datetime = field(default_factory=lambda: datetime.datetime.now(datetime.UTC))

    @property
    def content_type(self) -> str | None:
        """The Content-Type header."""
        return next((value for name, value in self.response_headers if name.lower() == "content-type"), None)


class Archive:
    """Writes fetches into numbered batches ``warc/batch-NNNNN.warc.gz`` and ``pages/batch-NNNNN.parquet``.

    The pages file is committed last: a batch is whole when it is there.
    """

    def __init__(self, store: Store, ref: Ref, crawl: str, software: str) -> None:
        self.store, self.ref, self.crawl, self.software = store, ref, crawl, software
        self.fetches: list[Fetch] = []
        self.bytes = 0

    def add(self, fetch: Fetch) -> None:
        """Keeps a fetch for the next batch."""
        self.fetches.append(fetch)
        self.bytes += len(fetch.body)

    def committed(self) -> list[str]:
        """The names of whole batches, in order."""
        return [name.removesuffix(".parquet") for name in self.store.names(f"{self.ref.folder}/pages")]

    def urls(self, batch: str) -> list[str]:
        """The URLs asked for in a committed batch."""
        path = self.store.local_copy(f"{self.ref.folder}/pages/{batch}.parquet")
        return [str(url) for url in pq.read_table(path, columns=["url"])["url"].to_pylist()]

    def commit(self) -> tuple[str, list[str]]:
        """Writes what was added as the next batch; returns its name and URLs."""
        existing = self.committed()
        name = f"batch-{int(existing[-1].removeprefix('batch-')) + 1 if existing else 1:05d}"
        warc_path = f"{self.ref.folder}/warc/{name}.warc.gz"
        with self.store.writing(warc_path) as temporary:
            rows = self._write_warc(temporary, warc_path)
        with self.store.writing(f"{self.ref.folder}/pages/{name}.parquet") as temporary:
            pq.write_table(pa.Table.from_pylist(rows, schema=PAGES), temporary, compression=COMPRESSION)
        urls = [fetch.url for fetch in self.fetches]
        self.fetches, self.bytes = [], 0
        return name, urls

    def _write_warc(self, path: Path, warc_path: str) -> list[dict[str, Any]]:
        rows = []
        with path.open("wb") as stream:
            writer = WARCWriter(stream, gzip=True, warc_version="1.1")
            writer.write_record(
                writer.create_warcinfo_record(
                    Path(warc_path).name,
                    {"software": self.software, "format": "WARC File Format 1.1", "isPartOf": self.crawl},
                )
            )
            for fetch in self.fetches:
                offset = None
                if fetch.error is None:
                    offset = stream.tell()
                    self._write_response(writer, fetch)
                rows.append(self._row(fetch, warc_path, offset))
        return rows

    def _write_response(self, writer: WARCWriter, fetch: Fetch) -> None:
        date = fetch.fetched_at.strftime("%Y-%m-%dT%H:%M:%SZ")
        response = writer.create_warc_record(
            fetch.final_url,
            "response",
            payload=io.BytesIO(fetch.body),
            warc_headers_dict={"WARC-Date": date},
            http_headers=StatusAndHeaders(
                f"{fetch.status} {fetch.reason}".strip(), fetch.response_headers, protocol="HTTP/1.1"
            ),
        )
        request = writer.create_warc_record(
            fetch.final_url,
            "request",
            warc_headers_dict={
                "WARC-Date": date,
                "WARC-Concurrent-To": response.rec_headers.get_header("WARC-Record-ID"),
            },
            http_headers=StatusAndHeaders(
                f"GET {_target(fetch.final_url)} HTTP/1.1", fetch.request_headers, is_http_request=True
            ),
        )
        writer.write_record(response)
        writer.write_record(request)

    def _row(self, fetch: Fetch, warc_path: str, offset: int | None) -> dict[str, Any]:
        archived = fetch.error is None
        return {
            "url": fetch.url,
            "final_url": fetch.final_url,
            "status": fetch.status,
            "fetched_at": fetch.fetched_at,
            "content_type": fetch.content_type,
            "body_bytes": len(fetch.body),
            "depth": fetch.depth,
            "referrer": fetch.referrer,
            "crawl": self.crawl,
            "warc_path": warc_path if archived else None,
            "warc_offset": offset,
            "digest": hashlib.sha256(fetch.body).hexdigest() if archived else None,
            "error": fetch.error,
        }


def _target(url: str | None) -> str:
    """The request target of a URL: path and query."""
    parts = urlsplit(url or "")
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
