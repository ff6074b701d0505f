"""Locality-sensitive hashing: pairs of documents that share a band, and so may be alike (Indyk and Motwani 1998)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tasks.core.compiled import compiled

Numbers = npt.NDArray[np.uint64]
Pairs = npt.NDArray[np.uint64]  # two rows each, the smaller in the upper 32 bits
_HALF = np.uint64(32)
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_BITS_PER_KEY = 8


class Keyed(NamedTuple):
    """Documents of one band: their keys, the names of their texts, names that order them, and their row numbers."""

    keys: Numbers
    texts: Numbers
    names: Numbers
    rows: Numbers


def pairs_that_share(band: Keyed, window: int) -> Pairs:
    """The pairs of different texts with the same key, sorted.

    Within a key texts stand in the order of their names, one document for each, and are paired with the next
    ``window`` only: edges stay linear in the number of documents, whatever they share.
    """
    return _paired(band, window)


def pairs_that_equal(band: Keyed) -> Pairs:
    """Each document and the next of those with the same key and text, sorted: the same graph as of all their pairs."""
    return _paired(band, 0)


def _paired(band: Keyed, window: int) -> Pairs:
    shared = np.flatnonzero(_may_be_shared(band.keys))  # few others among them: only these are sorted
    band = Keyed(*(column[shared] for column in band))
    order = np.argsort(band.keys)
    keys = band.keys[order]
    edges = np.flatnonzero(np.diff(np.concatenate([[False], keys[1:] == keys[:-1], [False]]).astype(np.int8)))
    starts, ends = edges[::2], edges[1::2] + 1  # of the runs of equal keys
    sizes = ends - starts
    room = int(np.minimum(sizes * (sizes - 1) // 2, sizes * max(window, 1)).sum())
    pairs = np.empty(room, np.uint64)
    pairs = pairs[: _walk(order, starts, ends, band, window, pairs)]
    pairs.sort()
    return pairs


@compiled
def _may_be_shared(keys: Any) -> Any:
    """Whether another document may have the same key: by a bit for each hash of a key, and one for each hash met twice."""
    bits = 6
    while 1 << bits < _BITS_PER_KEY * len(keys):
        bits += 1
    shift, six, low = np.uint64(64 - bits), np.uint64(6), np.uint64(63)
    met, twice = np.zeros(1 << (bits - 6), np.uint64), np.zeros(1 << (bits - 6), np.uint64)
    for key in keys:
        place = key * _FACTOR >> shift
        bit = np.uint64(1) << (place & low)
        twice[place >> six] |= met[place >> six] & bit
        met[place >> six] |= bit
    shared = np.empty(len(keys), np.bool_)
    for row in range(len(keys)):
        place = keys[row] * _FACTOR >> shift
        shared[row] = twice[place >> six] >> (place & low) & np.uint64(1)
    return shared


@compiled
def _walk(order: Any, starts: Any, ends: Any, band: Keyed, window: int, pairs: Any) -> int:
    """Writes the pairs of each run of equal keys; returns their number."""
    count = 0
    for run in range(len(starts)):
        members = order[starts[run] : ends[run]]
        if len(members) > 2:
            members = _sorted_members(members, band)
            if window:
                members = _heads(members, band)
        for i in range(len(members)):
            for j in range(i + 1, min(len(members), i + 1 + max(window, 1))):
                same = band.texts[members[i]] == band.texts[members[j]]
                if same != (window == 0):
                    continue
                a, b = band.rows[members[i]], band.rows[members[j]]
                pairs[count] = (min(a, b) << _HALF) | max(a, b)
                count += 1
    return count


@compiled
def _sorted_members(members: Any, band: Keyed) -> Any:
    """Members of a run by the names of their texts, then by their own."""
    by_name = members[np.argsort(band.names[members])]
    return by_name[np.argsort(band.texts[by_name], kind="mergesort")]


@compiled
def _heads(members: Any, band: Keyed) -> Any:
    """The first member of each text, by name."""
    first = np.ones(len(members), np.bool_)
    for i in range(1, len(members)):
        first[i] = band.texts[members[i]] != band.texts[members[i - 1]]
    heads = members[first]
    return heads[np.argsort(band.names[heads])]


def first_bands(found: list[Pairs]) -> tuple[Pairs, npt.NDArray[np.int32]]:
    """The distinct pairs of all bands, sorted, and the first band that each was found in."""
    pairs = np.concatenate([*found, np.empty(0, np.uint64)])
    pairs.sort()
    pairs = pairs[np.append(True, pairs[1:] != pairs[:-1])] if len(pairs) else pairs
    bands = np.full(len(pairs), -1, np.int32)
    for band in range(len(found) - 1, -1, -1):
        bands[np.searchsorted(pairs, found[band])] = band
    return pairs, bands


def ends_of(pairs: Pairs) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The two rows of each pair."""
    return (pairs >> _HALF).astype(np.int64), (pairs & np.uint64(0xFFFFFFFF)).astype(np.int64)


def packed(a: npt.NDArray[np.int64], b: npt.NDArray[np.int64]) -> Pairs:
    """Pairs of rows, a < b, as single numbers."""
    return a.astype(np.uint64) << _HALF | b.astype(np.uint64)
