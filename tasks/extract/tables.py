"""Which blocks of a page stand in one row of a table of short cells, and in which of its cells."""

from __future__ import annotations

from typing import Any

import numpy as np

from tasks.core.compiled import compiled
from tasks.extract import markup

LONG_CELL = 200  # bytes: a table with a longer cell in a row lays out a page, or its cells are texts


@compiled
def rows_of(kind: Any, parent: Any, first: Any, last: Any, start: Any, stop: Any, owner: Any) -> Any:
    """(row of each block or -1, cell of each block, of each cell its place in its row and of each row its number of cells)."""
    n = len(kind)
    inner = np.full(n, -1, np.int32)  # the innermost cell that an element is, or is in
    place = np.zeros(n, np.int32)
    holds = np.zeros(n, np.bool_)  # cells that hold other cells, or lines that must stay apart
    long = np.zeros(n, np.bool_)  # rows with such a cell, or a long one
    for e in range(1, n):
        above = inner[parent[e]]
        inner[e] = above
        if kind[e] & (markup.CELL | markup.PRE) and above >= 0:
            holds[above] = True
        if kind[e] & markup.CELL:
            inner[e] = e
            place[e] = place[parent[e]]
            place[parent[e]] += 1
    for e in range(1, n):
        if kind[e] & markup.CELL and last[e] > first[e]:
            long[parent[e]] |= holds[e] or stop[last[e] - 1] - start[first[e]] >= LONG_CELL
    row, cell = np.full(len(owner), -1, np.int32), np.full(len(owner), -1, np.int32)
    for b in range(len(owner)):
        c = inner[owner[b]]
        if c >= 0 and not long[parent[c]]:
            row[b], cell[b] = parent[c], c
    return row, cell, place
