"""RefinedWeb's line rules as counts (Penedo et al. 2023, section G.2): lines that are leftovers of a page."""

from __future__ import annotations

from typing import Any

from tasks.core.compiled import compiled
from tasks.signals.anatomy import ALL_NUMERIC
from tasks.signals.definition import Signal
from tasks.text.characters import ALPHABETIC, UPPER, code_point

COUNTED = (
    "likes", "shares", "comments", "retweets", "reposts", "quotes", "bookmarks", "upvotes", "downvotes", "downloads", "views", "followers",
)  # fmt: skip
MAX_CAPITAL_SHARE = 0.5
# Why a line goes, one bit each, beside those of C4.
CAPITALS, NUMERIC, COUNTER, SINGLE_WORD = 32, 64, 128, 256
_PAPER = "Penedo et al. 2023, section G.2"

SIGNALS = (
    Signal("refinedweb_capital_line_count", "lines", "lines of which more than half the letters are capitals", _PAPER),
    Signal("refinedweb_numeric_line_count", "lines", "lines of digits alone", _PAPER),
    Signal("refinedweb_counter_line_count", "lines", "lines that count something, such as 3 likes", _PAPER),
    Signal("refinedweb_single_word_line_count", "lines", "lines of one word", _PAPER, 2),
    Signal("refinedweb_line_word_share", "share", "words in any of these lines", _PAPER, 2),
)


@compiled
def leftovers(
    data: Any, properties: Any, counted: Any, words: Any, n_words: int, lines: Any, n_lines: int, flags: Any, out: Any
) -> None:
    """In the order of SIGNALS; ``flags`` receives why each line goes, beside what it holds."""
    out[0:5] = 0.0
    for line in range(n_lines):
        first, last = lines.first[line], lines.last[line]
        flag = 0
        if _capital_share(data, properties, lines.start[line], lines.stop[line]) > MAX_CAPITAL_SHARE:
            flag |= CAPITALS
        numeric = True
        for w in range(first, last):
            numeric &= words.kind[w] & ALL_NUMERIC != 0
        flag |= NUMERIC if numeric else 0
        if last - first == 2 and _is_count(data, words.start[first], words.stop[first]):
            for name in counted:
                flag |= COUNTER if words.lower[first + 1] == name else 0
        flag |= SINGLE_WORD if last - first == 1 else 0
        out[0] += 1 if flag & CAPITALS else 0
        out[1] += 1 if flag & NUMERIC else 0
        out[2] += 1 if flag & COUNTER else 0
        out[3] += 1 if flag & SINGLE_WORD else 0
        out[4] += last - first if flag else 0
        flags[line] |= flag
    out[4] /= max(1, n_words)


@compiled
def _capital_share(data: Any, properties: Any, start: int, stop: int) -> float:
    letters, capitals, at = 0, 0, start
    while at < stop:
        code, width = code_point(data, at)
        letters += 1 if properties[code] & ALPHABETIC else 0
        capitals += 1 if properties[code] & UPPER else 0
        at += width
    return capitals / max(1, letters)


@compiled
def _is_count(data: Any, start: int, stop: int) -> bool:
    """A number as counters show it: 12, 3,400, 1.2K."""
    if data[stop - 1] | 32 in (107, 109, 98):
        stop -= 1
    if stop <= start or not 48 <= data[start] <= 57:
        return False
    for at in range(start, stop):  # noqa: SIM110 (numba has no all)
        if not (48 <= data[at] <= 57 or data[at] == 44 or data[at] == 46):
            return False
    return True
