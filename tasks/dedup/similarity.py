"""The exact similarity of two documents: what a candidate pair must have before it may join a cluster."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.core.compiled import compiled

_ONE = np.uint32(1)
_LEAST_SLOTS = 1 << 10


def overlaps(
    hashes: npt.NDArray[np.uint32],
    starts: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
    a: npt.NDArray[np.int64],
    b: npt.NDArray[np.int64],
) -> npt.NDArray[np.int64]:
    """For pairs (a, b) of documents, fastest where sorted by a: |A and B|, |A|, |B|, shape (pairs, 3).

    ``hashes[starts[d] : ends[d]]`` are the shingles of document d in any order, with repetitions.
    """
    out = np.empty((len(a), 3), np.int64)
    most = int((ends - starts).max(initial=1))
    slots = max(_LEAST_SLOTS, 1 << (2 * most - 1).bit_length())
    keys, entered, seen = (np.zeros(slots, np.uint32) for _ in range(3))
    sizes = np.full(len(starts), -1, np.int64)
    sizes[a] = -2  # counted when they are put into the table for their pairs
    _overlaps(hashes, starts, ends, a, b, sizes, keys, entered, seen, out)
    out[:, 1], out[:, 2] = sizes[a], sizes[b]
    return out


@compiled
def _overlaps(
    hashes: Any, starts: Any, ends: Any, a: Any, b: Any, sizes: Any, keys: Any, entered: Any, seen: Any, out: Any
) -> None:
    """A hash table of A is probed with B. Slots carry the number of the set that filled them: nothing is emptied."""
    fill, probe, held = np.uint32(0), np.uint32(0), -1
    for pair in range(len(a)):
        if sizes[b[pair]] == -1:
            fill, held = fill + _ONE, -1
            sizes[b[pair]] = _enter(hashes[starts[b[pair]] : ends[b[pair]]], keys, entered, fill)
        if a[pair] != held:
            fill, held = fill + _ONE, a[pair]
            sizes[held] = _enter(hashes[starts[held] : ends[held]], keys, entered, fill)
        probe += _ONE
        out[pair, 0] = _shared(hashes[starts[b[pair]] : ends[b[pair]]], keys, entered, fill, seen, probe)


@compiled
def _enter(hashes: Any, keys: Any, entered: Any, fill: Any) -> int:
    """Puts a set into the table; returns its size."""
    mask, size = np.uint32(len(keys) - 1), 0
    for value in hashes:
        slot = value & mask
        while entered[slot] == fill and keys[slot] != value:
            slot = (slot + _ONE) & mask
        size += entered[slot] != fill
        entered[slot], keys[slot] = fill, value
    return size


@compiled
def _shared(hashes: Any, keys: Any, entered: Any, fill: Any, seen: Any, probe: Any) -> int:
    """How many distinct values are in the table."""
    mask, shared = np.uint32(len(keys) - 1), 0
    for value in hashes:
        slot = value & mask
        while entered[slot] == fill and keys[slot] != value:
            slot = (slot + _ONE) & mask
        there = entered[slot] == fill
        shared += there and seen[slot] != probe
        if there:
            seen[slot] = probe
    return shared


def jaccard(found: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """|A and B| / |A or B|."""
    return found[:, 0] / (found[:, 1] + found[:, 2] - found[:, 0])


def containment(found: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """|A and B| / min(|A|, |B|): 1 where one text is a part of the other."""
    return found[:, 0] / np.minimum(found[:, 1], found[:, 2])
