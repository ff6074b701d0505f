"""FineWeb's custom signals (Penedo et al. 2024, section 3.4; the newline rule is in its code alone)."""

from __future__ import annotations

from typing import Any

from tasks.core.compiled import compiled
from tasks.signals.anatomy import repeated
from tasks.signals.definition import Signal
from tasks.text.characters import STOP, code_point

SHORT_LINE = 30
_PAPER = "Penedo et al. 2024, section 3.4"

SIGNALS = (
    Signal(
        "fineweb_terminal_line_share", "share", "lines that end in terminal punctuation (Sentence_Terminal of Unicode)", _PAPER, 2
    ),
    Signal("fineweb_short_line_share", "share", "lines of 30 characters or fewer", _PAPER),
    Signal(
        "fineweb_duplicate_line_char_share",
        "share",
        "characters of lines that stood before, of all characters but newlines",
        _PAPER,
        2,
    ),
    Signal("fineweb_newline_word_ratio", "share", "newlines for each word", _PAPER + " (code)", 2),
)  # fmt: skip


@compiled
def custom(
    data: Any, properties: Any, lines: Any, n_lines: int, n_words: int, totals: Any, keys: Any, out: Any
) -> None:
    """In the order of SIGNALS."""
    terminal, short = 0, 0
    for line in range(n_lines):
        at = lines.stop[line] - 1
        while data[at] & 0xC0 == 0x80:
            at -= 1
        code, _ = code_point(data, at)
        terminal += 1 if properties[code] & STOP else 0
        short += 1 if lines.length[line] <= SHORT_LINE else 0
    _, again = repeated(lines.name, lines.length, n_lines, keys)
    out[0], out[1] = terminal / max(1, n_lines), short / max(1, n_lines)
    out[2] = again / max(1, totals.length - totals.newlines)
    out[3] = totals.newlines / max(1, n_words)
