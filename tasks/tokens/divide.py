"""How a document is divided whose source is too small to hold documents out."""

from __future__ import annotations


def held_out_end(text: str, share: float) -> int:
    """Where the held-out end of a document begins: before the first white space of its last ``share`` of characters.

    Without white space there it begins with the share itself; neither side is empty where the text has two characters.
    """
    first = min(max(1, int(len(text) * (1 - share))), len(text) - 1)
    return next((place for place in range(first, len(text) - 1) if text[place].isspace()), max(0, first))
