"""Clusters: around each preferred document those that are verified to be like it. A chain of resemblances joins nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from warehouse import schemas

KINDS = ("url", "exact", "near")  # the strongest reason first
URL, EXACT, NEAR = range(len(KINDS))
Numbers = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]
Truths = npt.NDArray[np.bool_]


class Compared(NamedTuple):
    """Pairs of documents by number: whether they are alike, and their Jaccard similarity."""

    a: Numbers
    b: Numbers
    alike: Truths
    jaccard: Reals


class Clustering(NamedTuple):
    """For each document the one that stands for it, or itself; how like that it is, and the place of the reason in ``KINDS``."""

    kept: Numbers
    jaccard: Reals
    reason: npt.NDArray[np.int8]


Compare = Callable[[Numbers, Numbers], Compared]


def labels(n: int, a: Numbers, b: Numbers) -> Numbers:
    """The component of each of n documents in a graph of pairs."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(a), np.int8), (a, b)), shape=(n, n))
    found: Numbers = connected_components(graph, directed=False)[1]
    return found


def clustered(order: Numbers, urls: Numbers, texts: Numbers, near: Compared, compare: Compare) -> Clustering:
    """Which document stands for which: a function of the documents and pairs as sets.

    ``order`` is each one's place in the order of preference; ``urls`` and ``texts`` say which have the same. Of one URL
    the preferred document stays, of those that stay and have one text the preferred one, of those the stars of ``near``.
    """
    n = len(order)
    everything = np.arange(n)
    of_url = _preferred(order, urls, everything)[urls]
    stay = np.flatnonzero(of_url == everything)
    of_text = _preferred(order, texts, stay)  # by text; -1 where none of a text's documents stays
    is_head = np.zeros(n, np.bool_)
    is_head[of_text[texts[stay]]] = True
    heads = np.flatnonzero(is_head)
    place = np.full(n, -1)
    place[heads] = np.arange(len(heads))
    a, b = (of_text[texts[side]] for side in (near.a, near.b))
    there = (a >= 0) & (b >= 0) & (a != b)
    edges = Compared(place[a[there]], place[b[there]], near.alike[there], near.jaccard[there])

    def among_heads(one: Numbers, other: Numbers) -> Compared:
        found = compare(heads[one], heads[other])
        return found._replace(a=one, b=other)

    star_kept, star_jaccard = stars(np.argsort(np.argsort(order[heads])), edges, among_heads)
    text_head = of_text[texts[of_url]]
    kept = heads[star_kept[place[text_head]]]
    jaccard = np.where(kept == text_head, 1.0, star_jaccard[place[text_head]])
    reason = np.where(kept == text_head, EXACT, NEAR).astype(np.int8)
    shadowed = np.flatnonzero(of_url != everything)
    reason[shadowed] = URL
    if len(shadowed):
        jaccard[shadowed] = compare(of_url[shadowed], shadowed).jaccard
    return Clustering(kept, jaccard, reason)


def _preferred(order: Numbers, groups: Numbers, members: Numbers) -> Numbers:
    """Group -> the preferred one of those members that are in it, -1 where none is."""
    best = np.full(len(order), len(order))
    np.minimum.at(best, groups[members], order[members])
    member = np.full(len(order) + 1, -1)
    member[order] = np.arange(len(order))
    found: Numbers = member[best]
    return found


def stars(order: Numbers, pairs: Compared, compare: Compare) -> tuple[Numbers, Reals]:
    """For each member the one that it goes to, or itself, and how like that it is.

    In each component of the graph of pairs that are alike the preferred member is kept, and those that are like it go to
    it; of those that are like one of these it is found out. The rest of the component is looked at again on its own.
    """
    n = len(order)
    kept, jaccard = np.arange(n), np.zeros(n)
    a, b = (np.concatenate(sides) for sides in ((pairs.a, pairs.b), (pairs.b, pairs.a)))  # each pair both ways
    alike, similar = np.tile(pairs.alike, 2), np.tile(pairs.jaccard, 2)
    known = np.sort(a * n + b)
    while alike.any():
        centre = _preferred(order, component := labels(n, a[alike], b[alike]), np.arange(n))[component]
        direct = alike & (centre[a] == a)
        near = np.zeros(n, np.bool_)
        near[b[direct]] = True
        beyond = np.unique(b[alike & near[a] & ~near[b] & (centre[b] != b)])
        asked = centre[beyond] * n + beyond
        beyond = beyond[known[np.minimum(np.searchsorted(known, asked), len(known) - 1)] != asked]
        kept[b[direct]], jaccard[b[direct]] = a[direct], similar[direct]
        if len(beyond):
            more = compare(centre[beyond], beyond)
            kept[more.b[more.alike]], jaccard[more.b[more.alike]] = more.a[more.alike], more.jaccard[more.alike]
        done = kept != np.arange(n)
        done[kept[done]] = True
        alike = alike & ~done[a] & ~done[b]
    return kept, jaccard


def preference(members: pa.Table) -> Numbers:
    """The place of each member in the total order of preference: priority, quality, length, then smallest doc_id."""
    places = members.append_column("place", pa.array(np.arange(len(members)))).sort_by(
        [("priority", "descending"), ("quality", "descending"), ("n_chars", "descending"), ("doc_id", "ascending")]
    )["place"]
    order = np.empty(len(members), np.int64)
    order[places.to_numpy()] = np.arange(len(members))
    return order


def duplicates_table(doc_ids: pa.ChunkedArray, order: Numbers, found: Clustering) -> pa.Table:
    """The duplicates table of documents in the order of doc_id; those that nothing is like are not in it."""
    everything = np.arange(len(order))
    goes = found.kept != everything
    stands = np.isin(everything, found.kept[goes])
    jaccard, reason = np.where(goes, found.jaccard, 0.0), np.where(goes, found.reason, len(KINDS))
    np.maximum.at(jaccard, found.kept[goes], found.jaccard[goes])  # the kept one shows its nearest
    np.minimum.at(reason, found.kept[goes], found.reason[goes])
    rows = np.flatnonzero(goes | stands)
    rows = rows[np.lexsort((order[rows], found.kept[rows]))]
    kept = found.kept[rows]
    starts = np.flatnonzero(np.append(True, kept[1:] != kept[:-1])) if len(rows) else np.empty(0, np.int64)
    sizes = np.diff(np.append(starts, len(rows)))
    cluster = np.repeat(np.arange(len(starts)), sizes)
    smallest = np.minimum.reduceat(rows, starts) if len(starts) else rows
    columns = {
        "doc_id": doc_ids.take(pa.array(rows)),
        "cluster_id": doc_ids.take(pa.array(smallest[cluster])),
        "cluster_size": sizes[cluster],
        "kept_doc_id": doc_ids.take(pa.array(kept)),
        "kind": pa.array(KINDS).take(pa.array(reason[rows])),
        "jaccard": jaccard[rows],
        "rank": np.arange(len(rows)) - starts[cluster],
    }
    return pa.table(columns, schema=schemas.DUPLICATES).sort_by("doc_id")
