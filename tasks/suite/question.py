"""A question, and the words in which it is put to a model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from string import Formatter
from typing import Literal

from tasks.suite.data import Data

Kind = Literal["choice", "last word", "free", "text"]
Normaliser = Literal["none", "token", "character", "byte", "context"]
NORMALISERS: tuple[Normaliser, ...] = ("none", "token", "character", "byte", "context")


@dataclass(frozen=True)
class Question:
    """One example of a task. ``fields`` are what prompts are made of.

    ``choices`` with the place of the right one, or the ``answers`` that are accepted; ``cluster`` names the passage that
    it shares with others, so that a standard error does not count it as many.
    """

    id: str
    fields: Mapping[str, str]
    choices: tuple[str, ...] = ()
    gold: int = 0
    answers: tuple[str, ...] = ()
    cluster: str = ""


@dataclass(frozen=True)
class Prompt:
    """How a question is put: what the model is shown, and what is asked behind it.

    Templates over the question's fields, ``{choice}`` and ``{answer}``. With ``{choice}`` in ``context``, each choice stands in
    the sentence and what follows it is asked (partial evaluation, Trinh and Le 2018). ``description`` comes before all.
    """

    context: str
    answer: str = " {choice}"
    join: str = "\n\n"
    description: str = ""
    name: str = "published"

    def of(self, question: Question) -> list[tuple[str, str]]:
        """(context, what is asked behind it) for each choice, or for the first answer."""
        if question.choices:
            return [self._filled(question, choice=choice) for choice in question.choices]
        return [self._filled(question, answer=question.answers[0] if question.answers else "")]

    def shown(self, question: Question) -> str:
        """A question with its answer, as a demonstration."""
        asked = self.of(question)
        return "".join(asked[question.gold if question.choices else 0])

    def words(self, question: Question) -> str:
        """What of a question and its right answer is its own, in the order in which it is shown: no word of the prompt's."""
        right = question.choices[question.gold] if question.choices else next(iter(question.answers), "")
        values = {**question.fields, "choice": right, "answer": right}
        names = [name for _, name, _, _ in Formatter().parse(self.context + self.answer) if name is not None]
        return " ".join(values[name] for name in names)

    def _filled(self, question: Question, **beside: str) -> tuple[str, str]:
        values = {**question.fields, **beside}
        context, answer = (filled(template, values) for template in (self.context, self.answer))
        bare = context.rstrip(" ")  # a space belongs to the word behind it, in every byte-level vocabulary
        return bare, context[len(bare) :] + answer


def filled(template: str, values: Mapping[str, str]) -> str:
    """A template with its fields filled in; braces in the values are left alone. Raises KeyError for a field that is none."""
    return "".join(
        text + (values[name] if name is not None else "") for text, name, _, _ in Formatter().parse(template)
    )


@dataclass(frozen=True)
class Task:
    """A declaration: data, prompts, what is asked and how it is scored. ``version`` is raised where its meaning changes.

    ``shots`` is the paper's K; ``shown`` are questions to show with their answers, where the task has others than those that are
    asked. ``normaliser`` is the one that the published protocol chooses an answer by.
    """

    name: str
    data: tuple[Data, ...]
    read: Callable[..., Iterator[Question]]  # of the paths of ``data``
    prompts: tuple[Prompt, ...]
    source: str  # paper and section of the protocol
    kind: Kind = "choice"
    literal: bool = False  # a free answer is right as it stands alone: signs and points are no punctuation
    top_k: int = 0  # a free answer is drawn from so many of the likeliest tokens; 0 searches
    normaliser: Normaliser = "token"
    main: str = "accuracy"
    metrics: tuple[str, ...] = ()  # of free answers
    shots: int = 0
    shown: tuple[Data, ...] = ()
    read_shown: Callable[..., Iterator[Question]] | None = None
    unconditional: str = "Answer:"  # context of the normaliser "context"
    stop: str = "\n"
    max_tokens: int = 32
    beams: int = 4  # GPT-3's, with a length penalty of 0.6
    version: int = 1
    digest: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        said = [[p.context, p.answer, p.join, p.description, p.name] for p in self.prompts]
        if len({prompt.name for prompt in self.prompts}) < len(self.prompts):
            raise ValueError(f"two wordings of {self.name} have one name")
        rest = [
            self.kind,
            self.literal,
            self.top_k,
            self.normaliser,
            list(self.metrics),
            self.unconditional,
            self.stop,
            self.max_tokens,
            self.beams,
        ]
        text = json.dumps([self.version, said, rest], ensure_ascii=False)
        object.__setattr__(self, "digest", hashlib.sha256(text.encode()).hexdigest()[:16])

    def room_to_answer(self, context: int) -> int:
        """Tokens of a context that a prompt leaves to a free answer: never more than half of it."""
        return min(self.max_tokens, context // 2) if self.kind == "free" else 0

    @property
    def files(self) -> tuple[Data, ...]:
        """All files that it reads."""
        return (*self.data, *self.shown)
