"""Which questions are shown with their answers before one is asked, and the prompt that comes of it.

K demonstrations are drawn for each example from the example's own seed (Brown et al. 2020, section 2.4): they are the
same whatever else is asked, in whichever order, batch or process.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from models.draws import random_bits
from tasks.suite.question import Prompt, Question

Count = Callable[[str], int]  # tokens of a text


@dataclass(frozen=True)
class Asked:
    """One question as it is put: for each choice what comes before and what is asked, and how many demonstrations fit."""

    question: Question
    pairs: tuple[tuple[str, str], ...]
    shown: int


def demonstrations(
    seed: int, task: str, question: Question, pool: Sequence[Question], shots: int, apart: bool = False
) -> list[Question]:
    """``shots`` of the pool, drawn without replacement; neither the question itself nor one on its passage.

    ``pool`` is in the order of its ids. Where it is smaller than that, all of it. ``apart`` is a pool of other questions, whose
    names say nothing of those that are asked.
    """
    places: dict[int, int] = {}
    drawn: list[Question] = []
    for turn in range(len(pool)):
        if len(drawn) == shots:
            break
        place = turn + random_bits(seed, "demonstration", task, question.id, turn) % (len(pool) - turn)
        picked = places.get(place, place)
        places[place] = places.get(turn, turn)  # a shuffle of which only what was looked at is written down
        one = pool[picked]
        if apart or (one.id != question.id and not (question.cluster and one.cluster == question.cluster)):
            drawn.append(one)
    return drawn


def in_order(questions: Sequence[Question]) -> list[Question]:
    """A pool to draw from, the same whatever order its file has."""
    return sorted(questions, key=lambda question: question.id)


def ask(prompt: Prompt, question: Question, shown: Sequence[Question], count: Count, room: int) -> Asked:
    """The question behind as many demonstrations as ``room`` tokens hold, the last ones where not all do."""
    pairs = prompt.of(question)
    told = [prompt.shown(one) + prompt.join for one in shown]
    longest = max(pairs, key=lambda pair: count("".join(pair)))
    left = room - count(prompt.description) - count("".join(longest))
    first = len(told)
    while first and left >= (cost := count(told[first - 1])):
        left -= cost
        first -= 1
    # Pieces that are joined may be a token more than each alone.
    while first < len(told) and count(prompt.description + "".join(told[first:]) + "".join(longest)) > room:
        first += 1
    before = prompt.description + "".join(told[first:])
    return Asked(question, tuple((before + context, answer) for context, answer in pairs), len(told) - first)
