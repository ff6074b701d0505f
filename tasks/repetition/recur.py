"""What stands more than once in a source: lines and paragraphs by the documents that have them, and long runs of words.

A run of ``n`` words that stands twice is found by the name of every window of n words (a polynomial in the names of the
words, rolled along): the union of windows that stand twice is what a suffix array gives for a least length of n (Lee et
al. 2022, section 4.1), up to collisions of 64-bit names. Lines, paragraphs and words are those of the signals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tasks.compiled import compiled
from tasks.signals.anatomy import join_paragraphs, mixed, room_for, take_apart
from tasks.signals.characters import characters

LINE, PARAGRAPH, SPAN = range(3)
KINDS = ("recurring_line", "recurring_paragraph", "repeated_span")
_BASE = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(32)
_BITMAP_BITS = 23
Numbers = npt.NDArray[np.uint64]


class Texts(NamedTuple):
    """A part of a source: the bytes of its texts, where each begins, and 64 bits that stand for each document."""

    data: npt.NDArray[np.uint8]
    offsets: npt.NDArray[np.int64]
    keys: Numbers


Source = Callable[[], Iterator[Texts]]  # the parts of a source, as often as they are asked for


class Recurring(NamedTuple):
    """Names of lines or paragraphs, sorted, and how many documents have them."""

    names: Numbers
    documents: npt.NDArray[np.int64]


class Repeated(NamedTuple):
    """Names of windows of words that stand twice, sorted; the document and word where each stands first."""

    names: Numbers
    keys: Numbers
    places: npt.NDArray[np.int64]


def recurring(source: Source, kind: int, least: int, ranges: int) -> Recurring:
    """The lines or paragraphs that stand in so many documents or more, found in so many passes."""
    names, documents = [], []
    for number in range(ranges):
        found = np.concatenate(
            [np.empty(0, np.uint64), *(_within(_named(texts, kind, 0)[0], number, ranges) for texts in source())]
        )
        found.sort()
        edges = np.flatnonzero(np.append(True, found[1:] != found[:-1])) if len(found) else np.empty(0, np.int64)
        counts = np.diff(np.append(edges, len(found)))
        names.append(found[edges][counts >= least])
        documents.append(counts[counts >= least])
    return Recurring(np.concatenate(names), np.concatenate(documents))


def repeated(source: Source, words: int, ranges: int) -> Repeated:
    """The windows of so many words that stand twice, and where each stands first, in the order of document keys."""
    twice = []
    for number in range(ranges):
        windows = np.concatenate(
            [np.empty(0, np.uint64), *(_within(_named(texts, SPAN, words)[0], number, ranges) for texts in source())]
        )
        windows.sort()
        again = windows[1:][windows[1:] == windows[:-1]]
        twice.append(again[np.append(True, again[1:] != again[:-1])] if len(again) else again)
    names = np.concatenate(twice)
    found = Repeated(names, np.full(len(names), np.iinfo(np.uint64).max, np.uint64), np.zeros(len(names), np.int64))
    table = _table_of(names)
    for texts in source():
        named, documents, places = _named(texts, SPAN, words)
        _note_first(named, texts.keys, documents, places, table, found)
    return found


class _Table(NamedTuple):
    """A hash table of the places of names, and a filter before it that stays in a core's cache."""

    slots: npt.NDArray[np.int64]
    bitmap: npt.NDArray[np.uint8]


def _table_of(names: Numbers) -> _Table:
    table = _Table(
        np.full(1 << max(4, (2 * len(names)).bit_length()), -1, np.int64), np.zeros(1 << (_BITMAP_BITS - 3), np.uint8)
    )
    _fill(names, table)
    return table


@compiled
def _fill(names: Any, table: _Table) -> None:
    mask = np.uint64(len(table.slots) - 1)
    for place in range(len(names)):
        bit = names[place] >> np.uint64(64 - _BITMAP_BITS)
        table.bitmap[bit >> np.uint64(3)] |= np.uint8(1 << (bit & np.uint64(7)))
        slot = names[place] & mask
        while table.slots[slot] >= 0:
            slot = (slot + np.uint64(1)) & mask
        table.slots[slot] = place


@compiled
def _place_of(name: Any, names: Any, table: _Table) -> int:
    """The place of a name, or -1."""
    bit = name >> np.uint64(64 - _BITMAP_BITS)
    if not table.bitmap[bit >> np.uint64(3)] >> (bit & np.uint64(7)) & 1:
        return -1
    mask = np.uint64(len(table.slots) - 1)
    slot = name & mask
    while table.slots[slot] >= 0 and names[table.slots[slot]] != name:
        slot = (slot + np.uint64(1)) & mask
    return int(table.slots[slot])


@compiled
def _note_first(windows: Any, keys: Any, documents: Any, places: Any, table: _Table, found: Repeated) -> None:
    """Where each repeated window stands first, by the key of the document, then by the word."""
    for at in range(len(windows)):
        place = _place_of(windows[at], found.names, table)
        if place >= 0:
            key = keys[documents[at]]
            if key < found.keys[place] or (key == found.keys[place] and places[at] < found.places[place]):
                found.keys[place], found.places[place] = key, places[at]


def _within(names: Numbers, number: int, ranges: int) -> Numbers:
    here: npt.NDArray[np.bool_] = (names >> _SHIFT) * np.uint64(ranges) >> _SHIFT == number
    return names[here]


def _named(texts: Texts, kind: int, words: int) -> tuple[Numbers, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Names of a part's lines or paragraphs, each once a document, or of its windows; their documents and places."""
    most = int(texts.offsets[-1] - texts.offsets[0]) // 2 + 2 * len(texts.offsets) + 2
    names, documents, places = np.empty(most, np.uint64), np.empty(most, np.int64), np.empty(most, np.int64)
    tables, room = characters(), room_for(int(np.diff(texts.offsets).max(initial=0)))
    count = _name_all(
        texts.data, texts.offsets, kind, words, tables.properties, tables.lower, room, names, documents, places
    )
    return names[:count], documents[:count], places[:count]


@compiled
def _name_all(
    data: Any,
    offsets: Any,
    kind: int,
    width: int,
    properties: Any,
    lower: Any,
    room: Any,
    names: Any,
    documents: Any,
    places: Any,
) -> int:
    words, lines, paragraphs, _ = room
    count = 0
    for text in range(len(offsets) - 1):
        n_words, n_lines, _ = take_apart(data, offsets[text], offsets[text + 1], properties, lower, words, lines)
        if kind == SPAN:
            added = _windows(words.name, n_words, width, names[count:])
            for at in range(added):
                documents[count + at], places[count + at] = text, at
            count += added
            continue
        pieces, n_pieces = (
            (lines, n_lines) if kind == LINE else (paragraphs, join_paragraphs(data, lines, n_lines, paragraphs))
        )
        own = np.sort(pieces.name[:n_pieces])
        for at in range(n_pieces):
            if at == 0 or own[at] != own[at - 1]:
                names[count], documents[count], places[count] = own[at], text, 0
                count += 1
    return count


@compiled
def _windows(names: Any, n_words: int, width: int, out: Any) -> int:
    """The name of each window of so many words."""
    if n_words < width:
        return 0
    power, name = np.uint64(1), np.uint64(0)
    for at in range(width):
        name = name * _BASE + names[at]
        power *= _BASE if at else np.uint64(1)
    for first in range(n_words - width + 1):
        out[first] = mixed(name, width)
        if first + width < n_words:
            name = (name - names[first] * power) * _BASE + names[first + width]
    return n_words - width + 1


class Stretches(NamedTuple):
    """What of texts recurs: the text, its kind, and the bytes of the text from where to where."""

    text: npt.NDArray[np.int64]
    kind: npt.NDArray[np.int64]
    start: npt.NDArray[np.int64]
    stop: npt.NDArray[np.int64]


def stretches(texts: Texts, lines: Recurring, paragraphs: Recurring, spans: Repeated, words: int) -> Stretches:
    """The recurring lines and paragraphs of a part, and its runs of words that stand at another place first."""
    tables, room = characters(), room_for(int(np.diff(texts.offsets).max(initial=0)))
    most = int(texts.offsets[-1] - texts.offsets[0]) + 3 * len(texts.offsets)
    found = Stretches(*(np.empty(most, np.int64) for _ in Stretches._fields))
    windows, table = np.empty(most, np.uint64), _table_of(spans.names)
    named = (lines.names, paragraphs.names)
    count = _mark(texts, tables.properties, tables.lower, room, named, spans, table, words, windows, found)
    return Stretches(*(column[:count] for column in found))


@compiled
def _mark(
    texts: Texts, properties: Any, lower: Any, room: Any, named: Any, spans: Repeated, table: _Table, width: int,
    windows: Any, out: Stretches
) -> int:  # fmt: skip
    words, lines, paragraphs, _ = room
    count = 0
    for text in range(len(texts.offsets) - 1):
        begin = texts.offsets[text]
        n_words, n_lines, _ = take_apart(texts.data, begin, texts.offsets[text + 1], properties, lower, words, lines)
        count = _mark_pieces(lines, n_lines, named[0], LINE, text, begin, out, count)
        n_paragraphs = join_paragraphs(texts.data, lines, n_lines, paragraphs)
        count = _mark_pieces(paragraphs, n_paragraphs, named[1], PARAGRAPH, text, begin, out, count)
        last = -1  # word behind the stretch that grows
        for first in range(_windows(words.name, n_words, width, windows)):
            place = _place_of(windows[first], spans.names, table)
            if place < 0 or (spans.keys[place] == texts.keys[text] and spans.places[place] == first):
                continue
            if first > last:
                out.text[count], out.kind[count], out.start[count] = text, SPAN, words.start[first] - begin
                count += 1
            out.stop[count - 1] = words.stop[first + width - 1] - begin
            last = first + width
    return count


@compiled
def _mark_pieces(pieces: Any, n: int, names: Any, kind: int, text: int, begin: int, out: Stretches, count: int) -> int:
    for piece in range(n):
        at = np.searchsorted(names, pieces.name[piece])
        if at < len(names) and names[at] == pieces.name[piece]:
            out.text[count], out.kind[count] = text, kind
            out.start[count], out.stop[count] = pieces.start[piece] - begin, pieces.stop[piece] - begin
            count += 1
    return count
