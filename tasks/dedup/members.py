"""The documents that candidate pairs name: what a cluster must know of them to prefer one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.core.stage import Input
from tasks.dedup.clusters import Numbers
from warehouse.scan import scan
from warehouse.store import Store

SCHEMA = pa.schema(
    [("doc_id", pa.string()), ("n_chars", pa.int64()), ("priority", pa.int64()), ("quality", pa.float64())]
)


class Members(NamedTuple):
    """Documents in the order of doc_id. One that stands in two archives is two rows of the signatures, and one member."""

    table: pa.Table
    rows: Numbers  # of the signatures, one for each member
    asked: Numbers  # the rows that were asked for, ascending
    nodes: Numbers  # their members

    def of_rows(self, rows: Numbers) -> Numbers:
        """The members at rows of the signatures."""
        return self.nodes[np.searchsorted(self.asked, rows)]


def read_members(store: Store, inputs: Mapping[str, Input], rows: Numbers, priority: Mapping[str, int]) -> Members:
    """The documents at some rows of the signatures of all sources."""
    table = pa.concat_tables([SCHEMA.empty_table(), *_pieces(store, inputs, rows, priority)])
    grouped = table.group_by("doc_id").aggregate([("n_chars", "max"), ("priority", "max"), ("quality", "max")])
    grouped = grouped.rename_columns([name.removesuffix("_max") for name in grouped.column_names]).sort_by("doc_id")
    nodes = pc.index_in(table["doc_id"], value_set=grouped["doc_id"].combine_chunks()).to_numpy().astype(np.int64)
    first = np.zeros(len(grouped), np.int64)
    first[nodes[::-1]] = rows[::-1]
    return Members(grouped, first, rows, nodes)


def _pieces(
    store: Store, inputs: Mapping[str, Input], rows: Numbers, priority: Mapping[str, int]
) -> Iterator[pa.Table]:
    first = 0
    for name in sorted(name for name in inputs if name.startswith("signatures/")):
        source = name.split("/", 1)[1]
        signals = inputs.get(f"signals/{source}")
        qualities = None if signals is None else scan(store, [signals.ref], "signals", ["quality_score"])
        for table in scan(store, [inputs[name].ref], "signatures", ["doc_id", "n_chars"]):
            quality = next(qualities)["quality_score"] if qualities is not None else None
            mine = pa.array(rows[(rows >= first) & (rows < first + len(table))] - first)
            first += len(table)
            picked = table.take(mine)
            columns = {
                "doc_id": picked["doc_id"],
                "n_chars": picked["n_chars"],
                "priority": pa.array(np.full(len(mine), priority.get(source, 0))),
                "quality": np.zeros(len(mine)) if quality is None else pc.fill_null(quality.take(mine), 0.0),
            }
            yield pa.table(columns).cast(SCHEMA)
