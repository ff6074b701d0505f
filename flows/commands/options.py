"""What the commands share: their options, and the recipe and store that they name."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console

console = Console(highlight=False)
DEFAULT = "demo"
LATEST = "latest"
STOPPED = "stopped; what was committed stays, and the same command goes on from there"
INTERRUPTED = 130  # the exit status of a command that Ctrl-C ended

Config = Annotated[str, typer.Argument(help="recipe: a TOML file, or the name of one in configs/")]
ConfigOption = Annotated[
    str, typer.Option("--config", "-c", help="recipe: a TOML file, or the name of one in configs/")
]
Overrides = Annotated[list[str], typer.Option("--set", help="a setting, as section.key=value; may be given again")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="show Prefect's own log")]
RunName = Annotated[
    str,
    typer.Option(
        "--run",
        help="training run: its name in the recipe or the beginning of its key, with @STEP for a pinned checkpoint, "
        "or latest for the one trained last",
    ),
]
AsOf = Annotated[str | None, typer.Option(help="show the store as the run whose id begins so left it")]


def recipe_of(config: str, overrides: list[str]) -> Any:
    """The recipe with its overrides."""
    from flows.orchestration.credentials import fill_from_blocks
    from flows.recipe.loading import load_recipe

    recipe = load_recipe(config, tuple(overrides))
    fill_from_blocks(recipe)
    return recipe


def store_of(config: str, overrides: list[str]) -> Any:
    """The store of a recipe."""
    from warehouse.store import Store

    return Store(recipe_of(config, overrides).store)
