"""All signals that are a function of a text alone, measured a column of texts at a time over its own buffers."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks.core.compiled import compiled
from tasks.signals import c4, fineweb, gopher, redpajama, refinedweb
from tasks.signals.anatomy import join_paragraphs, mixed, room_for, take_apart
from tasks.signals.definition import Needs, Signal
from tasks.text.buffers import buffers
from tasks.text.characters import characters

GROUPS: tuple[tuple[Signal, ...], ...] = (
    gopher.QUALITY, gopher.REPETITION, c4.SIGNALS, fineweb.SIGNALS, refinedweb.SIGNALS, redpajama.SIGNALS,
)  # fmt: skip
SIGNALS = tuple(signal for group in GROUPS for signal in group)
MOST_WHOLE = 0.25  # of the words: with more letters that count as words, what is said of words says little
# In the order of the counts of letters that lack it.
_NEEDS: tuple[Needs, ...] = ("parted words", "Latin letters", "stops of ASCII", "letters with case")
_WORDS = [signal.name for signal in SIGNALS].index("gopher_word_count")
_AT = tuple(int(end) for end in np.cumsum([0, *(len(group) for group in GROUPS)]))


def word_name(word: str) -> np.uint64:
    """The name of a word as ``take_apart`` gives it."""
    name = np.uint64(0)
    for character in word:
        name = np.uint64(mixed(name, ord(character)))
    return name


def measured(texts: pa.Array | pa.ChunkedArray) -> dict[str, npt.NDArray[np.float64]]:
    """Signal -> its value for each text; not a number where it means nothing for the text's script."""
    data, offsets = buffers(texts)
    out, letters = np.zeros((len(offsets) - 1, len(SIGNALS))), np.zeros((len(offsets) - 1, 5), np.int64)
    if len(out):
        tables = characters()
        names = (names_of(gopher.STOP_WORDS), names_of(refinedweb.COUNTED))
        room = room_for(int(np.diff(offsets).max()))
        _measure(data, offsets, tables.properties, tables.lower, *names, room, out, letters)
    for number, need in enumerate(_NEEDS):
        lacking = 2 * letters[:, 1 + number] > letters[:, 0]
        if need == "parted words":
            lacking = letters[:, 1] > MOST_WHOLE * out[:, _WORDS]
        for column in (column for column, signal in enumerate(SIGNALS) if signal.needs == need):
            out[lacking, column] = np.nan
    return {signal.name: out[:, column] for column, signal in enumerate(SIGNALS)}


def names_of(words: tuple[str, ...]) -> npt.NDArray[np.uint64]:
    """The names of words, in their order."""
    return np.array([word_name(word) for word in words], np.uint64)


@compiled
def _measure(
    data: Any,
    offsets: Any,
    properties: Any,
    lower: Any,
    stop_words: Any,
    counted: Any,
    room: Any,
    out: Any,
    letters: Any,
) -> None:
    words, lines, paragraphs, grams = room
    flags = np.zeros(len(lines.start), np.uint16)
    for text in range(len(offsets) - 1):
        n_words, n_lines, totals = take_apart(data, offsets[text], offsets[text + 1], properties, lower, words, lines)
        n_paragraphs = join_paragraphs(data, lines, n_lines, paragraphs)
        row = out[text]
        letters[text, 0], letters[text, 1] = totals.letters, totals.whole
        letters[text, 2], letters[text, 3], letters[text, 4] = totals.other, totals.own_stops, totals.caseless
        gopher.quality(data, properties, stop_words, words, n_words, lines, n_lines, row[_AT[0] : _AT[1]])
        gopher.repetition(
            totals.length, words, n_words, lines, n_lines, paragraphs, n_paragraphs, grams, row[_AT[1] : _AT[2]]
        )
        c4.lines_and_pages(data, properties, words, lines, n_lines, flags, row[_AT[2] : _AT[3]])
        fineweb.custom(data, properties, lines, n_lines, n_words, totals, grams, flags, row[_AT[3] : _AT[4]])
        refinedweb.leftovers(data, properties, counted, words, n_words, lines, n_lines, flags, row[_AT[4] : _AT[5]])
        redpajama.natural_language(
            data, properties, stop_words, words, n_words, lines, n_lines, totals, grams, row[_AT[5] : _AT[6]]
        )
