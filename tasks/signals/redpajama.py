"""Counts of natural language in the manner of RedPajama-V2 (Weber et al. 2024, appendix D)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tasks.core.compiled import compiled
from tasks.signals.anatomy import ALL_CAPITALS, slot_of, table_mask
from tasks.signals.c4 import sentences
from tasks.signals.definition import Signal

_PAPER = "Weber et al. 2024, appendix D"

SIGNALS = (
    Signal(
        "redpajama_unique_word_share",
        "share",
        "different words, in lower case, of all words",
        _PAPER,
        2,
        "parted words",
    ),
    Signal(
        "redpajama_unigram_entropy", "nats", "entropy of the text's words, in lower case", _PAPER, 2, "parted words"
    ),
    Signal(
        "redpajama_all_caps_word_share", "share", "words whose letters are all capitals", _PAPER, 2, "letters with case"
    ),
    Signal("redpajama_stop_word_share", "share", "words that are one of Gopher's eight", _PAPER, 2, "Latin letters"),
    Signal("redpajama_capital_letter_share", "share", "capitals of all characters", _PAPER, 2, "letters with case"),
    Signal("redpajama_numeral_share", "share", "decimal digits of all characters", _PAPER),
    Signal("redpajama_mean_line_words", "words", "mean words of a line", _PAPER, 2),
    Signal("redpajama_sentence_count", "sentences", "sentences of all lines", _PAPER),
)


@compiled
def natural_language(
    data: Any,
    properties: Any,
    stop_words: Any,
    words: Any,
    n_words: int,
    lines: Any,
    n_lines: int,
    totals: Any,
    grams: Any,
    out: Any,
) -> None:
    """In the order of SIGNALS."""
    keys, counts = grams.keys, grams.counts
    mask = table_mask(n_words, keys)
    unique, capitals, stops = 0, 0, 0
    for w in range(n_words):
        name = words.lower[w] | np.uint64(1)
        slot = slot_of(name, keys, mask)
        if keys[slot] == 0:
            keys[slot], counts[slot] = name, 0
            unique += 1
        counts[slot] += 1
        capitals += 1 if words.kind[w] & ALL_CAPITALS else 0
        for stop_word in stop_words:
            stops += 1 if words.lower[w] == stop_word else 0
    entropy = 0.0
    for slot in range(mask + 1):
        if keys[slot]:
            share = counts[slot] / n_words
            entropy -= share * math.log(share)
    found = 0
    for line in range(n_lines):
        found += sentences(data, properties, lines.start[line], lines.stop[line])
    out[0], out[1] = unique / max(1, n_words), max(0.0, entropy)
    out[2], out[3] = capitals / max(1, n_words), stops / max(1, n_words)
    out[4], out[5] = totals.capitals / max(1, totals.length), totals.numerals / max(1, totals.length)
    out[6], out[7] = n_words / max(1, n_lines), found
