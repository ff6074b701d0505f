"""Text from the newest model of a recipe."""

from __future__ import annotations

from flows.mill import Mill
from models.generate import Sampling, generate
from tasks.pretrain.published import load_model
from tasks.tokenizer import Codec
from warehouse.artifact import Ref, complete
from warehouse.errors import GristmillError, MissingArtifact


def write(mill: Mill, prompt: str, tokens: int, sampling: Sampling) -> str:
    """The prompt and its continuation. Raises MissingArtifact where the recipe has no trained model."""
    training, vocabulary = trained(mill)
    codec = Codec.load(mill.store, vocabulary)
    model = load_model(mill.store, training, vocabulary)
    if not model.arch.causal:
        raise GristmillError(
            f"the recipe {mill.recipe.name} trains a bidirectional model, which cannot continue a text"
        )
    tokens_in = [codec.end_of_text, *codec.encode(prompt)]
    made = generate(model, tokens_in, tokens, sampling, stop=codec.end_of_text)
    return prompt + codec.decode(made)


def trained(mill: Mill) -> tuple[Ref, Ref]:
    """The newest training run of a recipe and its tokenizer. Raises MissingArtifact where there is none."""
    (training,), (vocabulary,) = mill.stages("pretrain"), mill.stages("tokenizer")
    if complete(mill.store, training.ref) is None:
        raise MissingArtifact(
            f"the recipe {mill.recipe.name} has no trained model yet: run gristmill run, or gristmill pretrain"
        )
    return training.ref, vocabulary.ref
