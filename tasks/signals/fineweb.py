"""FineWeb's custom signals (Penedo et al. 2024, section 3.4; the newline rule is in its code alone)."""

from __future__ import annotations

from tasks.signals.document import Document, Signal, share

TERMINAL = (".", "?", "!", "。", "？", "！", '"', "”", "'", "’")
SHORT_LINE_CHARS = 30
_PAPER = "Penedo et al. 2024, section 3.4"

SIGNALS = (
    Signal("fineweb_terminal_line_share", "share", "lines that end in terminal punctuation", _PAPER),
    Signal("fineweb_short_line_share", "share", "lines of 30 characters or fewer", _PAPER),
    Signal(
        "fineweb_duplicate_line_char_share",
        "share",
        "characters of lines that stand more than once, later ones counted",
        _PAPER,
    ),
    Signal("fineweb_newline_word_ratio", "share", "newlines for each word", _PAPER + " (code)"),
)


def lines(document: Document) -> dict[str, float]:
    """The custom three, and the newline ratio."""
    found = document.lines
    seen: set[str] = set()
    again = 0
    for line in found:
        again += len(line) if line in seen else 0
        seen.add(line)
    return {
        "fineweb_terminal_line_share": share(sum(line.endswith(TERMINAL) for line in found), len(found)),
        "fineweb_short_line_share": share(sum(len(line) <= SHORT_LINE_CHARS for line in found), len(found)),
        "fineweb_duplicate_line_char_share": share(again, sum(map(len, found))),
        "fineweb_newline_word_ratio": share(document.text.count("\n"), len(document.words)),
    }
