"""`gristmill histogram`: how a signal is spread, by source and by verdict."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from flows.query import connect
from flows.terminal import shown
from tasks.select.measured import SIGNALS
from tasks.select.policy import LANGUAGE
from warehouse.errors import MissingArtifact, SettingError, nearest
from warehouse.store import Store

BINS, WIDTH = 20, 40
LONG_TAIL = 8  # times the median: from there on, bins grow by a factor


def histogram(store: Store, signal: str, console: Console, recipe: str = "") -> None:
    """Prints a table of bars for each source. Raises SettingError for a signal that there is not."""
    names = [known.name for known in SIGNALS]
    if signal not in names:
        raise SettingError(f"there is no signal {signal}; the nearest is {nearest(signal, names)}")
    definition = next(known for known in SIGNALS if known.name == signal)
    with connect(store, recipe=recipe, history=False) as connection:
        found = connection.sql(f"""
            SELECT d.source, coalesce(v.verdict, 'kept') AS verdict, s."{signal}" AS value
            FROM signals s JOIN stored.documents d USING (doc_id)
            LEFT JOIN (SELECT doc_id, verdict FROM decisions WHERE stage = 'select') v USING (doc_id)
            WHERE value IS NOT NULL""").to_arrow_table()
    if not len(found):
        raise MissingArtifact(f"nothing has measured {signal} in this store yet: gristmill corpus does")
    console.print(f"[bold]{signal}[/bold] ({definition.unit}): {definition.meaning} [dim]{definition.source}[/dim]")
    sources = found["source"].to_numpy(zero_copy_only=False)
    kept = found["verdict"].to_numpy(zero_copy_only=False) == "kept"
    values = found["value"].to_numpy(zero_copy_only=False)
    labels, places = _by_value(values) if signal == LANGUAGE else _by_range(values.astype(np.float64))
    for source in sorted(set(sources)):
        here = sources == source
        counts = [np.bincount(places[here & side], minlength=len(labels)) for side in (kept, ~kept)]
        _print_bars(str(source), labels, counts[0], counts[1], console)


def _by_value(values: npt.NDArray[np.object_]) -> tuple[list[str], npt.NDArray[np.int64]]:
    labels, places = np.unique(values.astype(str), return_inverse=True)
    return [str(label) for label in labels], places.astype(np.int64)


def _by_range(values: npt.NDArray[np.float64]) -> tuple[list[str], npt.NDArray[np.int64]]:
    low, high, middle = float(values.min()), float(values.max()), float(np.median(values))
    if low == high:
        return [f"{low:.4g}"], np.zeros(len(values), np.int64)
    if low >= 0 and middle > 0 and high > LONG_TAIL * middle:
        smallest = float(values[values > 0].min())
        edges = np.concatenate([[low], np.geomspace(max(smallest, middle / 1e4), high, BINS)])
        edges = np.unique(edges)
    else:
        edges = np.linspace(low, high, BINS + 1)
    places = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
    return [f"{a:.4g} to {b:.4g}" for a, b in pairwise(edges)], places.astype(np.int64)


def _print_bars(
    source: str, labels: list[str], kept: npt.NDArray[np.int64], removed: npt.NDArray[np.int64], console: Console
) -> None:
    most = int((kept + removed).max())
    table = Table(
        box=None,
        header_style="bold",
        pad_edge=False,
        title=f"{shown(source)}: {kept.sum():,} kept, {removed.sum():,} removed",
        title_justify="left",
        title_style="",
    )
    table.add_column("value", justify="right")
    table.add_column("kept █ removed ░")
    table.add_column("kept", justify="right")
    table.add_column("removed", justify="right")
    for label, good, bad in zip(labels, kept.tolist(), removed.tolist(), strict=True):
        whole = math.ceil(WIDTH * (good + bad) / most)
        full = round(whole * good / (good + bad)) if good + bad else 0
        table.add_row(
            shown(label), f"[green]{'█' * full}[/green][red]{'░' * (whole - full)}[/red]", f"{good:,}", f"{bad:,}"
        )
    console.print(table)
