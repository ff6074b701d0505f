"""Near-duplicates among texts in memory: the stages sign, band and match as one function, for notebooks and benchmarks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from tasks.dedup.candidates import Keyed, ends_of, first_bands, pairs_that_equal, pairs_that_share
from tasks.dedup.clusters import Numbers, Reals, labels
from tasks.dedup.digest import digests
from tasks.dedup.minhash import Scheme, sketches
from tasks.dedup.similarity import jaccard, overlaps

WINDOW = 64
OURS = Scheme()


class NearPairs(NamedTuple):
    """Pairs of rows whose similarity was verified, one row for each text; ``texts`` says which rows have the same words."""

    a: Numbers
    b: Numbers
    jaccard: Reals
    texts: Numbers

    def all_pairs(self) -> tuple[Numbers, Numbers]:
        """The pairs of all rows: those of one text, and those of two that are alike."""
        order = np.argsort(self.texts, kind="stable")
        rows_of = np.split(order, np.flatnonzero(np.diff(self.texts[order])) + 1)
        pairs = [(x, y) for rows in rows_of for n, x in enumerate(rows.tolist()) for y in rows[n + 1 :].tolist()]
        by_text = {int(self.texts[rows[0]]): rows.tolist() for rows in rows_of if len(rows)}
        for a, b in zip(self.texts[self.a].tolist(), self.texts[self.b].tolist(), strict=True):
            pairs += [(x, y) for x in by_text[a] for y in by_text[b]]
        found = np.array(pairs, np.int64).reshape(-1, 2)
        return found.min(axis=1), found.max(axis=1)


def near_duplicates(texts: pa.Array, scheme: Scheme = OURS, threshold: float = 0.8) -> NearPairs:
    """Pairs of texts with a Jaccard similarity of ``threshold`` or more that share a band."""
    found = sketches(texts, scheme, keep_hashes=True)
    rows = np.arange(len(texts), dtype=np.uint64)
    names = digests(pa.array(rows).cast(pa.string()))[:, 0]
    first, second = (np.ascontiguousarray(half) for half in found.digests.T)
    shared = [pairs_that_share(Keyed(keys, first, names, rows), WINDOW) for keys in found.keys]
    candidates, _ = first_bands(shared)
    same = ends_of(pairs_that_equal(Keyed(first, second, names, rows)))
    a, b = ends_of(candidates)
    similar = jaccard(overlaps(*found.hashes, a, b))
    alike = similar >= threshold
    return NearPairs(a[alike], b[alike], similar[alike], labels(len(texts), *same))
