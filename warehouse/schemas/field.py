"""Columns with their meaning, and the types that most of them have."""

from __future__ import annotations

import pyarrow as pa

TEXT, INT, REAL, TIME = pa.string(), pa.int64(), pa.float64(), pa.timestamp("us", tz="UTC")


def field(name: str, kind: pa.DataType, meaning: str, nullable: bool = True) -> pa.Field:
    """A column that says what it means, and in which unit."""
    return pa.field(name, kind, nullable=nullable, metadata={"meaning": meaning})
