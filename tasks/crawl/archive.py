"""The archive: WARC 1.1 files that grow record by record, are valid at every record's end, and are finished by size.

The open file lies in the crawl's scratch folder; the frontier knows the end of its last whole record. A finished one is
committed to the store with its rows of ``pages``, which are committed last.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import os
import uuid
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.crawl.frontier import Frontier
from warehouse.artifact import COMPRESSION, Ref
from warehouse.schemas import PAGES
from warehouse.store import Store

GZIP_LEVEL, GZIP_WINDOW = 6, 31
ROWS_AT_ONCE = 2_000
# Headers that say how a body travelled, which is not how it is kept; Common Crawl renames them so.
TRAVEL_HEADERS = frozenset({"transfer-encoding", "content-length", "connection", "keep-alive"})
SERVER_NOT_MODIFIED = "http://netpreserve.org/warc/1.1/revisit/server-not-modified"
IDENTICAL_DIGEST = "http://netpreserve.org/warc/1.1/revisit/identical-payload-digest"
Headers = list[tuple[str, str]]


@dataclass
class Exchange:
    """A request and its answer, as they are archived."""

    url: str
    status: int
    reason: str
    request_headers: Headers
    response_headers: Headers
    body: bytes
    fetched_at: datetime.datetime
    seconds: float
    revisits: tuple[str, datetime.datetime] | None = None  # profile, and when the body was archived
    truncated: bool = False
    metadata: dict[str, str] = field(default_factory=dict)


class Archive:
    """Appends exchanges to ``<crawl>-NNNNN.warc.gz``; one number is a segment."""

    def __init__(self, store: Store, ref: Ref, crawl: str, software: str, scratch: Path, frontier: Frontier) -> None:
        self.store, self.ref, self.crawl, self.software = store, ref, crawl, software
        self._scratch, self._frontier = scratch, frontier
        self.segment = frontier.fact("segment", 1)
        self._handle: int | None = None
        self._recover()
        self._open()

    @property
    def warc_path(self) -> str:
        """Where the open file will be in the store."""
        return f"{self.ref.folder}/warc/{self._name}.warc.gz"

    @property
    def _name(self) -> str:
        return f"{self.crawl}-{self.segment:05d}"

    @property
    def _pages_path(self) -> str:
        return f"{self.ref.folder}/pages/{self._name}.parquet"

    @property
    def _file(self) -> Path:
        return self._scratch / f"{self._name}.warc.gz"

    def append(self, exchange: Exchange) -> int:
        """Writes response (or revisit), request and metadata; returns the offset of the first.

        The write is whole in the file before this returns; a caller then makes the frontier remember ``size``.
        """
        offset = self.size
        self._write(b"".join(_member(record) for record in _records(exchange)))
        return offset

    def finish_if_full(self, limit: int) -> None:
        """Commits the open file where it has reached the limit, and opens the next."""
        if self.size >= limit:
            self.finish()
            self._open()

    def finish(self) -> None:
        """Commits the open file and its rows, in this order, then lets the frontier forget the rows."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
        if self.segment > 1 and next(self._frontier.logged(self.segment), None) is None:
            self._file.unlink(missing_ok=True)  # nothing was fetched since the last one
        else:
            self._commit()

    def _commit(self) -> None:
        if self._file.exists():
            self.store.adopt(self.warc_path, self._file)
        with (
            self.store.writing(self._pages_path) as temporary,
            pq.ParquetWriter(temporary, PAGES, compression=COMPRESSION) as writer,
        ):
            rows: list[dict[str, Any]] = []
            for row in self._frontier.logged(self.segment):
                rows.append(row | {"fetched_at": datetime.datetime.fromtimestamp(row["fetched_at"], datetime.UTC)})
                if len(rows) == ROWS_AT_ONCE:
                    writer.write_table(pa.Table.from_pylist(rows, schema=PAGES))
                    rows = []
            writer.write_table(pa.Table.from_pylist(rows, schema=PAGES))
        self._close_segment()

    def _close_segment(self) -> None:
        with self._frontier.transaction():
            self._frontier.forget_segment(self.segment)
            self._frontier.remember(segment=self.segment + 1, warc_bytes=0)
        self.segment += 1

    def _recover(self) -> None:
        """After a kill: finishes a commit that was under way, or cuts the open file to its last whole record."""
        if self.store.exists(self._pages_path):
            self._close_segment()
        elif self.store.exists(self.warc_path):
            self._commit()
        else:
            known = self._frontier.fact("warc_bytes")
            self._file.touch()
            whole = _whole_members(self._file, known)
            os.truncate(self._file, whole)
            if whole < known:
                with self._frontier.transaction():
                    self._frontier.lose(self.segment, whole)
                    self._frontier.remember(warc_bytes=whole)

    def _open(self) -> None:
        self._handle = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self.size = os.fstat(self._handle).st_size
        if self.size == 0:
            fields = {"software": self.software, "format": "WARC File Format 1.1", "isPartOf": self.crawl}
            self._write(_member(_record("warcinfo", None, _now(), "application/warc-fields", _fields(fields))))

    def _write(self, content: bytes) -> None:
        assert self._handle is not None
        view = memoryview(content)
        while view:
            view = view[os.write(self._handle, view) :]
        self.size += len(content)


def _records(exchange: Exchange) -> Iterable[bytes]:
    at, record_id = exchange.fetched_at, _record_id()
    headers = [(f"X-Crawl-{n}" if n.lower() in TRAVEL_HEADERS else n, v) for n, v in exchange.response_headers]
    payload_digest = {"WARC-Payload-Digest": _digest(exchange.body)}
    if exchange.revisits is None:
        head = _http_head(
            f"HTTP/1.1 {exchange.status} {exchange.reason}".rstrip(),
            [*headers, ("Content-Length", str(len(exchange.body)))],
        )
        cut = {"WARC-Truncated": "disconnect"} if exchange.truncated else {}
        yield _record(
            "response",
            exchange.url,
            at,
            "application/http; msgtype=response",
            head + exchange.body,
            record_id,
            payload_digest | cut,
        )
    else:
        profile, first = exchange.revisits
        refers = {
            "WARC-Profile": profile,
            "WARC-Refers-To-Target-URI": exchange.url,
            "WARC-Refers-To-Date": _iso(first),
        }
        known = {} if profile == SERVER_NOT_MODIFIED else payload_digest
        head = _http_head(f"HTTP/1.1 {exchange.status} {exchange.reason}".rstrip(), headers)
        yield _record(
            "revisit", exchange.url, at, "application/http; msgtype=response", head, record_id, refers | known
        )
    concurrent = {"WARC-Concurrent-To": record_id}
    request = _http_head(f"GET {_target(exchange.url)} HTTP/1.1", exchange.request_headers)
    yield _record("request", exchange.url, at, "application/http; msgtype=request", request, None, concurrent)
    notes = {**exchange.metadata, "fetchTimeMs": str(round(1000 * exchange.seconds))}
    yield _record("metadata", exchange.url, at, "application/warc-fields", _fields(notes), None, concurrent)


def _record(
    kind: str,
    url: str | None,
    at: datetime.datetime,
    content_type: str,
    block: bytes,
    record_id: str | None = None,
    more: dict[str, str] | None = None,
) -> bytes:
    """One WARC 1.1 record (ISO 28500:2017)."""
    fields = {
        "WARC-Type": kind,
        "WARC-Record-ID": record_id or _record_id(),
        **({"WARC-Target-URI": url} if url else {}),
        "WARC-Date": _iso(at),
        **(more or {}),
        "WARC-Block-Digest": _digest(block),
        "Content-Type": content_type,
        "Content-Length": str(len(block)),
    }
    return b"WARC/1.1\r\n" + _fields(fields) + b"\r\n" + block + b"\r\n\r\n"


def _fields(values: dict[str, str]) -> bytes:
    return "".join(f"{name}: {' '.join(value.split())}\r\n" for name, value in values.items()).encode()


def _http_head(first: str, headers: Headers) -> bytes:
    lines = [first, *(f"{name}: {value}" for name, value in headers)]
    return (
        "".join(line.replace("\r", " ").replace("\n", " ") + "\r\n" for line in lines).encode("latin-1", "replace")
        + b"\r\n"
    )


def _member(record: bytes) -> bytes:
    """A gzip member of its own for each record, so that one can be read alone."""
    stream = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, GZIP_WINDOW)
    return stream.compress(record) + stream.flush()


def _whole_members(path: Path, limit: int) -> int:
    """The length of the longest run of whole gzip members from the start of a file, at most ``limit``."""
    whole, read = 0, 0
    stream = zlib.decompressobj(GZIP_WINDOW)
    with path.open("rb") as handle:
        while read < limit and (chunk := handle.read(min(1 << 20, limit - read))):
            read += len(chunk)
            while chunk:
                try:
                    while chunk and not stream.eof:
                        stream.decompress(chunk, 1 << 20)
                        chunk = stream.unused_data if stream.eof else stream.unconsumed_tail
                except zlib.error:
                    return whole
                if stream.eof:
                    whole = read - len(chunk)
                    stream = zlib.decompressobj(GZIP_WINDOW)
    return whole


def _target(url: str) -> str:
    """The request target of a URL: path and query."""
    parts = urlsplit(url)
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _digest(content: bytes) -> str:
    return "sha1:" + base64.b32encode(hashlib.sha1(content, usedforsecurity=False).digest()).decode()


def _record_id() -> str:
    return f"<urn:uuid:{uuid.uuid4()}>"


def _iso(at: datetime.datetime) -> str:
    return at.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
