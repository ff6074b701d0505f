"""Means and ratios with their standard errors, over documents or questions, or over the passages that questions share.

A ratio takes its error from the linearised estimator (Cochran 1977, section 2.11) with residuals summed by cluster (Miller 2024,
"Adding error bars to evals", section 2.2): sqrt(G / (G - 1) * sum over clusters of (sum of y - r x)^2) / sum of x.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]


class Figure(NamedTuple):
    """A score and its standard error, not a number where there is none."""

    value: float
    stderr: float


def rate(numerator: Values, denominator: Values, clusters: npt.NDArray[Any] | None = None) -> Figure:
    """Sum y / sum x; each row is a cluster of its own where none are named."""
    whole = float(denominator.sum())
    value = float(numerator.sum()) / whole
    _, place = np.unique(np.arange(len(numerator)) if clusters is None else clusters, return_inverse=True)
    groups = int(place.max(initial=-1)) + 1
    if groups < 2:
        return Figure(value, math.nan)
    residuals = np.bincount(place, numerator - value * denominator)
    return Figure(value, math.sqrt(groups / (groups - 1) * float((residuals**2).sum())) / whole)


def mean(values: Values, clusters: npt.NDArray[Any] | None = None) -> Figure:
    """The mean over rows."""
    return rate(values, np.ones_like(values), clusters)


def exponential(figure: Figure) -> Figure:
    """Exp of a figure in nats, its error by the delta method, d exp(x) = exp(x) dx.

    Where words are long (Chinese, DNA) a perplexity may have no float: it is infinite then, and has no standard error.
    """
    try:
        value = math.exp(figure.value)
    except OverflowError:
        return Figure(math.inf, math.nan)
    return Figure(value, value * figure.stderr)


def scaled(figure: Figure, factor: float) -> Figure:
    """A figure in another unit."""
    return Figure(figure.value * factor, figure.stderr * factor)
