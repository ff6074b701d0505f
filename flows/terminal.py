"""What pages, models and stores say is shown as text: never as markup, never as a command to the terminal."""

from __future__ import annotations

import re
from typing import TextIO

from rich.markup import escape
from rich.text import Text

# Control characters but tab and line feed, marks that turn the direction of what follows, and separators that end lines.
_UNSEEN = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")


def visible(text: str) -> str:
    """The text with what a terminal would obey, or not show, written out in hexadecimal digits."""
    return _UNSEEN.sub(lambda found: _written(ord(found.group())), text)


def _written(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def plain(text: str) -> Text:
    """The text as rich prints it without looking for markup in it."""
    return Text(visible(text))


def shown(text: str) -> str:
    """The text as it can stand within rich's markup."""
    return escape(visible(text))


def for_stream(text: str, stream: TextIO) -> str:
    """The text for a stream: as it is for a file or another program, visible for a terminal."""
    return visible(text) if stream.isatty() else text
