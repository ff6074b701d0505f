"""The last word of a passage, in LAMBADA's form (Paperno et al. 2016)."""

from __future__ import annotations

import re

from models.draws import random_bits

MIN_CONTEXT_WORDS, MAX_CONTEXT_WORDS = 40, 120
MIN_LETTERS = 4  # of the last word: function words are no test
_SENTENCE = re.compile(r"[^.!?]+[.!?]")
_WORD = re.compile(r"[A-Za-z']+")


def cloze_of(text: str) -> tuple[str, str] | None:
    """(context, last word) of one passage of a text, or None where it has none.

    Whole sentences, at least 40 words of them, ending in a word of four letters or more that occurred earlier
    in the passage; which of the candidates is drawn depends on the text alone.
    """
    sentences = [match.group().strip() for match in _SENTENCE.finditer(text)]
    found = [passage for end in range(1, len(sentences) + 1) if (passage := _passage(sentences[:end])) is not None]
    if not found:
        return None
    return found[random_bits(0, "cloze", text) % len(found)]


def _passage(sentences: list[str]) -> tuple[str, str] | None:
    """(context, last word) of the passage that these sentences end, or None where it is no fair question."""
    picked: list[str] = []
    for sentence in reversed(sentences):
        picked.insert(0, sentence)
        if len(" ".join(picked).split()) > MIN_CONTEXT_WORDS:
            break
    passage = " ".join(" ".join(picked).split())
    words = passage.split()
    if not MIN_CONTEXT_WORDS < len(words) <= MAX_CONTEXT_WORDS:
        return None
    answer = words[-1].rstrip(".!?")
    context = " ".join(words[:-1])
    if len(answer) < MIN_LETTERS or not _WORD.fullmatch(answer):
        return None
    return (context, answer) if answer.lower() in {word.lower() for word in _WORD.findall(context)} else None
