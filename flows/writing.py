"""Text from the newest model of a recipe."""

from __future__ import annotations

from flows.mill import Mill
from models.generate import generate
from tasks.pretrain.stage import load_model
from tasks.tokenizer import Codec
from warehouse.artifact import complete
from warehouse.errors import MissingArtifact


def write(mill: Mill, prompt: str, tokens: int, temperature: float, top_k: int, seed: int) -> str:
    """The prompt and its continuation. Raises MissingArtifact where the recipe has no trained model."""
    (training,), (vocabulary,) = mill.stages("pretrain"), mill.stages("tokenizer")
    if complete(mill.store, training.ref) is None:
        raise MissingArtifact(
            f"the recipe {mill.recipe.name} has no trained model yet: run gristmill run, or gristmill pretrain"
        )
    codec = Codec.load(mill.store, vocabulary.ref)
    model = load_model(mill.store, training.ref, vocabulary.ref)
    made = generate(
        model, [codec.end_of_text, *codec.encode(prompt)], tokens, temperature, top_k, seed, stop=codec.end_of_text
    )
    return prompt + codec.decode(made)
