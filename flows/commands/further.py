"""Commands of what is made of trained networks: a ladder of them, fine-tuned and aligned ones."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.commands.options import Overrides, Verbose, console
from flows.commands.running import run_recipe

app = typer.Typer()


@app.command()
def finetune(
    config: Annotated[
        str, typer.Argument(help="recipe with fine-tunings: a TOML file, or the name of one in configs/")
    ] = "finetune",
    overrides: Overrides = [],
    verbose: Verbose = False,
) -> None:
    """Fine-tunes trained networks to tasks with labels, beside networks that know nothing, and draws what it was worth."""
    from flows.graph import made_from
    from flows.reporting import finetuned_path, publish_finetuned

    pipeline = run_recipe("finetune", config, overrides, verbose, made_from("finetune"))
    pipeline = type(pipeline)(pipeline.recipe)
    path = finetuned_path(pipeline)
    address = pipeline.store.address(path) if pipeline.store.exists(path) else publish_finetuned(pipeline)
    console.print(f"Page: {address}", soft_wrap=True)


@app.command()
def align(
    config: Annotated[
        str, typer.Argument(help="recipe with alignments: a TOML file, or the name of one in configs/")
    ] = "chat",
    overrides: Overrides = [],
    verbose: Verbose = False,
) -> None:
    """Aligns trained networks by conversations: supervised answers, a reward model, PPO, direct preferences."""
    from flows.graph import made_from
    from flows.reporting import aligned_path, publish_aligned

    pipeline = run_recipe("align", config, overrides, verbose, made_from("align"))
    pipeline = type(pipeline)(pipeline.recipe)
    path = aligned_path(pipeline)
    address = pipeline.store.address(path) if pipeline.store.exists(path) else publish_aligned(pipeline)
    console.print(f"Page: {address}", soft_wrap=True)


@app.command()
def scaling(
    config: Annotated[
        str, typer.Argument(help="recipe whose runs are a ladder: a TOML file, or the name of one in configs/")
    ] = "scaling",
    overrides: Overrides = [],
    verbose: Verbose = False,
) -> None:
    """Trains a ladder of sizes on one corpus, evaluates every checkpoint, and draws how they scale."""
    from flows.graph import STAGES
    from flows.reporting import publish_scaling, scaling_path

    pipeline = run_recipe("scaling", config, overrides, verbose, STAGES)
    pipeline = type(pipeline)(pipeline.recipe)
    path = scaling_path(pipeline)
    address = pipeline.store.address(path) if pipeline.store.exists(path) else publish_scaling(pipeline)
    console.print(f"Page: {address}", soft_wrap=True)
