"""The command compare: models on the same questions, pair by pair."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from flows.commands.options import DEFAULT, ConfigOption, Overrides, console, recipe_of
from warehouse.errors import MissingArtifact, SettingError
from warehouse.store import Store

if TYPE_CHECKING:
    from tasks.suite.compare import Comparison

app = typer.Typer()
WIDTH = 130  # of the table; a narrower terminal breaks its lines
# Of each way to ask, the answers of one artifact: the recipe's own, or the one that asked most.
ANSWERS = """
    WITH mine AS (SELECT * EXCLUDE (prompt_text, dirty) FROM history.answers WHERE run = ? AND step = ?),
         ways AS (SELECT task, shots, prompt, seed, key, count(*) AS asked, key IN (SELECT key FROM artifacts) AS own FROM mine GROUP BY ALL),
         chosen AS (SELECT task, shots, prompt, seed, arg_max(key, (own, asked, key)) AS key FROM ways GROUP BY ALL)
    SELECT mine.* FROM mine JOIN chosen ON mine.key = chosen.key AND mine.task = chosen.task AND mine.shots = chosen.shots
           AND mine.prompt = chosen.prompt AND mine.seed IS NOT DISTINCT FROM chosen.seed"""
COLUMNS = {
    "difference": "difference",
    "95 %": "interval",
    "right alone": "flips",
    "sign test": "sign_test",
    "smallest seen": "detectable",
}


@app.command()
def compare(
    runs: Annotated[
        list[str], typer.Argument(help="two runs or more: names in the recipe, beginnings of keys, NAME@STEP")
    ],
    config: ConfigOption = DEFAULT,
    overrides: Overrides = [],
    task: Annotated[
        list[str], typer.Option(help="task or suite to compare; may be repeated; all where none is named")
    ] = [],
) -> None:
    """Holds models against the first one, question by question: differences, their intervals, and what could not be seen."""
    from flows.reporting import publish_comparison
    from tasks.report.comparison import row
    from tasks.suite.declared import tasks_named
    from tasks.suite.published import beside

    if len(runs) < 2:
        raise SettingError("compare takes two runs or more: gristmill compare RUN RUN")
    recipe = recipe_of(config, overrides)
    store = Store(recipe.store)
    wanted = {one.name for one in tasks_named(task)} if task else None
    answers = [_answers(store, recipe.name, name) for name in runs]
    found: dict[str, Sequence[Comparison]] = {}
    wide = Console(highlight=False, width=max(WIDTH, console.width))
    for name, theirs in zip(runs[1:], answers[1:], strict=True):
        found[name] = _compared(answers[0], theirs, wanted)
        if not found[name]:
            raise MissingArtifact(
                f"{runs[0]} and {name} were asked no question in common: gristmill evaluate --suite core asks both"
            )
        wide.print(_table(runs[0], name, [row(one, beside) for one in found[name]]))
    console.print(f"Page: {publish_comparison(store, runs, found)}", soft_wrap=True)


def _answers(store: Store, recipe: str, name: str) -> list[dict[str, Any]]:
    from flows.query import rows
    from tasks.train.runs import find_run

    run = find_run(store, name, recipe)
    found = rows(store, ANSWERS, [run.key, run.step or run.settings.last_step], recipe=recipe)
    if not found:
        raise MissingArtifact(f"the run {name} has answered nothing yet: gristmill evaluate --suite core asks it")
    return found


def _compared(first: list[dict[str, Any]], second: list[dict[str, Any]], wanted: set[str] | None) -> list[Comparison]:
    from tasks.suite.compare import compared
    from tasks.suite.declared import TASKS

    ways = sorted({(row["task"], row["shots"]) for row in first if row["task"] in TASKS})
    found = []
    for task, shots in ways:
        mine, theirs = (
            [row for row in rows if (row["task"], row["shots"]) == (task, shots)] for rows in (first, second)
        )
        one = compared(TASKS[task], shots, mine, theirs) if wanted is None or task in wanted else None
        found += [one] if one is not None else []
    return found


def _table(first: str, other: str, rows: list[dict[str, str]]) -> Table:
    table = Table(title=f"{first} beside {other}", title_justify="left", box=None, header_style="dim")
    names = {"task": "task", "shown": "shots", "metric": "metric", "n": "n", first: "a", other: "b"} | COLUMNS
    for name, key in names.items():
        table.add_column(name, justify="left" if key in ("task", "metric") else "right", no_wrap=True)
    table.add_column("better")
    for row in rows:
        better = {"a": first, "b": other}.get(row["verdict"], row["verdict"])
        table.add_row(*(row[key] for key in names.values()), better)
    return table
