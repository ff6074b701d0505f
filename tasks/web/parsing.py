"""Pages parsed by lexbor. What that takes is bounded where pages are read (``tasks.core.confined``), not guessed from markup."""

from __future__ import annotations

from selectolax.lexbor import LexborHTMLParser, SelectolaxError


def parse(html: str) -> LexborHTMLParser:
    """The tree of a page. Raises MemoryError where that finds no room: lexbor refuses no page for what it says."""
    try:
        return LexborHTMLParser(html.encode("utf-8", "replace"))
    except SelectolaxError as error:
        raise MemoryError(str(error)) from error
