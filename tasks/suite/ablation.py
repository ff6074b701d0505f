"""Which of two corpora gives the better model, and how sure one can be.

Models of both are trained in pairs: a pair shares the seed of its initialisation, of the order of its data and of the draw of the
documents (what that seed makes of two corpora differs where they do), and both answer the same questions. A pair's difference has two sources of chance: which pair it was (initialisation,
order and documents together), and which questions were asked. Their variances are estimated apart, and each reaches as far as Student's
quantile of its own degrees of freedom; the two are added as squares. Degrees of freedom pooled after Satterthwaite call equal corpora
different 13 times in 100 of two pairs, and a percentile bootstrap over so few is too narrow as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]
CONFIDENCE, POWER = 0.975, 0.8  # two-sided 95 %; of differences of the detectable size so many are seen
MOST_PAIRS = 1000  # that are ever recommended


@dataclass(frozen=True)
class Outcome:
    """A difference b - a over pairs of models and questions."""

    a: float
    b: float
    pairs: int
    questions: int  # clusters of them
    pair_variance: float  # of one pair's difference, questions given
    question_variance: float  # of the mean difference, pairs given

    @property
    def difference(self) -> float:
        """B - a."""
        return self.b - self.a

    @property
    def stderr(self) -> float:
        """Of the difference, over both sources of chance."""
        return self.stderr_of(self.pairs)

    def stderr_of(self, pairs: int) -> float:
        """What it would be of so many pairs."""
        return math.sqrt(self.pair_variance / pairs + self.question_variance)

    def reach(self, pairs: int, share: float = CONFIDENCE) -> float:
        """How far chance reaches to one side of the difference, of so many pairs, in that share of studies."""
        from scipy.stats import t

        by_pair = float(t.ppf(share, pairs - 1)) ** 2 * self.pair_variance / pairs
        by_question = float(t.ppf(share, max(1, self.questions - 1))) ** 2 * self.question_variance
        return math.sqrt(by_pair + by_question)

    @property
    def low(self) -> float:
        """Lower end of the 95 % interval."""
        return self.difference - self.reach(self.pairs)

    @property
    def high(self) -> float:
        """Upper end."""
        return self.difference + self.reach(self.pairs)

    @property
    def detectable(self) -> float:
        """The smallest difference that so many pairs see four times in five."""
        return self.reach(self.pairs) + self.reach(self.pairs, POWER)

    @property
    def is_told(self) -> bool:
        """Whether no difference is outside of the interval."""
        return self.low > 0 or self.high < 0

    @property
    def more_pairs(self) -> int | None:
        """About how many more pairs would tell a difference of this size; None where no number of them would."""
        for pairs in range(self.pairs + 1, MOST_PAIRS):
            if self.reach(pairs) < abs(self.difference):
                return pairs - self.pairs
        return None


def outcome(first: Values, second: Values, sizes: Values, clusters: Sequence[str]) -> Outcome:
    """What two sets of models show: ``first`` and ``second`` are (pairs, questions), ``sizes`` (questions,) what sums are divided by.

    Raises ValueError for fewer than two pairs, of which nothing can be told.
    """
    if len(first) < 2:
        raise ValueError("a difference between corpora needs two pairs of models at least: one may be chance")
    whole = float(sizes.sum())
    of_pairs = (second - first).sum(1) / whole
    mean = float(of_pairs.mean())
    residuals = (second - first).mean(0) - mean * sizes
    _, place = np.unique(np.asarray(clusters), return_inverse=True)
    summed = np.bincount(place, residuals)
    groups = len(summed)
    by_question = groups / (groups - 1) * float((summed**2).sum()) / whole**2 if groups > 1 else 0.0
    a, b = float(first.mean(0).sum() / whole), float(second.mean(0).sum() / whole)
    return Outcome(a, b, len(first), groups, float(of_pairs.var(ddof=1)), by_question)


def expected(of_one: Values, sizes: Values) -> float:
    """The standard deviation of a pair's difference that models of one corpus alone let expect: (models, questions).

    Two models that share a seed differ less than two that do not, so it is an upper bound.
    """
    return math.sqrt(2 * float((of_one.sum(1) / sizes.sum()).var(ddof=1)))


@dataclass(frozen=True)
class Verdict:
    """What is to be said of two corpora."""

    better: str  # the name of one, or nothing
    words: str


def verdict(names: tuple[str, str], found: Outcome, by_rate: Sequence[Outcome], higher_is_better: bool) -> Verdict:
    """a, b, or that it cannot be told and what would tell; ``by_rate`` are the outcomes at each learning rate."""
    better = names[(found.difference > 0) == higher_is_better]
    apart = [one for one in by_rate if one.is_told and (one.difference > 0) != (found.difference > 0)]
    if apart:
        return Verdict("", "cannot tell: the learning rates disagree, each beyond its own chance; tune them for both")
    if found.is_told:
        return Verdict(better, better)
    more = found.more_pairs
    if more is None:
        return Verdict(
            "", "cannot tell: the questions are too few for a difference so small, however many seeds there are"
        )
    return Verdict(
        "", f"cannot tell: about {more:,} more seed{'s' * (more != 1)} would, if the difference is what it seems"
    )
