"""Pages parsed by lexbor, but for those that would keep it busy for minutes."""

from __future__ import annotations

import re

from selectolax.lexbor import LexborHTMLParser

MAX_DEPTH, MAX_ATTRIBUTES = (
    5_000,
    5_000,
)  # of elements in one another, and of one element: beyond any page that was written
_LONG_TAG_BYTES = 50_000
_TAG = re.compile(rb"<(/?)([a-zA-Z][a-zA-Z0-9]*)")
_LONG_TAG = re.compile(rb"<[a-zA-Z][^<>]{%d,}" % _LONG_TAG_BYTES)
_NEVER_CLOSED = frozenset(
    b"area base br col dd dt embed hr img input li link meta option p param source td tfoot th thead tr track wbr".split()
)


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
    depth = 0
    for tag in _TAG.finditer(html):
        if tag.group(2).lower() not in _NEVER_CLOSED:
            depth = max(0, depth - 1) if tag.group(1) else depth + 1
            if depth > MAX_DEPTH:
                return True
    return False
