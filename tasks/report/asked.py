"""A connection as the report asks it."""

from __future__ import annotations

from typing import Any

import duckdb


class Asked:
    """Answers of the catalog as dictionaries."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def rows(self, query: str, *parameters: Any) -> list[dict[str, Any]]:
        """All rows."""
        return list(self._connection.sql(query, params=list(parameters)).to_arrow_table().to_pylist())

    def one(self, query: str) -> Any:
        """The first value, or None where there is none."""
        found = self._connection.sql(query).fetchall()
        return found[0][0] if found else None
