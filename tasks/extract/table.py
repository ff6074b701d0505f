"""extract from texts that need no extraction: Parquet and JSON lines by named columns, and plain files."""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from tasks.extract.extraction import Extraction
from tasks.extract.files import ExternalFile, FilesSettings, external_files
from tasks.extract.metadata import Metadata
from tasks.extract.page import Documents, Extracted, ExtractSettings, PageRefused
from tasks.http import decode
from tasks.urls import canonical_url
from warehouse.artifact import PartWriter, part_name
from warehouse.errors import SettingError
from warehouse.store import Store

NAME_DIGITS = 16
DATE_CHARS = 10  # of ISO 8601: the day
Kind = Literal["parquet", "jsonl", "text"]


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


class ExtractTable(Extraction):
    """Documents of one source, from texts that somebody else extracted."""

    version = 3

    def __init__(self, store: Store, settings: ExtractSettings, kind: Kind, texts: FilesSettings, source: str) -> None:
        super().__init__(store, settings, {}, source)
        self._kind, self._texts, self._files = kind, texts, external_files(store, texts)

    @property
    def source_identity(self) -> dict[str, Any]:
        columns = {name: value for name, value in self._texts.identity().items() if name.endswith("_column")}
        names = {"names": [file.name for file in self._files]} if self._kind == "text" else {}
        content = [file.digest for file in self._files]
        return {**self.settings.identity(), "kind": self._kind, "files": content, **columns, **names}

    def plan(self) -> Sequence[str]:
        return [part_name(self.subject, number) for number in range(len(self._parts))]

    def part_source(self, part: str) -> Sequence[str]:
        pieces = self._parts[list(self.plan()).index(part)]
        columns = [name for name in self._columns() if isinstance(self._texts, TableSettings)]
        return [self._kind, *columns, *(f"{p.file.digest} {p.file.name} {p.start} {p.stop}" for p in pieces)]

    def read(self, part: str, documents: Documents, writer: PartWriter) -> None:
        """Reads the part's pieces of files, in the order of their content."""
        for piece in self._parts[list(self.plan()).index(part)]:
            read = {"parquet": self._parquet, "jsonl": self._jsonl, "text": self._text}[self._kind]
            for row in read(piece):
                self._take(row, documents)

    @cached_property
    def _parts(self) -> list[list[Slice]]:
        """Pieces of files, as many to a part as make ``part_bytes``."""
        parts: list[list[Slice]] = []
        room = 0
        for piece in (piece for file in self._files for piece in self._slices(file)):
            if room <= 0:
                parts.append([])
                room = self.settings.part_bytes
            parts[-1].append(piece)
            room -= piece.size
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

    def _parquet(self, piece: Slice) -> Iterator[dict[str, Any]]:
        with piece.file.open() as stream:
            parquet = pq.ParquetFile(stream)
            wanted = [name for name in self._columns() if name in parquet.schema_arrow.names]
            self._check(parquet.schema_arrow.names, piece.file)
            for batch in parquet.iter_batches(row_groups=[piece.start], columns=wanted):
                yield from batch.to_pylist()

    def _jsonl(self, piece: Slice) -> Iterator[dict[str, Any]]:
        """The lines that begin within the piece."""
        with piece.file.open() as stream:
            lines: Any = gzip.GzipFile(fileobj=stream) if piece.file.name.endswith(".gz") else stream
            at = 0
            if piece.start:
                lines.seek(piece.start - 1)
                at = piece.start - 1 + len(lines.readline())
            for line in _until_broken(lines):
                if lines is stream and at >= piece.stop:
                    return
                row = _json(line)
                if line.strip():
                    yield row if row is not None else {"": f"{piece.file.name}@{at}"}
                at += len(line)

    def _text(self, piece: Slice) -> Iterator[dict[str, Any]]:
        with piece.file.open() as stream:
            body = stream.read()
        yield {"text": decode(body, "text/plain"), "id": piece.file.name, "title": Path(piece.file.name).stem}

    def _take(self, row: dict[str, Any], documents: Documents) -> None:
        text_column, url_column, id_column, title_column, date_column = self._columns()
        text = row.get(text_column)
        if not isinstance(text, str):
            name = row.get("") or row.get(id_column) or "a row"
            reason = "no JSON object" if "" in row else f"no text in the column {text_column}"
            documents.refuse(f"{self.subject}:{name}", 0, PageRefused("malformed record", reason, failed=True))
            return
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        title, date = row.get(title_column), row.get(date_column)
        found = Extracted(text, Metadata(str(title) if title else None, str(date)[:DATE_CHARS] if date else None))
        documents.read_text(self._name(row.get(url_column), row.get(id_column), digest), found, digest)

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


def _until_broken(lines: Any) -> Iterator[bytes]:
    """The lines of a packed file as far as it can be unpacked, then one that is no JSON and so is reported."""
    try:
        yield from lines
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        yield f"the packed file is broken: {error}".encode()


def _json(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None
