"""Corpora of a few texts that a test writes down whole, and networks whose every probability is known."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from flows.graph import STAGES
from flows.making import Pipeline
from flows.recipe.loading import load_recipe
from models.architecture import Architecture
from models.bert import build
from models.transformer import Transformer
from tasks.core.stage import run_stages
from tasks.train.job import CONFIG, WEIGHTS
from warehouse.artifact import Counts, PartWriter

Texts = Sequence[str | Mapping[str, Any]]
NETWORK = {"layers": 1, "heads": 1, "width": 16, "context": 8}


def recipe_file(
    folder: Path, sources: Mapping[str, Texts], sections: str = "", tables: Mapping[str, str] | None = None
) -> Path:
    """A recipe over sources of JSON lines; ``tables`` are more lines of a source's own."""
    lines = ['name = "known"', f'store = "{folder / "store"}"', "workers = 1"]
    top, _, rest = sections.partition("\n[")
    lines += [top]
    for name, texts in sources.items():
        rows = [
            {"url": f"http://{name}.example/{n}", **({"text": text} if isinstance(text, str) else text)}
            for n, text in enumerate(texts)
        ]
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
        lines += [
            f"[sources.{name}]",
            (tables or {}).get(name, ""),
            f'[sources.{name}.jsonl]\nfiles = ["{folder / name}.jsonl"]',
        ]
    path = folder / "recipe.toml"
    path.write_text("\n".join(lines) + (f"\n[{rest}" if rest else ""))
    return path


def pipeline_over(
    folder: Path,
    sources: Mapping[str, Texts],
    *overrides: str,
    until: str = "pack",
    sections: str = "",
    tables: Mapping[str, str] | None = None,
) -> Pipeline:
    """The pipeline of such a recipe, its stages made up to one."""
    made = Pipeline(load_recipe(str(recipe_file(folder, sources, sections, tables)), overrides))
    for name in STAGES[1 : STAGES.index(until) + 1]:
        made.make(name)
    return made


def chain(vocabulary: int, context: int = NETWORK["context"], seed: int = 0, scale: float = 1.0) -> Transformer:
    """A Markov chain as a network: attention and perceptron write nothing, so a token alone tells the next one.

    P(next | token) = softmax((LayerNorm(E[token]) * gain + bias) @ E.T), E the embedding; the gains see to it that a
    token is not its own likeliest successor.
    """
    model = build(Architecture(**{**NETWORK, "context": context}, vocabulary=vocabulary)).initialise(seed)
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        model.tokens.weight.normal_(std=scale, generator=draw)
        model.positions.weight.zero_()
        model.ln_final.weight.normal_(generator=draw)
        model.ln_final.bias.normal_(generator=draw)
        for block in model.blocks:
            for layer in (block.attention.out, block.down):
                layer.weight.zero_()
                layer.bias.zero_()
    return model.eval()


def transitions(model: Transformer) -> np.ndarray[Any, np.dtype[np.float64]]:
    """log P(next | token) of a chain, (token, next), by plain arithmetic."""
    e = model.tokens.weight.detach().double().numpy()
    normal = (e - e.mean(1, keepdims=True)) / np.sqrt(e.var(1, keepdims=True) + 1e-5)
    gain, bias = (getattr(model.ln_final, name).detach().double().numpy() for name in ("weight", "bias"))
    logits = (normal * gain + bias) @ e.T
    top = logits.max(1, keepdims=True)
    return np.asarray(logits - top - np.log(np.exp(logits - top).sum(1, keepdims=True)))


def publish(pipeline: Pipeline, model: Transformer, folder: Path) -> str:
    """Puts a network in the place of the one that the recipe would train; returns its run."""
    stage = pipeline.plan["pretrain"][0].stage
    writer = PartWriter(pipeline.store, stage.ref, "final")
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, folder / "weights")
    writer.file(WEIGHTS, folder / "weights")
    inputs = {name: stage.inputs[name].ref.key for name in ("tokenizer", "tokens")}
    writer.bytes(CONFIG, json.dumps({"architecture": model.arch.as_dict(), **inputs}).encode())
    settings = pipeline.recipe.trainings["pretrain"]
    figures = {"parameters": model.parameter_count(), "steps": settings.last_step}
    writer.commit(Counts(), figures | {"tokens_seen": settings.tokens_after(settings.last_step)})
    run_stages([stage])
    pipeline.make("pretrain")
    return stage.ref.key
