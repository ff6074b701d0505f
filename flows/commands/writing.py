"""Text from a trained model."""

from __future__ import annotations

from models.generate import Sampling, generate
from tasks.tokens.tokenizer import Codec
from tasks.train.published import load_run
from tasks.train.runs import KnownRun
from warehouse.errors import GristmillError
from warehouse.store import Store


def write(store: Store, run: KnownRun, prompt: str, tokens: int, sampling: Sampling) -> str:
    """The prompt and its continuation by a run's network. Raises GristmillError where that cannot write on."""
    codec = Codec.load(store, run.tokenizer)
    model, _ = load_run(store, run)
    if not model.arch.causal:
        raise GristmillError(f"the run {run.key[:12]} trained a bidirectional model, which cannot continue a text")
    tokens_in = [codec.end_of_text, *codec.encode(prompt)]
    made = generate(model, tokens_in, tokens, sampling, stop=codec.end_of_text)
    return prompt + codec.decode(made)
