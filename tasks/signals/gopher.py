"""Gopher's quality and repetition signals (Rae et al. 2021, appendix A, tables A1 and A2).

Shares of characters are of all characters of the text. An n-gram's characters are its words joined by one space for
the most frequent n-gram (which must occur twice), and its words alone for repeated n-grams, counted from their second
occurrence without overlap.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tasks.core.compiled import compiled
from tasks.signals.anatomy import HAS_ALPHABETIC, mixed, repeated, slot_of, table_mask
from tasks.signals.definition import Signal
from tasks.text.characters import BULLET, code_point

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
TOP_SIZES, REPEATED_SIZES = (2, 3, 4), (5, 6, 7, 8, 9, 10)
_PAPER = "Rae et al. 2021, appendix A"

QUALITY = (
    Signal("gopher_word_count", "words", "words of the text", _PAPER, 2),
    Signal("gopher_mean_word_length", "characters", "mean length of a word", _PAPER, 2, "parted words"),
    Signal("gopher_hash_word_ratio", "share", "# signs for each word", _PAPER, 2),
    Signal("gopher_ellipsis_word_ratio", "share", "ellipses (... or …) for each word", _PAPER, 2),
    Signal("gopher_bullet_line_share", "share", "lines that start with a bullet", _PAPER),
    Signal("gopher_ellipsis_line_share", "share", "lines that end in an ellipsis", _PAPER),
    Signal("gopher_alphabetic_word_share", "share", "words with an alphabetic character", _PAPER, 2),
    Signal(
        "gopher_stop_word_count",
        "words",
        "distinct ones of the be to of and that have with",
        _PAPER,
        2,
        "Latin letters",
    ),
)
REPETITION = (
    Signal("gopher_duplicate_line_share", "share", "lines that occurred before", _PAPER),
    Signal("gopher_duplicate_line_char_share", "share", "characters in lines that occurred before", _PAPER),
    Signal("gopher_duplicate_paragraph_share", "share", "paragraphs that occurred before", _PAPER, 2),
    Signal(
        "gopher_duplicate_paragraph_char_share", "share", "characters in paragraphs that occurred before", _PAPER, 2
    ),
    *(
        Signal(
            f"gopher_top_{n}_gram_char_share",
            "share",
            f"characters in the most frequent word {n}-gram",
            _PAPER,
            2,
            "parted words",
        )
        for n in TOP_SIZES
    ),
    *(
        Signal(
            f"gopher_duplicate_{n}_gram_char_share",
            "share",
            f"characters in repeated word {n}-grams",
            _PAPER,
            2,
            "parted words",
        )
        for n in REPEATED_SIZES
    ),
)


@compiled
def is_ellipsis(data: Any, begin: int, at: int) -> bool:
    """Whether an ellipsis, one character or three dots, ends before ``at``."""
    if at - 3 < begin:
        return False
    a, b, c = data[at - 3], data[at - 2], data[at - 1]
    return bool((a == 46 and b == 46 and c == 46) or (a == 0xE2 and b == 0x80 and c == 0xA6))


@compiled
def quality(
    data: Any, properties: Any, stop_words: Any, words: Any, n_words: int, lines: Any, n_lines: int, out: Any
) -> None:
    """Table A1, in the order of QUALITY."""
    characters, alphabetic, hashes, ellipses, bullets, endings, stops = 0, 0, 0, 0, 0, 0, 0
    for w in range(n_words):
        characters += words.length[w]
        alphabetic += 1 if words.kind[w] & HAS_ALPHABETIC else 0
        at, stop = words.start[w], words.stop[w]
        while at < stop:
            if data[at] == 35:
                hashes += 1
            if is_ellipsis(data, at, at + 3) and at + 3 <= stop:
                ellipses += 1
                at += 2
            at += 1
        for s in range(len(stop_words)):
            if words.lower[w] == stop_words[s]:
                stops |= 1 << s
    for line in range(n_lines):
        code, _ = code_point(data, lines.start[line])
        bullets += 1 if properties[code] & BULLET else 0
        endings += 1 if is_ellipsis(data, lines.start[line], lines.stop[line]) else 0
    distinct = 0
    while stops:
        distinct, stops = distinct + (stops & 1), stops >> 1
    per_word, per_line = 1.0 / max(1, n_words), 1.0 / max(1, n_lines)
    out[0], out[1] = n_words, characters * per_word
    out[2], out[3] = hashes * per_word, ellipses * per_word
    out[4], out[5] = bullets * per_line, endings * per_line
    out[6], out[7] = alphabetic * per_word, distinct


@compiled
def repetition(
    length: int,
    words: Any,
    n_words: int,
    lines: Any,
    n_lines: int,
    paragraphs: Any,
    n_paragraphs: int,
    grams: Any,
    out: Any,
) -> None:
    """Table A2, in the order of REPETITION; ``length`` is the text's."""
    per_character = 1.0 / max(1, length)
    again, characters = repeated(lines.name, lines.length, n_lines, grams.keys)
    out[0], out[1] = again / max(1, n_lines), characters * per_character
    again, characters = repeated(paragraphs.name, paragraphs.length, n_paragraphs, grams.keys)
    out[2], out[3] = again / max(1, n_paragraphs), characters * per_character
    _count_grams(words, n_words, grams, per_character, out[4:])


@compiled
def _count_grams(words: Any, n_words: int, grams: Any, per_character: float, out: Any) -> None:
    """The shares of n-grams, shortest first: where an n-gram is alone in the text, every longer one is, and is left out."""
    keys, counts, names, places = grams
    out[: len(TOP_SIZES) + len(REPEATED_SIZES)] = 0.0
    alive = n_words
    for place in range(n_words):
        places[place], names[place] = place, mixed(words.name[place], 1)  # or a b would be b a
    for n in range(2, REPEATED_SIZES[-1] + 1):
        while alive and places[alive - 1] + n > n_words:
            alive -= 1
        mask = table_mask(alive, keys)
        most = 0
        for i in range(alive):
            place = places[i]
            names[place] = mixed(names[place], words.name[place + n - 1]) | np.uint64(1)
            slot = slot_of(names[place], keys, mask)
            if keys[slot] == 0:
                keys[slot], counts[slot] = names[place], 0
            counts[slot] += 1
            most = max(most, counts[slot])
        if most < 2:
            return
        survivors, is_first = 0, True
        for i in range(alive):
            place = places[i]
            count = counts[slot_of(names[place], keys, mask)]
            if count == most and is_first and n <= TOP_SIZES[-1]:
                out[n - TOP_SIZES[0]] = (_characters(words, place, n) + n - 1) * most * per_character
                is_first = False
            if count > 1:
                places[survivors] = place
                survivors += 1
        alive = survivors
        if n >= REPEATED_SIZES[0]:
            again = _repeated_characters(words, n, names, places, alive, keys)
            out[len(TOP_SIZES) + n - REPEATED_SIZES[0]] = again * per_character


@compiled
def _characters(words: Any, first: int, n: int) -> int:
    total = 0
    for w in range(first, first + n):
        total += words.length[w]
    return total


@compiled
def _repeated_characters(words: Any, n: int, names: Any, places: Any, count: int, keys: Any) -> int:
    """Characters in n-grams that occurred before, from left to right without overlap."""
    mask = table_mask(count, keys)
    free, characters = 0, 0
    for i in range(count):
        place = places[i]
        if place < free:
            continue
        slot = slot_of(names[place], keys, mask)
        if keys[slot] == names[place]:
            characters += _characters(words, place, n)
            free = place + n
        keys[slot] = names[place]
    return characters
