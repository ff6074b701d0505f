"""The report on networks: how good each is beside the baselines, what it writes, how its training went."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from tasks.report import charts
from tasks.report.asked import Asked

BASELINE = "baseline-"
NAMES = {"baseline-5-gram": "interpolated 5-gram"}
LEVELS = "perplexity a token"  # the metric whose logarithm is a loss


def shown_name(model: str) -> str:
    """What a network or a baseline is called in the page."""
    return NAMES.get(model, model.removeprefix(BASELINE))


def is_network(model: str) -> bool:
    """Whether it was trained, and not counted."""
    return not model.startswith(BASELINE)


def networks(asked: Asked) -> list[dict[str, str]]:
    """A row for each trained or imported network, parents first."""
    found = asked.rows("FROM models ORDER BY parent IS NOT NULL, parent, split_part(name, '@', 1), step")
    return [
        {
            "name": row["name"],
            "parent": row["parent"] or "random weights",
            "objective": row["objective"] or "",
            "parameters": f"{row['parameters']:,}" if row["parameters"] is not None else "",
            "step": f"{row['step']:,}" if row["step"] is not None else "imported",
            "tokens": f"{row['tokens']:,}" if row["tokens"] is not None else "",
            "flops": f"{row['flops']:.2g}" if row["flops"] is not None else "",
            "key": row["run"][:12],
        }
        for row in found
    ]


def scores(asked: Asked) -> list[dict[str, Any]]:
    """Every figure, the best first within its metric."""
    found = asked.rows(
        "FROM evaluations WHERE prompt IS NULL ORDER BY task, shots, metric, CASE WHEN metric LIKE '%accuracy' THEN -value ELSE value END, model"
    )
    return [
        {
            "task": row["task"] + (f", {row['shots']} shots" if row["shots"] else ""),
            "metric": row["metric"],
            "of_source": "," in row["task"],
            "ours": is_network(row["model"]),
            "n": f"{row['n']:,}",
            "value": figure(row["value"]),
            "model": shown_name(row["model"]),
            "stderr": figure(row["stderr"]),
            "clean": "" if row["clean_value"] is None else figure(row["clean_value"]),
            "overlap": "" if row["overlap"] is None else f"{row['overlap']:.1%}",
        }
        for row in found
    ]


def pictures(asked: Asked, mains: Mapping[str, str]) -> list[dict[str, str]]:
    """Of each task that was asked the picture of its main metric, with a verdict in words; ``mains``, task -> metric."""
    found = []
    for task, metric in mains.items():
        rows = asked.rows(
            "SELECT model, shots, value, stderr, clean_value, share_clean FROM evaluations "
            "WHERE task = ? AND metric = ? AND isfinite(value) "
            "ORDER BY value, model",
            task,
            metric,
        )
        if any(is_network(row["model"]) for row in rows):
            found.append(
                {"title": f"{task}: {metric}", "picture": _bars(rows, metric), "verdict": _verdict(rows, task, metric)}
            )
    return found


def _bars(rows: Sequence[Mapping[str, Any]], unit: str) -> str:
    names = [shown_name(row["model"]) + (f", {row['shots']} shots" if row["shots"] else "") for row in rows]
    values = [row["value"] for row in rows]
    errors = [row["stderr"] if math.isfinite(row["stderr"]) else 0.0 for row in rows]
    return charts.bars(
        names, values, unit, [f"{value:.3f}" for value in values], errors, [is_network(row["model"]) for row in rows]
    )


def _verdict(rows: Sequence[Mapping[str, Any]], task: str, metric: str) -> str:
    """The best network beside each baseline."""
    ours = [row for row in rows if is_network(row["model"])]
    best = max(ours, key=lambda row: row["value"]) if _is_better_high(metric) else ours[0]
    others = [row for row in rows if not is_network(row["model"]) and row["shots"] == best["shots"]]
    words = [_beside(best["value"], other, metric) for other in others]
    said = f"{best['model']} has {best['value']:.3f} {metric} on {task}{': ' if words else ''}{', '.join(words)}."
    if best["clean_value"] is None or best["share_clean"] == 1:
        return said
    clean = [f"{row['clean_value']:.3f} for {shown_name(row['model'])}" for row in (best, *others)]
    return f"{said} On the {best['share_clean']:.0%} of it that share least with training text: {', '.join(clean)}."


def _is_better_high(metric: str) -> bool:
    return metric.endswith("accuracy")


def _beside(value: float, other: Mapping[str, Any], metric: str) -> str:
    less, more = ("lower", "higher") if _is_better_high(metric) else ("fewer", "more")
    name = f"the {shown_name(other['model'])} ({other['value']:.3f})"
    difference = f"{abs(other['value'] - value):.3f}"
    if not float(difference):
        return f"as the {name.removeprefix('the ')}"
    return f"{difference} {less if value < other['value'] else more} than {name}"


def losses(asked: Asked) -> str:
    """Curves of every run, with the levels of the baselines where they are cross-entropies of the same text."""
    lines: dict[str, tuple[list[float], list[float]]] = {}
    for row in asked.rows(
        """SELECT model, name, step, arg_max(value, "at") AS value FROM metrics
           WHERE run IN (SELECT run FROM models) AND name IN ('loss', 'validation_loss') GROUP BY ALL ORDER BY ALL"""
    ):
        label = f"{row['model']}, {'training batch' if row['name'] == 'loss' else 'held out'}"
        steps, values = lines.setdefault(label, ([], []))
        steps.append(row["step"])
        values.append(row["value"])
    levels = {
        shown_name(row["model"]): math.log(row["value"])
        for row in asked.rows(
            "SELECT model, min(value) AS value FROM evaluations WHERE metric = ? AND NOT contains(task, ',') "
            f"AND starts_with(model, '{BASELINE}') AND isfinite(value) GROUP BY model",
            LEVELS,
        )
    }
    return charts.curves(lines, levels, "step", "nats a token")


def figure(value: float) -> str:
    """A number as a table shows it."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞"
    return f"{value:,.3f}" if abs(value) < 100 else f"{value:,.0f}" if abs(value) < 1e6 else f"{value:.2e}"
