"""Conversations as tokens: each turn behind the token of who speaks, an answer ended by a token of its own.

The four tokens follow the tokenizer's own and no text can write them, so that what a user says is never taken for another turn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from models.objectives.answers import AnswerBatch, RankedBatch
from tasks.align.conversation import Conversation, Turn

LEARNT = 4  # system, user, assistant, and the end of an answer


class Answered(NamedTuple):
    """A prompt and an answer to it."""

    prompt: list[int]
    answer: list[int]

    @property
    def ids(self) -> list[int]:
        """Both."""
        return self.prompt + self.answer


@dataclass(frozen=True)
class Turns:
    """How turns become tokens. ``size`` counts the tokenizer's tokens, ``context`` what the network sees."""

    encode: Callable[[str], Sequence[int]]
    size: int
    context: int

    @property
    def end(self) -> int:
        """The token that ends an answer."""
        return self.size + 3

    @property
    def forbidden(self) -> tuple[int, ...]:
        """Tokens that no answer holds: those of who speaks."""
        return (self.size, self.size + 1, self.size + 2)

    def prompt(self, turns: Sequence[Turn], room: int) -> list[int]:
        """All turns and the beginning of the assistant's next, the last ``room`` tokens of it."""
        ids: list[int] = []
        for turn in turns:
            speaker = self.forbidden[("system", "user", "assistant").index(turn.role)]
            ids += [speaker, *self.encode(turn.text), *([self.end] if turn.role == "assistant" else [])]
        return [*ids, self.forbidden[2]][-room:]

    def answer(self, text: str) -> list[int]:
        """An answer and its end; one that is longer than half of the context is cut, and has no end."""
        return [*self.encode(text), self.end][: self.context // 2]

    def answered(self, one: Conversation) -> list[Answered]:
        """The prompt with each answer."""
        answers = [self.answer(text) for text in one.answers]
        return [Answered(self.prompt(one.turns, self.context - len(answer)), answer) for answer in answers]


def padded(rows: Sequence[Sequence[int]]) -> torch.Tensor:
    """Sequences in one tensor, padded with token 0 behind their ends."""
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows])


def answer_batch(given: Sequence[Answered]) -> AnswerBatch:
    """Prompts with answers; which tokens are the answers'."""
    ids = padded([one.ids for one in given])
    places = torch.arange(ids.shape[1])
    starts, ends = torch.tensor([len(one.prompt) for one in given]), torch.tensor([len(one.ids) for one in given])
    return AnswerBatch(ids, ((places >= starts[:, None]) & (places < ends[:, None])).float())


def ranked_batch(given: Sequence[tuple[Sequence[Answered], Sequence[int]]]) -> RankedBatch:
    """Prompts with their answers and the answers' ranks."""
    most = max(len(answers) for answers, _ in given)
    rows = [[*(one.ids for one in answers), *[[0]] * (most - len(answers))] for answers, _ in given]
    ids = padded([row for answers in rows for row in answers]).view(len(given), most, -1)
    lengths = torch.tensor([[len(row) for row in answers] for answers in rows])
    ranks = torch.tensor([[*ranks, *[-1] * (most - len(ranks))] for _, ranks in given])
    return RankedBatch(ids, lengths, ranks)
