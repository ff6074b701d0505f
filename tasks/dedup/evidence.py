"""What was found of pairs of documents: from an earlier run where it is known, else from the stored texts."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tasks.dedup.clusters import KINDS, Compared, Numbers, Reals
from tasks.dedup.digest import digests
from tasks.dedup.similarity import containment, jaccard
from warehouse import schemas

NO_BAND = -1
REJECTED = "rejected"
Similarities = npt.NDArray[np.float64]  # Jaccard and containment, shape (pairs, 2)


class _Noted(NamedTuple):
    a: Numbers
    b: Numbers
    bands: npt.NDArray[np.int32]
    similar: Similarities


class Evidence:
    """Compares pairs of members, and remembers what came of it.

    ``doc_ids`` name the members; ``texts`` says which have the same words; ``overlaps`` gives |A and B|, |A|, |B| of
    pairs; ``column`` of the two similarities decides against ``threshold``; ``earlier`` are tables of earlier evidence.
    """

    def __init__(
        self,
        doc_ids: pa.ChunkedArray,
        texts: Numbers,
        overlaps: Callable[[Numbers, Numbers], Numbers],
        column: int,
        threshold: float,
        earlier: list[pa.Table],
    ) -> None:
        self._ids, self._texts, self._overlaps = doc_ids, texts, overlaps
        self._column, self._threshold, self._earlier = column, threshold, _Earlier.of(earlier)
        self._spokesman = np.zeros(len(texts), np.int64)  # one member for each text: its shingles are read once
        self._spokesman[texts[::-1]] = np.arange(len(texts))[::-1]
        self._noted: list[_Noted] = []
        self.compared = 0

    def compare(self, a: Numbers, b: Numbers, bands: npt.NDArray[np.int32] | None = None) -> Compared:
        """The exact similarity of pairs of members, and whether it joins them."""
        similar = self._known(a, b)
        similar[self._texts[a] == self._texts[b]] = 1.0
        unknown = np.isnan(similar[:, 0])
        if unknown.any():
            one, other = (self._spokesman[self._texts[side[unknown]]] for side in (a, b))
            found = self._overlaps(one, other)
            similar[unknown] = np.column_stack([jaccard(found), containment(found)])
        self.compared += len(a)
        self._noted.append(_Noted(a, b, np.full(len(a), NO_BAND, np.int32) if bands is None else bands, similar))
        return Compared(a, b, similar[:, self._column] >= self._threshold, similar[:, 0])

    def table(self, urls: Numbers) -> pa.Table:
        """The duplicate_pairs table, a row for each pair, in order; ``urls`` says which members have the same."""
        a, b, bands, similar = (np.concatenate([note[n] for note in self._noted]) for n in range(4))
        kinds = np.where(similar[:, self._column] >= self._threshold, KINDS.index("near"), len(KINDS))
        kinds[self._texts[a] == self._texts[b]] = KINDS.index("exact")
        kinds[urls[a] == urls[b]] = KINDS.index("url")
        low, high = np.minimum(a, b), np.maximum(a, b)  # members are in the order of doc_id
        # A document that stands in two archives is in several pairs of rows: the first band of any is that of the pair.
        order = np.lexsort((np.where(bands < 0, np.iinfo(np.int32).max, bands), high, low))
        order = order[low[order] != high[order]]
        first = np.append(True, (np.diff(low[order]) != 0) | (np.diff(high[order]) != 0)) if len(order) else order > 0
        rows = order[first]
        columns = {
            "a": self._ids.take(pa.array(low[rows])),
            "b": self._ids.take(pa.array(high[rows])),
            "band": bands[rows],
            "jaccard": similar[rows, 0],
            "containment": similar[rows, 1],
            "verdict": pa.array([*KINDS, REJECTED]).take(pa.array(kinds[rows])),
        }
        return pa.table(columns, schema=schemas.DUPLICATE_PAIRS)

    def _known(self, a: Numbers, b: Numbers) -> Reals:
        """What earlier tables say, NaN where none does: it never changes, since a doc_id names a text."""
        if not len(self._earlier.names):
            return np.full((len(a), 2), np.nan)
        low, high = (self._ids.take(pa.array(side)) for side in (np.minimum(a, b), np.maximum(a, b)))
        return self._earlier.of_pairs(_names(low, high))


class _Earlier(NamedTuple):
    """Similarities by 128-bit names of pairs of doc_ids, sorted by the first half."""

    names: npt.NDArray[np.uint64]
    similar: Similarities

    @classmethod
    def of(cls, tables: list[pa.Table]) -> _Earlier:
        names = [_names(table["a"], table["b"]) for table in tables]
        similar = [np.column_stack([table["jaccard"].to_numpy(), table["containment"].to_numpy()]) for table in tables]
        found = cls(np.concatenate([np.empty((0, 2), np.uint64), *names]), np.concatenate([np.empty((0, 2)), *similar]))
        order = np.argsort(found.names[:, 0])
        return cls(found.names[order], found.similar[order])

    def of_pairs(self, names: npt.NDArray[np.uint64]) -> Similarities:
        places = np.minimum(np.searchsorted(self.names[:, 0], names[:, 0]), len(self.names) - 1)
        here = (self.names[places] == names).all(axis=1)
        found: Similarities = np.where(here[:, None], self.similar[places], np.nan)
        return found


def _names(a: pa.ChunkedArray, b: pa.ChunkedArray) -> npt.NDArray[np.uint64]:
    return digests(pc.binary_join_element_wise(a.combine_chunks(), b.combine_chunks(), " "))
