"""Artifacts: immutable folders ``artifacts/<stage>/<key>/`` of parts and a manifest.

An artifact exists when its manifest does; a part is made when its record is. Both are pure functions of
settings and inputs: what differs from run to run (times, hosts, memory) goes to the log (``warehouse.log``).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import AfterValidator, BaseModel, ConfigDict

from warehouse.errors import ConservationError, CorruptPart, MissingArtifact
from warehouse.store import Store, is_inside, sha256_of

KEY_LENGTH = 32  # hexadecimal digits: 128 bits of the SHA-256
COMPRESSION = "zstd"
ARCHIVE = "warc/"  # of files whose records stand for themselves
ROW_GROUP_ROWS = 8_192  # few enough that a document here and there is read without all of its part


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _relative(path: str) -> str:
    """A path that a record names; raises ValueError where it is none below the artifact's folder."""
    if not is_inside(path):
        raise ValueError(f"{path!r} is not below its artifact")
    return path


def _name(name: str) -> str:
    """A single name of a path; raises ValueError where it is none."""
    if "/" in name or not is_inside(name):
        raise ValueError(f"{name!r} is no name")
    return name


RelativePath = Annotated[str, AfterValidator(_relative)]
Name = Annotated[str, AfterValidator(_name)]


class FileRecord(_Frozen):
    """One committed file of a part."""

    path: RelativePath  # below the artifact's folder: <table>/<part>.<extension>
    rows: int
    bytes: int
    sha256: str


class Counts(_Frozen):
    """What became of the documents (or pages) that went into a part."""

    documents_in: int = 0
    kept: int = 0
    removed: int = 0
    failed: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(**{name: getattr(self, name) + getattr(other, name) for name in Counts.model_fields})

    @property
    def balanced(self) -> bool:
        """Whether in = kept + removed + failed."""
        return self.documents_in == self.kept + self.removed + self.failed


class PartRecord(_Frozen):
    """The durable statement that a part was made: its files, what was counted, and statistics."""

    part: Name
    files: tuple[FileRecord, ...]
    counts: Counts = Counts()
    statistics: dict[str, Any] = {}


class Ref(_Frozen):
    """A small reference to an artifact, passed between tasks instead of data."""

    stage: Name
    key: Name

    @property
    def folder(self) -> str:
        """The artifact's folder in the store."""
        return f"artifacts/{self.stage}/{self.key}"

    def __str__(self) -> str:
        return f"{self.stage}/{self.key}"


class Manifest(_Frozen):
    """The whole of an artifact: written last, from the part records."""

    stage: str
    subject: str  # which of several artifacts of a stage in one corpus: a source's name, or ""
    version: int
    key: str
    settings: dict[str, Any]
    inputs: dict[str, str]  # name -> key of an input artifact, or content digest of an external one
    counts: Counts
    rows: int
    bytes: int
    parts: tuple[PartRecord, ...]

    @property
    def ref(self) -> Ref:
        """The reference to this artifact."""
        return Ref(stage=self.stage, key=self.key)

    def files(self, table: str) -> Iterator[FileRecord]:
        """The files of one table, in the order of their parts."""
        for part in self.parts:
            yield from (file for file in part.files if file.path.startswith(f"{table}/"))

    def statistic(self, name: str) -> Any:
        """A statistic of an artifact that has one part."""
        return self.parts[0].statistics[name]


def artifact_key(stage: str, version: int, settings: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """The artifact's name: a digest of everything that its content depends on."""
    identity = json.dumps([stage, version, settings, inputs], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(identity.encode()).hexdigest()[:KEY_LENGTH]


class PartWriter:
    """Writes the files of one part, each by the commit protocol, and remembers their records."""

    def __init__(self, store: Store, ref: Ref, part: str) -> None:
        self.store, self.ref, self.part = store, ref, part
        self.files: list[FileRecord] = []

    def table(self, name: str, table: pa.Table, random: Sequence[str] = ()) -> None:
        """Commits an Arrow table as ``<name>/<part>.parquet``; columns of random bits, which do not compress, as they are."""
        others = [column for column in table.column_names if column not in random]
        compression = {**dict.fromkeys(others, COMPRESSION), **dict.fromkeys(random, "none")}
        with self.store.writing(f"{self.ref.folder}/{name}/{self.part}.parquet") as temporary:
            pq.write_table(
                table,
                temporary,
                compression=compression if random else COMPRESSION,
                use_dictionary=others if random else True,
                write_statistics=others if random else True,
                row_group_size=ROW_GROUP_ROWS,
            )
            self._remember(f"{name}/{self.part}.parquet", table.num_rows, temporary)

    def batches(self, name: str, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
        """Commits record batches as ``<name>/<part>.parquet``, one in memory at a time."""
        rows = 0
        with self.store.writing(f"{self.ref.folder}/{name}/{self.part}.parquet") as temporary:
            with pq.ParquetWriter(temporary, schema, compression=COMPRESSION) as stream:
                for batch in batches:
                    stream.write_batch(batch, row_group_size=ROW_GROUP_ROWS)
                    rows += batch.num_rows
            self._remember(f"{name}/{self.part}.parquet", rows, temporary)

    def file(self, name: str, source: Path, rows: int = 0) -> None:
        """Commits a local file as ``<name>`` below the artifact's folder."""
        with self.store.writing(f"{self.ref.folder}/{name}") as temporary:
            temporary.write_bytes(source.read_bytes())
            self._remember(name, rows, temporary)

    def bytes(self, name: str, content: bytes, rows: int = 0) -> None:
        """Commits bytes as ``<name>`` below the artifact's folder."""
        with self.store.writing(f"{self.ref.folder}/{name}") as temporary:
            temporary.write_bytes(content)
            self._remember(name, rows, temporary)

    def _remember(self, path: str, rows: int, temporary: Path) -> None:
        size, digest = temporary.stat().st_size, sha256_of(temporary)
        self.files.append(FileRecord(path=path, rows=rows, bytes=size, sha256=digest))

    def commit(self, counts: Counts, statistics: Mapping[str, Any]) -> PartRecord:
        """Makes the part's record durable: from here on the part exists."""
        if not counts.balanced:
            raise ConservationError(
                f"{self.ref} part {self.part}: {counts.documents_in} in is not {counts.kept} kept + "
                f"{counts.removed} removed + {counts.failed} failed; this is a defect, please report it"
            )
        record = PartRecord(part=self.part, files=tuple(self.files), counts=counts, statistics=dict(statistics))
        self.store.write_bytes(record_path(self.ref, self.part), record.model_dump_json(indent=1).encode())
        return record


def record_path(ref: Ref, part: str) -> str:
    """Where a part's record lies."""
    return f"{ref.folder}/records/{part}.json"


def valid_record(store: Store, ref: Ref, part: str) -> PartRecord | None:
    """The record of a part whose files are all there with their sizes, or None: the one question of resume."""
    try:
        record = PartRecord.model_validate_json(store.read_bytes(record_path(ref, part)))
    except (FileNotFoundError, ValueError):
        return None
    whole = all(store.size(f"{ref.folder}/{file.path}") == file.bytes for file in record.files)
    return record if whole else None


def read_manifest(store: Store, ref: Ref) -> Manifest | None:
    """An artifact's manifest, or None where it does not exist."""
    try:
        return Manifest.model_validate_json(store.read_bytes(f"{ref.folder}/manifest.json"))
    except (FileNotFoundError, ValueError):
        return None


def load(store: Store, ref: Ref) -> Manifest:
    """An artifact's manifest. Raises MissingArtifact."""
    manifest = read_manifest(store, ref)
    if manifest is None:
        raise MissingArtifact(f"the artifact {ref} is not in the store {store.url}: run the flow that makes it")
    return manifest


def complete(store: Store, ref: Ref) -> Manifest | None:
    """The manifest of an artifact whose every file is there with its size, or None.

    Files of archived pages are not asked for: one that is lost costs its own pages, not the crawl.
    """
    manifest = read_manifest(store, ref)
    if manifest is None:
        return None
    files = [file for part in manifest.parts for file in part.files if not file.path.startswith(ARCHIVE)]
    whole = all(store.size(f"{ref.folder}/{file.path}") == file.bytes for file in files)
    return manifest if whole else None


def lost_archives(store: Store, manifest: Manifest) -> list[str]:
    """The files of archived pages that are gone or cut short."""
    files = [file for part in manifest.parts for file in part.files if file.path.startswith(ARCHIVE)]
    return sorted(f.path for f in files if store.size(f"{manifest.ref.folder}/{f.path}") != f.bytes)


def archived(store: Store, path: str) -> tuple[Ref, FileRecord] | None:
    """The record of a file of archived pages by its path below the store, where it is there whole."""
    if not is_inside(path) or path.count("/") < 3:
        return None
    _, stage, key, name = path.split("/", 3)
    ref = Ref(stage=stage, key=key)
    manifest = read_manifest(store, ref)
    found = next((file for file in manifest.files("warc") if file.path == name), None) if manifest is not None else None
    return (ref, found) if found is not None and store.size(path) == found.bytes else None


def write_manifest(store: Store, manifest: Manifest, documents_expected: int | None) -> None:
    """Checks conservation over the whole artifact, then makes it exist."""
    counts = manifest.counts
    if documents_expected is not None and counts.documents_in != documents_expected:
        raise ConservationError(
            f"{manifest.ref} saw {counts.documents_in} documents, its inputs hold {documents_expected}; "
            "this is a defect, please report it"
        )
    if not counts.balanced:
        raise ConservationError(
            f"{manifest.ref}: {counts.documents_in} in is not {counts.kept} kept + {counts.removed} removed + "
            f"{counts.failed} failed; this is a defect, please report it"
        )
    store.write_bytes(f"{manifest.ref.folder}/manifest.json", manifest.model_dump_json(indent=1).encode())


_verified: set[tuple[str, str, int, int]] = set()


def verified_path(store: Store, ref: Ref, file: FileRecord) -> Path:
    """A local path to a file of an artifact whose SHA-256 was checked once in this process.

    A file that does not match is set aside under ``*.corrupt``, so that the next run makes it anew.
    Raises CorruptPart.
    """
    path = f"{ref.folder}/{file.path}"
    if store.size(path) < 0:
        raise CorruptPart(f"{path} is missing from the store {store.url}: run the same command again to make it anew")
    local = store.local_copy(path, file.sha256)
    stat = local.stat()
    identity = (str(local), file.sha256, stat.st_mtime_ns, stat.st_size)
    if identity not in _verified:
        if sha256_of(local) != file.sha256:
            set_aside(store, path, local)
            raise CorruptPart(
                f"{path} does not have the bytes that its record names; it was set aside as "
                f"{Path(path).name}.corrupt: run the same command again to make it anew"
            )
        _verified.add(identity)
    return local


def set_aside(store: Store, path: str, local: Path) -> None:
    """Renames a corrupt file so that nothing reads it again and nothing of it is lost."""
    if store.is_local:
        local.rename(local.with_name(f"{local.name}.corrupt"))
    else:
        store.filesystem.mv(store.address(path), store.address(f"{path}.corrupt"))
        local.unlink()


def read_tables(
    store: Store, ref: Ref, table: str, columns: Sequence[str] | None = None, parts: Sequence[str] | None = None
) -> pa.Table:
    """The rows of a table of an artifact, in the order of its parts (all, or those named), verified."""
    if parts is not None:
        records = [_record(store, ref, part) for part in parts]
        files = [file for record in records for file in record.files if file.path == f"{table}/{record.part}.parquet"]
    else:
        files = list(load(store, ref).files(table))
    pieces = [
        pq.read_table(verified_path(store, ref, file), columns=None if columns is None else list(columns))
        for file in files
    ]
    if not pieces:
        raise MissingArtifact(f"the artifact {ref} has no table {table}")
    return pa.concat_tables(pieces)


def _record(store: Store, ref: Ref, part: str) -> PartRecord:
    record = valid_record(store, ref, part)
    if record is None:  # what the manifest knows is enough
        manifest = complete(store, ref)
        record = next((one for one in manifest.parts if one.part == part), None) if manifest is not None else None
    if record is None:
        raise MissingArtifact(
            f"the part {part} of the artifact {ref} is not whole in the store {store.url}: run the same command again"
        )
    return record


def file_of(store: Store, ref: Ref, table: str, part: str) -> FileRecord:
    """The record of a part's file of a table. Raises MissingArtifact."""
    for file in _record(store, ref, part).files:
        if file.path == f"{table}/{part}.parquet":
            return file
    raise MissingArtifact(f"the artifact {ref} has no part {part} of the table {table}")


def part_name(subject: str, number: int) -> str:
    """The name of a numbered part: sorts in order, is safe in a path."""
    safe = re.sub(r"[^A-Za-z0-9_.-]", "_", subject)
    return f"{safe}-{number:05d}" if safe else f"{number:05d}"
