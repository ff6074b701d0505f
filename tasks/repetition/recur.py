"""What stands more than once in a source: lines and paragraphs by the documents that have them, and long runs of words.

A run of ``n`` words that stands twice is found by the name of every window of n words (a polynomial in the names of the
words, rolled along): the union of windows that stand twice is what a suffix array gives for a least length of n (Lee et
al. 2022, section 4.1), up to collisions of 64-bit names. Lines, paragraphs and words are those of the signals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tasks.core.compiled import compiled
from tasks.signals.anatomy import HAS_ALPHABETIC, join_paragraphs, mixed, room_for, take_apart
from tasks.text.characters import characters

LINE, PARAGRAPH, SPAN, EDGE = range(4)
KINDS = ("recurring_line", "recurring_paragraph", "repeated_span", "recurring_edge")
_BASE = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(32)
_BITMAP_BITS = 23
EDGE_LINES = 10  # of a text, from its head and from its end, that may be what a site writes on every page
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


class Tallied(NamedTuple):
    """What recurs in a source."""

    lines: Recurring
    paragraphs: Recurring
    spans: Repeated


def tally(source: Source, line_documents: int, paragraph_documents: int, span_words: int, ranges: int = 1) -> Tallied:
    """The lines and paragraphs that so many documents have, and the windows of so many words that stand twice.

    The source is read once for each of so many ranges of names, of which one is in memory at a time.
    """
    found = []
    for number in range(ranges):
        named = [_named(texts, span_words, number, ranges) for texts in source()] or [_NOTHING]
        names = _Names(*_joined(named))
        del named
        found.append(
            Tallied(
                _recurring(names.lines, line_documents),
                _recurring(names.paragraphs, paragraph_documents),
                _repeated(names),
            )
        )
    return Tallied(
        Recurring(*_joined([one.lines for one in found])),
        Recurring(*_joined([one.paragraphs for one in found])),
        Repeated(*_joined([one.spans for one in found])),
    )


def _joined(ranges: Sequence[tuple[npt.NDArray[Any], ...]]) -> Iterator[npt.NDArray[Any]]:
    """The columns of what was found in ranges of names, one after the other: names stay sorted."""
    return (np.concatenate(column) for column in zip(*ranges, strict=True))


class _Names(NamedTuple):
    """Names of a range: of lines and paragraphs, each once a document; of windows of words, and where each stands."""

    lines: Numbers
    paragraphs: Numbers
    windows: Numbers
    keys: Numbers
    places: Numbers


_NOTHING = _Names(*(np.empty(0, np.uint64) for _ in _Names._fields))


def _recurring(names: Numbers, least: int) -> Recurring:
    names.sort()
    edges = np.flatnonzero(np.append(True, names[1:] != names[:-1])) if len(names) else np.empty(0, np.int64)
    counts = np.diff(np.append(edges, len(names)))
    return Recurring(names[edges][counts >= least], counts[counts >= least])


def _repeated(names: _Names) -> Repeated:
    ordered = np.sort(names.windows)
    again = ordered[1:][ordered[1:] == ordered[:-1]]
    twice = again[np.append(True, again[1:] != again[:-1])] if len(again) else again
    found = Repeated(twice, np.full(len(twice), np.iinfo(np.uint64).max, np.uint64), np.zeros(len(twice), np.int64))
    _note_first(names, _table_of(twice), found)
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
def _note_first(names: _Names, table: _Table, found: Repeated) -> None:
    """Where each repeated window stands first, by the key of the document, then by the word."""
    for at in range(len(names.windows)):
        place = _place_of(names.windows[at], found.names, table)
        if place >= 0:
            key, word = names.keys[at], np.int64(names.places[at])
            if key < found.keys[place] or (key == found.keys[place] and word < found.places[place]):
                found.keys[place], found.places[place] = key, word


def _named(texts: Texts, width: int, number: int, ranges: int) -> _Names:
    """The names of a part's lines, paragraphs and windows of so many words, those of one range."""
    most = 3 * (int(texts.offsets[-1] - texts.offsets[0]) // 2 + 2 * len(texts.offsets) + 2)
    out = _Names(*(np.empty(most, np.uint64) for _ in _Names._fields))
    tables, room = characters(), room_for(int(np.diff(texts.offsets).max(initial=0)))
    n_lines, n_paragraphs, n_windows = _name_all(
        texts, width, np.uint64(number), np.uint64(ranges), tables.properties, tables.lower, room, np.empty(most, np.uint64), out
    )  # fmt: skip
    ends = (n_lines, n_paragraphs, n_windows, n_windows, n_windows)
    return _Names(*(column[:end].copy() for column, end in zip(out, ends, strict=True)))


@compiled
def _name_all(
    texts: Texts, width: int, number: Any, ranges: Any, properties: Any, lower: Any, room: Any, windows: Any, out: _Names
) -> Any:  # fmt: skip
    words, lines, paragraphs, _ = room
    n_line_names, n_paragraph_names, n_window_names = 0, 0, 0
    for text in range(len(texts.offsets) - 1):
        begin, end = texts.offsets[text], texts.offsets[text + 1]
        n_words, n_lines, _ = take_apart(texts.data, begin, end, properties, lower, words, lines)
        n_paragraphs = join_paragraphs(texts.data, lines, n_lines, paragraphs)
        n_line_names = _name_once(lines.name[:n_lines], number, ranges, out.lines, n_line_names)
        for side in range(2):
            for line in range(min(n_lines, EDGE_LINES)):
                name = _at_edge(lines, n_lines, line, side)
                if _within(name, number, ranges):
                    out.lines[n_line_names] = name
                    n_line_names += 1
        n_paragraph_names = _name_once(
            paragraphs.name[:n_paragraphs], number, ranges, out.paragraphs, n_paragraph_names
        )
        for at in range(_windows(words.name, n_words, width, windows)):
            if _within(windows[at], number, ranges):
                out.windows[n_window_names] = windows[at]
                out.keys[n_window_names], out.places[n_window_names] = texts.keys[text], at
                n_window_names += 1
    return n_line_names, n_paragraph_names, n_window_names


@compiled
def _at_edge(lines: Any, n: int, line: int, side: int) -> Any:
    """The name of a line so far from the head (side 0) or the end of a text (1), at that place."""
    return mixed(mixed(lines.name[n - 1 - line if side else line], line + 1), EDGE + side)


@compiled
def _name_once(names: Any, number: Any, ranges: Any, out: Any, count: int) -> int:
    """The names of a document's pieces that are of a range, each once."""
    own = np.sort(names)
    for at in range(len(own)):
        if (at == 0 or own[at] != own[at - 1]) and _within(own[at], number, ranges):
            out[count] = own[at]
            count += 1
    return count


@compiled
def _within(name: Any, number: Any, ranges: Any) -> Any:
    return (name >> _SHIFT) * ranges >> _SHIFT == number


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


def stretches(
    texts: Texts, lines: Numbers, paragraphs: Numbers, edges: Numbers, spans: Repeated, words: int
) -> Stretches:
    """The recurring lines and paragraphs of a part, and its runs of words that stand at another place first.

    ``lines``, ``paragraphs`` and ``edges`` are sorted names; those of the last kind are of lines at their places, and
    recur in a row from the first line of a text on, or up to its last.
    """
    tables, room = characters(), room_for(int(np.diff(texts.offsets).max(initial=0)))
    most = int(texts.offsets[-1] - texts.offsets[0]) * 3 // 2 + 4 * len(texts.offsets)
    found = Stretches(*(np.empty(most, np.int64) for _ in Stretches._fields))
    windows, table = np.empty(most, np.uint64), _table_of(spans.names)
    named = (lines, paragraphs, edges)
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
        count = _mark_edges(words, lines, n_lines, named[2], text, begin, out, count)
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
        if _is_among(names, pieces.name[piece]):
            count = _note(pieces, piece, kind, text, begin, out, count)
    return count


@compiled
def _mark_edges(words: Any, lines: Any, n: int, names: Any, text: int, begin: int, out: Stretches, count: int) -> int:
    first, last = 0, n
    while first < min(n, EDGE_LINES) and _says(words, lines, first) and _is_among(names, _at_edge(lines, n, first, 0)):
        first += 1
    while (
        last > max(first, n - EDGE_LINES)
        and _says(words, lines, last - 1)
        and _is_among(names, _at_edge(lines, n, n - last, 1))
    ):
        last -= 1
    for line in range(n):
        if not first <= line < last:
            count = _note(lines, line, EDGE, text, begin, out, count)
    return count


@compiled
def _says(words: Any, lines: Any, line: int) -> bool:
    """Whether a line has a word: brackets that end a program are no site's slogan."""
    for word in range(lines.first[line], lines.last[line]):  # noqa: SIM110 (numba has no any)
        if words.kind[word] & HAS_ALPHABETIC:
            return True
    return False


@compiled
def _is_among(names: Any, name: Any) -> bool:
    at = np.searchsorted(names, name)
    return bool(at < len(names) and names[at] == name)


@compiled
def _note(pieces: Any, piece: int, kind: int, text: int, begin: int, out: Stretches, count: int) -> int:
    out.text[count], out.kind[count] = text, kind
    out.start[count], out.stop[count] = pieces.start[piece] - begin, pieces.stop[piece] - begin
    return count + 1
