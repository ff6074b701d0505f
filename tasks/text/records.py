"""The records of a file: JSON lines, JSON, Parquet, Arrow, and tables of columns (CSV, TSV), packed or not."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from warehouse.errors import GristmillError

OF_COLUMNS = (".csv", ".tsv", ".tab", ".txt")
OF_LINES = (".jsonl", ".ndjson")
KINDS = (".parquet", ".arrow", ".json", *OF_LINES, *OF_COLUMNS)
UNPACK: Mapping[str, Callable[[bytes], bytes]] = {".gz": gzip.decompress, ".bz2": bz2.decompress}


def records(
    path: Path, columns: Sequence[str] = (), separator: str = "", quotes: bool = True
) -> Iterator[dict[str, Any]]:
    """Records by column; the rest is for tables of columns.

    ``columns`` names those of a table that has no line of names, ``separator`` is a comma in .csv and else a tab, ``quotes``
    whether cells may stand in double quotes, which between tabs they never do. Raises GristmillError for another kind of file, or
    one that is not what its name says.
    """
    kinds = [suffix for suffix in path.suffixes if suffix not in UNPACK]
    kind = kinds[-1] if kinds else ""
    if kind not in KINDS:
        raise GristmillError(f"{path.name} is none of the kinds that records are read from: {', '.join(KINDS)}")
    try:
        if kind == ".parquet":
            yield from pq.read_table(path).to_pylist()
        elif kind == ".arrow":
            with path.open("rb") as raw:
                yield from pa.ipc.open_stream(raw).read_all().to_pylist()
        elif kind in OF_COLUMNS:
            yield from _table(_text(path), columns, separator or ("," if kind == ".csv" else "\t"), quotes)
        elif kind in OF_LINES:
            yield from _lines(_text(path))
        else:
            yield from _listed(_text(path))
    except (ValueError, TypeError, csv.Error, pa.ArrowException, OSError, EOFError) as error:
        raise GristmillError(f"{path.name} cannot be read ({type(error).__name__}: {error})") from error


def _text(path: Path) -> str:
    raw = path.read_bytes()
    unpacked = UNPACK[path.suffix](raw) if path.suffix in UNPACK else raw
    return unpacked.decode("utf-8-sig")


def _lines(text: str) -> Iterator[dict[str, Any]]:
    return (json.loads(line) for line in text.split("\n") if line.strip())


def _listed(text: str) -> list[dict[str, Any]]:
    """A list of records, the first one that a record holds, or records line by line, which .json may be as well."""
    try:
        found = json.loads(text)
    except ValueError:
        return list(_lines(text))
    lists = [found] if isinstance(found, list) else [value for value in found.values() if isinstance(value, list)]
    return list(lists[0]) if lists else [found]


def _table(text: str, columns: Sequence[str], separator: str, quotes: bool) -> Iterator[dict[str, Any]]:
    """Rows of columns; where a row has more cells than there are names, those are left out."""
    csv.field_size_limit(sys.maxsize)
    quoted = quotes and separator != "\t"
    # Without quotes a line is a row, whatever other marks Unicode counts as line ends.
    lines = io.StringIO(text, newline="") if quoted else iter(text.replace("\r\n", "\n").split("\n"))
    reader = csv.reader(lines, delimiter=separator, quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE)
    names = list(columns) or next(reader, [])
    yield from (dict(zip(names, row, strict=False)) for row in reader if row)
