"""The shingles of stored documents, by row number: read by row groups, kept in a scratch file, compared in blocks."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.dedup.minhash import shingle_hashes
from tasks.dedup.similarity import overlaps
from warehouse.artifact import FileRecord, Ref, load, verified_path
from warehouse.store import Store

Rows = npt.NDArray[np.int64]


class Shingles(NamedTuple):
    """The shingles of the documents at some rows, in ascending order of rows, in a file."""

    path: Path
    rows: Rows
    starts: Rows
    ends: Rows

    def overlaps(self, a: Rows, b: Rows, memory: int) -> Rows:
        """|A and B|, |A|, |B| for pairs of rows, sorted by a; about so many bytes of shingles in memory at a time."""
        if not len(a):
            return np.empty((0, 3), np.int64)
        a, b = np.searchsorted(self.rows, a), np.searchsorted(self.rows, b)
        read = np.cumsum((self.ends - self.starts)[b]) * np.dtype(np.uint32).itemsize
        edges = np.flatnonzero(np.diff(read // memory)) + 1
        out = []
        for first, last in zip([0, *edges.tolist()], [*edges.tolist(), len(a)], strict=True):
            values = np.memmap(self.path, np.uint32, "r")  # mapped anew for each block: what was read is given back
            out.append(overlaps(values, self.starts, self.ends, a[first:last], b[first:last]))
            del values
        return np.concatenate(out)


class StoredTexts:
    """The documents of several artifacts one after the other: row numbers as in the candidates table."""

    def __init__(self, store: Store, refs: Sequence[Ref]) -> None:
        self._store, self._refs = store, refs

    @contextmanager
    def shingles(self, rows: Rows, shingle_words: int) -> Iterator[Shingles]:
        """Hashes the shingles of the documents at these rows, in ascending order."""
        starts, ends = np.zeros(len(rows), np.int64), np.zeros(len(rows), np.int64)
        used = 0
        with tempfile.NamedTemporaryFile(dir=self._store.scratch("match")) as file:
            for ref, record, first, count in self._parts():
                low, high = np.searchsorted(rows, [first, first + count])
                for at, texts in self._texts(ref, record, rows[low:high] - first):
                    found = shingle_hashes(texts, shingle_words)
                    here = slice(low + at, low + at + len(texts))
                    starts[here], ends[here] = used + found.starts, used + found.ends
                    size = int(found.ends.max())
                    file.write(found.values[:size].data)
                    used += size
            file.write(b"\0" * 4)  # a file without bytes cannot be mapped
            file.flush()
            yield Shingles(Path(file.name), rows, starts, ends)

    def _parts(self) -> Iterator[tuple[Ref, FileRecord, int, int]]:
        first = 0
        for ref in self._refs:
            for record in load(self._store, ref).files("documents"):
                yield ref, record, first, record.rows
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
