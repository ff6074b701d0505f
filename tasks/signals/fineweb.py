"""FineWeb's custom signals (Penedo et al. 2024, section 3.4; the newline rule is in its code alone)."""

from __future__ import annotations

from typing import Any

from tasks.core.compiled import compiled
from tasks.signals.anatomy import repeated
from tasks.signals.c4 import NO_TERMINAL
from tasks.signals.definition import Signal
from tasks.text.characters import STOP, code_point

SHORT_LINE = 30
_PAPER = "Penedo et al. 2024, section 3.4"
_CODE = "FineWeb's code, which runs C4's rules before its own"

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
    Signal("fineweb_left_terminal_line_share", "share", "as fineweb_terminal_line_share, of the lines that C4 leaves, whatever lines end in", _CODE),
    Signal("fineweb_left_short_line_share", "share", "as fineweb_short_line_share, of the same lines", _CODE),
    Signal("fineweb_left_duplicate_line_char_share", "share", "as fineweb_duplicate_line_char_share, of the same lines", _CODE),
    Signal("fineweb_left_newline_word_ratio", "share", "as fineweb_newline_word_ratio, of the same lines", _CODE),
)  # fmt: skip
OWN = len(SIGNALS) // 2  # those on a text as it is; the others, in the same order, see what C4's rules left of it


@compiled
def custom(
    data: Any, properties: Any, lines: Any, n_lines: int, n_words: int, totals: Any, grams: Any, flags: Any, out: Any
) -> None:
    """In the order of SIGNALS; ``flags`` are C4's reasons why lines go."""
    keys, names, lengths = grams.keys, grams.names, grams.places
    for left in range(2):
        terminal, short, count, words, characters = 0, 0, 0, 0, 0
        for line in range(n_lines):
            if left and flags[line] & ~NO_TERMINAL:
                continue
            at = lines.stop[line] - 1
            while data[at] & 0xC0 == 0x80:
                at -= 1
            code, _ = code_point(data, at)
            terminal += 1 if properties[code] & STOP else 0
            short += 1 if lines.length[line] <= SHORT_LINE else 0
            names[count], lengths[count] = lines.name[line], lines.length[line]
            count, words = count + 1, words + lines.last[line] - lines.first[line]
            characters += lines.length[line]
        _, again = repeated(names, lengths, count, keys)
        newlines = max(0, count - 1) if left else totals.newlines
        row = out[OWN * left : OWN * left + OWN]
        row[0], row[1] = terminal / max(1, count), short / max(1, count)
        row[2] = again / max(1, characters if left else totals.length - totals.newlines)
        row[3] = newlines / max(1, words)
