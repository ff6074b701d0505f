"""The report's pictures, as SVG text that depends on the data alone."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any, Protocol

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

PALETTE = ("#2f6f8f", "#d98032", "#6a9f58", "#a05195", "#b0413e", "#777777")
INK, FAINT = "#333333", "#d9d9d6"
mpl.rcParams.update(
    {
        "svg.hashsalt": "gristmill",
        "font.size": 9,
        "svg.fonttype": "none",
        "axes.edgecolor": FAINT,
        "axes.labelcolor": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "font.family": "sans-serif",
    }
)


def _axes(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _svg(figure: Figure) -> str:
    out = io.StringIO()
    figure.savefig(out, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    text = out.getvalue()
    return text[text.index("<svg") :]


def bars(
    labels: Sequence[str],
    values: Sequence[float],
    unit: str,
    texts: Sequence[str],
    errors: Sequence[float] | None = None,
    highlight: Sequence[bool] | None = None,
) -> str:
    """Horizontal bars, first on top, each with its figure beside it."""
    figure, axes = _axes(7.2, 0.5 + 0.28 * len(labels))
    colors = [PALETTE[1] if lit else PALETTE[0] for lit in (highlight or [False] * len(labels))]
    axes.barh(range(len(labels)), values, xerr=errors, color=colors, height=0.68, error_kw={"ecolor": INK, "lw": 1})
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()
    axes.set_xlabel(unit)
    reach = max([*values, 1e-9])
    for row, (value, text) in enumerate(zip(values, texts, strict=True)):
        axes.text(value + (errors[row] if errors else 0) + reach * 0.015, row, text, va="center", color=INK, fontsize=8)
    axes.set_xlim(0, reach * 1.22)
    return _svg(figure)


def histogram(series: dict[str, Sequence[float]], label: str, log: bool = False, bounds: Sequence[float] = ()) -> str:
    """Stacked histograms of one figure by source; bounds of the policy as dashed lines."""
    figure, axes = _axes(3.5, 2.1)
    values = [value for one in series.values() for value in one]
    if log:
        low, high = max(1.0, min(values)), max(values) + 1
        steps = 36
        edges: Any = [low * (high / low) ** (i / steps) for i in range(steps + 1)]
        axes.set_xscale("log")
    else:
        edges = 36
    axes.hist(list(series.values()), bins=edges, stacked=True, color=PALETTE[: len(series)], label=list(series))
    for bound in bounds:
        axes.axvline(bound, color=PALETTE[4], ls="--", lw=1)
    axes.set_xlabel(label)
    axes.set_ylabel("documents")
    axes.legend(frameon=False, fontsize=7)
    return _svg(figure)


def counts(sizes: Sequence[int], numbers: Sequence[int], label: str, unit: str) -> str:
    """A column a size, on a logarithmic scale."""
    figure, axes = _axes(3.5, 2.1)
    axes.bar([str(size) for size in sizes], numbers, color=PALETTE[0], width=0.68)
    axes.set_yscale("log")
    axes.set_xlabel(label)
    axes.set_ylabel(unit)
    return _svg(figure)


def curves(
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    levels: dict[str, float],
    xlabel: str,
    ylabel: str,
    logarithmic: bool = False,
) -> str:
    """Lines over steps or sizes, with horizontal levels to compare with."""
    figure, axes = _axes(7.2, 3.2)
    for (name, (x, y)), color in zip(lines.items(), cycle(PALETTE), strict=False):
        axes.plot(x, y, color=color, lw=1.5, label=name, marker="o" if len(x) < 20 else None, ms=4)
    for name, level in levels.items():
        axes.axhline(level, color=PALETTE[5], ls=":", lw=1)
        axes.text(
            1.0,
            level,
            f" {name} {level:.2f}",
            transform=axes.get_yaxis_transform(),
            va="center",
            fontsize=7.5,
            color=INK,
        )
    if logarithmic:
        axes.set_xscale("log")
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    if lines:
        axes.legend(frameon=False)
    return _svg(figure)


class Law(Protocol):
    """A curve with a band about it."""

    def at(self, compute: float) -> float:
        """The curve."""

    def band(self, compute: float) -> tuple[float, float]:
        """The band's lower and upper end."""


def law(
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]], fitted: Law, reach: float, xlabel: str, ylabel: str
) -> str:
    """Curves on two logarithmic scales, and the law of their ends with its band, on to ``reach``."""
    figure, axes = _axes(7.2, 3.6)
    for (name, (x, y)), color in zip(lines.items(), cycle(PALETTE), strict=False):
        axes.plot(x, y, color=color, lw=1.2, marker="o", ms=3.5, label=name)
    least = min(min(x) for x, _ in lines.values())
    places = [least * (reach / least) ** (step / 60) for step in range(61)]
    axes.plot(places, [fitted.at(place) for place in places], color=INK, lw=1, ls="--", label="fitted")
    low, high = zip(*(fitted.band(place) for place in places), strict=True)
    bottom, top = min(min(y) for _, y in lines.values()), max(max(y) for _, y in lines.values())
    axes.fill_between(places, low, high, color=FAINT, alpha=0.5, lw=0, zorder=0)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:.2f}")
    axes.yaxis.set_minor_formatter("{x:.2f}")
    axes.set_ylim(bottom * 0.8, top * 1.15)
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.legend(frameon=False, fontsize=7.5)
    return _svg(figure)


def differences(labels: Sequence[str], values: Sequence[float], spans: Sequence[tuple[float, float]], unit: str) -> str:
    """A point with its interval for each row, first on top, beside the line of no difference."""
    figure, axes = _axes(7.2, 0.6 + 0.28 * len(labels))
    for row, (value, (low, high)) in enumerate(zip(values, spans, strict=True)):
        color = FAINT if low <= 0 <= high else PALETTE[0] if value > 0 else PALETTE[4]
        axes.plot([low, high], [row, row], color=color, lw=2.5, solid_capstyle="round")
        axes.plot([value], [row], "o", color=INK, ms=4)
    axes.axvline(0, color=INK, lw=0.8, ls=":")
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set_xlabel(unit)
    return _svg(figure)
