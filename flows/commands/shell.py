"""SQL on the terminal: one answer, or a shell."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.query import FORBIDDEN, add_history, asks_history, check, confine, connect
from flows.terminal import plain, visible
from tasks.core.process import is_out_of_memory
from warehouse.errors import GristmillError, SettingError
from warehouse.store import Store

FORMATS = ("table", "csv", "json", "parquet")
SHOWN_ROWS = 40
BATCH_ROWS = 2048
HISTORY = Path.home() / ".gristmill_history"


def answer(
    store: Store,
    query: str,
    fmt: str,
    as_of: str | None,
    empty: str = "",
    allow_files: bool = False,
    recipe: str = "",
) -> None:
    """Runs a query and prints its rows; ``empty`` is the error where there is none."""
    if fmt not in FORMATS:
        raise SettingError(f"there is no format {fmt}: use one of {', '.join(FORMATS)}")
    with connect(store, as_of, recipe, history=asks_history(query)) as connection:
        if not allow_files:
            confine(connection, store)
        with explained():
            show(ask(connection, query, allow_files), fmt, empty)


def ask(connection: duckdb.DuckDBPyConnection, query: str, allow_files: bool = False) -> pa.RecordBatchReader:
    """The rows of a query, as they come. Raises GristmillError with DuckDB's own explanation, or where it would write."""
    with explained():
        if not allow_files:
            check(connection, query)
        relation = connection.sql(query)
        if relation is None:
            return pa.RecordBatchReader.from_batches(pa.schema([]), [])
        return relation.to_arrow_reader(BATCH_ROWS)


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Turns what DuckDB says into a sentence without its report of leaks."""
    try:
        yield
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        if isinstance(error, BrokenPipeError):
            raise
        said = str(error).split("\n\nLINE")[0].split("Detected leak")[0].strip()
        if is_out_of_memory(error):
            said = "the query needs more memory than there is: ask for fewer rows or columns, or sum them up"
        elif FORBIDDEN in said:
            said = f"{said.partition(FORBIDDEN)[0].strip()} queries read what the store holds: --allow-files lets them read and write files too"
        raise GristmillError(said) from error


def show(rows: pa.RecordBatchReader, fmt: str, empty: str = "") -> None:
    """Prints rows in a format as they come; Parquet goes to standard output as bytes.

    Raises GristmillError with ``empty``, where that is given and there are none.
    """
    first = next(rows, None)
    while first is not None and not first.num_rows:
        first = next(rows, None)
    if first is None:
        if empty:
            raise GristmillError(empty)
        first = rows.schema.empty_table().to_batches() or [pa.RecordBatch.from_pylist([], rows.schema)]
        batches: Iterator[pa.RecordBatch] = iter(first)
    else:
        batches = itertools.chain([first], rows)
    {"csv": _write_csv, "parquet": _write_parquet, "json": _write_json, "table": _print_table}[fmt](
        rows.schema, batches
    )


def _write_csv(schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> None:
    out: Any = io.BytesIO() if sys.stdout.isatty() else sys.stdout.buffer
    try:
        with pyarrow.csv.CSVWriter(out, schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
                _pass_on(out)
    except pa.ArrowInvalid as error:
        raise GristmillError(f"this answer does not fit into CSV ({error}): use --format json or parquet") from error
    _pass_on(out)


def _pass_on(out: Any) -> None:
    """What was written for a terminal, made visible."""
    if isinstance(out, io.BytesIO):
        sys.stdout.write(visible(out.getvalue().decode()))
        out.seek(0)
        out.truncate()


def _write_parquet(schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> None:
    with pyarrow.parquet.ParquetWriter(sys.stdout.buffer, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)


def _write_json(schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> None:
    between = "[\n "
    for batch in batches:
        for row in batch.to_pylist():
            content = {name: _json(value) for name, value in row.items()}
            text = json.dumps(content, default=str, ensure_ascii=sys.stdout.isatty(), indent=1)
            sys.stdout.write(between + text.replace("\n", "\n "))
            between = ",\n "
    sys.stdout.write("[]\n" if between.startswith("[") else "\n]\n")


def _json(value: object) -> object:
    """JSON has no numbers for infinity and what is no number: they are null, as in JavaScript's own."""
    if isinstance(value, dict):
        return {name: _json(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_json(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _print_table(schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> None:
    console = Console(highlight=False)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for field in schema:
        number = pa.types.is_integer(field.type) or pa.types.is_floating(field.type) or pa.types.is_decimal(field.type)
        table.add_column(plain(field.name), justify="right" if number else "left", overflow="fold")
    rows: list[dict[str, Any]] = []
    for batch in batches:  # what is not shown is not asked for
        rows += batch.slice(0, SHOWN_ROWS + 1 - len(rows)).to_pylist()
        if len(rows) > SHOWN_ROWS:
            break
    for row in rows[:SHOWN_ROWS]:
        table.add_row(*(_cell(value) for value in row.values()))
    console.print(table)
    if len(rows) > SHOWN_ROWS:
        console.print(f"[dim]the first {SHOWN_ROWS} rows; all of them with --format csv, json or parquet[/dim]")


def _cell(value: object) -> Text:
    if value is None:
        return Text("")
    if isinstance(value, float):
        return Text(f"{value:,.4g}" if abs(value) < 1e6 else f"{value:,.0f}")
    text = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
    return plain(text if len(text) <= 300 else f"{text[:299]}…")


def shell(store: Store, as_of: str | None, allow_files: bool = False, recipe: str = "") -> None:
    """Reads queries that end in a semicolon and prints their answers, until the end of input."""
    with contextlib.suppress(ImportError, OSError):
        import readline

        readline.read_history_file(HISTORY)
    with connect(store, as_of, recipe, history=False) as connection:
        views = [
            name
            for (name,) in connection.sql(
                "SELECT table_name FROM information_schema.tables WHERE table_schema = 'main' ORDER BY ALL"
            ).fetchall()
        ]
        sys.stdout.write(f"Views: {', '.join(views)}.\nEnd a query with a semicolon; leave with Ctrl-D.\n")
        if not allow_files:
            confine(connection, store)
        pending, has_history = "", False
        while True:
            try:
                pending += input("gristmill> " if not pending else "      ...> ") + "\n"
            except EOFError:
                break
            if pending.rstrip().endswith(";"):
                try:
                    with explained():
                        if asks_history(pending) and not has_history:
                            add_history(connection, store, as_of, recipe)
                            has_history = True
                        show(ask(connection, pending, allow_files), "table")
                except GristmillError as error:
                    sys.stdout.write(f"{visible(str(error))}\n")
                pending = ""
    with contextlib.suppress(ImportError, OSError):
        import readline

        readline.write_history_file(HISTORY)
