"""Rows of tables, and lines of JSON, as whoever made them has them: what is no row says so and costs itself alone."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pyarrow as pa

from tasks.extract.files import BROKEN, is_of_the_system

DATE_CHARS = 10  # of ISO 8601: the day
ROWS = 256  # that are read together
ARRAY_BYTES = 4096  # in which an array of objects shows itself
LATEST_SECOND = 253_402_300_799  # the year 9999; a larger number counts thousandths of seconds, or of those
ENDLESS, CUT_SHORT = b"a line without end", b"the packed file is broken"  # what stands for such a line
LONGEST_LINE = 64 << 20  # bytes of JSON lines: what is longer is no record


class Unread(NamedTuple):
    """Where something stands that is no row, and why."""

    place: str
    reason: str


Row = dict[str, Any] | Unread
Rows = tuple[int, Callable[[], list[Row]]]  # the place of the first, and all of them


def rows_of(batch: pa.RecordBatch) -> list[Row]:
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


def at_path(row: dict[str, Any], path: str) -> Any:
    """The value of a column, or of a path through columns of structures: ``metadata.url``."""
    if path in row or "." not in path:
        return row.get(path)
    first, _, rest = path.partition(".")
    inner = row.get(first)
    return at_path(inner, rest) if isinstance(inner, dict) else None


def utf8(value: Any) -> Any:
    """Text that a table holds as bytes."""
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


def day_of(date: Any) -> str | None:
    """A date as ISO 8601 has it: of text its first ten characters, of a number the day of so many seconds (or thousandths) since 1970."""
    if isinstance(date, int | float) and not isinstance(date, bool):
        seconds = float(date)
        while LATEST_SECOND < abs(seconds) < math.inf:
            seconds /= 1000
        try:
            return datetime.fromtimestamp(seconds, UTC).date().isoformat()
        except (ValueError, OverflowError, OSError):
            return None
    return str(date)[:DATE_CHARS] if date else None


def begins_an_array(lines: Any) -> bool:
    """Whether a file is one JSON array: its first line is no object, and begins as an array of them does."""
    try:
        start = lines.read(ARRAY_BYTES).lstrip(b"\xef\xbb\xbf \t\r\n")
        lines.seek(0)
    except BROKEN:
        return False  # reading its lines says so
    return bool(start[:1] == b"[" and start[1:].lstrip()[:1] in (b"{", b"", b"]"))


def line_of(lines: Any) -> Iterator[bytes]:
    """One line, in pieces that bound what is held."""
    while piece := lines.readline(LONGEST_LINE):
        yield piece
        if piece.endswith(b"\n"):
            return


def until_broken(lines: Any) -> Iterator[tuple[bytes, int]]:
    """The lines of a file and their sizes, as far as it can be unpacked; what is no JSON is reported as that.

    That is what stands for a line beyond all bounds, and for the rest of a packed file that is broken. What has no size is
    said before more is read.
    """
    try:
        while True:
            pieces = line_of(lines)
            line = next(pieces, b"")
            if not line:
                return
            if len(line) == LONGEST_LINE and not line.endswith(b"\n"):
                yield ENDLESS, 0
                yield b"\n", len(line) + sum(map(len, pieces))
            else:
                yield line, len(line)
    except BROKEN as error:
        if is_of_the_system(error):
            raise
        yield CUT_SHORT + f": {error}".encode(), 0


def objects(lines: Sequence[tuple[int, bytes]], name: str) -> list[Row]:
    """The objects of lines; of what is none, where it stands."""
    found: list[Row] = []
    for at, line in lines:
        if line.strip():
            row = _json(line)
            reason = line.decode("utf-8", "replace") if line.startswith((ENDLESS, CUT_SHORT)) else "no JSON object"
            found.append(row if row is not None else Unread(f"{name}@{at}", reason))
    return found


def _json(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None
