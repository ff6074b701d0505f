"""Figures of answers to a task with labels, each with its standard error over examples or over what they share."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.core.estimates import Figure, mean

RESAMPLES = 200
Values = npt.NDArray[np.float64]


def _f1(answers: Values, gold: Values) -> float:
    """Of the second class where there are two, else the mean over classes."""
    from sklearn.metrics import f1_score

    two = max(answers.max(initial=0), gold.max(initial=0)) <= 1
    return float(f1_score(gold, answers, average="binary" if two else "macro", zero_division=0))


def _matthews(answers: Values, gold: Values) -> float:
    """Matthews' correlation: 0 where all answers are one class (Warstadt et al. 2018, section 4)."""
    from sklearn.metrics import matthews_corrcoef

    return float(matthews_corrcoef(gold, answers))


def _pearson(answers: Values, gold: Values) -> float:
    if answers.std() == 0 or gold.std() == 0:
        return 0.0
    return float(np.corrcoef(answers, gold)[0, 1])


def _spearman(answers: Values, gold: Values) -> float:
    from scipy.stats import rankdata

    return _pearson(rankdata(answers), rankdata(gold))


OF_CLASSES: dict[str, Callable[[Values, Values], float]] = {"f1": _f1, "matthews": _matthews}
OF_NUMBERS: dict[str, Callable[[Values, Values], float]] = {"pearson": _pearson, "spearman": _spearman}


def figures(
    answers: Sequence[float], gold: Sequence[float], groups: Sequence[str], number: bool, ranked: bool
) -> dict[str, Figure]:
    """Metric -> its figure: accuracy, F1 and Matthews' correlation of classes, accuracy of choices, correlations of numbers."""
    given, right = np.array(answers, np.float64), np.array(gold, np.float64)
    clusters = np.array([group or f"\0{row}" for row, group in enumerate(groups)])
    if number:
        return {name: _resampled(of, given, right, clusters) for name, of in OF_NUMBERS.items()}
    found = {"accuracy": mean((given == right).astype(np.float64), clusters)}
    return (
        found if ranked else found | {name: _resampled(of, given, right, clusters) for name, of in OF_CLASSES.items()}
    )


def _resampled(
    of: Callable[[Values, Values], float], answers: Values, gold: Values, clusters: npt.NDArray[Any]
) -> Figure:
    """The figure, and its standard error by a bootstrap over clusters (Efron and Tibshirani 1993, algorithm 6.1)."""
    names, place = np.unique(clusters, return_inverse=True)
    rows = [np.flatnonzero(place == one) for one in range(len(names))]
    draw = np.random.default_rng(0)
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a resample may hold one class alone
        value = of(answers, gold)
        for _ in range(RESAMPLES if len(names) > 1 else 0):
            drawn = np.concatenate([rows[one] for one in draw.integers(0, len(names), len(names))])
            found.append(of(answers[drawn], gold[drawn]))
    return Figure(value, float(np.std(found, ddof=1)) if found else math.nan)
