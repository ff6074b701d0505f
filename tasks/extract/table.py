"""extract from texts that need no extraction: Parquet and JSON lines by named columns, and plain files."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from tasks.core.confined import Thing
from tasks.extract.extraction import Extraction, opens
from tasks.extract.files import ExternalFile, FilesSettings, external_files, groups_of, hashed
from tasks.extract.metadata import Metadata
from tasks.extract.page import Extracted, ExtractSettings, PageRefused, Read, well_formed
from tasks.web.addresses import scrubbed
from tasks.web.http import decode
from tasks.web.urls import canonical_url
from warehouse.artifact import part_name
from warehouse.errors import SettingError
from warehouse.store import Store

NAME_DIGITS = 16
DATE_CHARS = 10  # of ISO 8601: the day
ROWS = 256  # that are read together
LONGEST_LINE = 64 << 20  # bytes of JSON lines: what is longer is no record
Kind = Literal["parquet", "jsonl", "text"]
Row = dict[str, Any] | str  # a string says where something stands that is none
Rows = tuple[int, Callable[[], list[Row]]]  # the place of the first, and all of them


class TextSettings(FilesSettings):
    """Plain text files, one document each."""


class TableSettings(FilesSettings):
    """Tables of texts, such as FineWeb's; a column that a table does not have is left empty."""

    text_column: str = Field("text", description="column of the text")
    url_column: str = Field("url", description="column of the URL")
    id_column: str = Field("id", description="column that names a text where it has no URL")
    title_column: str = Field("title", description="column of the title")
    date_column: str = Field("date", description="column of the date, ISO 8601")


@dataclass(frozen=True)
class Slice:
    """A piece of a file: row groups of Parquet, bytes of JSON lines, or all of it."""

    file: ExternalFile
    start: int
    stop: int
    size: int

    @property
    def title(self) -> str:
        """Which piece of which file, for people."""
        return f"{self.file.name}@{self.start}" if self.start else self.file.name


class ExtractTable(Extraction):
    """Documents of one source, from texts that somebody else extracted."""

    version = 4

    def __init__(self, store: Store, settings: ExtractSettings, kind: Kind, texts: FilesSettings, source: str) -> None:
        super().__init__(store, settings, {}, source)
        self._kind, self._texts, self._files = kind, texts, external_files(store, texts)

    @classmethod
    def of(cls, kind: Kind, store: Store, settings: ExtractSettings, texts: FilesSettings, source: str) -> ExtractTable:
        """One whose kind is known before all else."""
        return cls(store, settings, kind, texts, source)

    @property
    def source_identity(self) -> dict[str, Any]:
        columns = {name: value for name, value in self._texts.identity().items() if name.endswith("_column")}
        names = {"names": [file.name for file in self._files]} if self._kind == "text" else {}
        content = [file.digest for file in self._files]
        return {**self.settings.identity(), "kind": self._kind, "files": content, **columns, **names}

    def plan(self) -> Sequence[str]:
        return list(self._parts)

    def part_source(self, part: str) -> Sequence[str]:
        pieces = self._parts[part]
        columns = [name for name in self._columns() if isinstance(self._texts, TableSettings)]
        return [self._kind, *columns, *(f"{p.file.digest} {p.file.name} {p.start} {p.stop}" for p in pieces)]

    def pieces(self, part: str) -> Sequence[str]:
        return [piece.title for piece in self._parts[part]]

    def things(self, part: str, first: int) -> Iterator[Thing[list[Read]]]:
        """The part's pieces of files, in the order of their content, some rows at a time."""
        rows_of = {"parquet": self._parquet, "jsonl": self._jsonl, "text": self._text}[self._kind]
        for number, piece in list(enumerate(self._parts[part]))[first:]:
            yield opens(number)
            try:
                for place, rows in rows_of(piece):
                    yield Thing(Read(f"{piece.title}, row {place}", 0), partial(self._documents, rows))
            except (pa.ArrowException, OSError) as error:
                yield Thing(None, partial(list, [_malformed(piece.title, scrubbed(str(error)))]))

    @cached_property
    def _parts(self) -> dict[str, list[Slice]]:
        """Part -> its pieces: some small files whole, or of one file as much as makes ``part_bytes``."""
        parts: dict[str, list[Slice]] = {}
        for group in groups_of(self._files, self.settings.part_bytes):
            name, chunks, room = hashed("".join(file.digest for file in group))[:NAME_DIGITS], list[list[Slice]](), 0
            for piece in (piece for file in group for piece in self._slices(file)):
                if not chunks or (room <= 0 and len(group) == 1):
                    chunks.append([])
                    room = self.settings.part_bytes
                chunks[-1].append(piece)
                room -= piece.size
            parts |= {part_name(f"{self.subject}-{name}", number): chunk for number, chunk in enumerate(chunks)}
        return parts

    def _slices(self, file: ExternalFile) -> list[Slice]:
        if self._kind == "parquet":
            try:
                with file.open() as stream:
                    metadata = pq.ParquetFile(stream).metadata
            except pa.ArrowInvalid as error:
                raise SettingError(f"{file.name} is no Parquet file: {error}") from error
            sizes = [metadata.row_group(n).total_byte_size for n in range(metadata.num_row_groups)]
            return [Slice(file, n, n + 1, size) for n, size in enumerate(sizes)]
        if self._kind == "jsonl" and not file.name.endswith(".gz"):
            count = max(1, math.ceil(file.size / self.settings.part_bytes))
            bounds = [file.size * n // count for n in range(count + 1)]
            return [Slice(file, a, b, b - a) for a, b in pairwise(bounds)]
        return [Slice(file, 0, file.size, file.size)]

    def _parquet(self, piece: Slice) -> Iterator[Rows]:
        with piece.file.open() as stream:
            parquet = pq.ParquetFile(stream)
            wanted = [name for name in self._columns() if name in parquet.schema_arrow.names]
            self._check(parquet.schema_arrow.names, piece.file)
            place = 0
            for batch in parquet.iter_batches(ROWS, row_groups=[piece.start], columns=wanted, use_threads=False):
                yield place, partial(_rows_of, batch)
                place += batch.num_rows

    def _jsonl(self, piece: Slice) -> Iterator[Rows]:
        """The lines that begin within the piece."""
        raw: Any = piece.file.open()  # some of fsspec's read no part of a line
        with io.BufferedReader(raw) as stream:
            lines: Any = gzip.GzipFile(fileobj=stream) if piece.file.name.endswith(".gz") else stream
            at = 0
            if piece.start:
                lines.seek(piece.start - 1)
                at = piece.start - 1 + sum(map(len, _line(lines)))
            begun: list[tuple[int, bytes]] = []
            held = 0
            for line, size in _until_broken(lines):
                if lines is stream and at >= piece.stop:
                    break
                begun.append((at, line))
                at, held = at + size, held + len(line)
                if len(begun) == ROWS or held >= LONGEST_LINE or not size:
                    yield begun[0][0], partial(_objects, begun, piece.file.name)
                    begun, held = [], 0
            yield at, partial(_objects, begun, piece.file.name)

    def _text(self, piece: Slice) -> Iterator[Rows]:
        with piece.file.open() as stream:
            body = stream.read()
        row = {"text": decode(body, "text/plain"), "id": piece.file.name, "title": Path(piece.file.name).stem}
        yield 0, lambda: [row]

    def _documents(self, rows: Callable[[], list[Row]]) -> list[Read]:
        return [self._document(row) for row in rows()]

    def _document(self, row: Row) -> Read:
        text_column, url_column, id_column, title_column, date_column = self._columns()
        if isinstance(row, str):
            return _malformed(f"{self.subject}:{row}", "no JSON object")
        text = row.get(text_column)
        if not isinstance(text, str):
            reason = "the text is not UTF-8" if isinstance(text, bytes) else f"no text in the column {text_column}"
            return _malformed(f"{self.subject}:{row.get(id_column) or 'a row'}", reason)
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        title, date = row.get(title_column), row.get(date_column)
        found = Extracted(text, Metadata(str(title) if title else None, str(date)[:DATE_CHARS] if date else None))
        url = self._name(row.get(url_column), row.get(id_column), digest)
        return Read(well_formed(url), len(text.encode("utf-8", "surrogatepass")), digest, found)

    def _name(self, url: Any, identity: Any, digest: str) -> str:
        """A text's URL, or else what names it within its source."""
        try:
            return canonical_url(str(url)) if url else f"{self.subject}:{identity or digest[:NAME_DIGITS]}"
        except ValueError:
            return f"{self.subject}:{url}"

    def _columns(self) -> tuple[str, str, str, str, str]:
        texts = self._texts
        if not isinstance(texts, TableSettings):
            return "text", "url", "id", "title", "date"
        return texts.text_column, texts.url_column, texts.id_column, texts.title_column, texts.date_column

    def _check(self, names: list[str], file: ExternalFile) -> None:
        if self._columns()[0] not in names:
            raise SettingError(
                f"{file.name} has no column {self._columns()[0]}: set text_column of the source {self.subject} to one of {', '.join(names)}"
            )


def _malformed(name: str, reason: str) -> Read:
    return Read(name, 0, found=PageRefused("malformed record", reason, failed=True))


def _rows_of(batch: pa.RecordBatch) -> list[Row]:
    """Rows as dictionaries; text that is not UTF-8 stays bytes, and costs its own row."""
    try:
        rows: list[Row] = batch.to_pylist()
    except UnicodeDecodeError:
        columns = {name: _values(column) for name, column in zip(batch.schema.names, batch.columns, strict=True)}
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return rows


def _values(column: pa.Array) -> list[Any]:
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        values: list[Any] = column.to_pylist()
        return values
    found = []
    for value in column.cast(pa.large_binary()).to_pylist():
        try:
            found.append(None if value is None else value.decode())
        except UnicodeDecodeError:
            found.append(value)
    return found


def _line(lines: Any) -> Iterator[bytes]:
    """One line, in pieces that bound what is held."""
    while piece := lines.readline(LONGEST_LINE):
        yield piece
        if piece.endswith(b"\n"):
            return


def _until_broken(lines: Any) -> Iterator[tuple[bytes, int]]:
    """The lines of a file and their sizes, as far as it can be unpacked; what is no JSON is reported as that.

    That is what stands for a line beyond all bounds, and for the rest of a packed file that is broken. What has no size is
    said before more is read.
    """
    try:
        while True:
            pieces = _line(lines)
            line = next(pieces, b"")
            if not line:
                return
            if len(line) == LONGEST_LINE and not line.endswith(b"\n"):
                yield b"a line without end", 0
                yield b"\n", len(line) + sum(map(len, pieces))
            else:
                yield line, len(line)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        yield f"the packed file is broken: {error}".encode(), 0


def _objects(lines: Sequence[tuple[int, bytes]], name: str) -> list[Row]:
    """The objects of lines; of what is none, where it stands."""
    found: list[Row] = []
    for at, line in lines:
        if line.strip():
            row = _json(line)
            found.append(row if row is not None else f"{name}@{at}")
    return found


def _json(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None
