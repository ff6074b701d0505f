"""Answers to scores: the figures of a task, of all questions, of the clean and of the dirty ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tasks.core.estimates import Figure, Values, exponential, mean, rate, scaled
from tasks.suite.answer import Row
from tasks.suite.figures import bleu, column_of
from tasks.suite.question import NORMALISERS, Task

BIT = 1 / math.log(2)
Score = Callable[[Sequence[Row]], Figure]
# What a choice is made by, as scores call it.
BY = {"none": "of the sum", "token": "a token", "character": "a character", "byte": "a byte", "context": "by context"}


def clusters(rows: Sequence[Row]) -> Any:
    """The passage of each row."""
    return np.array([row["cluster"] for row in rows])


def column(rows: Sequence[Row], name: str) -> Values:
    """A column of numbers; truth counts 1."""
    return np.array([row[name] for row in rows], np.float64)


def _mean_of(name: str) -> Score:
    return lambda rows: mean(column(rows, name), clusters(rows))


def _nats(rows: Sequence[Row]) -> Values:
    return np.array([-sum(row["log_likelihoods"]) for row in rows])


def _nats_over(name: str) -> Score:
    return lambda rows: rate(_nats(rows), _sizes(rows, name), clusters(rows))


def _sizes(rows: Sequence[Row], name: str) -> Values:
    return np.array([sum(row["tokens"]) if name == "tokens" else row[name] for row in rows], np.float64)


def _exp(score: Score) -> Score:
    return lambda rows: exponential(score(rows))


def _bits(score: Score) -> Score:
    return lambda rows: scaled(score(rows), BIT)


def _bleu(rows: Sequence[Row]) -> Figure:
    return bleu([row["answer"] for row in rows], [row["gold"] for row in rows], clusters(rows))


CHOICE: dict[str, Score] = {
    "accuracy": _mean_of("correct"),
    **{f"accuracy {BY[name]}": _mean_of(f"correct_by_{name}") for name in NORMALISERS},
    "bits a byte of the right answer": _mean_of("bits_a_byte"),
    "probability of the right choice": _mean_of("probability"),
    "margin in nats": _mean_of("margin"),
}
LAST_WORD: dict[str, Score] = {
    "accuracy": _mean_of("correct"),
    "accuracy without stop words": _mean_of("correct_filtered"),
    "accuracy of the last token": _mean_of("correct_last_token"),
    "perplexity a word": lambda rows: exponential(mean(_nats(rows), clusters(rows))),
    "perplexity a token": _exp(_nats_over("tokens")),
    "bits a byte of the right answer": _mean_of("bits_a_byte"),
}
TEXT: dict[str, Score] = {
    "perplexity a word": _exp(_nats_over("words")),
    "perplexity a token": _exp(_nats_over("tokens")),
    "bits a byte": _bits(_nats_over("bytes")),
    "bits a character": _bits(_nats_over("characters")),
}


def scores_of(task: Task) -> dict[str, Score]:
    """Metric -> how it is made of answers."""
    if task.kind == "free":
        return {name: _bleu if name == "bleu" else _mean_of(column_of(name)) for name in task.metrics}
    return {"choice": CHOICE, "last word": LAST_WORD, "text": TEXT}[task.kind]


def scored(task: Task, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """A row a metric: value, stderr, n, the value of clean and of dirty questions, the share of the clean ones.

    A question whose ``dirty`` is None was not looked for: it is neither. Metrics that nothing was measured for are left out.
    """
    clean = [row for row in rows if row.get("dirty") is False]
    dirty = [row for row in rows if row.get("dirty")]
    found = []
    for metric, score in scores_of(task).items():
        figure = _or_none(score, rows)
        if figure is None:
            continue
        beside = {name: _or_none(score, some) for name, some in (("clean_value", clean), ("dirty_value", dirty))}
        found.append(
            {"metric": metric, "value": figure.value, "stderr": figure.stderr, "n": len(rows)}
            | {name: None if one is None else one.value for name, one in beside.items()}
            | {"share_clean": len(clean) / (len(clean) + len(dirty)) if clean or dirty else None}
        )
    return found


def _or_none(score: Score, rows: Sequence[Row]) -> Figure | None:
    figure = score(rows) if rows else None
    return None if figure is None or math.isnan(figure.value) else figure


def chance(task: Task, rows: Sequence[Row]) -> Figure | None:
    """Accuracy of a guess among the choices."""
    if task.kind != "choice" or not rows:
        return None
    return mean(np.array([1 / len(row["choices"]) for row in rows]), clusters(rows))
