"""The documents that candidate pairs name: what a cluster must know of them to prefer one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.dedup.clusters import Numbers
from tasks.stage import Input
from warehouse.artifact import load, read_tables
from warehouse.store import Store

SCHEMA = pa.schema(
    [("doc_id", pa.string()), ("n_chars", pa.int64()), ("priority", pa.int64()), ("quality", pa.float64())]
)


class Members(NamedTuple):
    """Documents in the order of doc_id. One that stands in two archives is two rows of the signatures, and one member."""

    table: pa.Table
    rows: Numbers  # of the signatures, ascending
    nodes: Numbers  # place in the table of each row

    def of_rows(self, rows: Numbers) -> Numbers:
        """The members at rows of the signatures."""
        return self.nodes[np.searchsorted(self.rows, rows)]

    def rows_of(self, nodes: Numbers) -> Numbers:
        """One row of the signatures for each member."""
        first = np.zeros(len(self.table), np.int64)
        first[self.nodes[::-1]] = self.rows[::-1]
        return first[nodes]


def read_members(store: Store, inputs: Mapping[str, Input], rows: Numbers, priority: Mapping[str, int]) -> Members:
    """The documents at some rows of the signatures of all sources."""
    table = pa.concat_tables([SCHEMA.empty_table(), *_pieces(store, inputs, rows, priority)])
    grouped = table.group_by("doc_id").aggregate([("n_chars", "max"), ("priority", "max"), ("quality", "max")])
    grouped = grouped.rename_columns([name.removesuffix("_max") for name in grouped.column_names]).sort_by("doc_id")
    nodes = pc.index_in(table["doc_id"], value_set=grouped["doc_id"].combine_chunks()).to_numpy()
    return Members(grouped, rows, nodes.astype(np.int64))


def _pieces(
    store: Store, inputs: Mapping[str, Input], rows: Numbers, priority: Mapping[str, int]
) -> Iterator[pa.Table]:
    first = 0
    for name in sorted(name for name in inputs if name.startswith("signatures/")):
        source = name.split("/", 1)[1]
        for part in load(store, inputs[name].ref).parts:
            table = read_tables(store, inputs[name].ref, "signatures", ["doc_id", "n_chars"], [part.part])
            mine = pa.array(rows[(rows >= first) & (rows < first + len(table))] - first)
            first += len(table)
            if len(mine):
                picked = table.take(mine)
                columns = {
                    "priority": pa.array(np.full(len(mine), priority.get(source, 0))),
                    "quality": _quality(store, inputs.get(f"signals/{source}"), part.part, mine),
                }
                yield pa.table({**{n: picked[n] for n in picked.column_names}, **columns}).cast(SCHEMA)


def _quality(store: Store, signals: Input | None, part: str, rows: pa.Array) -> pa.Array | pa.ChunkedArray:
    """What the recipe's classifier says of documents of a part; 0 of all where there is none."""
    if signals is None:
        return pa.array(np.zeros(len(rows)))
    column = read_tables(store, signals.ref, "signals", ["quality_score"], [part])["quality_score"]
    return pc.fill_null(column.take(rows), 0.0)
