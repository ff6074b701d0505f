"""Personal data and secrets in text: found by pattern and checksum, replaced by what kind they are.

What is found in a text, and what replaces it, depends on that text alone.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tasks.compiled import compiled

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


_AT, _DOTS, _COLONS, _DIGITS, _MARK = (1 << n for n in range(5))


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
    Kind("iban", _DIGITS, _IBAN, _is_iban, "bank accounts (IBAN) with right check digits"),
    Kind("card", _DIGITS, _CARD, _is_card, "payment cards whose digits satisfy Luhn's sum"),
    Kind("ip", _DOTS, _IP4, _is_public, "public IP addresses"),
    Kind("ip", _COLONS, _IP6, _is_public, "public IP addresses"),
    Kind("phone", _DIGITS, _PHONE, _is_phone, "telephone numbers, international or as in North America"),
)
NAMES = tuple(dict.fromkeys(kind.name for kind in KINDS))
PLACEHOLDERS = {name: f"<{name.upper()}>" for name in NAMES}


class Found(NamedTuple):
    """A piece of personal data: bytes of a text."""

    start: int
    stop: int
    name: str


def find(text: bytes) -> list[Found]:
    """All personal data of a text in UTF-8, in its order, none overlapping."""
    windows = _windows(np.frombuffer(text, np.uint8)).tolist() if text else []
    windows += [(at, at + _LONGEST_KEY, _MARK) for mark in _KEY_MARKS for at in _occurrences(text, mark)]
    found: list[Found] = []
    claimed = bytearray(len(text))
    for kind in KINDS:
        for start, stop, where in windows:
            if where != kind.where:
                continue
            for match in kind.pattern.finditer(text, max(0, start), min(len(text), stop)):
                start_at, stop_at = match.span()
                if not any(claimed[start_at:stop_at]) and (kind.proof is None or kind.proof(match.group())):
                    claimed[start_at:stop_at] = b"\1" * (stop_at - start_at)
                    found.append(Found(start_at, stop_at, kind.name))
    return sorted(found)


def _occurrences(text: bytes, mark: bytes) -> Iterator[int]:
    at = text.find(mark)
    while at >= 0:
        yield at
        at = text.find(mark, at + 1)


def replaced(text: str, names: frozenset[str] | set[str]) -> str:
    """The text with a placeholder for each piece of personal data of the kinds that are named."""
    data, pieces, at = text.encode(), [], 0
    for found in find(data):
        if found.name in names:
            pieces += [data[at : found.start], PLACEHOLDERS[found.name].encode()]
            at = found.stop
    return b"".join([*pieces, data[at:]]).decode() if pieces else text


def counts(texts: Iterable[str | None]) -> dict[str, npt.NDArray[np.float64]]:
    """Name of a kind -> how often it occurs in each text."""
    rows = [Counter(found.name for found in find((text or "").encode())) for text in texts]
    return {name: np.array([row[name] for row in rows], np.float64) for name in NAMES}


_LONGEST_KEY = 17_000
_GAP = 7  # bytes at most between the digits of one account, card or telephone number
_LEAST_DIGITS = 8


@compiled
def _windows(text: Any) -> Any:
    """(start, stop, what it could hold) of the places in a text that the patterns are worth trying at."""
    most = 16
    out = np.empty((most, 3), np.int64)
    count, size = 0, len(text)
    digits, first_digit, last_digit = 0, 0, -_GAP - 1
    dots_until, colons_until, ats_until = -1, -1, -1
    for at in range(size + 1):
        byte = text[at] if at < size else np.uint8(0)
        if count + 3 > most:
            most *= 2
            wider = np.empty((most, 3), np.int64)
            wider[:count] = out[:count]
            out = wider
        if 48 <= byte <= 57:
            if at - last_digit > _GAP:
                digits, first_digit = 0, at
            digits, last_digit = digits + 1, at
        elif (at == size or at - last_digit == _GAP) and digits >= _LEAST_DIGITS:
            out[count, 0], out[count, 1], out[count, 2] = first_digit - 24, last_digit + 24, _DIGITS
            count, digits = count + 1, 0
        if byte == 46 and at > dots_until and at > 0 and 48 <= text[at - 1] <= 57 and _dots(text, at) >= 3:
            out[count, 0], out[count, 1], out[count, 2] = at - 20, at + 20, _DOTS
            count, dots_until = count + 1, at + 15
        elif byte == 58 and at > colons_until and at + 1 < size and at > 3 and 50 <= text[at - 4] <= 51:
            out[count, 0], out[count, 1], out[count, 2] = at - 6, at + 45, _COLONS
            count, colons_until = count + 1, at + 2
        elif byte == 64 and at > ats_until:
            out[count, 0], out[count, 1], out[count, 2] = at - 66, at + 300, _AT
            count, ats_until = count + 1, at
    return out[:count]


@compiled
def _dots(text: Any, at: int) -> int:
    """Full stops from one on that only digits part."""
    dots = 0
    while at < len(text) and (text[at] == 46 or 48 <= text[at] <= 57):
        dots += 1 if text[at] == 46 else 0
        at += 1
    return dots
