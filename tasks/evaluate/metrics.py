"""What is made of a model's answers to tasks on held-out text: figures with standard errors over documents or examples."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.core.estimates import Figure, Values, exponential, mean, rate, scaled


@dataclass(frozen=True)
class Answers:
    """One row an example: what a model made of the tokens that were asked, and how much was asked."""

    nats: Values  # of all tokens that were asked
    right: Values  # tokens that were the model's first choice
    tokens: Values
    words: Values | None = None
    bytes: Values | None = None
    label_right: Values | None = None  # of tasks that ask for a label beside

    def of(self, rows: npt.NDArray[np.bool_]) -> Answers:
        """Some of the examples."""
        beside = (self.words, self.bytes, self.label_right)
        some = (None if column is None else column[rows] for column in beside)
        return Answers(self.nats[rows], self.right[rows], self.tokens[rows], *some)


Metric = Callable[[Answers], Figure]


def perplexity_a_token(answers: Answers) -> Figure:
    """Exp of the nats a token."""
    return exponential(rate(answers.nats, answers.tokens))


def perplexity_a_word(answers: Answers) -> Figure:
    """Exp of the nats a white-space separated word: what tokenizers do not change."""
    assert answers.words is not None
    return exponential(rate(answers.nats, answers.words))


def bits_a_byte(answers: Answers) -> Figure:
    """Bits a byte of UTF-8: what neither tokenizers nor languages change."""
    assert answers.bytes is not None
    return _bits(rate(answers.nats, answers.bytes))


def bits_a_token(answers: Answers) -> Figure:
    """Bits a token that was asked."""
    return _bits(rate(answers.nats, answers.tokens))


def _bits(nats: Figure) -> Figure:
    return scaled(nats, 1 / math.log(2))


def token_accuracy(answers: Answers) -> Figure:
    """Share of the tokens that were the first choice."""
    return rate(answers.right, answers.tokens)


def answer_accuracy(answers: Answers) -> Figure:
    """Share of the examples of whose answer every token was the first choice."""
    return mean((answers.right == answers.tokens).astype(np.float64))


def answer_perplexity(answers: Answers) -> Figure:
    """Exp of the nats of a whole answer."""
    return exponential(mean(answers.nats))


def label_accuracy(answers: Answers) -> Figure:
    """Share of the examples whose label was right."""
    assert answers.label_right is not None
    return mean(answers.label_right)
