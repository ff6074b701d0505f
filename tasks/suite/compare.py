"""Two models on the same questions: paired differences, what they can and cannot show.

Both answered the same prompts, so the difference is taken question by question (or passage by passage, where questions share one) and
most of what makes a question hard falls out. The interval is a percentile bootstrap over passages (Efron and Tibshirani 1993,
chapter 13), the sign test is exact over questions that one got right more often than the other (McNemar 1947), and the smallest difference that would have been
seen is (1.96 + 0.84) standard errors: five times in a hundred called where there is none, missed once in five where there is one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from models.draws import random_bits
from tasks.suite.figures import column_of, f1
from tasks.suite.question import Task

Row = Mapping[str, Any]
Values = npt.NDArray[np.float64]
RESAMPLES = 10_000
CONFIDENT, POWER = 1.959964, 0.841621  # quantiles of the normal: 5 % of false calls, two-sided; 80 % of true ones
PAIRED_BY = ("shots", "prompt", "seed", "example_id", "prompt_digest")


@dataclass(frozen=True)
class Comparison:
    """One task, asked of two models in one way."""

    task: str
    shots: int
    metric: str
    higher_is_better: bool
    n: int
    a: float
    b: float
    stderr: float  # of b - a
    low: float  # of its 95 % interval
    high: float
    only_a: int  # questions that a alone got right
    only_b: int
    sign_test: float | None  # its p; None where answers are not right or wrong

    @property
    def difference(self) -> float:
        """B - a."""
        return self.b - self.a

    @property
    def detectable(self) -> float:
        """The smallest difference that would have been seen four times in five."""
        return (CONFIDENT + POWER) * self.stderr

    @property
    def verdict(self) -> str:
        """a, b, or that it cannot be told."""
        if not (self.low > 0 or self.high < 0):  # not a number is neither
            return "cannot tell"
        return "b" if (self.difference > 0) == self.higher_is_better else "a"


def compared(task: Task, shots: int, first: Sequence[Row], second: Sequence[Row]) -> Comparison | None:
    """Two models' answers to a task with so many demonstrations; None where they have no question in common."""
    theirs = {tuple(row[name] for name in PAIRED_BY): row for row in second}
    pairs = [(row, theirs[key]) for row in first if (key := tuple(row[name] for name in PAIRED_BY)) in theirs]
    if not pairs:
        return None
    metric, higher = measured_by(task)
    # A question that was asked in several wordings, or behind several demonstrations, is one question.
    names, question = np.unique([row["example_id"] for row, _ in pairs], return_inverse=True)
    values = np.zeros((len(names), 2))
    np.add.at(values, question, np.array([[value_of(task, row) for row in pair] for pair in pairs], np.float64))
    times = np.bincount(question)
    values /= times[:, None]
    sizes = np.bincount(question, [_size(task, row) for row, _ in pairs]) / times
    passage = dict(zip(question.tolist(), (row["cluster"] for row, _ in pairs), strict=True))
    _, place = np.unique([passage[number] for number in range(len(names))], return_inverse=True)
    sums = np.zeros((int(place.max()) + 1, 3))
    np.add.at(sums, place, np.column_stack([values, sizes]))
    a, b = sums[:, :2].sum(0) / sums[:, 2].sum()
    low, high = _interval(sums, task.name)
    decided = _is_right_or_wrong(task)
    only_a, only_b = (
        int((values[:, one] > values[:, other]).sum()) if decided else 0 for one, other in ((0, 1), (1, 0))
    )
    return Comparison(
        task.name,
        shots,
        metric,
        higher,
        len(names),
        float(a),
        float(b),
        _stderr(sums),
        low,
        high,
        only_a,
        only_b,
        sign_test(only_a, only_b) if decided else None,
    )


def measured_by(task: Task) -> tuple[str, bool]:
    """What two models are compared by, and whether more of it is better."""
    if task.kind == "text":
        return "bits a byte", False
    if task.kind == "free":
        return ("f1" if "bleu" in task.metrics else task.main), True
    return "accuracy", True


def sign_test(only_a: int, only_b: int) -> float:
    """Two-sided p of so uneven a split of the questions on which the two differ, were both as good (exact binomial)."""
    n, least = only_a + only_b, min(only_a, only_b)
    if not n:
        return 1.0
    # In logarithms: two to the power of some thousands has no float.
    tail = [
        math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) - n * math.log(2) for k in range(least + 1)
    ]
    top = max(tail)
    return min(1.0, 2 * math.exp(top) * sum(math.exp(one - top) for one in tail))


def value_of(task: Task, row: Row) -> float:
    """What an answer counts for: bits, whether it is right, or how much of it is."""
    if task.kind == "text":
        return -sum(row["log_likelihoods"]) / math.log(2)
    if task.kind == "free":
        if "bleu" in task.metrics:
            return f1(row["answer"], [row["gold"]])
        return float(row[column_of(task.main)])
    return float(row["correct"])


def _size(task: Task, row: Row) -> float:
    return float(row["bytes"]) if task.kind == "text" else 1.0


def _is_right_or_wrong(task: Task) -> bool:
    return task.kind in ("choice", "last word") or task.main == "exact match"


def _stderr(sums: Values) -> float:
    groups, whole = len(sums), sums[:, 2].sum()
    if groups < 2:
        return math.nan
    difference = sums[:, 1] - sums[:, 0]
    residuals = difference - difference.sum() / whole * sums[:, 2]
    return float(math.sqrt(groups / (groups - 1) * (residuals**2).sum()) / whole)


def _interval(sums: Values, name: str) -> tuple[float, float]:
    """2.5th and 97.5th percentile of b - a over resampled passages; the same for the same answers. Of one passage nothing is known."""
    if len(sums) < 2:
        return math.nan, math.nan
    draw = np.random.default_rng(random_bits(0, "bootstrap", name, len(sums)))
    found = np.empty(RESAMPLES)
    step = max(1, (1 << 22) // len(sums))
    for first in range(0, RESAMPLES, step):
        count = min(step, RESAMPLES - first)
        weights = draw.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), count)
        a, b, size = (weights @ sums).T
        found[first : first + count] = (b - a) / size
    return float(np.percentile(found, 2.5)), float(np.percentile(found, 97.5))
