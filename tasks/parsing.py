"""Pages parsed by lexbor, but for those that would keep it busy for minutes."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from selectolax.lexbor import LexborHTMLParser

from tasks.compiled import compiled

MAX_DEPTH, MAX_ATTRIBUTES = (
    5_000,
    5_000,
)  # of elements in one another, and of one element: beyond any page that was written
_LONG_TAG_BYTES = 50_000
_LONG_TAG = re.compile(rb"<[a-zA-Z][^<>]{%d,}" % _LONG_TAG_BYTES)
_NEVER_CLOSED = b"area base br col dd dt embed hr img input li link meta option p param source td tfoot th thead tr track wbr".split()
_NAME_BITS = np.uint64(8)


def _key(name: bytes) -> int:
    key = 0
    for byte in name:
        key = (key << 8 | byte) & (2**64 - 1)
    return key


_NEVER_CLOSED_KEYS = np.array(sorted(map(_key, _NEVER_CLOSED)), np.uint64)


class EndlessPage(ValueError):
    """A page's elements are nested without end."""


def parse(html: str) -> LexborHTMLParser:
    """The tree of a page. Raises EndlessPage where the parser, whose time is quadratic in depth, would not come back."""
    data = html.encode("utf-8", "replace")
    if is_endless(data):
        raise EndlessPage("nested without end")
    return LexborHTMLParser(data)


def is_endless(html: bytes) -> bool:
    """Whether elements lie deeper in one another, or have more attributes, than anybody would write."""
    steps = range(0, len(html) - _LONG_TAG_BYTES, _LONG_TAG_BYTES)
    if any(html.find(b">", at, at + _LONG_TAG_BYTES) < 0 for at in steps) and any(
        tag.group().count(b"=") > MAX_ATTRIBUTES for tag in _LONG_TAG.finditer(html)
    ):
        return True
    if html.count(b"<") <= MAX_DEPTH or html.count(b"<") - html.count(b"</") <= MAX_DEPTH:
        return False
    return bool(_deepest(np.frombuffer(html, np.uint8)) > MAX_DEPTH)


@compiled
def _deepest(html: Any) -> int:
    """How many elements lie in one another at most, by their tags alone, but for those that need none to close."""
    depth, most, at = 0, 0, 0
    while at + 1 < len(html):
        if html[at] != 60:
            at += 1
            continue
        closing = html[at + 1] == 47
        at += 2 if closing else 1
        key, letters = np.uint64(0), 0
        while at < len(html):
            byte = html[at] | 32 if 65 <= html[at] <= 90 else html[at]
            if not (97 <= byte <= 122 or (letters and 48 <= byte <= 57)):
                break
            key = key << _NAME_BITS | np.uint64(byte)
            letters, at = letters + 1, at + 1
        found = np.searchsorted(_NEVER_CLOSED_KEYS, key)
        if letters and not (found < len(_NEVER_CLOSED_KEYS) and _NEVER_CLOSED_KEYS[found] == key):
            depth = max(0, depth - 1) if closing else depth + 1
            most = max(most, depth)
    return most
