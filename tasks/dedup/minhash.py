r"""MinHash over word n-grams in datasketch's scheme affine32 (Broder 1997), straight from the buffers of Arrow columns.

A shingle is n successive words (``tasks.dedup.words``) joined by spaces; a shorter text is one shingle. It is hashed
by XXH32; the k-th number of a signature is the minimum over the shingles of a[k] h' + b[k] modulo 2^32, where h' is the
hash finished by MurmurHash3's fmix32, and a, b are datasketch's for the seed.
"""

from __future__ import annotations

from functools import cache, partial
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks.core.compiled import compiled, kept
from tasks.dedup.digest import MULTIPLIERS, digest_of, digests
from tasks.dedup.vectors import LANES, PADDING, affine_minima, xxh32_of_shingles
from tasks.dedup.words import Room, lower_words, room_for, settled, split_words, text_buffers

_GROUP = 128  # minima that are found at once
_EMPTY = np.uint32(46947589)  # XXH32 of no bytes
_FMIX = np.uint32(0x85EBCA6B), np.uint32(0xC2B2AE35)
_DIGEST_OF_NOTHING = np.array([0, 2**64 - 1], np.uint64)  # of no words
_ONE, _SHIFT = np.uint64(1), np.uint64(32)


class Scheme(NamedTuple):
    """What makes a signature: its hashes, the words of a shingle, the seed; and how it is cut into bands."""

    hashes: int = 128
    bands: int = 16
    rows: int = 8
    shingle_words: int = 5
    seed: int = 1


class Hashes(NamedTuple):
    """The shingles of texts: those of text i are ``values[starts[i] : ends[i]]``, in their order, with repetitions."""

    values: npt.NDArray[np.uint32]
    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]


class Sketches(NamedTuple):
    """What duplicates of n texts are found by.

    Band keys are 64-bit names of a band's numbers, shape (bands, n); digests are 128-bit names of the words, (n, 2);
    ``shingles`` counts them with their repetitions; ``hashes`` is empty unless they were to be kept.
    """

    signatures: npt.NDArray[np.uint32]
    keys: npt.NDArray[np.uint64]
    digests: npt.NDArray[np.uint64]
    shingles: npt.NDArray[np.int64]
    hashes: Hashes


def sketches(
    texts: pa.Array | pa.ChunkedArray, scheme: Scheme, keep_hashes: bool = False, are_settled: bool = False
) -> Sketches:
    """Signatures, band keys and digests of a column of texts; the hashes of their shingles where they are kept.

    The keys and the digest of a text without words name its bytes.
    """
    data, offsets = text_buffers(texts)
    n = len(offsets) - 1
    a, b = _permutations(scheme.hashes, scheme.seed)
    found = Sketches(
        np.empty((n, len(a)), np.uint32),
        np.empty((scheme.bands, n), np.uint64),
        np.empty((n, 2), np.uint64),
        np.zeros(n, np.int64),
        _room_for_hashes(offsets if keep_hashes else offsets[:1], n),
    )
    room = room_for(offsets)
    shape = (scheme.shingle_words, scheme.rows, 1 if keep_hashes else 0)
    numbers = room.words[: len(room.words) & ~7].view(np.uint64)
    _sketch(data, offsets, lower_words(are_settled), a, b, shape, room, numbers, found)
    found = found._replace(signatures=found.signatures[:, : scheme.hashes])
    wordless = np.flatnonzero((found.digests == _DIGEST_OF_NOTHING).all(axis=1))
    if len(wordless):  # other scripts' signs, emoji, rules of dashes: alike only where their bytes are
        found.digests[wordless] = digests(texts.take(pa.array(wordless)))
        found.keys[:, wordless] = found.digests[wordless, 0]
    contextual = np.flatnonzero(found.shingles == 0)
    if not len(contextual):
        return found
    again = sketches(_settled(texts, contextual), scheme, keep_hashes, are_settled=True)
    for old, new in (
        (found.signatures, again.signatures),
        (found.digests, again.digests),
        (found.shingles, again.shingles),
    ):
        old[contextual] = new
    found.keys[:, contextual] = again.keys
    return found._replace(hashes=_spliced(found.hashes, contextual, again.hashes))


def shingle_hashes(texts: pa.Array | pa.ChunkedArray, shingle_words: int, are_settled: bool = False) -> Hashes:
    """The hashes of the shingles of each text."""
    data, offsets = text_buffers(texts)
    found = _room_for_hashes(offsets, len(offsets) - 1)
    _hash_all(data, offsets, lower_words(are_settled), shingle_words, room_for(offsets), found)
    contextual = np.flatnonzero(found.starts == found.ends)
    if not len(contextual):
        return found
    return _spliced(found, contextual, shingle_hashes(_settled(texts, contextual), shingle_words, are_settled=True))


def _room_for_hashes(offsets: npt.NDArray[np.int64], texts: int) -> Hashes:
    """Two bytes of text make at most one shingle; memory that is not written to is not taken."""
    most = int(offsets[-1] - offsets[0]) // 2 + texts + PADDING
    return Hashes(np.empty(most, np.uint32), np.zeros(texts, np.int64), np.zeros(texts, np.int64))


def _settled(texts: pa.Array | pa.ChunkedArray, rows: npt.NDArray[np.int64]) -> pa.Array:
    return pa.array([settled(text) for text in texts.take(pa.array(rows)).to_pylist()], pa.large_string())


def _spliced(hashes: Hashes, rows: npt.NDArray[np.int64], others: Hashes) -> Hashes:
    used = int(hashes.ends.max(initial=0))
    hashes.starts[rows], hashes.ends[rows] = used + others.starts, used + others.ends
    return hashes._replace(values=np.concatenate([hashes.values[:used], others.values[: int(others.ends.max())]]))


@compiled
def _sketch(
    data: Any, offsets: Any, lower: Any, a: Any, b: Any, shape: Any, room: Room, numbers: Any, found: Sketches
) -> None:
    shingle_words, rows, keep = shape
    used = 0
    for text in range(len(offsets) - 1):
        words = split_words(data, offsets[text], offsets[text + 1], lower, room.words, room.starts)
        if words < 0:
            continue
        count = hash_shingles(room.words, room.starts, words, shingle_words, room.hashes)
        digest_of(numbers, room.starts[words], found.digests[text])
        found.shingles[text] = count
        if keep:
            used = _keep(room.hashes, count, found.hashes, text, used)
        _finish(room.hashes, count)
        for group in range(0, len(a), _GROUP):
            affine_minima(room.hashes, np.uint64(count), a, b, np.uint64(group), found.signatures[text])
        for band in range(len(found.keys)):
            found.keys[band, text] = _name(found.signatures[text, band * rows : (band + 1) * rows])


@compiled
def _hash_all(data: Any, offsets: Any, lower: Any, shingle_words: int, room: Room, found: Hashes) -> None:
    used = 0
    for text in range(len(offsets) - 1):
        words = split_words(data, offsets[text], offsets[text + 1], lower, room.words, room.starts)
        if words >= 0:
            count = hash_shingles(room.words, room.starts, words, shingle_words, room.hashes)
            used = _keep(room.hashes, count, found, text, used)


@compiled
def _keep(hashes: Any, count: int, found: Hashes, text: int, used: int) -> int:
    found.values[used : used + count] = hashes[:count]
    found.starts[text], found.ends[text] = used, used + count
    return used + count


@compiled
def hash_shingles(words: Any, starts: Any, count: int, shingle_words: int, hashes: Any) -> Any:
    """The XXH32 of each shingle of so many words, in their order; returns how many they are."""
    if count == 0:
        hashes[0] = _EMPTY
        return 1
    size = np.uint64(min(count, shingle_words))
    shingles = np.uint64(count) - size + _ONE
    first = np.uint64(0)
    while first < shingles:
        xxh32_of_shingles(words, starts, first, first + size, shingles - first, hashes)
        first += np.uint64(LANES)
    return np.int64(shingles)


@compiled
def _finish(hashes: Any, count: int) -> None:
    """MurmurHash3's fmix32 of each hash: the input of the permutations."""
    for i in range(count):
        value = hashes[i]
        value = np.uint32((value ^ (value >> np.uint32(16))) * _FMIX[0])
        value = np.uint32((value ^ (value >> np.uint32(13))) * _FMIX[1])
        hashes[i] = value ^ (value >> np.uint32(16))


@compiled
def _name(numbers: Any) -> Any:
    """64 bits that stand for some numbers."""
    name = np.uint64(0)
    for number in numbers:
        name = (name ^ np.uint64(number)) * MULTIPLIERS[0]
        name ^= name >> _SHIFT
    return name


@cache
def _permutations(hashes: int, seed: int) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32]]:
    """Datasketch's factors and terms, repeated to a whole number of groups."""
    name = f"permutations-{version('datasketch')}-{hashes}-{seed}"
    drawn = kept(name, partial(_drawn, hashes, seed)).reshape(2, hashes)
    whole = -(-hashes // _GROUP) * _GROUP
    a, b = (np.resize(numbers, whole) for numbers in drawn)
    return a, b


def _drawn(hashes: int, seed: int) -> npt.NDArray[np.uint32]:
    from datasketch import MinHash  # with scipy: to import it takes as long as to sign some thousand pages

    drawn = MinHash(num_perm=hashes, seed=seed, scheme="affine32").permutations
    assert drawn is not None
    return np.array(drawn, np.uint32)
