"""Taking responses out of archived WARC files for good: the bytes go, every other record stays where it is.

The gzip member of a response is replaced by one of the same length that says that something was purged, so offsets
hold. What is to be done is noted first: a purge that was killed is finished by the next command.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
import zlib
from collections.abc import Iterable
from typing import Any

from warehouse.artifact import FileRecord, PartRecord, Ref, read_manifest, record_path
from warehouse.errors import StoreError
from warehouse.store import Store, is_inside, sha256_of
from warehouse.stored import stored

JOURNAL = "purges"
PURGED_TYPE = "metadata"  # of the records that stand in for responses
_HEADER = 10  # bytes of a gzip member before its data
_LEAST_EXTRA, _MOST_EXTRA = 2, 0xFFFF + 2  # bytes of a gzip header's extra field with its length


def purge(store: Store, places: Iterable[tuple[str, int]], reason: str) -> int:
    """Purges the responses at these places (WARC path below the store, offset); returns their number."""
    if not store.is_local:
        raise StoreError(
            "archives can be purged in a local store only: take the files out of this one by its own means"
        )
    by_path: dict[str, list[int]] = {}
    for path, offset in sorted(set(places)):
        by_path.setdefault(path, []).append(offset)
    note = {"reason": reason, "places": by_path}
    name = hashlib.sha256(json.dumps(note).encode()).hexdigest()[:16]
    store.write_bytes(f"{JOURNAL}/{name}.json", json.dumps(note).encode())
    finish_purges(store)
    return sum(len(offsets) for offsets in by_path.values())


def finish_purges(store: Store) -> None:
    """Does what purges have noted, where one was stopped. A note that cannot be read is named and passed over."""
    if not store.names(JOURNAL):
        return
    with store.lock(JOURNAL):
        for name, note in list(stored(store, JOURNAL, note_of)):
            for path, offsets in note["places"].items():
                if store.exists(path):
                    _rewrite(store, path, offsets, note["reason"])
                    _renew_records(store, path)
            store.delete(name)


def note_of(content: bytes) -> dict[str, Any]:
    """What a purge noted. Raises ValueError for what is none, such as a place that is in no archive of a crawl."""
    note = json.loads(content)
    for path, offsets in note["places"].items():
        if not (is_inside(path) and path.startswith("artifacts/") and path.count("/") == 4 and "/warc/" in path):
            raise ValueError(f"{path!r} is no archive of a crawl")
        if not all(isinstance(offset, int) and offset >= 0 for offset in offsets):
            raise ValueError("an offset is no number")
    return {"places": note["places"], "reason": str(note["reason"])}


def _rewrite(store: Store, path: str, offsets: list[int], reason: str) -> None:
    with store.writing(path) as temporary:
        shutil.copyfile(store.address(path), temporary)
        with temporary.open("r+b") as file:
            for offset in offsets:
                file.seek(offset)
                length = _member_length(file)
                file.seek(offset)
                file.write(purged_member(f"{path}@{offset}", reason, length))
            file.flush()
            os.fsync(file.fileno())


def _member_length(file: Any) -> int:
    """Bytes of the gzip member that begins here."""
    unpacker, read = zlib.decompressobj(zlib.MAX_WBITS | 16), 0
    while not unpacker.eof:
        chunk = file.read(1 << 16)
        if not chunk:
            raise StoreError("an archive ends within a record: run gristmill status --verify")
        unpacker.decompress(chunk)
        read += len(chunk)
    return read - len(unpacker.unused_data)


def purged_member(place: str, reason: str, length: int) -> bytes:
    """A gzip member of exactly so many bytes whose record says that a response was purged. Raises StoreError."""
    for text in (f"purged: {reason}", "purged", ""):
        blanks = length
        while blanks > 0:  # stored data grow by a byte a blank, and by a few for each block and digit
            member = _packed(_record(place, text, blanks), stored=True)
            if len(member) <= length - _LEAST_EXTRA or len(member) == length:
                break
            blanks -= max(1, len(member) - length)
        else:
            member = _packed(_record(place, text, 0), stored=False)
        missing = length - len(member)
        if missing == 0:
            return member
        if _LEAST_EXTRA <= missing <= _MOST_EXTRA:
            extra = struct.pack("<H", missing - 2) + b"\0" * (missing - 2)
            return member[:3] + b"\x04" + member[4:_HEADER] + extra + member[_HEADER:]
    raise StoreError(f"the record at {place} cannot be purged: it is too short to say so")


def _record(place: str, text: str, blanks: int) -> bytes:
    body = text.encode() + b" " * blanks
    head = f"WARC/1.1\r\nWARC-Type: {PURGED_TYPE}\r\nWARC-Record-ID: <purged:{place}>\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body + b"\r\n\r\n"


def _packed(record: bytes, stored: bool) -> bytes:
    """A gzip member, its data uncompressed where its length is to grow with them."""
    packer = zlib.compressobj(0 if stored else 9, zlib.DEFLATED, -zlib.MAX_WBITS)
    data = packer.compress(record) + packer.flush()
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + data + struct.pack("<II", zlib.crc32(record), len(record) & 0xFFFFFFFF)


def _renew_records(store: Store, path: str) -> None:
    """Part record and manifest of the artifact say what the file's bytes are now."""
    _, stage, key, name = path.split("/", 3)
    ref = Ref(stage=stage, key=key)
    manifest = read_manifest(store, ref)
    if manifest is None:
        return
    digest = sha256_of(store.local_copy(path))

    def renewed(part: PartRecord) -> PartRecord:
        files = tuple(
            FileRecord(**{**file.model_dump(), "sha256": digest}) if file.path == name else file for file in part.files
        )
        return part.model_copy(update={"files": files})

    parts = tuple(renewed(part) for part in manifest.parts)
    for part in parts:
        store.write_bytes(record_path(ref, part.part), part.model_dump_json(indent=1).encode())
    whole = manifest.model_copy(update={"parts": parts})
    store.write_bytes(f"{ref.folder}/manifest.json", whole.model_dump_json(indent=1).encode())
