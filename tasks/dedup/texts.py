"""The shingles of stored documents, by row number: read by row groups, kept in a scratch file, compared in blocks."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.dedup.similarity import overlaps
from warehouse.artifact import FileRecord, Ref, load, verified_path
from warehouse.store import Store

Rows = npt.NDArray[np.int64]
ITEM = np.dtype(np.uint32).itemsize


def distinct(*numbers: Rows) -> Rows:
    """The distinct ones of some numbers, sorted."""
    together = np.sort(np.concatenate([*numbers, np.empty(0, np.int64)]))
    return together[np.append(True, together[1:] != together[:-1])] if len(together) else together


class StoredShingles:
    """The shingles of documents of several artifacts, one after the other: row numbers as in the candidates table.

    A context manager: what was hashed is kept in a file until it is left.
    """

    def __init__(self, store: Store, documents: Sequence[Ref], shingle_words: int, memory: int) -> None:
        self._store, self._documents, self._words, self._memory = store, documents, shingle_words, memory
        self._rows, self._starts, self._ends = (np.empty(0, np.int64) for _ in range(3))
        self._used = 0

    def __enter__(self) -> Self:
        self._file = tempfile.NamedTemporaryFile(dir=self._store.scratch("match"))
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def overlaps(self, a: Rows, b: Rows) -> Rows:
        """|A and B|, |A|, |B| for pairs of rows; about ``memory`` bytes of shingles are read at a time."""
        wanted = distinct(a, b)
        places = np.searchsorted(self._rows, wanted)
        known = np.append(self._rows, -1)[np.minimum(places, len(self._rows))] == wanted
        self._hash(wanted[~known])
        order = np.lexsort((b, a))
        one, other = np.searchsorted(self._rows, a[order]), np.searchsorted(self._rows, b[order])
        read = np.cumsum((self._ends - self._starts)[other]) * ITEM
        edges = (np.flatnonzero(np.diff(read // self._memory)) + 1).tolist()
        out = np.empty((len(a), 3), np.int64)
        for first, last in zip([0, *edges], [*edges, len(a)], strict=True):
            values = np.memmap(self._file, np.uint32, "r")  # mapped anew: what was read before is given back
            block = slice(first, last)
            out[order[block]] = overlaps(values, self._starts, self._ends, one[block], other[block])
            del values
        return out

    def _hash(self, rows: Rows) -> None:
        """Hashes the shingles of the documents at these rows, which are in ascending order."""
        from tasks.dedup.minhash import shingle_hashes

        starts, ends = np.zeros(len(rows), np.int64), np.zeros(len(rows), np.int64)
        for ref, record, first in self._parts():
            low, high = np.searchsorted(rows, [first, first + record.rows])
            for at, texts in self._texts(ref, record, rows[low:high] - first):
                found = shingle_hashes(texts, self._words)
                here = slice(low + at, low + at + len(texts))
                starts[here], ends[here] = self._used + found.starts, self._used + found.ends
                size = int(found.ends.max())
                self._file.write(found.values[:size].data)
                self._used += size
        if not len(rows):
            return
        self._file.flush()
        together = np.concatenate([self._rows, rows])
        order = np.argsort(together)
        self._rows = together[order]
        self._starts, self._ends = (
            np.concatenate(sides)[order] for sides in ((self._starts, starts), (self._ends, ends))
        )

    def _parts(self) -> Iterator[tuple[Ref, FileRecord, int]]:
        """The stored files of documents, and the row of the first in each."""
        first = 0
        for ref in self._documents:
            for record in load(self._store, ref).files("documents"):
                yield ref, record, first
                first += record.rows

    def _texts(self, ref: Ref, record: FileRecord, rows: Rows) -> Iterator[tuple[int, pa.ChunkedArray]]:
        """The texts at rows of one file, a row group at a time: the place of the first among ``rows``, and the texts."""
        if not len(rows):
            return
        with pq.ParquetFile(verified_path(self._store, ref, record)) as file:
            first = 0
            for group in range(file.metadata.num_row_groups):
                count = file.metadata.row_group(group).num_rows
                low, high = np.searchsorted(rows, [first, first + count])
                if high > low:
                    texts = file.read_row_group(group, columns=["text"])["text"]
                    yield int(low), texts.take(pa.array(rows[low:high] - first))
                first += count
