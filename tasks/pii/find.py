"""Personal data and secrets in text: found by pattern and checksum, replaced by what kind they are.

What is found in a text, and what replaces it, depends on that text alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tasks.core.compiled import compiled
from tasks.pii.kinds import (
    AT,
    COLON,
    DIGIT,
    DOT,
    KEY_MARKS,
    KINDS,
    MARK,
    NAMES,
    PLACEHOLDERS,
    WIDE,
    WIDE_AT,
)


class Found(NamedTuple):
    """A piece of personal data: bytes of a text."""

    start: int
    stop: int
    name: str


def find(texts: Sequence[bytes]) -> dict[int, list[Found]]:
    """Place of a text -> all its personal data, in order, none overlapping. Texts in UTF-8; those that have none are left out."""
    data = np.frombuffer(b"".join(texts), np.uint8)
    offsets = np.cumsum([0, *map(len, texts)])
    windows = _windows(data, offsets, _SIGNS, _MARKS).tolist()
    found = {text: _proven(texts[text], list(group)) for text, group in groupby(windows, key=itemgetter(0))}
    return {text: pieces for text, pieces in found.items() if pieces}


def _proven(text: bytes, windows: list[list[int]]) -> list[Found]:
    found: list[Found] = []
    claimed = bytearray(len(text))
    for kind in KINDS:
        for _, start, stop, where in windows:
            if where != kind.where:
                continue
            for match in kind.pattern.finditer(text, start, stop):
                start_at, stop_at = match.span()
                if not any(claimed[start_at:stop_at]) and (kind.proof is None or kind.proof(match)):
                    claimed[start_at:stop_at] = b"\1" * (stop_at - start_at)
                    found.append(Found(start_at, stop_at, kind.name))
    return sorted(found)


def replaced(texts: Iterable[str], names: frozenset[str] | set[str]) -> list[str]:
    """The texts with a placeholder for each piece of personal data of the kinds that are named."""
    after = list(texts)
    encoded = [text.encode() for text in after]
    for row, found in find(encoded).items():
        data, pieces, at = encoded[row], [], 0
        for start, stop, name in found:
            if name in names:
                pieces += [data[at:start], PLACEHOLDERS[name].encode()]
                at = stop
        after[row] = b"".join([*pieces, data[at:]]).decode()
    return after


def counts(texts: Sequence[str]) -> dict[str, npt.NDArray[np.float64]]:
    """Name of a kind -> how often it occurs in each text."""
    columns = {name: np.zeros(len(texts)) for name in NAMES}
    for row, found in find([text.encode() for text in texts]).items():
        for name, times in Counter(piece.name for piece in found).items():
            columns[name][row] = times
    return columns


_LONGEST_KEY = 17_000
_GAP = 7  # bytes at most between the digits of one account, card or telephone number
_LEAST_DIGITS = 8
BEFORE_DIGITS = 72  # bytes before a number in which a word may say what it is
_MOST_NOTES = 32  # windows that one byte can add: one for each mark, and the digits before it


class _Marks(NamedTuple):
    """What keys begin with, in the order of the byte that tells of them; where those of each byte begin."""

    spelled: npt.NDArray[np.uint8]
    length: npt.NDArray[np.int64]
    telling: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64]


def _marks() -> _Marks:
    """The byte that tells of a mark is its first that is no small letter: small letters are most of a text."""
    telling = {mark: next(at for at, byte in enumerate(mark) if not 97 <= byte <= 122) for mark in KEY_MARKS}
    ordered = sorted(KEY_MARKS, key=lambda mark: mark[telling[mark]])
    spelled = np.zeros((len(ordered), max(map(len, ordered))), np.uint8)
    for row, mark in enumerate(ordered):
        spelled[row, : len(mark)] = np.frombuffer(mark, np.uint8)
    first = np.searchsorted([mark[telling[mark]] for mark in ordered], np.arange(257))
    return _Marks(spelled, np.array([*map(len, ordered)]), np.array([telling[mark] for mark in ordered]), first)


def _signs() -> npt.NDArray[np.uint8]:
    """What each byte can be the sign of."""
    signs = np.where(np.diff(_MARKS.first) > 0, MARK, 0).astype(np.uint8)
    for byte, sign in {
        b"@": AT,
        WIDE[2:]: WIDE_AT,
        b".": DOT,
        b":": COLON,
        **{b"%d" % digit: DIGIT for digit in range(10)},
    }.items():
        assert signs[byte[0]] == 0, "a byte is the sign of one thing"
        signs[byte[0]] = sign
    return signs


_MARKS = _marks()
_SIGNS = _signs()


@compiled
def _windows(data: Any, offsets: Any, signs: Any, marks: _Marks) -> Any:
    """(text, start, stop, what it could hold) of the places in texts that the patterns are worth trying at.

    Each window holds whole whatever its sign may belong to; those of one kind do not overlap, or one would cut the other's.
    """
    out, count = np.empty((1024, 4), np.int64), 0
    latest = np.full(WIDE_AT, -1)  # the last window of each kind
    for text in range(len(offsets) - 1):
        begin, end = offsets[text], offsets[text + 1]
        digits, first_digit, last_digit = 0, begin, begin
        at = _next(data, begin, end, signs)
        while at < end:
            sign = signs[data[at]]
            if count + _MOST_NOTES > len(out):
                out = np.concatenate((out, np.empty_like(out)))
            if sign == DIGIT:
                if at - last_digit > _GAP:
                    if digits >= _LEAST_DIGITS:
                        count = _note(
                            text, begin, first_digit - BEFORE_DIGITS, last_digit + 24, DIGIT, latest, out, count
                        )
                    digits = 0
                if digits == 0:
                    first_digit = at
                digits, last_digit = digits + 1, at
            elif sign == DOT and at > begin and _is_digit(data[at - 1]) and _are_three_dots(data, at, end):
                count = _note(text, begin, at - BEFORE_DIGITS, at + 20, DOT, latest, out, count)
            elif sign == COLON and at >= begin + 4 and 50 <= data[at - 4] <= 51:
                count = _note(text, begin, at - 12, at + 45, COLON, latest, out, count)
            elif (
                sign == WIDE_AT and at >= begin + 2 and data[at - 1] == WIDE[1] and data[at - 2] == WIDE[0]
            ) or sign == AT:
                count = _note(text, begin, at - 66, at + 600, AT, latest, out, count)
            elif sign == MARK:
                count = _note_marks(data, text, begin, at, end, marks, latest, out, count)
            at = _next(data, at + 1, end, signs)
        if digits >= _LEAST_DIGITS:
            count = _note(text, begin, first_digit - BEFORE_DIGITS, last_digit + 24, DIGIT, latest, out, count)
    return out[:count]


@compiled
def _next(data: Any, at: int, end: int, signs: Any) -> int:
    """The next byte that is the sign of something."""
    while at < end and signs[data[at]] == 0:
        at += 1
    return at


@compiled
def _note(text: int, begin: int, start: int, stop: int, where: int, latest: Any, out: Any, count: int) -> int:
    """Adds a window, or widens the last of its kind where both overlap; returns how many there are."""
    start, stop, last = max(0, start - begin), stop - begin, latest[where]
    if last >= 0 and out[last, 0] == text and start <= out[last, 2]:
        out[last, 1], out[last, 2] = min(start, out[last, 1]), max(stop, out[last, 2])
        return count
    out[count, 0], out[count, 1], out[count, 2], out[count, 3] = text, start, stop, where
    latest[where] = count
    return count + 1


@compiled
def _note_marks(
    data: Any, text: int, begin: int, at: int, end: int, marks: _Marks, latest: Any, out: Any, count: int
) -> int:
    """The marks that stand where their telling byte is at a place."""
    for mark in range(marks.first[data[at]], marks.first[data[at] + 1]):
        start, length = at - marks.telling[mark], marks.length[mark]
        if start < begin or start + length > end:
            continue
        same = 0
        while same < length and data[start + same] == marks.spelled[mark, same]:
            same += 1
        if same == length:
            count = _note(text, begin, start, start + _LONGEST_KEY, MARK, latest, out, count)
    return count


@compiled
def _is_digit(byte: int) -> bool:
    return 48 <= byte <= 57


@compiled
def _are_three_dots(data: Any, at: int, end: int) -> bool:
    """Whether two more full stops follow one, with nothing but digits between."""
    dots = 0
    while dots < 3 and at < end and (data[at] == 46 or _is_digit(data[at])):
        dots += 1 if data[at] == 46 else 0
        at += 1
    return dots == 3
