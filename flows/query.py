"""Questions to the store: the catalog with the order of training data, and the answers that commands print."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import duckdb

from tasks.train.order import StoredOrder
from warehouse import catalog, log
from warehouse.artifact import Ref
from warehouse.catalog import quoted
from warehouse.errors import GristmillError
from warehouse.store import Store

# What a query can do without touching a file; tables that it makes live in memory.
_READING = frozenset(
    getattr(duckdb.StatementType, name) for name in ("SELECT", "CREATE", "INSERT", "UPDATE", "DELETE", "DROP")
)
_EXPLAIN = re.compile(r"\s*EXPLAIN\s+(?:ANALYZE\s+)?(?:\([^)]*\)\s*)?", re.IGNORECASE)
_HISTORY = re.compile(
    r"history|documents_at_step|steps_of|query", re.IGNORECASE
)  # query() and query_table() may hide it
FORBIDDEN = "file system operations are disabled by configuration"  # in what DuckDB says
FUNNEL = """
SELECT stage, subject, rule, documents_in, documents_out, bytes_in, bytes_out FROM funnel
WHERE documents_in <> documents_out OR rule = 'duplicate near'"""
SCORES = """
SELECT task, shots, metric, model, value, stderr, n, clean_value, overlap FROM evaluations WHERE NOT contains(task, ',')
ORDER BY task, shots, metric, value"""


def connect(
    store: Store,
    as_of: str | None = None,
    recipe: str = "",
    own: Mapping[str, Sequence[Ref]] | None = None,
    history: bool = True,
) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
    """A connection with every view and macro; see warehouse.catalog.connect."""
    return catalog.connect(store, as_of, StoredOrder(store, as_of, recipe), recipe, own, history)


def add_history(connection: duckdb.DuckDBPyConnection, store: Store, as_of: str | None, recipe: str) -> None:
    """Adds what a connection without history lacks; see warehouse.catalog.add_history."""
    catalog.add_history(connection, store, StoredOrder(store, as_of, recipe))


def asks_history(query: str) -> bool:
    """Whether a query reads what earlier runs made; a query that does not is spared the listing of it."""
    return _HISTORY.search(query) is not None


def confine(connection: duckdb.DuckDBPyConnection, store: Store) -> None:
    """From here on queries of this connection read the store's tables and no other file, and settings stay what they are."""
    folders = quoted([store.address(f"{folder}/") for folder in ("artifacts", log.METRICS)])
    connection.execute("SET allow_persistent_secrets = false")
    connection.execute(f"SET allowed_directories = [{folders}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def check(connection: duckdb.DuckDBPyConnection, query: str) -> None:
    """Raises GristmillError for a statement that could write a file where the store's own can be read."""
    for statement in connection.extract_statements(query):
        kind, text = statement.type, statement.query
        explained = _EXPLAIN.match(text)
        if kind == duckdb.StatementType.EXPLAIN and explained is not None:
            check(connection, text[explained.end() :])  # EXPLAIN ANALYZE does what it explains
        elif kind not in _READING:
            raise GristmillError(
                f"{kind.name.replace('_', ' ')} is no question: queries only read; --allow-files lets them read and write files too"
            )


def rows(
    store: Store,
    query: str,
    parameters: list[Any] | None = None,
    own: Mapping[str, Sequence[Ref]] | None = None,
    recipe: str = "",
) -> list[dict[str, Any]]:
    """The answer to a query as dictionaries; of a recipe, or of the artifacts that are named, where some are."""
    with connect(store, recipe=recipe, own=own, history=asks_history(query)) as connection:
        return list(connection.sql(query, params=parameters or []).to_arrow_table().to_pylist())
