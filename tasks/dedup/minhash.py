"""MinHash over word 5-grams, in datasketch's scheme (Broder 1997; datasketch 2, scheme affine32)."""

from __future__ import annotations

import hashlib
import re

import numpy as np
import numpy.typing as npt
import xxhash
from datasketch import MinHash

NUM_PERM, SEED, SCHEME = 128, 1, "affine32"
SHINGLE_WORDS = 5
_WORD = re.compile(r"\w+")
Signature = npt.NDArray[np.uint32]


def normalised_words(text: str) -> list[str]:
    r"""The words of the lower-cased text: runs of \w."""
    return _WORD.findall(text.lower())


def shingles(text: str) -> set[str]:
    """The distinct word 5-grams; a shorter text is one shingle."""
    words = normalised_words(text)
    if len(words) <= SHINGLE_WORDS:
        return {" ".join(words)}
    return {" ".join(words[i : i + SHINGLE_WORDS]) for i in range(len(words) - SHINGLE_WORDS + 1)}


def text_digest(text: str) -> str:
    """Equal for texts that differ only in case, punctuation and white space."""
    return hashlib.sha256(" ".join(normalised_words(text)).encode()).hexdigest()


def signatures(shingle_sets: list[set[str]]) -> list[Signature]:
    """The 128 minima of each set."""
    encoded = ([shingle.encode() for shingle in one] for one in shingle_sets)
    made = MinHash.generator(encoded, num_perm=NUM_PERM, seed=SEED, scheme=SCHEME, hashfunc=xxhash.xxh32_intdigest)
    return [minhash.hashvalues.astype(np.uint32) for minhash in made]


def candidate_pairs(matrix: npt.NDArray[np.uint32], bands: int, rows: int) -> dict[tuple[int, int], int]:
    """Pairs of rows of the signature matrix that share a band, each with the first band they share.

    Documents with equal band keys are joined to their neighbours in row order only, so that edges stay linear
    in the number of documents; equality within a band is transitive, verification decides.
    """
    pairs: dict[tuple[int, int], int] = {}
    for band in range(bands):
        keys = np.ascontiguousarray(matrix[:, band * rows : (band + 1) * rows]).view(f"V{4 * rows}").ravel()
        order = np.argsort(keys, kind="stable")
        ordered = keys[order]
        for at in np.flatnonzero(ordered[1:] == ordered[:-1]):
            a, b = sorted((int(order[at]), int(order[at + 1])))
            pairs.setdefault((a, b), band)
    return pairs


def jaccard(a: set[str], b: set[str]) -> float:
    """Exact similarity of two shingle sets."""
    both = len(a & b)
    return both / (len(a) + len(b) - both)
