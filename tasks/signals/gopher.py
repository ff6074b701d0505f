"""Gopher's quality and repetition signals (Rae et al. 2021, appendix A, tables A1 and A2).

Words are separated by white space. Shares of characters are of all characters of the text. An n-gram's
characters are its words joined by one space for the most frequent n-gram (which must occur twice), and its
words alone for repeated n-grams, counted from their second occurrence without overlap.
"""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import numpy.typing as npt

from tasks.signals.document import Document, Signal, share

STOP_WORDS = frozenset({"the", "be", "to", "of", "and", "that", "have", "with"})
BULLETS = ("•", "‣", "▶", "◀", "◦", "■", "□", "▪", "▫", "–", "-", "*")
ELLIPSES = ("...", "…")
TOP_SIZES, REPEATED_SIZES = (2, 3, 4), (5, 6, 7, 8, 9, 10)
_PAPER = "Rae et al. 2021, appendix A"
_ALPHABETIC = re.compile(r"[^\W\d_]")

SIGNALS = (
    Signal("gopher_word_count", "words", "words of the text", _PAPER),
    Signal("gopher_mean_word_length", "characters", "mean length of a word", _PAPER),
    Signal("gopher_hash_word_ratio", "share", "# signs for each word", _PAPER),
    Signal("gopher_ellipsis_word_ratio", "share", "ellipses (... or …) for each word", _PAPER),
    Signal("gopher_bullet_line_share", "share", "lines that start with a bullet", _PAPER),
    Signal("gopher_ellipsis_line_share", "share", "lines that end in an ellipsis", _PAPER),
    Signal("gopher_alphabetic_word_share", "share", "words with an alphabetic character", _PAPER),
    Signal("gopher_stop_word_count", "words", "distinct ones of the be to of and that have with", _PAPER),
    Signal("gopher_duplicate_line_share", "share", "lines that occurred before", _PAPER),
    Signal("gopher_duplicate_paragraph_share", "share", "paragraphs that occurred before", _PAPER),
    Signal("gopher_duplicate_line_char_share", "share", "characters in lines that occurred before", _PAPER),
    Signal("gopher_duplicate_paragraph_char_share", "share", "characters in paragraphs that occurred before", _PAPER),
    *(
        Signal(f"gopher_top_{n}_gram_char_share", "share", f"characters in the most frequent word {n}-gram", _PAPER)
        for n in TOP_SIZES
    ),
    *(
        Signal(f"gopher_duplicate_{n}_gram_char_share", "share", f"characters in repeated word {n}-grams", _PAPER)
        for n in REPEATED_SIZES
    ),
)


def quality(document: Document) -> dict[str, float]:
    """Table A1."""
    words, lines, text = document.words, document.lines, document.text
    lowered = {word.lower() for word in words}
    return {
        "gopher_word_count": len(words),
        "gopher_mean_word_length": share(sum(map(len, words)), len(words)),
        "gopher_hash_word_ratio": share(text.count("#"), len(words)),
        "gopher_ellipsis_word_ratio": share(sum(text.count(mark) for mark in ELLIPSES), len(words)),
        "gopher_bullet_line_share": share(sum(line.startswith(BULLETS) for line in lines), len(lines)),
        "gopher_ellipsis_line_share": share(sum(line.endswith(ELLIPSES) for line in lines), len(lines)),
        "gopher_alphabetic_word_share": share(sum(_ALPHABETIC.search(word) is not None for word in words), len(words)),
        "gopher_stop_word_count": len(STOP_WORDS & lowered),
    }


def repetition(document: Document) -> dict[str, float]:
    """Table A2."""
    size = len(document.text)
    out: dict[str, float] = {}
    for name, pieces in (("line", document.lines), ("paragraph", document.paragraphs)):
        again = _occurred_before(pieces)
        out[f"gopher_duplicate_{name}_share"] = share(len(again), len(pieces))
        out[f"gopher_duplicate_{name}_char_share"] = share(sum(map(len, again)), size)
    words = document.words
    ids = {word: number for number, word in enumerate(dict.fromkeys(words))}
    sequence = np.array([ids[word] for word in words], dtype=np.uint64)
    lengths = np.array([len(word) for word in words], dtype=np.int64)
    ends = np.concatenate([[0], np.cumsum(lengths)])
    for n in TOP_SIZES:
        out[f"gopher_top_{n}_gram_char_share"] = share(_top_characters(_grams(sequence, n), ends, n), size)
    for n in REPEATED_SIZES:
        out[f"gopher_duplicate_{n}_gram_char_share"] = share(_repeated_characters(_grams(sequence, n), ends, n), size)
    return out


def _occurred_before(pieces: list[str]) -> list[str]:
    counts = Counter(pieces)
    return [piece for piece, count in counts.items() for _ in range(count - 1)]


def _grams(sequence: npt.NDArray[np.uint64], n: int) -> npt.NDArray[np.uint64]:
    """A 64-bit name of the n-gram that starts at each word: a polynomial in the words' numbers."""
    count = max(0, len(sequence) - n + 1)
    names = np.zeros(count, dtype=np.uint64)
    for offset in range(n):
        names = (names + sequence[offset : offset + count] + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        names ^= names >> np.uint64(29)
    return names


def _top_characters(grams: npt.NDArray[np.uint64], ends: npt.NDArray[np.int64], n: int) -> int:
    """Characters in the most frequent n-gram, the longest on a tie; 0 where none occurs twice."""
    if not len(grams):
        return 0
    _, first, counts = np.unique(grams, return_index=True, return_counts=True)
    most = counts.max()
    if most < 2:
        return 0
    starts = first[counts == most]
    return int((ends[starts + n] - ends[starts] + n - 1).max() * most)


def _repeated_characters(grams: npt.NDArray[np.uint64], ends: npt.NDArray[np.int64], n: int) -> int:
    """Characters in n-grams that occurred before, from left to right without overlap."""
    if len(np.unique(grams)) == len(grams):
        return 0
    seen: set[int] = set()
    characters, at, names = 0, 0, grams.tolist()
    while at < len(names):
        if names[at] in seen:
            characters += int(ends[at + n] - ends[at])
            at += n
        else:
            seen.add(names[at])
            at += 1
    return characters
