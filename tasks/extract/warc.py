"""Reading other people's WARC, WET, WAT and ARC files: fast, and past what is broken in them.

fastwarc reads; where it stops at a malformed record, reading goes on at the next beginning of a record that can be
found. ARC files, which it does not know, are read by warcio.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from fastwarc.warc import ArchiveIterator, WarcRecord
from warcio.archiveiterator import ArchiveIterator as PlainIterator

from tasks.web.http import BodyRefused, decoded_body

ARC_SUFFIXES = (".arc", ".arc.gz")
SEARCHED_AT_ONCE = 1 << 20
# Gzip: magic, deflate, flags, time (any), extra flags, system. Plain: a record's first line after an empty one.
_MEMBER = re.compile(rb"\x1f\x8b\x08[\x00-\x1f]")
_FIRST_LINE = re.compile(rb"(?:\r?\n\r?\n)(WARC/[01]\.\d+\r?\n)")
_CHUNK_SIZE = re.compile(rb"([0-9a-fA-F]{1,8})[^\r\n]{0,200}\r\n")
_KINDS = frozenset({"response", "revisit", "resource", "conversion"})


@dataclass
class Record:
    """One record of an archive. ``body`` is that of the HTTP answer where there is one, as it travelled."""

    kind: str  # response, revisit, resource, conversion, or other
    offset: int
    url: str
    date: str
    status: int | None = None
    content_type: str = ""
    content_encoding: str = ""
    transfer_encoding: str = ""
    body: bytes = b""
    truncated: bool = False


@dataclass
class Malformed:
    """What could not be read as a record, and where the last one before it begins."""

    offset: int
    reason: str


def records(stream: IO[bytes], name: str, limit: int) -> Iterator[Record | Malformed]:
    """The records of an archive in order, bodies cut at ``limit`` + 1 bytes."""
    if name.removesuffix(".bad").endswith(ARC_SUFFIXES):
        yield from _arc_records(stream, limit)
        return
    start: int | None = 0
    while start is not None:
        last = start
        stream.seek(start)
        try:
            for record in ArchiveIterator(stream, parse_http=False):
                last = max(last, record.stream_pos)
                yield _record(record, limit)
            return
        except (OSError, ValueError, RuntimeError) as error:
            yield Malformed(last, f"after the record that begins here: {' '.join(str(error).split())[:200]}")
        start = _next_start(stream, last + 1)


def _record(record: WarcRecord, limit: int) -> Record:
    headers = record.headers
    kind = (headers.get("WARC-Type") or "").lower()
    found = Record(
        kind=kind if kind in _KINDS else "other",
        offset=record.stream_pos,
        url=(headers.get("WARC-Target-URI") or "").strip("<>"),
        date=headers.get("WARC-Date") or "",
        content_type=headers.get("Content-Type") or "",
        truncated=headers.get("WARC-Truncated") is not None,
    )
    if found.kind == "other":
        return found
    if found.kind in ("response", "revisit") and "http" in found.content_type.lower():
        record.parse_http()
        http = record.http_headers
        if http is not None:
            found.status = http.status_code
            found.content_type, found.content_encoding = (
                http.get("Content-Type") or "",
                http.get("Content-Encoding") or "",
            )
            found.transfer_encoding = http.get("Transfer-Encoding") or ""
    found.body = record.reader.read(limit + 1)
    return found


def body_of(record: Record, limit: int) -> bytes:
    """The record's body without chunks and content codings. Raises BodyRefused.

    Common Crawl keeps decoded bodies and renames the headers that said otherwise; some others keep the headers.
    """
    body = _without_chunks(record.body) if "chunked" in record.transfer_encoding.lower() else record.body
    if not record.content_encoding or record.truncated:
        return body
    try:
        return decoded_body(body, record.content_encoding, limit)
    except BodyRefused:
        if _looks_like_text(body):
            return body  # decoded already, whatever its header says
        raise


def _without_chunks(body: bytes) -> bytes:
    """A body without its chunks' sizes (RFC 9112, section 7.1), or as it is where it has none."""
    out, at = bytearray(), 0
    while found := _CHUNK_SIZE.match(body, at):
        size = int(found.group(1), 16)
        if size == 0:
            return bytes(out)
        out += body[found.end() : found.end() + size]
        at = found.end() + size + 2
    return bytes(out) if out and at >= len(body) else body


def _looks_like_text(body: bytes) -> bool:
    head = body[:1024]
    return b"\0" not in head and sum(byte < 32 and byte not in b"\t\n\r\f" for byte in head) == 0


def _arc_records(stream: IO[bytes], limit: int) -> Iterator[Record | Malformed]:
    iterator = PlainIterator(stream, arc2warc=True)
    while True:
        try:
            record = next(iterator, None)
            if record is None:
                return
            http = record.http_headers
            body = record.raw_stream.read(limit + 1)  # before the offset is asked for, which reads to the record's end
            yield Record(
                kind=record.rec_type if record.rec_type in _KINDS else "other",
                offset=iterator.get_record_offset(),
                url=record.rec_headers.get_header("WARC-Target-URI") or "",
                date=record.rec_headers.get_header("WARC-Date") or "",
                status=int(http.get_statuscode()) if http and http.get_statuscode().isdigit() else None,
                content_type=(http.get_header("Content-Type") if http else None) or "",
                content_encoding=(http.get_header("Content-Encoding") if http else None) or "",
                transfer_encoding=(http.get_header("Transfer-Encoding") if http else None) or "",
                body=body,
            )
        except Exception as error:  # warcio raises what its parsers raise
            yield Malformed(stream.tell(), " ".join(str(error).split())[:200])
            return


def _next_start(stream: IO[bytes], at: int) -> int | None:
    """Where the next record begins at or after an offset, None where none does."""
    stream.seek(0)
    gzipped = stream.read(2) == b"\x1f\x8b"
    kept = b""
    stream.seek(at)
    while chunk := stream.read(SEARCHED_AT_ONCE):
        window = kept + chunk
        begins = stream.tell() - len(window)
        for found in (_MEMBER if gzipped else _FIRST_LINE).finditer(window):
            place = begins + (found.start() if gzipped else found.start(1))
            if not gzipped or _holds_record(window[found.start() : found.start() + 4096]):
                return place
        kept = window[-4096:] if len(window) > 4096 else window
        if stream.tell() - begins < SEARCHED_AT_ONCE:
            return None
    return None


def _holds_record(member: bytes) -> bool:
    try:
        return zlib.decompressobj(31).decompress(member, 16).startswith(b"WARC/")
    except zlib.error:
        return False
