"""A document taken apart once for all signals: words, lines and paragraphs as arrays, in one pass over its bytes.

Words are runs without white space; a letter of a script that parts no words is one, with the marks and the punctuation
behind it (``tasks.text.characters``). Lines are separated by newlines alone, stripped, and count only where something
is left of them. Paragraphs are what stands between blank lines. Lengths are in code points unless they say bytes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tasks.core.compiled import compiled
from tasks.text.characters import ALPHABETIC, CASED, LATIN, NUMERIC, PLAIN_STOPS, SPACE, UPPER, WHOLE, code_point

HAS_ALPHABETIC, ALL_CAPITALS, ALL_NUMERIC = 1, 2, 4
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
NEWLINE = 10


class Words(NamedTuple):
    """Of each word: its bytes, its length, what it is made of, and names of itself and of its lower case."""

    start: npt.NDArray[np.int64]
    stop: npt.NDArray[np.int64]
    length: npt.NDArray[np.int64]
    kind: npt.NDArray[np.uint8]
    name: npt.NDArray[np.uint64]
    lower: npt.NDArray[np.uint64]


class Lines(NamedTuple):
    """Of each line: its bytes, its first word and the one behind its last, its length and its name."""

    start: npt.NDArray[np.int64]
    stop: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64]
    last: npt.NDArray[np.int64]
    length: npt.NDArray[np.int64]
    name: npt.NDArray[np.uint64]


class Totals(NamedTuple):
    """Of the whole text."""

    bytes: int
    length: int
    newlines: int
    letters: int
    capitals: int
    numerals: int
    whole: int  # letters of scripts that part no words
    other: int  # letters that are not Latin
    own_stops: int  # letters of scripts that end sentences in their own way
    caseless: int


class Grams(NamedTuple):
    """Room for counting n-grams: a hash table, and names and places of those that are looked at."""

    keys: npt.NDArray[np.uint64]
    counts: npt.NDArray[np.int64]
    names: npt.NDArray[np.uint64]
    places: npt.NDArray[np.int64]


def room_for(most_bytes: int) -> tuple[Words, Lines, Lines, Grams]:
    """Arrays that hold the words, lines, paragraphs and n-grams of any text of so many bytes."""
    most = most_bytes // 2 + 2
    words, lines, paragraphs = _columns(Words, most), _columns(Lines, most), _columns(Lines, most)
    slots = 1 << max(4, int(2 * most - 1).bit_length())
    grams = Grams(
        np.zeros(slots, np.uint64), np.zeros(slots, np.int64), np.empty(most, np.uint64), np.empty(most, np.int64)
    )
    return words, lines, paragraphs, grams


def _columns(kind: Any, rows: int) -> Any:
    """A tuple of arrays of so many rows; names are 64 bits, kinds 8, the rest are numbers."""
    types = {"name": np.uint64, "lower": np.uint64, "kind": np.uint8}
    return kind(*(np.empty(rows, types.get(field, np.int64)) for field in kind._fields))


@compiled
def mixed(name: Any, value: Any) -> Any:
    """The name of a sequence that goes on with one more value."""
    name = (name ^ np.uint64(value)) * _MULTIPLIER
    return name ^ (name >> np.uint64(32))


@compiled
def take_apart(  # noqa: PLR0912, PLR0915 (one loop over the text, whose state would be passed around)
    data: Any, begin: int, end: int, properties: Any, lower: Any, words: Words, lines: Lines
) -> Any:
    """Fills words and lines with those of the text in ``data[begin:end]``; returns their numbers and the totals."""
    n_words, n_lines, newlines, letters, capitals, numerals, length = 0, 0, 0, 0, 0, 0, 0
    in_word, first, line_length, gap = False, 0, 0, 0
    name, small, line_name = np.uint64(0), np.uint64(0), np.uint64(0)
    word_length, word_letters, word_capitals, word_numerals = 0, 0, 0, 0
    is_whole, whole, other, own_stops, caseless = False, 0, 0, 0, 0
    at = begin
    while at <= end:
        if at < end:
            code, width = code_point(data, at)
            what = properties[code]
            length += 1
        else:  # the end of the text ends its last word and line
            code, width, what = np.int32(NEWLINE), 1, np.uint16(SPACE)
        said = in_word and word_letters + word_numerals > 0  # what opens a bracket goes on into its word
        parts = said and (what & WHOLE or (is_whole and what & (ALPHABETIC | NUMERIC)))
        if what & SPACE or parts:
            if in_word:
                in_word = False
                words.stop[n_words], words.length[n_words] = at, word_length
                words.name[n_words], words.lower[n_words] = name, small
                words.kind[n_words] = (
                    (HAS_ALPHABETIC if word_letters else 0)
                    | (ALL_CAPITALS if word_letters and word_capitals == word_letters else 0)
                    | (ALL_NUMERIC if word_numerals == word_length else 0)
                )
                letters, capitals, numerals = letters + word_letters, capitals + word_capitals, numerals + word_numerals
                n_words += 1
                gap = 0
            gap += 0 if parts else 1
            if code == NEWLINE:
                newlines += 1 if at < end else 0
                if n_words > first:
                    lines.start[n_lines], lines.stop[n_lines] = words.start[first], words.stop[n_words - 1]
                    lines.first[n_lines], lines.last[n_lines] = first, n_words
                    lines.length[n_lines], lines.name[n_lines] = line_length, line_name
                    n_lines += 1
                    first = n_words
        if not what & SPACE:
            if not in_word:
                in_word = True
                is_whole = False
                words.start[n_words] = at
                name, small = np.uint64(0), np.uint64(0)
                word_length, word_letters, word_capitals, word_numerals = 0, 0, 0, 0
                if n_words == first:
                    line_length, line_name = 0, np.uint64(0)
                elif gap:
                    line_length += gap
                    line_name = mixed(line_name, gap)
            name, small, line_name = mixed(name, code), mixed(small, lower[code]), mixed(line_name, code)
            word_length += 1
            line_length += 1
            if what & ALPHABETIC:
                is_whole = what & WHOLE != 0
                word_letters += 1
                word_capitals += 1 if what & UPPER else 0
                if not what & LATIN:
                    other += 1
                    whole += 1 if what & WHOLE else 0
                    own_stops += 0 if what & PLAIN_STOPS else 1
                    caseless += 0 if what & CASED else 1
            elif what & NUMERIC:
                word_numerals += 1
        at += width
    return (
        n_words,
        n_lines,
        Totals(end - begin, length, newlines, letters, capitals, numerals, whole, other, own_stops, caseless),
    )


@compiled
def join_paragraphs(data: Any, lines: Lines, n_lines: int, paragraphs: Lines) -> int:
    """Fills paragraphs with lines that no blank line parts.

    Their length counts what stands between their lines; their name does not know white space at the ends of lines.
    """
    count = 0
    for line in range(n_lines):
        between, breaks = 0, 0
        if line:
            for at in range(lines.stop[line - 1], lines.start[line]):
                between += 1 if data[at] & 0xC0 != 0x80 else 0
                breaks += 1 if data[at] == NEWLINE else 0
        if line == 0 or breaks > 1:
            paragraphs.start[count], paragraphs.first[count] = lines.start[line], lines.first[line]
            paragraphs.length[count], paragraphs.name[count] = lines.length[line], lines.name[line]
            count += 1
        else:
            paragraphs.length[count - 1] += between + lines.length[line]
            paragraphs.name[count - 1] = mixed(mixed(paragraphs.name[count - 1], NEWLINE), lines.name[line])
        paragraphs.stop[count - 1], paragraphs.last[count - 1] = lines.stop[line], lines.last[line]
    return count


@compiled
def slot_of(name: Any, keys: Any, mask: Any) -> Any:
    """Where a name is, or belongs, in an open hash table. Names are never 0."""
    slot = np.int64((name >> np.uint64(20)) & np.uint64(mask))
    while keys[slot] != 0 and keys[slot] != name:
        slot = (slot + 1) & mask
    return slot


@compiled
def table_mask(entries: int, keys: Any) -> int:
    """Empties the part of a hash table that so many entries need, and returns its mask."""
    slots = 16
    while slots < 2 * entries:
        slots *= 2
    keys[:slots] = 0
    return slots - 1


@compiled
def repeated(name: Any, length: Any, count: int, keys: Any) -> Any:
    """How many pieces occurred before, and how long they are together."""
    mask = table_mask(count, keys)
    pieces, characters = 0, 0
    for i in range(count):
        key = name[i] | np.uint64(1)
        slot = slot_of(key, keys, mask)
        if keys[slot] == key:
            pieces, characters = pieces + 1, characters + length[i]
        keys[slot] = key
    return pieces, characters
