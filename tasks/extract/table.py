"""extract from texts that need no extraction: Parquet and JSON lines by named columns, and plain files."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
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
from tasks.extract.files import (
    BROKEN,
    ExternalFile,
    FilesSettings,
    external_files,
    groups_of,
    hashed,
    is_of_the_system,
)
from tasks.extract.metadata import Metadata
from tasks.extract.page import Extracted, ExtractSettings, PageRefused, Read, well_formed
from tasks.extract.rows import (
    LONGEST_LINE,
    ROWS,
    Row,
    Rows,
    Unread,
    at_path,
    begins_an_array,
    day_of,
    line_of,
    objects,
    rows_of,
    until_broken,
    utf8,
)
from tasks.web.addresses import scrubbed
from tasks.web.charsets import decode
from tasks.web.urls import canonical_url
from warehouse.artifact import part_name
from warehouse.errors import SettingError
from warehouse.store import Store

NAME_DIGITS = 16
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
    rows: int = 0  # of a row group
    broken: str = ""  # why it cannot be read

    @property
    def title(self) -> str:
        """Which piece of which file, for people."""
        return f"{self.file.name}@{self.start}" if self.start else self.file.name


class ExtractTable(Extraction):
    """Documents of one source, from texts that somebody else extracted."""

    version = 6

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
        equal = Counter[str]()
        for group in groups_of(self._files, self.settings.part_bytes):
            chunks, room = list[list[Slice]](), 0
            name = hashed("".join(file.digest for file in group))[:NAME_DIGITS]
            equal[name] += 1  # of equal files each is a part with a name of its own
            name = name if equal[name] == 1 else f"{name}.{equal[name]}"
            for piece in (piece for file in group for piece in self._slices(file)):
                if not chunks or (room <= 0 and len(group) == 1):
                    chunks.append([])
                    room = self.settings.part_bytes
                chunks[-1].append(piece)
                room -= piece.size
            parts |= {part_name(f"{self.subject}-{name}", number): chunk for number, chunk in enumerate(chunks or [[]])}
        return parts

    def _slices(self, file: ExternalFile) -> list[Slice]:
        if self._kind == "parquet":
            try:
                with file.open() as stream:
                    metadata = pq.ParquetFile(stream).metadata
            except (pa.ArrowException, OSError) as error:
                if is_of_the_system(error):
                    raise
                return [Slice(file, 0, 0, file.size, broken=f"no Parquet file: {error}")]
            groups = [metadata.row_group(n) for n in range(metadata.num_row_groups)]
            return [Slice(file, n, n + 1, group.total_byte_size, group.num_rows) for n, group in enumerate(groups)]
        if self._kind == "jsonl" and not file.is_packed:
            count = max(1, math.ceil(file.size / self.settings.part_bytes))
            bounds = [file.size * n // count for n in range(count + 1)]
            return [Slice(file, a, b, b - a) for a, b in pairwise(bounds)]
        return [Slice(file, 0, file.size, file.size)]

    def _parquet(self, piece: Slice) -> Iterator[Rows]:
        """The rows of a row group; those that damage took are said one by one, so that every row is accounted for."""
        if piece.broken:
            yield 0, partial(list, [Unread(piece.title, piece.broken)])
            return
        place = 0
        with piece.file.open() as stream:
            parquet = pq.ParquetFile(stream)
            wanted = {name.partition(".")[0] for name in self._columns()} | set(self._columns())
            names = [name for name in parquet.schema_arrow.names if name in wanted]
            self._check(parquet.schema_arrow.names, piece.file)
            try:
                for batch in parquet.iter_batches(ROWS, row_groups=[piece.start], columns=names, use_threads=False):
                    yield place, partial(rows_of, batch)
                    place += batch.num_rows
            except (pa.ArrowException, OSError) as error:
                if is_of_the_system(error):
                    raise
                lost = [Unread(f"{piece.title}, row {row}", f"damaged: {error}") for row in range(place, piece.rows)]
                for first in range(0, len(lost), ROWS):
                    yield place + first, partial(list, lost[first : first + ROWS])

    def _jsonl(self, piece: Slice) -> Iterator[Rows]:
        """The lines that begin within the piece."""
        with piece.file.unpacked() as lines:
            at = 0
            if begins_an_array(lines):
                if not piece.start:
                    yield 0, partial(list, [Unread(piece.file.name, "a JSON array, and no lines of one object each")])
                return
            if piece.start:
                lines.seek(piece.start - 1)
                at = piece.start - 1 + sum(map(len, line_of(lines)))
            begun: list[tuple[int, bytes]] = []
            held = 0
            for line, size in until_broken(lines):
                if not piece.file.is_packed and at >= piece.stop:
                    break
                begun.append((at, line))
                at, held = at + size, held + len(line)
                if len(begun) == ROWS or held >= LONGEST_LINE or not size:
                    yield begun[0][0], partial(objects, begun, piece.file.name)
                    begun, held = [], 0
            yield at, partial(objects, begun, piece.file.name)

    def _text(self, piece: Slice) -> Iterator[Rows]:
        name = piece.file.name
        try:
            with piece.file.unpacked() as stream:
                body = stream.read()
        except BROKEN as error:
            if is_of_the_system(error):
                raise
            yield 0, partial(list, [Unread(name, f"the packed file is broken: {error}")])
            return
        title = Path(name.rpartition(".")[0] if piece.file.is_packed else name).stem
        yield 0, lambda: [{"text": decode(body, "text/plain"), "id": name, "title": title}]

    def _documents(self, rows: Callable[[], list[Row]]) -> list[Read]:
        return [self._document(row) for row in rows()]

    def _document(self, row: Row) -> Read:
        text_column, url_column, id_column, title_column, date_column = self._columns()
        if isinstance(row, Unread):
            return _malformed(f"{self.subject}:{row.place}", row.reason)
        text, identity = utf8(at_path(row, text_column)), at_path(row, id_column)
        if not isinstance(text, str):
            reason = "the text is not UTF-8" if isinstance(text, bytes) else f"no text in the column {text_column}"
            return _malformed(f"{self.subject}:{identity or 'a row'}", reason)
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        title = utf8(at_path(row, title_column))
        found = Extracted(text, Metadata(str(title) if title else None, day_of(at_path(row, date_column))))
        url = self._name(utf8(at_path(row, url_column)), utf8(identity), digest)
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
        if not {self._columns()[0], self._columns()[0].partition(".")[0]} & set(names):
            raise SettingError(
                f"{file.name} has no column {self._columns()[0]}: set text_column of the source {self.subject} to one of {', '.join(names)}"
            )


def _malformed(name: str, reason: str) -> Read:
    return Read(name, 0, found=PageRefused("malformed record", reason, failed=True))
