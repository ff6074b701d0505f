r"""Texts as their words: lower-cased runs of \w with one space after each, in compiled code over their UTF-8 bytes."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tasks.core.compiled import compiled
from tasks.dedup.vectors import CHUNK, LANES, PADDING, ascii_words, word_starts

_CODE_POINTS, _ASSIGNED = 0x110000, 0x33480  # no letter, digit or mark of a word lies beyond
_SPACE = np.int32(ord(" "))
_CONTEXTUAL = ("Σ", "İ")  # whose lower case depends on the letters around it, or is two characters
_GROWTH = 3, 2  # lower case takes up to 3 bytes where the capital takes 2: U+023A
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
        np.zeros(most * _GROWTH[0] // _GROWTH[1] + PADDING, np.uint8),
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
def lower_words() -> npt.NDArray[np.int32]:
    r"""Code point -> its lower case where it matches \w, else a space; -1 where that takes more than the letter itself."""
    table = np.full(_CODE_POINTS, _SPACE, np.int32)
    for code in range(_ASSIGNED):
        character = chr(code)
        if character.isalnum() or character == "_":
            table[code] = ord(character.lower()[0])
    table[[ord(letter) for letter in _CONTEXTUAL]] = -1
    return table


@compiled
def split_words(data: Any, begin: int, end: int, table: Any, words: Any, starts: Any) -> Any:
    """Writes the words of ``data[begin:end]`` and where each begins, and where they end; returns their number.

    Returns -1 where the text has a letter of which the table says -1: it must come lower-cased.
    """
    at, stop, size = np.uint64(begin), np.uint64(end), np.uint64(len(data))
    n, inside = np.uint64(0), np.uint64(0)
    while at < stop:
        if data[at] < 0x80 and at + _CHUNK <= size:
            told = ascii_words(data, at, stop - at, words, n, inside)
            at += np.uint64(told & 0xFF)
            n += np.uint64((told >> 8) & 0xFF)
            inside = np.uint64(told >> 16)
        else:
            code, width = _code_point(data, at)
            at += width
            small = table[code]
            if small < 0:
                return -1
            if small == _SPACE:
                words[n] = _SPACE
                n += inside
                inside = np.uint64(0)
            else:
                n = _write(words, n, small)
                inside = _ONE
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
