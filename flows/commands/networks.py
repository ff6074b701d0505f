"""Commands about networks: text from one, its cost before it is trained, and folders of transformers."""

from __future__ import annotations

import json
import os
import shlex
import sys
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from flows.commands.options import (
    DEFAULT,
    LATEST,
    Config,
    ConfigOption,
    Overrides,
    RunName,
    console,
    recipe_of,
    store_of,
)
from flows.terminal import for_stream
from models.planning import GPUS, plan_training
from warehouse.errors import SettingError, nearest
from warehouse.store import Store

if TYPE_CHECKING:
    from models.architecture import Architecture

app = typer.Typer()
LARGEST_SEED = (1 << 63) - 1


@app.command()
def generate(
    prompt: Annotated[str, typer.Option(help="text to continue")],
    config: Config = DEFAULT,
    overrides: Overrides = [],
    run: RunName = LATEST,
    tokens: Annotated[int, typer.Option(help="tokens to write at most", min=1)] = 200,
    temperature: Annotated[float, typer.Option(help="0 for the likeliest text", min=0)] = 0.8,
    top_k: Annotated[int, typer.Option(help="likeliest tokens to draw from, 0 for all", min=0)] = 50,
    top_p: Annotated[float, typer.Option(help="share of the probability to draw from", min=0, max=1)] = 1.0,
    beams: Annotated[int, typer.Option(help="beams of a search instead of a draw, 1 for none", min=1)] = 1,
    length_penalty: Annotated[
        float, typer.Option(help="exponent of the length that a beam is ranked by", min=-10, max=10)
    ] = 0.6,
    seed: Annotated[int, typer.Option(help="the same seed writes the same text", min=0, max=LARGEST_SEED)] = 1,
) -> None:
    """Continues a text with a trained model."""
    from flows.commands.writing import write
    from models.generate import Sampling
    from tasks.train.runs import find_run

    sampling = Sampling(temperature, top_k, top_p, beams, length_penalty, seed)
    prompt = os.fsencode(prompt).decode(errors="replace")  # bytes that are no UTF-8 arrive as surrogates
    recipe = recipe_of(config, overrides)
    store = Store(recipe.store)
    text = write(store, find_run(store, run, recipe.name), prompt, tokens, sampling)
    sys.stdout.write(for_stream(text, sys.stdout) + "\n")


@app.command(name="export")
def export_model(
    folder: Annotated[Path, typer.Argument(help="folder to make")],
    config: ConfigOption = DEFAULT,
    overrides: Overrides = [],
    run: RunName = LATEST,
) -> None:
    """Writes a trained model as a folder that Hugging Face transformers loads, and checks that it does."""
    from tasks.interchange.folder import export
    from tasks.train.runs import find_run

    recipe = recipe_of(config, overrides)
    store = Store(recipe.store)
    asked = ["--config", config, *(word for one in overrides if one.startswith("store=") for word in ("--set", one))]
    made = export(store, find_run(store, run, recipe.name), folder, shlex.join(asked))
    console.print(
        f"{folder}: a {made['class']} of {made['parameters']:,} parameters; transformers loads it, and its logits are "
        f"this model's within {made['difference']:.1e}.",
        soft_wrap=True,
    )


@app.command(name="import")
def import_model(
    folder: Annotated[Path, typer.Argument(help="folder as transformers saves it: config, weights, tokenizer.json")],
    config: ConfigOption = DEFAULT,
    overrides: Overrides = [],
) -> None:
    """Reads the weights of GPT-2, GPT-1, GPT-Neo or BERT from a folder, to train them on or evaluate them."""
    from tasks.core.stage import run_stages
    from tasks.interchange.imported import ImportModel
    from tasks.interchange.weights import content_of

    content = content_of(folder)
    stage = ImportModel(store_of(config, overrides), content, folder)
    (manifest,) = run_stages([stage])
    network = manifest.statistic("model")
    console.print(
        f"{folder}: {network['layers']} layers, {network['width']} wide, {manifest.statistic('vocabulary'):,} tokens.\n"
        f"Train it on:  gristmill run --set pretrain.initial={content}\n"
        f"Evaluate it:  gristmill run --set pretrain.initial={content} --set pretrain.steps=0 --set pretrain.tokens=0",
        soft_wrap=True,
    )


class PlanFormat(StrEnum):
    """How a plan is written."""

    TABLE = "table"
    JSON = "json"


@app.command()
def plan(
    model: Annotated[str, typer.Argument(help="a preset such as gpt3-175b, or a recipe")] = DEFAULT,
    overrides: Overrides = [],
    run: Annotated[str, typer.Option(help="run of the recipe; its last one where none is named")] = "",
    gpus: Annotated[int, typer.Option(help="GPUs", min=1)] = 8,
    gpu: Annotated[str, typer.Option(help=f"their kind: {', '.join(GPUS)}")] = "a100",
    mfu: Annotated[float, typer.Option(help="model FLOPs utilisation that is reached", min=0.01, max=1)] = 0.4,
    tokens: Annotated[int, typer.Option(help="tokens to train on, 0 for those of the preset or recipe", min=0)] = 0,
    micro_batch: Annotated[int, typer.Option(help="sequences a GPU holds at a time", min=1)] = 1,
    recompute: Annotated[bool, typer.Option(help="keep no activations inside blocks")] = True,
    price: Annotated[float, typer.Option(help="dollars an hour and GPU", min=0)] = 2.0,
    output: Annotated[PlanFormat, typer.Option("--format", help="table or json")] = PlanFormat.TABLE,
) -> None:
    """What training a model takes: parameters, memory, arithmetic, days and money, before anything is run."""
    gpu = gpu.lower()
    if gpu not in GPUS:
        raise SettingError(f"no data sheet of {gpu} is known; the nearest is {nearest(gpu, list(GPUS))}")
    architecture, usual = _planned(model, overrides, run)
    found = plan_training(architecture, tokens or usual, gpus, GPUS[gpu], mfu, micro_batch, recompute, price)
    values = {"model": model, "gpu": gpu, "utilisation": mfu, "micro_batch": micro_batch, **asdict(found)}
    if output is PlanFormat.JSON:
        sys.stdout.write(json.dumps(values, indent=2) + "\n")
        return
    console.print(_plan_table(values, architecture, GPUS[gpu].memory_bytes, recompute))


def _planned(model: str, overrides: list[str], run: str) -> tuple[Architecture, int]:
    """The architecture and the tokens of a preset, built on the meta device to count it, or of a recipe's run."""
    import torch

    from flows.given import Given
    from flows.graph import imported_tokenizer
    from flows.special import trained_as
    from models.bert import build
    from models.presets import PRESETS
    from warehouse.artifact import load

    if model in PRESETS:
        if overrides or run:
            raise SettingError(f"{model} is planned as published: for changes write a recipe with model.preset")
        with torch.device("meta"):
            network = build(PRESETS[model].architecture)
        if network.parameter_count() != network.arch.parameter_count():
            raise AssertionError(f"{model} has other parameters than its formula")
        return network.arch, int(PRESETS[model].training["tokens"])
    try:
        recipe = recipe_of(model, overrides)
    except SettingError as error:
        if not str(error).startswith("there is no recipe"):
            raise
        raise SettingError(f"{error}, or a preset: {', '.join(PRESETS)}") from error
    names = list(recipe.trainings)
    if run and run not in names:
        raise SettingError(f"the recipe has no run {run}; the nearest is {nearest(run, names)}")
    given = Given(recipe, Store(recipe.store), {})
    settings, vocabulary = trained_as(given, run or names[-1]), recipe.tokenizer.vocabulary
    pinned = imported_tokenizer(given)
    if pinned is not None:
        vocabulary = load(given.store, pinned).statistic("vocabulary")
    added = len(settings.model.traits.special_tokens)
    return settings.model.architecture(vocabulary + added), settings.tokens_after(settings.last_step)


def _plan_table(values: dict[str, Any], arch: Architecture, memory: float, recompute: bool) -> Table:
    from flows.orchestration.progress import size_text

    table = Table(
        title=f"{values['model']} on {values['gpus']:,} {values['gpu'].upper()}",
        title_justify="left",
        show_header=False,
        box=None,
    )
    table.add_column()
    table.add_column(justify="right")
    shape = f"{arch.layers} layers, {arch.heads} heads of {arch.head_width}, width {arch.width:,}"
    verdict = "fits" if values["fits"] else "does not fit"
    rows = [
        ("network", f"{shape}, context {arch.context:,}"),
        ("parameters", f"{values['parameters']:,}"),
        ("tokens", f"{values['tokens']:,}"),
        ("arithmetic, 6 N a token", f"{values['flops']:.3g} FLOP"),
        ("with dense attention", f"{values['flops_with_attention']:.3g} FLOP"),
        ("weights, gradients, optimiser a GPU", size_text(values["state_bytes"])),
        ("weights gathered for the computation", size_text(values["gathered_bytes"])),
        (f"activations{', recomputed' if recompute else ''}", size_text(values["activation_bytes"])),
        ("memory a GPU", f"{size_text(values['memory_bytes'])} of {size_text(memory)}: {verdict}"),
        (f"tokens a second at {values['utilisation']:.0%} utilisation", f"{values['tokens_per_second']:,.0f}"),
        ("days", f"{values['days']:,.1f}"),
        ("cost", f"${values['cost']:,.0f}"),
    ]
    for name, value in rows:
        table.add_row(name, value)
    return table
