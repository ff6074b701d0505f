"""The page of a ladder of models: loss by compute with its law, accuracy by size, by demonstrations and by updates, and which tasks tell."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import jinja2

from tasks.report import charts
from tasks.report.asked import Asked
from tasks.suite.scaling import LAST_CHECKPOINTS, Check, PowerLaw, Signal, noise_of, power_law, without_the_largest

TEMPLATE = Path(__file__).with_name("scaling.html.j2")
LOSS = "bits a byte"  # of held-out text
MODELS = """
    FROM models WHERE objective = 'next token' AND flops > 0 ORDER BY parameters, run, step"""


def render(connection: duckdb.DuckDBPyConnection, name: str, mains: Mapping[str, str]) -> str:
    """The ladder that a catalog shows, as HTML that needs nothing beside it; ``mains``, task -> its main metric."""
    asked = Asked(connection)
    models = asked.rows(MODELS)
    last = {run: max(row["step"] for row in models if row["run"] == run) for run in {row["run"] for row in models}}
    scores = _scores(asked, models, mains)
    law, picture, check = _law(models, scores, last)
    return (
        jinja2.Environment(autoescape=True)
        .from_string(TEMPLATE.read_text())
        .render(
            name=name,
            models=[_model(row, scores) for row in models if row["step"] == last[row["run"]]],
            law=law,
            law_picture=picture,
            check=check,
            sizes=_by_size(models, scores, last),
            shots=_by_shots(asked, models, last),
            updates=_by_updates(models, scores),
            signals=[_signal_row(one) for one in signals(models, scores, last)],
            last=LAST_CHECKPOINTS,
        )
    )


Scores = dict[
    tuple[str, int], dict[tuple[str, str], Mapping[str, Any]]
]  # (run, step) -> (task, metric) -> a row of evaluations


def _scores(asked: Asked, models: list[dict[str, Any]], mains: Mapping[str, str]) -> Scores:
    """The zero-shot figures of each model, as published where there are several wordings."""
    rows = asked.rows(
        "FROM evaluations WHERE shots = 0 AND coalesce(prompt, 'published') = 'published' AND NOT contains(task, ',')"
    )
    known = {(row["run"], row["step"]) for row in models}
    found: Scores = defaultdict(dict)
    for row in rows:
        if (row["run"], row["step"]) in known and row["metric"] in (mains.get(row["task"]), LOSS):
            found[row["run"], row["step"]][row["task"], row["metric"]] = row
    return found


def _model(row: Mapping[str, Any], scores: Scores) -> dict[str, str]:
    loss = scores[row["run"], row["step"]].get(("held-out text", LOSS))
    return {
        "name": row["name"],
        "parameters": f"{row['parameters']:,}",
        "tokens": f"{row['tokens']:,}",
        "flops": f"{row['flops']:.2g}",
        "loss": "" if loss is None else f"{loss['value']:.3f} ± {loss['stderr']:.3f}",
    }


def _law(
    models: list[dict[str, Any]], scores: Scores, last: Mapping[str, int]
) -> tuple[PowerLaw | None, str, Check | None]:
    """Loss by compute: every checkpoint as a curve, the law through the last ones, and what it says of the largest from the others."""
    curves: dict[str, tuple[list[float], list[float]]] = {}
    ends: list[tuple[float, float]] = []
    for row in models:
        found = scores[row["run"], row["step"]].get(("held-out text", LOSS))
        if found is None:
            continue
        x, y = curves.setdefault(row["name"].partition("@")[0], ([], []))
        x.append(row["flops"])
        y.append(found["value"])
        if row["step"] == last[row["run"]]:
            ends.append((row["flops"], found["value"]))
    if len({compute for compute, _ in ends}) < 2:
        return None, "", None
    compute, loss = [c for c, _ in ends], [found for _, found in ends]
    law, check = power_law(compute, loss), without_the_largest(compute, loss)
    return law, charts.law(curves, law, max(compute) * 4, "training FLOP", "bits a byte of held-out text"), check


def _by_size(models: list[dict[str, Any]], scores: Scores, last: Mapping[str, int]) -> str:
    """Accuracy by parameters, a line a task (Brown et al. 2020, figure 1.3)."""
    lines: dict[str, dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in models:
        if row["step"] == last[row["run"]]:
            for (task, metric), found in scores[row["run"], row["step"]].items():
                if metric == "accuracy":
                    lines[task][row["parameters"]].append(found["value"])
    drawn = {
        task: ([*found], [sum(v) / len(v) for v in found.values()]) for task, found in lines.items() if len(found) > 1
    }
    return charts.curves(drawn, {}, "parameters", "accuracy", logarithmic=True) if drawn else ""


def _by_shots(asked: Asked, models: list[dict[str, Any]], last: Mapping[str, int]) -> list[dict[str, str]]:
    """Accuracy by demonstrations, with and without a description of the task (Brown et al. 2020, figure 1.2)."""
    names = {(row["run"], row["step"]): row["name"] for row in models if row["step"] == last[row["run"]]}
    rows = asked.rows("FROM evaluations WHERE metric = 'accuracy' AND prompt IS NOT NULL ORDER BY task, shots")
    tasks: dict[str, dict[str, dict[int, list[float]]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for row in rows:
        if (name := names.get((row["run"], row["step"]))) is not None:
            wording = "" if row["prompt"] == "published" else f", {row['prompt']}"
            tasks[row["task"]][name + wording][row["shots"]].append(row["value"])
    found = []
    for task, lines in tasks.items():
        drawn = {
            name: ([float(k) for k in by], [sum(v) / len(v) for v in by.values()])
            for name, by in lines.items()
            if len(by) > 1
        }
        if drawn:
            found.append({"task": task, "picture": charts.curves(drawn, {}, "demonstrations", "accuracy")})
    return found


def _by_updates(models: list[dict[str, Any]], scores: Scores) -> list[dict[str, str]]:
    """Zero-shot accuracy by updates of pretraining (Radford et al. 2018, figure 2)."""
    tasks: dict[str, dict[str, tuple[list[float], list[float]]]] = defaultdict(dict)
    for row in models:
        for (task, metric), found in scores[row["run"], row["step"]].items():
            if metric == "accuracy":
                x, y = tasks[task].setdefault(row["name"].partition("@")[0], ([], []))
                x.append(row["step"])
                y.append(found["value"])
    return [
        {"task": task, "picture": charts.curves(lines, {}, "updates", "accuracy")}
        for task, lines in tasks.items()
        if any(len(x) > 1 for x, _ in lines.values())
    ]


def signals(models: list[dict[str, Any]], scores: Scores, last: Mapping[str, int]) -> list[Signal]:
    """Of each task how it tells the last models apart, beside what a run's last checkpoints and a size's seeds differ by."""
    keys = sorted({key for found in scores.values() for key in found})
    found = []
    for task, metric in keys:
        ends: dict[int, list[float]] = defaultdict(list)
        groups: list[list[float]] = []
        rows = []
        for run, step in last.items():
            mine = [row for row in models if row["run"] == run and (task, metric) in scores[run, row["step"]]]
            groups.append([scores[run, row["step"]][task, metric]["value"] for row in mine[-LAST_CHECKPOINTS:]])
            if mine and mine[-1]["step"] == step:
                rows.append(scores[run, step][task, metric])
                ends[mine[-1]["parameters"]].append(rows[-1]["value"])
        means = [sum(values) / len(values) for values in ends.values()]
        if len(means) < 2:
            continue
        higher = metric != LOSS and "perplexity" not in metric
        best = (max if higher else min)(rows, key=lambda row: float(row["value"]))
        chance = best["chance"]
        above = None if chance is None else (best["value"] - chance) / best["stderr"] if best["stderr"] else 0.0
        noise = noise_of([*groups, *ends.values()])
        found.append(Signal(task, metric, best["value"], chance, max(means) - min(means), noise, above))
    return sorted(found, key=lambda one: -one.ratio)


def _signal_row(one: Signal) -> dict[str, str]:
    return {
        "task": one.task,
        "metric": one.metric,
        "best": f"{one.best:.3f}",
        "chance": "" if one.chance is None else f"{one.chance:.3f}",
        "signal": f"{one.signal:.3f}",
        "noise": f"{one.noise:.3f}",
        "ratio": f"{one.ratio:.1f}",
        "tells": "yes" if one.tells else "no",
    }
