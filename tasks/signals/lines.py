"""Lines that C4 and RefinedWeb take out of documents, for policies that want them out."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pyarrow as pa

from tasks.core.compiled import compiled
from tasks.signals import c4, refinedweb
from tasks.signals.anatomy import room_for, take_apart
from tasks.signals.measure import names_of
from tasks.text.buffers import buffers
from tasks.text.characters import characters

# C4's marks of citations, which go from every line that stays (its code, c4_utils.py).
CITATIONS, _CITATION = "c4_citations", re.compile(r"\[\d*\]|\[edit\]|\[citation needed\]")
LINE_RULES = {
    "c4_long_word": c4.LONG_WORD,
    "c4_no_terminal": c4.NO_TERMINAL,
    "c4_short": c4.SHORT,
    "c4_javascript": c4.JAVASCRIPT,
    "c4_policy": c4.POLICY,
    "refinedweb_capitals": refinedweb.CAPITALS,
    "refinedweb_numeric": refinedweb.NUMERIC,
    "refinedweb_counter": refinedweb.COUNTER,
    "refinedweb_single_word": refinedweb.SINGLE_WORD,
}


def without_lines(texts: pa.ChunkedArray, rules: tuple[str, ...]) -> list[str]:
    """The texts without lines of the kinds that are named, or marks; what is left of a text is joined by newlines."""
    unwanted = sum(LINE_RULES[rule] for rule in rules if rule in LINE_RULES)
    plain: list[str] = texts.to_pylist()
    if CITATIONS in rules:
        plain = [_CITATION.sub("", text) for text in plain]
        texts = pa.chunked_array([plain], pa.string())
    if not plain or not unwanted:
        return plain
    data, offsets = buffers(texts)
    tables = characters()
    room = room_for(int(np.diff(offsets).max()))
    counted = names_of(refinedweb.COUNTED)
    out = []
    for row, text in enumerate(plain):
        start, stop, flags = _flagged(
            data, offsets[row], offsets[row + 1], tables.properties, tables.lower, counted, room
        )
        if not (flags & unwanted).any():
            out.append(text)
            continue
        kept = [bytes(data[a:b]).decode() for a, b, flag in zip(start, stop, flags, strict=True) if not flag & unwanted]
        out.append("\n".join(kept))
    return out


@compiled
def _flagged(data: Any, begin: int, end: int, properties: Any, lower: Any, counted: Any, room: Any) -> Any:
    """The bytes of each line of a text, and why it could go."""
    words, lines, _, _ = room
    n_words, n_lines, _ = take_apart(data, begin, end, properties, lower, words, lines)
    flags, figures = np.zeros(n_lines, np.uint16), np.zeros(16)
    c4.lines_and_pages(data, properties, words, lines, n_lines, flags, figures)
    refinedweb.leftovers(data, properties, counted, words, n_words, lines, n_lines, flags, figures)
    return lines.start[:n_lines].copy(), lines.stop[:n_lines].copy(), flags
