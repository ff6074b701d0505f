"""SQL on the terminal: one answer, or a shell."""

from __future__ import annotations

import contextlib
import math
import sys
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from rich.console import Console
from rich.table import Table

from flows.query import connect
from warehouse.errors import GristmillError, SettingError
from warehouse.store import Store

FORMATS = ("table", "csv", "json", "parquet")
SHOWN_ROWS = 40
HISTORY = Path.home() / ".gristmill_history"


def answer(store: Store, query: str, fmt: str, as_of: str | None, empty: str = "") -> None:
    """Runs a query and prints its rows; ``empty`` is the error where there is none."""
    if fmt not in FORMATS:
        raise SettingError(f"there is no format {fmt}: use one of {', '.join(FORMATS)}")
    with connect(store, as_of) as connection:
        result = ask(connection, query)
    if not result.num_rows and empty:
        raise GristmillError(empty)
    show(result, fmt)


def ask(connection: duckdb.DuckDBPyConnection, query: str) -> pa.Table:
    """The rows of a query. Raises GristmillError with DuckDB's own explanation."""
    try:
        relation = connection.sql(query)
        return relation.to_arrow_table() if relation is not None else pa.table({})
    except duckdb.Error as error:
        raise GristmillError(str(error).split("\n\nLINE")[0].strip()) from error


def show(result: pa.Table, fmt: str) -> None:
    """Prints rows in a format; Parquet goes to standard output as bytes."""
    if fmt == "csv":
        try:
            pa.csv.write_csv(result, sys.stdout.buffer)
        except pa.ArrowInvalid as error:
            raise GristmillError(
                f"this answer does not fit into CSV ({error}): use --format json or parquet"
            ) from error
    elif fmt == "parquet":
        pa.parquet.write_table(result, sys.stdout.buffer)
    elif fmt == "json":
        import json

        content = [{name: _json(value) for name, value in row.items()} for row in result.to_pylist()]
        sys.stdout.write(json.dumps(content, default=str, ensure_ascii=False, indent=1) + "\n")
    else:
        _print_table(result)


def _json(value: object) -> object:
    """JSON has no numbers for infinity and what is no number: they are null, as in JavaScript's own."""
    if isinstance(value, dict):
        return {name: _json(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_json(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _print_table(result: pa.Table) -> None:
    console = Console(highlight=False)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for field in result.schema:
        number = pa.types.is_integer(field.type) or pa.types.is_floating(field.type) or pa.types.is_decimal(field.type)
        table.add_column(field.name, justify="right" if number else "left", overflow="fold")
    for row in result.slice(0, SHOWN_ROWS).to_pylist():
        table.add_row(*(_cell(value) for value in row.values()))
    console.print(table)
    if result.num_rows > SHOWN_ROWS:
        console.print(
            f"[dim]{SHOWN_ROWS} of {result.num_rows:,} rows; all of them with --format csv, json or parquet[/dim]"
        )


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1e6 else f"{value:,.0f}"
    text = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
    text = text.replace("[", "\\[")
    return text if len(text) <= 300 else f"{text[:299]}…"


def shell(store: Store, as_of: str | None) -> None:
    """Reads queries that end in a semicolon and prints their answers, until the end of input."""
    with contextlib.suppress(ImportError, OSError):
        import readline

        readline.read_history_file(HISTORY)
    with connect(store, as_of) as connection:
        views = [
            name
            for (name,) in connection.sql(
                "SELECT table_name FROM information_schema.tables WHERE table_schema = 'main' ORDER BY ALL"
            ).fetchall()
        ]
        sys.stdout.write(f"Views: {', '.join(views)}.\nEnd a query with a semicolon; leave with Ctrl-D.\n")
        pending = ""
        while True:
            try:
                pending += input("gristmill> " if not pending else "      ...> ") + "\n"
            except EOFError:
                break
            if pending.rstrip().endswith(";"):
                try:
                    show(ask(connection, pending), "table")
                except GristmillError as error:
                    sys.stdout.write(f"{error}\n")
                pending = ""
    with contextlib.suppress(ImportError, OSError):
        import readline

        readline.write_history_file(HISTORY)
