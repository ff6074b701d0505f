"""What is made of a model's answers: figures with standard errors over documents or examples.

Ratios (nats a token, bits a byte) take theirs from the linearised ratio estimator (Cochran 1977, section 2.11):
sqrt(n / (n-1) * sum (y - r x)^2) / sum x.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]


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


Metric = Callable[[Answers], tuple[float, float]]


def ratio(numerator: Values, denominator: Values) -> tuple[float, float]:
    """Sum y / sum x over documents, with its standard error."""
    value = float(numerator.sum() / denominator.sum())
    n = len(numerator)
    if n < 2:
        return value, math.nan
    residual = float(((numerator - value * denominator) ** 2).sum())
    return value, math.sqrt(n / (n - 1) * residual) / float(denominator.sum())


def mean(values: Values) -> tuple[float, float]:
    """The mean over examples, with its standard error."""
    error = float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.nan
    return float(values.mean()), error


def exponential(nats: float, error: float) -> tuple[float, float]:
    """exp(nats) and its standard error by the delta method, d exp(x) = exp(x) dx.

    Where words are long (Chinese, DNA) a perplexity may have no float: it is infinite then, and has no standard error.
    """
    try:
        value = math.exp(nats)
    except OverflowError:
        return math.inf, math.nan
    return value, value * error


def perplexity_a_token(answers: Answers) -> tuple[float, float]:
    """Exp of the nats a token."""
    return exponential(*ratio(answers.nats, answers.tokens))


def perplexity_a_word(answers: Answers) -> tuple[float, float]:
    """Exp of the nats a white-space separated word: what tokenizers do not change."""
    assert answers.words is not None
    return exponential(*ratio(answers.nats, answers.words))


def bits_a_byte(answers: Answers) -> tuple[float, float]:
    """Bits a byte of UTF-8: what neither tokenizers nor languages change."""
    assert answers.bytes is not None
    return _bits(*ratio(answers.nats, answers.bytes))


def bits_a_token(answers: Answers) -> tuple[float, float]:
    """Bits a token that was asked."""
    return _bits(*ratio(answers.nats, answers.tokens))


def _bits(nats: float, error: float) -> tuple[float, float]:
    return nats / math.log(2), error / math.log(2)


def token_accuracy(answers: Answers) -> tuple[float, float]:
    """Share of the tokens that were the first choice."""
    return ratio(answers.right, answers.tokens)


def answer_accuracy(answers: Answers) -> tuple[float, float]:
    """Share of the examples of whose answer every token was the first choice."""
    return mean((answers.right == answers.tokens).astype(np.float64))


def answer_perplexity(answers: Answers) -> tuple[float, float]:
    """Exp of the nats of a whole answer."""
    return exponential(*mean(answers.nats))


def label_accuracy(answers: Answers) -> tuple[float, float]:
    """Share of the examples whose label was right."""
    assert answers.label_right is not None
    return mean(answers.label_right)
