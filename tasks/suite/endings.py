"""Which of four sentences goes on from a passage: asked of what was held out of the recipe's own corpus, as HellaSwag asks of its own.

It needs no data set, nothing of it was trained on, and a network small enough for a laptop is better than a guess at it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from models.draws import random_bits
from tasks.suite.question import Prompt, Question, Task

NAME = "endings"
CONTEXT_WORDS, ENDING_WORDS = (20, 60), (5, 24)
CHOICES, TRIED = 4, 24  # wrong endings are the nearest in length of so many
ENOUGH = 12  # texts of a source, from which on its questions are made of it alone
SENTENCE = re.compile(r"[^.!?]+[.!?]+")


class Text(NamedTuple):
    """A document that is asked about."""

    doc_id: str
    source: str
    text: str


def endings(texts: Sequence[Text]) -> Iterator[Question]:
    """A question for each text that has one, three endings out of others: of the same source, where that has enough of them."""
    passages = {one.doc_id: found for one in texts if (found := _passage(one.text)) is not None}
    source_of = {one.doc_id: one.source for one in texts}
    names = sorted(passages)
    of_source: dict[str, list[str]] = {}
    for name in names:
        of_source.setdefault(source_of[name], []).append(name)
    for doc_id in names:
        context, ending = passages[doc_id]
        mine = of_source[source_of[doc_id]]
        others = _others(doc_id, mine if len(mine) >= ENOUGH else names)
        wrong = _wrong(doc_id, ending, [passages[name][1] for name in others])
        if len(wrong) == CHOICES - 1:
            gold = random_bits(0, "gold", doc_id) % CHOICES
            yield Question(doc_id, {"context": context}, (*wrong[:gold], ending, *wrong[gold:]), gold)


def _passage(text: str) -> tuple[str, str] | None:
    """Whole sentences and the one that follows them; which of those that fit is drawn by the text alone."""
    sentences = [" ".join(found.group().split()) for found in SENTENCE.finditer(text)]
    lengths = [len(sentence.split()) for sentence in sentences]
    found = []
    for end in range(1, len(sentences)):
        start, words = end, 0
        while start and words + lengths[start - 1] <= CONTEXT_WORDS[1]:
            start -= 1
            words += lengths[start]
        context, ending = " ".join(sentences[start:end]), sentences[end]
        if words >= CONTEXT_WORDS[0] and ENDING_WORDS[0] <= lengths[end] <= ENDING_WORDS[1] and ending not in context:
            found.append((context, ending))
    return found[random_bits(0, "passage", text) % len(found)] if found else None


def _others(doc_id: str, names: Sequence[str]) -> list[str]:
    """Other documents, drawn by this one's name."""
    drawn: dict[str, None] = {}
    for turn in range(3 * TRIED):
        name = names[random_bits(0, "ending", doc_id, turn) % len(names)]
        if name != doc_id:
            drawn[name] = None
    return list(drawn)[:TRIED]


def _wrong(doc_id: str, ending: str, others: Sequence[str]) -> tuple[str, ...]:
    """The three that are nearest in length, so that length tells nothing."""
    words = len(ending.split())
    near = sorted(
        {one for one in others if one != ending},
        key=lambda one: (abs(len(one.split()) - words), random_bits(0, doc_id, one)),
    )
    return tuple(near[: CHOICES - 1])


def _none() -> Iterator[Question]:
    raise AssertionError("the questions are made of the corpus")


TASKS: tuple[Task, ...] = (
    Task(
        NAME,
        (),
        _none,
        (
            Prompt("{context}"),
            Prompt(
                "{context}",
                description="Each text is followed by the sentence that goes on from it.\n\n",
                name="described",
            ),
        ),
        "after Zellers et al. 2019, on the recipe's own held-out text",
        shots=8,
    ),
)
