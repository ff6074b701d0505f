"""C4's line and page rules as measurements (Raffel et al. 2020, section 2.2, and its code, c4_utils.py).

Each rule sees the lines that those before it left, as in the code. "Strict" is all of C4; FineWeb leaves the rule of
terminal punctuation out, which the signals with "loose" in their names do as well.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tasks.core.compiled import compiled
from tasks.signals.definition import Signal
from tasks.text.characters import STOP, code_point

MIN_LINE_WORDS, MAX_WORD_LENGTH = 3, 1000
PHRASES = (
    "lorem ipsum", "javascript", "terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies",
)  # fmt: skip
_LOREM, _JAVASCRIPT, _BRACKET = 1, 2, 1 << len(PHRASES)
_POLICY = (1 << len(PHRASES)) - 1 - _LOREM - _JAVASCRIPT
# Why a line goes, one bit each.
LONG_WORD, NO_TERMINAL, SHORT, JAVASCRIPT, POLICY = 1, 2, 4, 8, 16
_PAPER = "Raffel et al. 2020, section 2.2"

SIGNALS = (
    Signal(
        "c4_terminal_line_share",
        "share",
        "lines that end in . ? ! \" or ' and in no ellipsis",
        _PAPER,
        3,
        "stops of ASCII",
    ),
    Signal("c4_short_line_share", "share", "lines of fewer than 3 words", _PAPER, 2),
    Signal("c4_long_word_line_count", "lines", "lines with a word over 1,000 characters", _PAPER),
    Signal("c4_javascript_line_count", "lines", "lines with the word javascript", _PAPER),
    Signal("c4_policy_line_count", "lines", "lines with a phrase of a usage or cookie policy", _PAPER),
    Signal("c4_lorem_ipsum", "0 or 1", "a line that is left holds lorem ipsum", _PAPER, 2),
    Signal("c4_curly_bracket", "0 or 1", "a line that is left holds a {", _PAPER, 2),
    Signal("c4_sentence_count", "sentences", "sentences of the lines that C4 keeps", _PAPER, 3, "stops of ASCII"),
    Signal("c4_loose_lorem_ipsum", "0 or 1", "the same, whatever lines end in", _PAPER + "; FineWeb's code"),
    Signal("c4_loose_curly_bracket", "0 or 1", "the same, whatever lines end in", _PAPER + "; FineWeb's code"),
    Signal("c4_loose_sentence_count", "sentences", "the same, whatever lines end in", _PAPER + "; FineWeb's code"),
)

_BYTES = np.frombuffer("".join(PHRASES).encode(), np.uint8)
_ENDS = np.cumsum([len(phrase) for phrase in PHRASES])
_LOWER = np.array([byte + 32 if 65 <= byte <= 90 else byte for byte in range(256)], np.uint8)
_PAIRS = np.zeros((128, 128), np.bool_)  # the two letters, in either case, that a phrase begins with
for _phrase in PHRASES:
    for _first in (_phrase[0], _phrase[0].upper()):
        for _second in (_phrase[1], _phrase[1].upper()):
            _PAIRS[ord(_first), ord(_second)] = True
_CITATIONS = (b"edit]", b"citation needed]")
_CITATION_BYTES = np.frombuffer(b"".join(_CITATIONS), np.uint8)
_CITATION_ENDS = np.cumsum([len(citation) for citation in _CITATIONS])


@compiled
def lines_and_pages(data: Any, properties: Any, words: Any, lines: Any, n_lines: int, flags: Any, out: Any) -> None:
    """In the order of SIGNALS; ``flags`` receives why each line goes."""
    terminal, short, long_words, javascript, policy = 0, 0, 0, 0, 0
    out[5:11] = 0.0
    for line in range(n_lines):
        start = lines.start[line]
        stop = _without_citation(data, start, lines.stop[line])
        found = _phrases(data, start, stop)
        flag = 0
        for w in range(lines.first[line], lines.last[line]):
            if words.length[w] > MAX_WORD_LENGTH:
                flag |= LONG_WORD
        flag |= 0 if _ends_a_sentence(data, start, stop) else NO_TERMINAL
        flag |= SHORT if lines.last[line] - lines.first[line] < MIN_LINE_WORDS else 0
        flag |= JAVASCRIPT if found & _JAVASCRIPT else 0
        flag |= POLICY if found & _POLICY else 0
        flags[line] = flag
        terminal += 0 if flag & NO_TERMINAL else 1
        short += 1 if flag & SHORT else 0
        long_words += 1 if flag & LONG_WORD else 0
        javascript += 1 if flag & JAVASCRIPT else 0
        policy += 1 if flag & POLICY else 0
        for loose in range(2):
            if flag & (LONG_WORD | SHORT) or (flag & NO_TERMINAL and not loose):
                continue
            if found & _LOREM:
                out[5 + 3 * loose] = 1.0
            if flag & JAVASCRIPT:
                continue
            if found & _BRACKET:
                out[6 + 3 * loose] = 1.0
            if not flag & POLICY:
                out[7 + 3 * loose] += sentences(data, properties, start, stop)
    out[0], out[1] = terminal / max(1, n_lines), short / max(1, n_lines)
    out[2], out[3], out[4] = long_words, javascript, policy


@compiled
def _phrases(data: Any, start: int, stop: int) -> int:
    """Which of PHRASES a line holds, in any case, and whether a curly bracket."""
    found = 0
    for at in range(start, stop):
        byte = data[at]
        if byte == 123:
            found |= _BRACKET
        if at + 1 < stop and _PAIRS[byte & 127, data[at + 1] & 127]:
            begin = 0
            for phrase in range(len(_ENDS)):
                size = _ENDS[phrase] - begin
                same = at + size <= stop
                for i in range(size):
                    same = same and _LOWER[data[at + i]] == _BYTES[begin + i]
                if same:
                    found |= 1 << phrase
                begin = _ENDS[phrase]
    return found


@compiled
def _without_citation(data: Any, start: int, stop: int) -> int:
    """Where a line ends without citation marks at its end: [n], [edit], [citation needed]."""
    while stop > start and data[stop - 1] == 93:
        at = stop - 2
        while at >= start and 48 <= data[at] <= 57:
            at -= 1
        if at >= start and data[at] == 91:
            stop = at
            continue
        cut, begin = stop, 0
        for end in _CITATION_ENDS:
            size = end - begin
            if stop - size - 1 >= start and data[stop - size - 1] == 91:
                same = True
                for i in range(size):
                    same &= data[stop - size + i] == _CITATION_BYTES[begin + i]
                if same:
                    cut = stop - size - 1
            begin = end
        if cut == stop:
            break
        stop = cut
    return stop


@compiled
def _ends_a_sentence(data: Any, start: int, stop: int) -> bool:
    if stop <= start:
        return False
    last = data[stop - 1]
    if last == 46:
        return not (stop - start >= 3 and data[stop - 2] == 46 and data[stop - 3] == 46)
    return bool(last == 63 or last == 33 or last == 34 or last == 39)  # noqa: PLR1714


@compiled
def sentences(data: Any, properties: Any, start: int, stop: int) -> int:
    """Sentences of a line: it is one, and one more for each end of a sentence inside of it.

    A sentence ends at . ! or ? with closing marks and white space behind, or at a full stop of another script.
    """
    count = 1 if stop > start else 0
    at = start
    while at < stop:
        byte = data[at]
        if byte == 46 or byte == 33 or byte == 63:  # noqa: PLR1714
            at += 1
            while at < stop and _closes(data, at):
                at += 1
            count += 1 if at < stop and data[at] <= 32 else 0
        elif byte < 0x80:
            at += 1
        else:
            code, width = code_point(data, at)
            at += width
            count += 1 if properties[code] & STOP and at < stop else 0
    return count


@compiled
def _closes(data: Any, at: int) -> bool:
    byte = data[at]
    if byte >= 0x80:  # the bytes of curly quotation marks
        return bool(byte == 0xE2 or byte == 0x80 or byte == 0x99 or byte == 0x9D)  # noqa: PLR1714
    return bool(byte == 46 or byte == 33 or byte == 63 or byte == 34 or byte == 39 or byte == 41 or byte == 93)  # noqa: PLR1714
