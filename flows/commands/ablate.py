"""The command ablate: which of two corpora gives the better model."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from flows.commands.options import DEFAULT, ConfigOption, Overrides, Verbose, console, recipe_of

app = typer.Typer()


@app.command()
def ablate(
    arms: Annotated[
        list[str], typer.Argument(help="policies (of the recipe or of configs/policies) or recipes, two or more")
    ],
    config: ConfigOption = DEFAULT,
    overrides: Overrides = [],
    seeds: Annotated[int, typer.Option(help="pairs of models; one more trains one more of each", min=2)] = 4,
    subset: Annotated[float, typer.Option(help="share of a corpus that a pair draws", min=0.01, max=1)] = 0.8,
    rate: Annotated[list[float], typer.Option(help="learning rate as a share of the recipe's; may be repeated")] = [
        1.0,
        0.5,
    ],
    task: Annotated[list[str], typer.Option(help="task or suite to ask beside the judge's text; may be repeated")] = [],
    judge: Annotated[
        str,
        typer.Option(
            help="JSON lines or plain text from none of the corpora; what all arms hold out where none is given"
        ),
    ] = "",
    verbose: Verbose = False,
) -> None:
    """Says which of two corpora gives the better model, and how sure one can be: recipes or policies in, a verdict out."""
    from flows.commands.running import run_flow
    from flows.recipe.arms import Study, arms_of
    from tasks.suite.declared import tasks_named

    recipe = recipe_of(config, overrides)
    (
        arms_of(arms, recipe),
        tasks_named(task),
        Study(seeds, subset, tuple(rate)),
    )  # what cannot be is said before anything runs
    asked = {"arms": arms, "seeds": seeds, "subset": subset, "rates": tuple(rate), "tasks": tuple(task), "judge": judge}
    found = json.loads(run_flow("ablate", recipe, verbose, **asked))
    console.print(found["verdict"], soft_wrap=True)
    console.print(f"Page: {found['page']}", soft_wrap=True)
