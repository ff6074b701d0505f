"""C4's line and page rules as measurements (Raffel et al. 2020, section 2.2)."""

from __future__ import annotations

import re

from tasks.signals.document import Document, Signal, share

TERMINAL = (".", "?", "!", '"', "'", "”", "’")
MIN_LINE_WORDS, MAX_WORD_CHARS = 3, 1000
POLICY_PHRASES = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
_SENTENCE_END = re.compile(r"[.!?][\"')\]”’]*(?:\s|$)")
_PAPER = "Raffel et al. 2020, section 2.2"

SIGNALS = (
    Signal("c4_terminal_line_share", "share", "lines that end in . ? ! or a quotation mark", _PAPER),
    Signal("c4_short_line_share", "share", "lines of fewer than 3 words", _PAPER),
    Signal("c4_long_word_line_count", "lines", "lines with a word over 1,000 characters", _PAPER),
    Signal("c4_javascript_line_count", "lines", "lines with the word javascript", _PAPER),
    Signal("c4_policy_line_count", "lines", "lines with a phrase of a usage or cookie policy", _PAPER),
    Signal("c4_lorem_ipsum", "0 or 1", "the text holds lorem ipsum", _PAPER),
    Signal("c4_curly_bracket", "0 or 1", "the text holds a {", _PAPER),
    Signal(
        "c4_sentence_count", "sentences", "sentence ends in the lines that C4 keeps, punctuation rule aside", _PAPER
    ),
)


def lines_and_pages(document: Document) -> dict[str, float]:
    """All of C4's evidence in one pass over the lines."""
    lines = document.lines
    terminal = short = long_word = javascript = policy = sentences = 0
    for line in lines:
        lowered = line.lower()
        is_short = len(line.split(None, MIN_LINE_WORDS)) < MIN_LINE_WORDS
        has_long = len(line) > MAX_WORD_CHARS and any(len(word) > MAX_WORD_CHARS for word in line.split())
        has_javascript, has_policy = "javascript" in lowered, any(phrase in lowered for phrase in POLICY_PHRASES)
        terminal += line.endswith(TERMINAL)
        short += is_short
        long_word += has_long
        javascript += has_javascript
        policy += has_policy
        if not (is_short or has_long or has_javascript or has_policy):
            sentences += len(_SENTENCE_END.findall(line))
    return {
        "c4_terminal_line_share": share(terminal, len(lines)),
        "c4_short_line_share": share(short, len(lines)),
        "c4_long_word_line_count": long_word,
        "c4_javascript_line_count": javascript,
        "c4_policy_line_count": policy,
        "c4_lorem_ipsum": float("lorem ipsum" in document.text.lower()),
        "c4_curly_bracket": float("{" in document.text),
        "c4_sentence_count": sentences,
    }
