"""Word n-grams as GPT-3 compared them: lower-case white-space words without punctuation (Brown et al. 2020, appendix C).

A letter of a script that parts no words is one (``tasks.text.characters``).
"""

from __future__ import annotations

import unicodedata
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tasks.core.compiled import compiled
from tasks.text.characters import ALPHABETIC, NUMERIC, SPACE, WHOLE, characters, code_point, told_apart
from tasks.text.stopwords import STOP_WORDS

_PUNCTUATION = np.uint16(1 << 15)
_ONE = np.uint64(1)
_WORD_FACTOR, _GRAM_FACTOR = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)
_BITMAP_BITS = 23  # of a filter that stays in a core's cache
STEM = 4  # letters that a word of a bag is known by, whatever its ending
SHORTEST_WORD = 4  # bytes: more than a Chinese letter has


class GramIndex(NamedTuple):
    """The n-grams that are looked for: their names, sorted, a hash table of their places, and a filter before it.

    ``bags`` are of words in any order: the first letters of words that say what a text is about, so many in a row.
    """

    n: int
    bags: bool
    names: npt.NDArray[np.uint64]
    slots: npt.NDArray[np.int64]
    bitmap: npt.NDArray[np.uint8]


class Hits(NamedTuple):
    """Where n-grams were found: the text, the gram's place in the index, and the bytes of the text from its first word to its last."""

    text: npt.NDArray[np.int64]
    gram: npt.NDArray[np.int64]
    start: npt.NDArray[np.int64]
    stop: npt.NDArray[np.int64]


@cache
def _tables() -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.int32]]:
    """What characters are, punctuation told, and their lower case."""
    known = characters()
    properties = known.properties.copy()
    for code in told_apart():
        if unicodedata.category(chr(code)).startswith("P") or chr(code) in "$+<=>^`|~":
            properties[code] |= _PUNCTUATION
    return properties, known.lower


def normalised(text: str) -> list[str]:
    """The words that n-grams are made of."""
    properties, _ = _tables()
    words: list[str] = []
    whole = inside = False
    for character in text.lower():
        what = properties[ord(character)]
        if what & SPACE:
            inside = False
        elif not what & _PUNCTUATION:
            if not inside or what & WHOLE or (whole and what & (ALPHABETIC | NUMERIC)):
                words.append("")
            words[-1] += character
            inside, whole = True, bool(what & WHOLE)
    return words


def grams_of(
    data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], n: int, bags: bool = False
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """The names of all n-grams, or bags, of some texts, and the text that each is of. A text shorter than n has none."""
    room = _room(offsets)
    most = int(offsets[-1] - offsets[0]) // 2 + len(offsets)
    names, texts = np.empty(most, np.uint64), np.empty(most, np.int64)
    count = _all_grams(data, offsets, n, bags, _function_words(), *_tables(), *room, names, texts)
    return names[:count], texts[:count]


def index_of(names: npt.NDArray[np.uint64], n: int, bags: bool = False) -> GramIndex:
    """An index of n-grams, or of bags, by their names."""
    names = np.unique(names)
    slots = np.full(1 << max(4, (2 * len(names)).bit_length()), -1, np.int64)
    bitmap = np.zeros(1 << (_BITMAP_BITS - 3), np.uint8)
    _fill(names, slots, bitmap)
    return GramIndex(n, bags, names, slots, bitmap)


def find(data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], index: GramIndex) -> Hits:
    """Every place of an n-gram of the index in some texts."""
    room = _room(offsets)
    found = Hits(*(np.empty(1 << 12, np.int64) for _ in Hits._fields))
    while True:
        count = _find(data, offsets, index, _function_words(), *_tables(), *room, found)
        if count <= len(found.text):
            return Hits(*(column[:count] for column in found))
        found = Hits(*(np.empty(count, np.int64) for _ in Hits._fields))


def _room(
    offsets: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    words = int(np.diff(offsets).max(initial=0)) // 2 + 2
    return np.empty(words, np.uint64), np.empty(words, np.int64), np.empty(words, np.int64)


@cache
def _function_words() -> npt.NDArray[np.uint64]:
    """The names of words that bags leave out, sorted."""
    data = np.frombuffer(" ".join(sorted(STOP_WORDS)).encode(), np.uint8)
    names, starts, stops = (np.empty(len(data), kind) for kind in (np.uint64, np.int64, np.int64))
    count = _words(data, 0, len(data), STEM, *_tables(), names, starts, stops)
    return np.unique(names[:count])


@compiled
def _content(names: Any, starts: Any, stops: Any, count: int, left_out: Any) -> int:
    """Keeps of some words those that say what a text is about."""
    kept = 0
    for word in range(count):
        place = np.searchsorted(left_out, names[word])
        is_function_word = place < len(left_out) and left_out[place] == names[word]
        if stops[word] - starts[word] >= SHORTEST_WORD and not is_function_word:
            names[kept], starts[kept], stops[kept] = names[word], starts[word], stops[word]
            kept += 1
    return kept


@compiled
def _bag(names: Any, first: int, n: int) -> Any:
    """The name of n words from one on in any order; never 0, and none of an n-gram's but by chance."""
    total, mixed = np.uint64(0), np.uint64(n)
    for word in range(first, first + n):
        one = names[word] * _WORD_FACTOR
        one ^= one >> np.uint64(31)
        total += one * _GRAM_FACTOR
        mixed ^= one
    return ((total ^ (mixed >> np.uint64(7))) * _WORD_FACTOR) | _ONE


@compiled
def _words(
    data: Any, begin: int, end: int, letters: int, properties: Any, lower: Any, names: Any, starts: Any, stops: Any
) -> int:
    """Names of the words of a text and the bytes that they span; words of punctuation alone are none.

    Where ``letters`` is not 0, of each word the first so many make its name.
    """
    count, at, name, inside, whole, so_far = 0, begin, np.uint64(0), False, False, 0
    while at < end:
        code, width = code_point(data, at)
        what = properties[code]
        if what & SPACE:
            if inside:
                count += 1
            inside = False
        elif not what & _PUNCTUATION:
            if inside and (what & WHOLE or (whole and what & (ALPHABETIC | NUMERIC))):
                count, inside = count + 1, False
            if not inside:
                inside, name, so_far = True, np.uint64(0), 0
                starts[count] = at
            whole = what & WHOLE != 0
            if letters == 0 or so_far < letters:
                name = (name ^ np.uint64(lower[code] + 1)) * _WORD_FACTOR
                name ^= name >> np.uint64(32)
            so_far += 1
            names[count], stops[count] = name, at + width
        at += width
    return count + 1 if inside else count


@compiled
def _gram(names: Any, first: int, n: int) -> Any:
    """The name of the n-gram from a word on; never 0."""
    name = np.uint64(n)
    for word in range(first, first + n):
        name = (name ^ names[word]) * _GRAM_FACTOR
        name ^= name >> np.uint64(29)
    return name | _ONE


@compiled
def _all_grams(
    data: Any,
    offsets: Any,
    n: int,
    bags: bool,
    left_out: Any,
    properties: Any,
    lower: Any,
    words: Any,
    starts: Any,
    stops: Any,
    names: Any,
    texts: Any,
) -> int:
    count = 0
    for text in range(len(offsets) - 1):
        begin, end = offsets[text], offsets[text + 1]
        found = _words(data, begin, end, STEM if bags else 0, properties, lower, words, starts, stops)
        if bags:
            found = _content(words, starts, stops, found, left_out)
        for first in range(found - n + 1):
            names[count], texts[count] = _bag(words, first, n) if bags else _gram(words, first, n), text
            count += 1
    return count


@compiled
def _fill(names: Any, slots: Any, bitmap: Any) -> None:
    mask = np.uint64(len(slots) - 1)
    for place in range(len(names)):
        bit = names[place] >> np.uint64(64 - _BITMAP_BITS)
        bitmap[bit >> np.uint64(3)] |= np.uint8(1 << (bit & np.uint64(7)))
        slot = (names[place] >> _ONE) & mask
        while slots[slot] >= 0:
            slot = (slot + _ONE) & mask
        slots[slot] = place


@compiled
def _find(
    data: Any,
    offsets: Any,
    index: GramIndex,
    left_out: Any,
    properties: Any,
    lower: Any,
    words: Any,
    starts: Any,
    stops: Any,
    out: Hits,
) -> int:
    mask, count, n = np.uint64(len(index.slots) - 1), 0, index.n
    for text in range(len(offsets) - 1):
        begin, end = offsets[text], offsets[text + 1]
        found = _words(data, begin, end, STEM if index.bags else 0, properties, lower, words, starts, stops)
        if index.bags:
            found = _content(words, starts, stops, found, left_out)
        for first in range(found - n + 1):
            name = _bag(words, first, n) if index.bags else _gram(words, first, n)
            bit = name >> np.uint64(64 - _BITMAP_BITS)
            if not index.bitmap[bit >> np.uint64(3)] >> (bit & np.uint64(7)) & 1:
                continue
            slot = (name >> _ONE) & mask
            while index.slots[slot] >= 0 and index.names[index.slots[slot]] != name:
                slot = (slot + _ONE) & mask
            if index.slots[slot] >= 0:
                if count < len(out.text):
                    out.text[count], out.gram[count] = text, index.slots[slot]
                    out.start[count], out.stop[count] = (
                        starts[first] - offsets[text],
                        stops[first + n - 1] - offsets[text],
                    )
                count += 1
    return count
