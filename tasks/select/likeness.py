"""Which members of a cluster are verified to be like one another, by the evidence of the comparisons."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.dedup.clusters import KINDS, labels

URL, EXACT, NEAR = KINDS


class Duplicate(NamedTuple):
    """Why a document is not the one that is kept of its cluster."""

    kind: str
    jaccard: float | None
    kept: str


class Likeness:
    """What the table duplicate_pairs says of some documents.

    One URL and one text go from document to document, nearness only from text to text.
    """

    def __init__(self, doc_ids: list[str], pairs: pa.Table) -> None:
        names = pa.array(doc_ids, pa.string())
        pairs = pairs.filter(pc.and_(*(pc.is_in(pairs[side], value_set=names) for side in "ab")))
        a, b = (pc.index_in(pairs[side], value_set=names).to_numpy().astype(np.int64) for side in "ab")
        verdicts, jaccard = pairs["verdict"].to_numpy(), pairs["jaccard"].to_numpy()
        # A pair of one URL is called so whatever its texts are: all shingles alike, they count as one text.
        one_url, one_text = verdicts == URL, (verdicts == EXACT) | ((verdicts == URL) & (jaccard == 1.0))
        self._place = {doc_id: place for place, doc_id in enumerate(doc_ids)}
        self._urls = labels(len(names), a[one_url], b[one_url]).tolist()
        self._texts = labels(len(names), a[one_text], b[one_text]).tolist()
        self._near: dict[int, dict[int, float]] = {}
        for row in np.flatnonzero(verdicts == NEAR).tolist():
            one, other = self._texts[a[row]], self._texts[b[row]]
            self._near.setdefault(one, {})[other] = self._near.setdefault(other, {})[one] = float(jaccard[row])

    def elected(self, members: list[tuple[str, bool]]) -> dict[str, Duplicate]:
        """Of members in the order of preference, with whether each may survive, those that another one is kept for.

        The first that may survives; a later one goes to the first survivor that it is verified to be like, or
        survives itself.
        """
        found: dict[str, Duplicate] = {}
        by_url, by_text, rank = dict[int, str](), dict[int, str](), dict[str, int]()
        for doc_id, may in members:
            url, text = (groups[self._place[doc_id]] for groups in (self._urls, self._texts))
            alike = ((by_text.get(other), jaccard) for other, jaccard in self._near.get(text, {}).items())
            near = [(rank[kept], kept, jaccard) for kept, jaccard in alike if kept is not None]
            if url in by_url:
                found[doc_id] = Duplicate(URL, None, by_url[url])
            elif text in by_text:
                found[doc_id] = Duplicate(EXACT, 1.0, by_text[text])
            elif near:
                _, kept, jaccard = min(near)
                found[doc_id] = Duplicate(NEAR, jaccard, kept)
            elif may:
                by_url[url], by_text[text], rank[doc_id] = doc_id, doc_id, len(rank)
        return found
