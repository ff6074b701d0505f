"""Questions to the store: the catalog with the order of training data, and the answers that commands print."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import duckdb

from tasks.pretrain.order import StoredOrder
from warehouse.catalog import connect as connect_catalog
from warehouse.store import Store

FUNNEL = """
SELECT stage, subject, rule, documents_in, documents_out, bytes_in, bytes_out FROM funnel
WHERE documents_in <> documents_out OR rule = 'duplicate near'"""
SCORES = """
SELECT task, metric, e.run, value, stderr, n FROM evaluations e WHERE task IN ('held-out text', 'last-word cloze')
ORDER BY task, metric, value"""


def connect(store: Store, as_of: str | None = None) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
    """A connection with every view and macro; see warehouse.catalog.connect."""
    return connect_catalog(store, as_of, StoredOrder(store, as_of))


def rows(store: Store, query: str, parameters: list[Any] | None = None) -> list[dict[str, Any]]:
    """The answer to a query as dictionaries."""
    with connect(store) as connection:
        return list(connection.sql(query, params=parameters or []).to_arrow_table().to_pylist())
