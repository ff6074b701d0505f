"""The page of a study of corpora: each pair's difference, the interval over seeds and questions, the verdict and what would tell more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from tasks.report import charts
from tasks.suite.ablation import Outcome, Values, Verdict, expected, outcome, verdict
from tasks.suite.compare import measured_by, value_of
from tasks.suite.own import TEXTS
from tasks.suite.question import Task

TEMPLATE = Path(__file__).with_name("study.html.j2")
BIT = 1 / float(np.log(2))
Answers = Sequence[Mapping[str, Any]]  # rows of answers of one model


@dataclass(frozen=True)
class Measured:
    """One task of two arms."""

    task: str
    metric: str
    names: tuple[str, str]
    outcome: Outcome
    by_rate: dict[str, Outcome]
    by_pair: list[float]
    verdict: Verdict
    expected: float  # standard deviation of a pair's difference, by the first arm alone
    left_out: int  # questions that stand in text that was trained on


def measured(tasks: Mapping[str, Task], arms: Mapping[str, Sequence[Mapping[str, Answers]]]) -> list[Measured]:
    """Every task of every two arms; ``arms``, name -> for each seed, learning rate -> answers. What is judged first stands first."""
    found = []
    for first, second in combinations(arms, 2):
        names = {row["task"] for by_rate in (*arms[first], *arms[second]) for rows in by_rate.values() for row in rows}
        for task in sorted(names, key=lambda name: (name != TEXTS, name)):
            one = _measured(tasks[task], (first, second), arms[first], arms[second])
            found += [one] if one is not None else []
    return found


def _measured(
    task: Task, names: tuple[str, str], first: Sequence[Mapping[str, Answers]], second: Sequence[Mapping[str, Answers]]
) -> Measured | None:
    metric, higher = measured_by(task)
    models = [by_rate[rate] for by_rate in (*first, *second) for rate in by_rate]
    answered = [{row["example_id"]: row for row in rows if row["task"] == task.name} for rows in models]
    common = set.intersection(*(set(rows) for rows in answered))
    # What any of the models may have been trained on judges none of them.
    clean = sorted(name for name in common if not any(rows[name]["dirty"] for rows in answered))
    if len(clean) < 2:
        return None
    sizes = np.array([answered[0][name]["bytes"] if task.kind == "text" else 1.0 for name in clean], np.float64)
    clusters = [answered[0][name]["cluster"] for name in clean]

    def values(arm: Sequence[Mapping[str, Answers]], rate: str) -> Values:
        found = []
        for by_rate in arm:
            of = {row["example_id"]: row for row in by_rate[rate] if row["task"] == task.name}
            found.append([value_of(task, of[name]) for name in clean])
        return np.array(found)

    rates = list(first[0])
    pairs = {rate: (values(first, rate), values(second, rate)) for rate in rates}
    by_rate = {rate: outcome(a, b, sizes, clusters) for rate, (a, b) in pairs.items()}
    a, b = (np.mean([pairs[rate][side] for rate in rates], axis=0) for side in (0, 1))
    whole = outcome(a, b, sizes, clusters)
    return Measured(
        task.name,
        metric,
        names,
        whole,
        by_rate,
        ((b - a).sum(1) / sizes.sum()).tolist(),
        verdict(names, whole, list(by_rate.values()), higher),
        expected(a, sizes),
        len(common) - len(clean),
    )


def beforehand(name: str, seeds: Sequence[Mapping[str, Answers]]) -> str:
    """What the models of the first arm alone let expect, in a sentence, before any other is trained."""
    texts = {row["example_id"]: row["bytes"] for row in next(iter(seeds[0].values())) if row["task"] == TEXTS}
    sizes = np.array(list(texts.values()), np.float64)
    bits = [
        [sum(-sum(of[one]["log_likelihoods"]) for of in answers) * BIT / len(answers) for one in texts]
        for by_rate in seeds
        for answers in [[{row["example_id"]: row for row in rows if row["task"] == TEXTS} for rows in by_rate.values()]]
    ]
    deviation = expected(np.array(bits), sizes)
    seen = Outcome(0.0, 0.0, len(seeds), len(texts), deviation**2, 0.0).detectable
    return (
        f"models of {name} alone differ by {deviation / 2**0.5:.4f} bits a byte from seed to seed; of {len(seeds)} pairs a difference "
        f"between corpora from about {seen:.4f} on would be seen, and a smaller one as far as pairs have their chance in common"
    )


def words_of(one: Measured) -> str:
    """A result in a sentence."""
    found = one.outcome
    return (
        f"{one.task}, {one.metric}: {one.names[0]} {found.a:.4f}, {one.names[1]} {found.b:.4f}; difference {found.difference:+.4f}, "
        f"95 % {found.low:+.4f} to {found.high:+.4f}; from {found.detectable:.4f} on it would have been seen. Better: {one.verdict.words}."
    )


def render(recipe: str, found: Sequence[Measured], study: Any, epochs: Mapping[str, float]) -> str:
    """The page, as HTML that needs nothing beside it."""
    shown = [
        {
            "title": f"{one.task}: {one.metric}",
            "picture": _picture(one),
            "words": words_of(one),
            "verdict": one.verdict.words,
            "expected": f"{one.expected:.4f}",
            "left_out": one.left_out,
            "questions": one.outcome.questions,
            "rates": [
                {"rate": rate, "difference": f"{of.difference:+.4f}", "interval": f"{of.low:+.4f} to {of.high:+.4f}"}
                for rate, of in one.by_rate.items()
            ],
        }
        for one in found
    ]
    template = jinja2.Environment(autoescape=True).from_string(TEMPLATE.read_text())
    seen = {name: f"{times:.2f}" for name, times in epochs.items()}
    return template.render(recipe=recipe, found=shown, study=study, epochs=seen)


def _picture(one: Measured) -> str:
    found = one.outcome
    labels = [f"pair {number}" for number in range(1, len(one.by_pair) + 1)]
    values = [*one.by_pair, found.difference]
    spans = [*((value, value) for value in one.by_pair), (found.low, found.high)]
    unit = f"{one.metric}: {one.names[1]} less {one.names[0]}"
    return charts.differences([*labels, "all, with 95 %"], values, spans, unit)
