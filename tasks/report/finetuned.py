"""The page of fine-tuned networks: what each makes of a task with labels, on the set it learnt for and on others, beside what knows nothing."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import jinja2

from tasks.report import charts
from tasks.report.asked import Asked

TEMPLATE = Path(__file__).with_name("finetuned.html.j2")
TEST, DEV = "test", "dev"
NINETY_FIVE = 1.96
SHOWN = 3  # examples of a task
UNTRAINED = "random weights"


class Tuned(NamedTuple):
    """One fine-tuning on one set: its figure for each seed, and the mean standard error over examples."""

    name: str
    start: str
    values: tuple[float, ...]
    stderr: float
    n: int

    @property
    def median(self) -> float:
        """Of the seeds."""
        return statistics.median(self.values)

    @property
    def spread(self) -> float:
        """From the lowest seed to the highest."""
        return max(self.values) - min(self.values)


class Drop(NamedTuple):
    """How much less a fine-tuning reaches on another set than on the one it learnt for, and the 95 % interval."""

    name: str
    set: str
    value: float
    reach: float


def render(connection: duckdb.DuckDBPyConnection, name: str) -> str:
    """The fine-tunings that a catalog shows, as HTML that needs nothing beside it."""
    asked = Asked(connection)
    found = asked.rows("FROM finetuned WHERE main ORDER BY task, set, name, seed")
    tasks = [
        _task(asked, task, [row for row in found if row["task"] == task])
        for task in dict.fromkeys(row["task"] for row in found)
    ]
    return jinja2.Environment(autoescape=True).from_string(TEMPLATE.read_text()).render(name=name, tasks=tasks)


def _task(asked: Asked, task: str, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    sets = sorted(dict.fromkeys(row["set"] for row in rows), key=lambda name: (name != TEST, name == DEV, name))
    of_set = {name: tuned([row for row in rows if row["set"] == name]) for name in sets}
    shown, metric = sets[0], rows[0]["metric"]
    first = of_set[shown]
    picture = charts.bars(
        [one.name for one in first],
        [one.median for one in first],
        f"{metric} on the set {shown}",
        [f"{one.median:.3f}" for one in first],
        [one.spread / 2 for one in first],
        [one.start not in (UNTRAINED, "lstm", "bag of words") for one in first],
    )
    drops = [drop for other in sets if other not in (shown, DEV) for drop in dropped(rows, shown, other)]
    return {
        "name": task,
        "metric": metric,
        "set": shown,
        "sets": [{"name": name, "rows": [_row(one) for one in of_set[name]]} for name in sets],
        "picture": picture,
        "words": verdicts(first, metric),
        "drops": [{"name": d.name, "set": d.set, "value": f"{d.value:+.3f}", "reach": f"{d.reach:.3f}"} for d in drops],
        "drop_picture": charts.differences(
            [f"{d.name}: {d.set}" for d in drops], [-d.value for d in drops], [(-d.value - d.reach, -d.value + d.reach) for d in drops],
            f"{metric} beside the set {shown}",
        )
        if drops
        else "",
        "trained": f"{rows[0]['trained']:,}",
        "examples": _examples(asked, task, shown, first[0].name),
    }  # fmt: skip


def tuned(rows: Sequence[dict[str, Any]]) -> list[Tuned]:
    """The fine-tunings of one set, the best first."""
    of_name: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        of_name[row["name"]].append(row)
    found = [
        Tuned(name, each[0]["start"], tuple(row["value"] for row in each), _mean_error(each), each[0]["n"])
        for name, each in of_name.items()
    ]
    return sorted(found, key=lambda one: (-one.median, one.name))


def _mean_error(rows: Sequence[dict[str, Any]]) -> float:
    errors = [row["stderr"] for row in rows if row["stderr"] is not None and math.isfinite(row["stderr"])]
    return statistics.mean(errors) if errors else math.nan


def _row(one: Tuned) -> dict[str, str]:
    return {
        "name": one.name,
        "start": one.start,
        "median": f"{one.median:.3f}",
        "seeds": f"{min(one.values):.3f} to {max(one.values):.3f}" if len(one.values) > 1 else "",
        "stderr": f"{one.stderr:.3f}",
        "n": f"{one.n:,}",
    }


def verdicts(found: Sequence[Tuned], metric: str) -> list[str]:
    """Whether what was pretrained is above the same network that was not by more than the seeds spread, and beside the baselines."""
    pretrained = [one for one in found if one.start not in (UNTRAINED, "lstm", "bag of words")]
    others = [one for one in found if one not in pretrained]
    said = []
    for one in pretrained:
        for other in others:
            difference, spread = one.median - other.median, max(one.spread, other.spread)
            how = "above" if difference > 0 else "below"
            by = f"{abs(difference):.3f} {how} {other.name} ({other.start}), "
            told = "more than" if abs(difference) > spread else "not more than"
            said.append(
                f"{one.name} has a median {metric} of {one.median:.3f}, {by}{told} the seeds spread ({spread:.3f})."
            )
    return said


def dropped(rows: Sequence[dict[str, Any]], here: str, there: str) -> list[Drop]:
    """The median drop over seeds from one set to another, with what examples of both and seeds let it vary."""
    values = {(row["name"], row["seed"], row["set"]): row for row in rows}
    found = []
    for name in dict.fromkeys(row["name"] for row in rows):
        seeds = [row["seed"] for row in rows if row["name"] == name and row["set"] == here]
        pairs = [
            (values[name, seed, here], values[name, seed, there]) for seed in seeds if (name, seed, there) in values
        ]
        drops = [a["value"] - b["value"] for a, b in pairs]
        if not drops:
            continue
        of_seeds = statistics.variance(drops) / len(drops) if len(drops) > 1 else 0.0
        of_examples = statistics.mean(a["stderr"] ** 2 + b["stderr"] ** 2 for a, b in pairs)
        found.append(Drop(name, there, statistics.median(drops), NINETY_FIVE * math.sqrt(of_seeds + of_examples)))
    return found


def _examples(asked: Asked, task: str, shown: str, name: str) -> list[dict[str, Any]]:
    """A few examples as the best fine-tuning answered them: a right one and wrong ones."""
    rows = asked.rows(
        "SELECT l.first, l.second, l.choices, p.answer, p.gold, p.correct, p.scores FROM predictions p JOIN labelled l USING (task, example_id) "
        "WHERE p.task = ? AND p.set = ? AND p.name = ? AND p.seed = (SELECT min(seed) FROM predictions WHERE task = ? AND name = ?) "
        "ORDER BY row_number() OVER (PARTITION BY p.correct ORDER BY md5(p.example_id)), p.correct LIMIT ?",
        task, shown, name, task, name, SHOWN,
    )  # fmt: skip
    return [
        row | {"texts": [text for text in (row["first"], row["second"], *(row["choices"] or ())) if text], "by": name}
        for row in rows
    ]
