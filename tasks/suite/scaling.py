"""Laws of scale: loss as a power of compute, with what it cannot know; and which tasks tell models of a size apart.

L(C) = a C^-b is a line in logarithms (Kaplan et al. 2020, equation 1.3), fitted by least squares; the band is that of a new observation,
from Student's t, so few points make it wide. A task's signal is the spread of its scores over models, its noise the spread over the
last checkpoints of one run and over seeds (Heineman et al. 2025, "Signal and noise").
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95
LAST_CHECKPOINTS = 3
TELLS = 2.0  # signal to noise from which a task may decide


@dataclass(frozen=True)
class PowerLaw:
    """L = scale * C ^ -exponent, of ``points`` observations."""

    scale: float
    exponent: float
    error: float  # standard deviation of a residual, in logarithms
    points: int
    center: float  # mean of log C
    spread: float  # sum of squared distances from it

    def at(self, compute: float) -> float:
        """The loss that it says."""
        return self.scale * math.exp(-self.exponent * math.log(compute))

    def band(self, compute: float) -> tuple[float, float]:
        """Where a new observation lies 95 times in 100; endless of two points, which any line meets."""
        if self.points < 3:
            return 0.0, math.inf
        from scipy.stats import t

        wide = math.sqrt(1 + 1 / self.points + (math.log(compute) - self.center) ** 2 / self.spread)
        reach = float(t.ppf((1 + CONFIDENCE) / 2, self.points - 2)) * self.error * wide
        return self.at(compute) * math.exp(-reach), self.at(compute) * math.exp(min(reach, 700.0))


def power_law(compute: Sequence[float], loss: Sequence[float]) -> PowerLaw:
    """The law through some observations. Raises ValueError for fewer than two amounts of compute, or for none above 0."""
    if len(set(compute)) < 2 or min(*compute, *loss) <= 0:
        raise ValueError("a law of scale needs two amounts of compute, and losses above 0")
    x, y = np.log(np.asarray(compute, np.float64)), np.log(np.asarray(loss, np.float64))
    center, spread = float(x.mean()), float(((x - x.mean()) ** 2).sum())
    slope = float(((x - center) * (y - y.mean())).sum() / spread)
    start = float(y.mean() - slope * center)
    residual = y - start - slope * x
    error = math.sqrt(float((residual**2).sum()) / (len(x) - 2)) if len(x) > 2 else 0.0
    return PowerLaw(math.exp(start), -slope, error, len(x), center, spread)


@dataclass(frozen=True)
class Check:
    """What the smaller ones say of the largest, and what that turned out to be."""

    law: PowerLaw
    compute: float
    said: float
    low: float
    high: float
    found: float

    @property
    def holds(self) -> bool:
        """Whether it lies in the band."""
        return self.low <= self.found <= self.high


def without_the_largest(compute: Sequence[float], loss: Sequence[float]) -> Check | None:
    """The law of all but those of the largest compute, and what it says of that one; None of fewer than three amounts."""
    largest = max(compute)
    smaller = [(c, found) for c, found in zip(compute, loss, strict=True) if c < largest]
    if len({c for c, _ in smaller}) < 2:
        return None
    law = power_law([c for c, _ in smaller], [found for _, found in smaller])
    found = [one for c, one in zip(compute, loss, strict=True) if c == largest]
    return Check(law, largest, law.at(largest), *law.band(largest), sum(found) / len(found))


@dataclass(frozen=True)
class Signal:
    """How well a task tells models apart."""

    task: str
    metric: str
    best: float
    chance: float | None
    signal: float  # largest less smallest score over models
    noise: float  # standard deviation over last checkpoints and over seeds
    above_chance: float | None  # of the best, in standard errors

    @property
    def ratio(self) -> float:
        """Signal to noise."""
        return self.signal / self.noise if self.noise else math.inf if self.signal else 0.0

    @property
    def tells(self) -> bool:
        """Whether it may decide: twice its noise between models, and not a guess."""
        return self.ratio >= TELLS and (self.above_chance is None or self.above_chance >= 2)


def noise_of(groups: Sequence[Sequence[float]]) -> float:
    """The pooled standard deviation within groups of scores that ought to be one: a run's last checkpoints, a size's seeds."""
    found = [np.asarray(group, np.float64) for group in groups if len(group) > 1]
    freedom = sum(len(group) - 1 for group in found)
    return math.sqrt(sum(float(((group - group.mean()) ** 2).sum()) for group in found) / freedom) if freedom else 0.0
