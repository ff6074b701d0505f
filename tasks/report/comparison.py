"""The page on models beside one another: for each task the difference with its interval, and what could not have been seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from tasks.report import charts

TEMPLATE = Path(__file__).with_name("comparison.html.j2")
Published = Callable[[str, str, int], list[Any]]


def render(first: str, others: Mapping[str, Sequence[Any]], published: Published) -> str:
    """Models beside ``first``, as HTML that needs nothing beside it; ``others``, model -> its comparisons."""
    pages = []
    for name, found in others.items():
        signs = [1 if one.higher_is_better else -1 for one in found]
        spans = [
            (s * one.low, s * one.high) if s > 0 else (-one.high, -one.low) for s, one in zip(signs, found, strict=True)
        ]
        labels = [f"{one.task}, {one.shots} shown" for one in found]
        values = [s * one.difference for s, one in zip(signs, found, strict=True)]
        pages.append(
            {
                "name": name,
                "picture": charts.differences(labels, values, spans, f"how much better {name} is than {first}")
                if found
                else "",
                "rows": [row(one, published) for one in found],
            }
        )
    return jinja2.Environment(autoescape=True).from_string(TEMPLATE.read_text()).render(first=first, pages=pages)


def row(one: Any, published: Published) -> dict[str, str]:
    """A comparison as a table shows it."""
    papers = published(one.task, one.metric, one.shots)
    return {
        "task": one.task,
        "shots": str(one.shots),
        "metric": one.metric,
        "n": f"{one.n:,}",
        "a": f"{one.a:.4f}",
        "b": f"{one.b:.4f}",
        "difference": f"{one.difference:+.4f}",
        "interval": f"{one.low:+.4f} to {one.high:+.4f}",
        "flips": "" if one.sign_test is None else f"{one.only_a:,} / {one.only_b:,}",
        "sign_test": "" if one.sign_test is None else f"{one.sign_test:.3g}",
        "detectable": f"{one.detectable:.4f}",
        "verdict": one.verdict,
        "published": ", ".join(f"{paper.model} {paper.value:.3f}" for paper in papers[:1] + papers[-1:]),
    }
