"""Personal data and secrets in text: found by pattern and checksum, replaced by what kind they are.

What is found in a text, and what replaces it, depends on that text alone.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tasks.core.compiled import compiled

_EMAIL = re.compile(rb"(?<![\w.+%-])[\w.+%-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}\b")
_IP4 = re.compile(rb"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?!\w|\.\d)")
_IP6 = re.compile(rb"(?<![\w:.])[23][0-9A-Fa-f]{3}:(?:[0-9A-Fa-f]{0,4}:){1,6}[0-9A-Fa-f]{0,4}(?![\w:])")
_PHONE = re.compile(
    rb"(?<![\w+])\+\d{1,3}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d{1,4}(?:[ .-]?\d{2,4}){1,4}(?!\w)"
    rb"|(?<![\w.+-])\(\d{3}\) ?\d{3}[ .-]\d{4}(?!\w|[.-]\d)|(?<![\w.+-])\d{3}([.-])\d{3}\1\d{4}(?!\w|[.-]\d)"
)
_IBAN = re.compile(rb"(?<!\w)[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?!\w)")
_CARD = re.compile(
    rb"(?<![\w.-])(?:\d{13,19}|\d{4}([ -])\d{4}\1\d{4}\1\d{4}(?:\1\d{3})?|\d{4}([ -])\d{6}\2\d{5})(?!\w|[.-]\d)"
)
_KEY = re.compile(
    rb"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----[^-]{1,16384}(?:-----END [A-Z ]{0,30}PRIVATE KEY-----)?"
    rb"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36,255}\b|\bgithub_pat_\w{22,255}\b|\bglpat-[\w-]{20,255}"
    rb"|\bxox[abprs]-[A-Za-z0-9-]{10,250}|\bAIza[\w-]{35}(?![\w-])|\b[sr]k_(?:live|test)_[0-9A-Za-z]{16,255}\b"
    rb"|\bsk-[\w-]{20,250}|\beyJ[\w-]{10,4096}\.[\w-]{10,4096}\.[\w-]{5,4096}"
)
_KEY_MARKS = (
    b"-----BEGIN ", b"AKIA", b"ASIA", b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_", b"github_pat_", b"glpat-", b"xoxa-", b"xoxb-",
    b"xoxp-", b"xoxr-", b"xoxs-", b"AIza", b"sk_live_", b"sk_test_", b"rk_live_", b"rk_test_", b"sk-", b"eyJ",
)  # fmt: skip
_CARD_PREFIXES = tuple(b"23456")
PHONE_DIGITS = range(8, 16)


def _is_public(address: bytes) -> bool:
    try:
        return ipaddress.ip_address(address.decode()).is_global
    except ValueError:
        return False


def _is_iban(text: bytes) -> bool:
    """ISO 13616: country and check digits moved to the end, letters as numbers, the whole is 1 modulo 97."""
    digits = text.decode().replace(" ", "")
    moved = digits[4:] + digits[:4]
    return 15 <= len(digits) <= 34 and int("".join(str(int(character, 36)) for character in moved)) % 97 == 1


def _is_card(text: bytes) -> bool:
    """ISO 7812: the digits satisfy Luhn's sum, and begin as those of payment cards do."""
    digits = [int(character) for character in text.decode() if character.isdigit()]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return text[0] in _CARD_PREFIXES and len(set(digits)) > 1 and (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _is_phone(text: bytes) -> bool:
    return sum(48 <= byte <= 57 for byte in text) in PHONE_DIGITS


_AT, _DOT, _COLON, _DIGIT, _MARK = range(1, 6)  # what a byte can be the sign of


class Kind(NamedTuple):
    """A kind of personal data: where it can be, what it looks like, and what proves it."""

    name: str
    where: int
    pattern: re.Pattern[bytes]
    proof: Callable[[bytes], bool] | None
    meaning: str


# In the order in which they claim a place where several match.
KINDS = (
    Kind("key", _MARK, _KEY, None, "keys and tokens of well-known services, private keys"),
    Kind("email", _AT, _EMAIL, None, "e-mail addresses"),
    Kind("iban", _DIGIT, _IBAN, _is_iban, "bank accounts (IBAN) with right check digits"),
    Kind("card", _DIGIT, _CARD, _is_card, "payment cards whose digits satisfy Luhn's sum"),
    Kind("ip", _DOT, _IP4, _is_public, "public IP addresses"),
    Kind("ip", _COLON, _IP6, _is_public, "public IP addresses"),
    Kind("phone", _DIGIT, _PHONE, _is_phone, "telephone numbers, international or as in North America"),
)
NAMES = tuple(dict.fromkeys(kind.name for kind in KINDS))
PLACEHOLDERS = {name: f"<{name.upper()}>" for name in NAMES}


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
                if not any(claimed[start_at:stop_at]) and (kind.proof is None or kind.proof(match.group())):
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
_MOST_NOTES = 32  # windows that one byte can add: one for each mark, and the digits before it


class _Marks(NamedTuple):
    """What keys begin with, in the order of the byte that tells of them; where those of each byte begin."""

    spelled: npt.NDArray[np.uint8]
    length: npt.NDArray[np.int64]
    telling: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64]


def _marks() -> _Marks:
    """The byte that tells of a mark is its first that is no small letter: small letters are most of a text."""
    telling = {mark: next(at for at, byte in enumerate(mark) if not 97 <= byte <= 122) for mark in _KEY_MARKS}
    ordered = sorted(_KEY_MARKS, key=lambda mark: mark[telling[mark]])
    spelled = np.zeros((len(ordered), max(map(len, ordered))), np.uint8)
    for row, mark in enumerate(ordered):
        spelled[row, : len(mark)] = np.frombuffer(mark, np.uint8)
    first = np.searchsorted([mark[telling[mark]] for mark in ordered], np.arange(257))
    return _Marks(spelled, np.array([*map(len, ordered)]), np.array([telling[mark] for mark in ordered]), first)


def _signs() -> npt.NDArray[np.uint8]:
    """What each byte can be the sign of."""
    signs = np.where(np.diff(_MARKS.first) > 0, _MARK, 0).astype(np.uint8)
    for byte, sign in {b"@": _AT, b".": _DOT, b":": _COLON, **{b"%d" % digit: _DIGIT for digit in range(10)}}.items():
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
    latest = np.full(_MARK + 1, -1)  # the last window of each kind
    for text in range(len(offsets) - 1):
        begin, end = offsets[text], offsets[text + 1]
        digits, first_digit, last_digit = 0, begin, begin
        at = _next(data, begin, end, signs)
        while at < end:
            sign = signs[data[at]]
            if count + _MOST_NOTES > len(out):
                out = np.concatenate((out, np.empty_like(out)))
            if sign == _DIGIT:
                if at - last_digit > _GAP:
                    if digits >= _LEAST_DIGITS:
                        count = _note(text, begin, first_digit - 24, last_digit + 24, _DIGIT, latest, out, count)
                    digits = 0
                if digits == 0:
                    first_digit = at
                digits, last_digit = digits + 1, at
            elif sign == _DOT and at > begin and _is_digit(data[at - 1]) and _are_three_dots(data, at, end):
                count = _note(text, begin, at - 20, at + 20, _DOT, latest, out, count)
            elif sign == _COLON and at >= begin + 4 and 50 <= data[at - 4] <= 51:
                count = _note(text, begin, at - 6, at + 45, _COLON, latest, out, count)
            elif sign == _AT:
                count = _note(text, begin, at - 66, at + 600, _AT, latest, out, count)
            elif sign == _MARK:
                count = _note_marks(data, text, begin, at, end, marks, latest, out, count)
            at = _next(data, at + 1, end, signs)
        if digits >= _LEAST_DIGITS:
            count = _note(text, begin, first_digit - 24, last_digit + 24, _DIGIT, latest, out, count)
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
            count = _note(text, begin, start, start + _LONGEST_KEY, _MARK, latest, out, count)
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
