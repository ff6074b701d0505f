"""GPT-3's quality classifier (Brown et al. 2020, appendix A): logistic regression over hashed words.

The features are those of scikit-learn's ``HashingVectorizer(tokenizer=str.split, n_features=BUCKETS)``: signed
counts of lower-case words under MurmurHash3, scaled to length 1. They are made in compiled code here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tasks.core.compiled import compiled
from tasks.signals.definition import Signal
from tasks.text.characters import SPACE, characters, code_point

if TYPE_CHECKING:
    import scipy.sparse

BUCKETS = 1 << 18
SIGNALS = (
    Signal(
        "quality_score", "probability", "that the text is one of the curated ones, by the recipe's classifier", "Brown et al. 2020, appendix A"
    ),
    Signal("unigram_perplexity", "words", "of the text's words, under their frequencies in the curated texts", "Wenzek et al. 2020, section 3.2, with unigrams"),
)  # fmt: skip


class Classifier(NamedTuple):
    """Weights by bucket, and the logarithm of each bucket's share of the words of the curated texts."""

    coefficients: npt.NDArray[np.float32]
    intercept: float
    log_shares: npt.NDArray[np.float32]


def word_counts(data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], signed: bool) -> scipy.sparse.csr_matrix:
    """Texts by buckets: how often each bucket's words occur; ``signed`` as HashingVectorizer has it."""
    from scipy.sparse import csr_matrix

    tables = characters()
    room = int(offsets[-1] - offsets[0]) // 2 + len(offsets)
    columns, values = np.empty(room, np.int32), np.empty(room, np.float32)
    longest = int(np.diff(offsets).max(initial=0))
    rows, used = _hashed_words(
        data, offsets, tables.properties, tables.lower, signed, np.empty(2 * longest + 8, np.uint8), columns, values
    )
    found = csr_matrix((values[:used], columns[:used], rows), shape=(len(offsets) - 1, BUCKETS))
    found.sum_duplicates()
    return found


def features(data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> scipy.sparse.csr_matrix:
    """Texts by buckets, each row of length 1 (or 0, for a text without words)."""
    from scipy.sparse import diags

    found = word_counts(data, offsets, signed=True)
    lengths = np.sqrt(np.asarray(found.multiply(found).sum(axis=1)).ravel())
    return diags(1.0 / np.maximum(lengths, 1e-12)) @ found


def scored(
    classifier: Classifier, data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]
) -> dict[str, npt.NDArray[np.float64]]:
    """The signals of each text."""
    logits = features(data, offsets) @ classifier.coefficients.astype(np.float64) + classifier.intercept
    counts = word_counts(data, offsets, signed=False)
    words = np.asarray(counts.sum(axis=1)).ravel()
    mean = (counts @ classifier.log_shares.astype(np.float64)) / np.maximum(words, 1)
    return {
        "quality_score": 1.0 / (1.0 + np.exp(-logits)),
        "unigram_perplexity": np.where(words > 0, np.exp(-mean), 0.0),
    }


@compiled
def _hashed_words(
    data: Any, offsets: Any, properties: Any, lower: Any, signed: bool, word: Any, columns: Any, values: Any
) -> Any:
    rows = np.zeros(len(offsets), np.int64)
    used = 0
    for text in range(len(offsets) - 1):
        at, end, size = offsets[text], offsets[text + 1], 0
        while at <= end:
            code, width = code_point(data, at) if at < end else (np.int32(32), 1)
            at += width
            if not properties[code] & SPACE:
                size = _append(word, size, lower[code])
            elif size:
                name = murmur3(word, size)
                columns[used] = abs(np.int64(name)) % BUCKETS
                values[used] = -1.0 if signed and name < 0 else 1.0
                used, size = used + 1, 0
        rows[text + 1] = used
    return rows, used


@compiled
def _append(word: Any, size: int, code: int) -> int:
    """Writes a code point as UTF-8 behind what a buffer holds; returns how much that is then."""
    if code < 0x80:
        word[size] = code
        return size + 1
    if code < 0x800:
        word[size], word[size + 1] = 0xC0 | code >> 6, 0x80 | code & 0x3F
        return size + 2
    if code < 0x10000:
        word[size], word[size + 1], word[size + 2] = 0xE0 | code >> 12, 0x80 | code >> 6 & 0x3F, 0x80 | code & 0x3F
        return size + 3
    word[size], word[size + 1] = 0xF0 | code >> 18, 0x80 | code >> 12 & 0x3F
    word[size + 2], word[size + 3] = 0x80 | code >> 6 & 0x3F, 0x80 | code & 0x3F
    return size + 4


@compiled
def murmur3(data: Any, size: int) -> Any:
    """MurmurHash3_x86_32 of the first bytes of a buffer, seed 0, as a signed number (Appleby 2011)."""
    h = np.uint32(0)
    for block in range(0, size - 3, 4):
        k = np.uint32(data[block]) | np.uint32(data[block + 1]) << np.uint32(8)
        k |= np.uint32(data[block + 2]) << np.uint32(16) | np.uint32(data[block + 3]) << np.uint32(24)
        k = np.uint32(k * np.uint32(0xCC9E2D51))
        k = np.uint32(k << np.uint32(15) | k >> np.uint32(17)) * np.uint32(0x1B873593)
        h ^= np.uint32(k)
        h = np.uint32(np.uint32(h << np.uint32(13) | h >> np.uint32(19)) * np.uint32(5) + np.uint32(0xE6546B64))
    tail, k = size & ~3, np.uint32(0)
    for n in range(size & 3):
        k |= np.uint32(data[tail + n]) << np.uint32(8 * n)
    if size & 3:
        k = np.uint32(k * np.uint32(0xCC9E2D51))
        h ^= np.uint32(np.uint32(k << np.uint32(15) | k >> np.uint32(17)) * np.uint32(0x1B873593))
    h ^= np.uint32(size)
    h = np.uint32((h ^ h >> np.uint32(16)) * np.uint32(0x85EBCA6B))
    h = np.uint32((h ^ h >> np.uint32(13)) * np.uint32(0xC2B2AE35))
    return np.int32(h ^ h >> np.uint32(16))
