"""Texts as their words: lower-cased runs of letters, digits and their marks with one space after each, in compiled code.

A letter of a script that parts no words is one (``tasks.text.characters``). What nobody sees (joiners, soft hyphens) is
left out. Unlike UAX #29, no word goes on across an apostrophe or a full stop: don't is two, which finds what is nearly
alike as well and is read sixteen bytes at a time. Of a text that Unicode writes in two ways, both give the same words.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tasks.core.compiled import compiled
from tasks.dedup.vectors import CHUNK, LANES, PADDING, ascii_words, word_starts
from tasks.text.characters import CODE_POINTS, LETTERS_ALONE, MARK, WHOLE, characters, told_apart
from tasks.text.normal import joins, normal

_SPACE = np.int32(ord(" "))
_CONTEXTUAL = ("Σ", "İ")  # whose lower case depends on the letters around it, or is two characters
# Soft hyphens, joiners, marks of byte order, and selectors of a character's variants.
_UNSEEN = (0xAD, *range(0x200B, 0x200E), 0x2060, 0xFEFF, *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))
# What the table says of a code point beside its lower case.
_WHOLE, _MARK, _SKIPPED = (np.int32(1 << n) for n in (24, 25, 26))
_CODE = np.int32((1 << 24) - 1)
# Bytes of words for each byte of text, at most: a letter that is a word takes a space more, and U+023A a byte more in lower case.
_GROWTH = 2
_ONE, _LANES, _CHUNK = np.uint64(1), np.uint64(LANES), np.uint64(CHUNK)


class Room(NamedTuple):
    """Working memory for one text: its words one after the other, where each begins, and what is hashed of them."""

    words: npt.NDArray[np.uint8]
    starts: npt.NDArray[np.uint32]
    hashes: npt.NDArray[np.uint32]


def room_for(offsets: npt.NDArray[np.int64]) -> Room:
    """Arrays that hold any of the texts between these offsets."""
    most = int(np.diff(offsets).max(initial=0))
    places = most // 2 + PADDING
    return Room(
        np.zeros(most * _GROWTH + PADDING, np.uint8),
        np.zeros(places, np.uint32),
        np.zeros(places, np.uint32),
    )


def text_buffers(texts: pa.Array | pa.ChunkedArray) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """The bytes of a column of texts, and where each begins; the last offset is where they end. A null is empty."""
    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks()
    if texts.null_count:
        texts = pc.fill_null(texts, "")
    texts = texts.cast(pa.large_string())
    if not len(texts):
        return np.empty(0, np.uint8), np.zeros(1, np.int64)
    _, offsets, data = texts.buffers()
    begins = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    return np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8), begins


@cache
def lower_words(settled: bool = False) -> npt.NDArray[np.int32]:
    """Code point -> its lower case where it belongs to a word, with what else is to be known of it; else a space.

    -1 where that takes more than the character itself: the case of its neighbours, or another way to write it (its
    normal form C, UAX #15). Of texts that are ``settled``, lower-cased and normal, there is no such character.
    """
    table = np.full(CODE_POINTS, _SPACE, np.int32)
    properties = characters().properties
    for first, end in LETTERS_ALONE:
        table[first:end] = np.arange(first, end, dtype=np.int32) | _WHOLE
    for code in told_apart():
        character = chr(code)
        if character.isalnum() or character == "_":
            table[code] = ord(character.lower()[0]) | (_WHOLE if properties[code] & WHOLE else 0)
        elif properties[code] & MARK:
            table[code] = code | _MARK
    table[list(_UNSEEN)] = _SKIPPED
    if not settled:
        table[[ord(letter) for letter in _CONTEXTUAL]] = -1
        table[[*joins(), *(code for code in told_apart() if normal(chr(code)) != chr(code))]] = -1
    return table


def settled(text: str) -> str:
    """A text in lower case and normal form C, by Python, which knows what a letter's neighbours do to it."""
    return normal(normal(text).lower())


@compiled
def split_words(  # noqa: PLR0912 (one loop over the text, whose state would be passed around)
    data: Any, begin: int, end: int, table: Any, words: Any, starts: Any
) -> Any:
    """Writes the words of ``data[begin:end]`` and where each begins, and where they end; returns their number.

    Returns -1 where the text has a letter of which the table says -1: it must come lower-cased.
    """
    at, stop, size = np.uint64(begin), np.uint64(end), np.uint64(len(data))
    n, inside, whole = np.uint64(0), np.uint64(0), False
    while at < stop:
        if data[at] < 0x80 and at + _CHUNK <= size:
            told = ascii_words(data, at, stop - at, words, n, inside)
            at += np.uint64(told & 0xFF)
            n += np.uint64((told >> 8) & 0xFF)
            inside = np.uint64(told >> 16)
            whole = False
        else:
            code, width = _code_point(data, at)
            at += width
            small = table[code]
            if small < 0:
                return -1
            if small & _SKIPPED:
                continue
            if small & _WHOLE or small == _SPACE:  # both end the word before
                words[n] = _SPACE
                n += inside
                inside = np.uint64(0)
                whole = small != _SPACE
                if whole:
                    n = _write(words, n, small & _CODE)
                    words[n] = _SPACE
                    n += _ONE
            elif small & _MARK and not inside:
                if whole:  # it belongs to the letter before, behind which a space is written
                    n = _write(words, n - _ONE, small & _CODE)
                    words[n] = _SPACE
                    n += _ONE
            else:
                n = _write(words, n, small & _CODE)
                inside, whole = _ONE, False
    if inside:
        words[n] = _SPACE
        n += _ONE
    for rest in range(LANES):  # a digest reads whole numbers, and so zeros behind the last
        words[n + np.uint64(rest)] = 0
    starts[0] = 0
    found, at = _ONE, np.uint64(0)
    while at < n:
        found += np.uint64(word_starts(words, at, starts, found))
        at += _LANES
    return np.int64(found) - 1


@compiled
def _code_point(data: Any, at: Any) -> Any:
    """The code point at a byte of valid UTF-8, and how many bytes it takes."""
    byte = np.int32(data[at])
    if byte < 0x80:
        return byte, _ONE
    second = np.int32(data[at + _ONE] & 0x3F)
    if byte < 0xE0:
        return (byte & 0x1F) << 6 | second, np.uint64(2)
    third = np.int32(data[at + np.uint64(2)] & 0x3F)
    if byte < 0xF0:
        return (byte & 0x0F) << 12 | second << 6 | third, np.uint64(3)
    return (byte & 0x07) << 18 | second << 12 | third << 6 | np.int32(data[at + np.uint64(3)] & 0x3F), np.uint64(4)


@compiled
def _write(words: Any, n: Any, code: Any) -> Any:
    """Writes a code point in UTF-8; returns where the next goes."""
    if code < 0x80:
        words[n] = code
        return n + _ONE
    if code < 0x800:
        words[n], words[n + _ONE] = 0xC0 | code >> 6, 0x80 | code & 0x3F
        return n + np.uint64(2)
    if code < 0x10000:
        words[n], words[n + _ONE] = 0xE0 | code >> 12, 0x80 | code >> 6 & 0x3F
        words[n + np.uint64(2)] = 0x80 | code & 0x3F
        return n + np.uint64(3)
    words[n], words[n + _ONE] = 0xF0 | code >> 18, 0x80 | code >> 12 & 0x3F
    words[n + np.uint64(2)], words[n + np.uint64(3)] = 0x80 | code >> 6 & 0x3F, 0x80 | code & 0x3F
    return n + np.uint64(4)
