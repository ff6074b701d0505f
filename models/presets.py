"""The published models, each with what its paper trains it by.

Radford et al. 2018 (GPT-1), Radford et al. 2019 (GPT-2), Brown et al. 2020, table 2.1 (GPT-3), Devlin et al. 2018
(BERT). Two rows of GPT-3's table do not multiply out; ``-printed`` takes them at their word, the plain name has
what the sizes agree with.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from models.architecture import Architecture

GPT2_VOCABULARY = 50_257  # 256 bytes, 50,000 merges, end of text
GPT1_VOCABULARY = 40_478  # 40,000 merges and 478 characters of the released tokenizer
BERT_VOCABULARY = 30_522  # WordPiece, uncased
DEFAULT_BAND = 256  # Brown et al. do not print the width of the band

Family = Literal["gpt", "gpt1", "bert"]
# The switches that a family sets; "gpt" is GPT-2 and GPT-3, which have none.
FAMILIES: dict[Family, dict[str, Any]] = {
    "gpt": {},
    "gpt1": {"norm": "post", "initialisation": "gpt1"},
    "bert": {
        "norm": "post",
        "causal": False,
        "token_types": 2,
        "embedding_norm": True,
        "activation": "gelu",
        "norm_eps": 1e-12,
        "initialisation": "bert",
    },
}


@dataclass(frozen=True)
class Shape:
    """What remains to be said of a network when its family is known."""

    family: Family = "gpt"
    layers: int = 4
    heads: int = 4
    width: int = 256
    head_width: int = 0  # 0: width / heads
    context: int = 256
    band: int = 0
    dropout: float = 0.0
    attention_dropout: float = 0.0

    def architecture(self, vocabulary: int) -> Architecture:
        """The network over a vocabulary. Raises ValueError where the sizes do not fit."""
        values = {name: value for name, value in asdict(self).items() if name != "family"}
        return Architecture(vocabulary, **values, **FAMILIES[self.family])


@dataclass(frozen=True)
class Preset:
    """A network and what it is trained by; ``training`` names settings of pretraining."""

    shape: Shape
    vocabulary: int
    training: dict[str, Any]

    @property
    def architecture(self) -> Architecture:
        """The network with the vocabulary of the paper."""
        return self.shape.architecture(self.vocabulary)


GPT3_TOKENS = 300_000_000_000
# Brown et al. 2020, appendix B; the ramp is "over the first 4-12 billion tokens, depending on the model size".
GPT3_TRAINING: dict[str, Any] = {
    "tokens": GPT3_TOKENS,
    "beta1": 0.9,
    "beta2": 0.95,
    "weight_decay": 0.1,
    "clip": 1.0,
    "warmup_tokens": 375_000_000,
    "decay_tokens": 260_000_000_000,
    "final_learning_rate_share": 0.1,
}
GPT3_FIRST_BATCH_TOKENS = 32_768


def _gpt2(layers: int, width: int, heads: int, rate: float) -> Preset:
    """GPT-2's optimiser was never published: GPT-3's stands in, with the rate of the row next in size."""
    shape = Shape("gpt", layers, heads, width, context=1024, dropout=0.1, attention_dropout=0.1)
    return Preset(shape, GPT2_VOCABULARY, GPT3_TRAINING | {"batch": 512, "learning_rate": rate})


def _gpt3(layers: int, width: int, heads: int, head_width: int, batch_tokens: int, rate: float, ramp: float) -> Preset:
    shape = Shape("gpt", layers, heads, width, head_width, context=2048, band=DEFAULT_BAND)
    training = {
        "batch": batch_tokens // shape.context,
        "first_batch": GPT3_FIRST_BATCH_TOKENS // shape.context,
        "ramp_tokens": int(ramp * 1e9),
        "learning_rate": rate,
    }
    return Preset(shape, GPT2_VOCABULARY, GPT3_TRAINING | training)


def _bert(layers: int, width: int, heads: int) -> Preset:
    """All of it at length 512; the paper has 90 % of the steps at 128."""
    shape = Shape("bert", layers, heads, width, context=512, dropout=0.1, attention_dropout=0.1)
    training = {
        "optimizer": "bert_adam",
        "batch": 256,
        "tokens": 1_000_000 * 256 * 512,
        "learning_rate": 1e-4,
        "beta1": 0.9,
        "beta2": 0.999,
        "epsilon": 1e-6,
        "weight_decay": 0.01,
        "clip": 1.0,
        "warmup_tokens": 10_000 * 256 * 512,
        "decay": "linear",
        "final_learning_rate_share": 0.0,
    }
    return Preset(shape, BERT_VOCABULARY, training)


def _gpt1() -> Preset:
    shape = Shape("gpt1", 12, 12, 768, context=512, dropout=0.1, attention_dropout=0.1)
    training = {
        "batch": 64,
        "tokens": 100 * 1_000_000_000,  # 100 epochs of BooksCorpus, about a billion tokens
        "learning_rate": 2.5e-4,
        "beta1": 0.9,
        "beta2": 0.999,
        "weight_decay": 0.01,
        "clip": 1.0,
        "warmup_tokens": 2_000 * 64 * 512,
        "final_learning_rate_share": 0.0,
    }
    return Preset(shape, GPT1_VOCABULARY, training)


PRESETS: dict[str, Preset] = {
    "gpt1": _gpt1(),
    "gpt2-small": _gpt2(12, 768, 12, 6.0e-4),
    "gpt2-medium": _gpt2(24, 1024, 16, 3.0e-4),
    "gpt2-large": _gpt2(36, 1280, 20, 2.5e-4),
    "gpt2-xl": _gpt2(48, 1600, 25, 2.0e-4),
    "gpt3-125m": _gpt3(12, 768, 12, 64, 500_000, 6.0e-4, 4),
    "gpt3-350m": _gpt3(24, 1024, 16, 64, 500_000, 3.0e-4, 4),
    "gpt3-760m": _gpt3(24, 1536, 16, 96, 500_000, 2.5e-4, 4),
    "gpt3-1.3b": _gpt3(24, 2048, 16, 128, 1_000_000, 2.0e-4, 4),
    "gpt3-1.3b-printed": _gpt3(24, 2048, 24, 128, 1_000_000, 2.0e-4, 4),
    "gpt3-2.7b": _gpt3(32, 2560, 32, 80, 1_000_000, 1.6e-4, 4),
    "gpt3-6.7b": _gpt3(32, 4096, 32, 128, 2_000_000, 1.2e-4, 8),
    "gpt3-13b": _gpt3(40, 5120, 40, 128, 2_000_000, 1.0e-4, 8),
    "gpt3-13b-printed": _gpt3(40, 5140, 40, 128, 2_000_000, 1.0e-4, 8),
    "gpt3-175b": _gpt3(96, 12288, 96, 128, 3_200_000, 0.6e-4, 12),
    "bert-base": _bert(12, 768, 12),
    "bert-large": _bert(24, 1024, 16),
}

HEAD_WIDTH = 64
TOKENS_A_PARAMETER = 20  # Hoffmann et al. 2022, table 3
REFERENCE_DEPTH, REFERENCE_BATCH_TOKENS, REFERENCE_WEIGHT_DECAY = 12, 500_000, 0.1  # GPT-3's smallest row
BATCH_EXPONENT = 0.383  # the best batch grows so with the tokens (Bergsma et al. 2025)
FEWEST_STEPS = 1000  # where a run is too short for the best batch
WARMUP_SHARE = 0.05


def from_depth(depth: int, context: int) -> tuple[Shape, dict[str, Any]]:
    """A compute-optimal run from one number: the network, and the settings of its training.

    Learning rate by Kaplan et al. 2020 (appendix D.6, of non-embedding parameters); tokens by Hoffmann et al. 2022;
    batch and decay grow from GPT-3's smallest row so that the optimiser's averaging time, batch / (rate x decay),
    stays the same share of the run (Bergsma et al. 2025).
    """
    tokens, rate = _optimum(depth)
    reference_tokens, reference_rate = _optimum(REFERENCE_DEPTH)
    best_batch = REFERENCE_BATCH_TOKENS * (tokens / reference_tokens) ** BATCH_EXPONENT
    batch = max(1, round(min(best_batch, tokens / FEWEST_STEPS) / context))
    growth = batch * context / REFERENCE_BATCH_TOKENS
    decay = REFERENCE_WEIGHT_DECAY * growth * (reference_rate / rate) * (reference_tokens / tokens)
    training = {
        "tokens": tokens,
        "batch": batch,
        "learning_rate": round(rate, 6),
        "weight_decay": round(decay, 4),
        "warmup_tokens": int(tokens * WARMUP_SHARE),
    }
    return Shape("gpt", depth, depth, depth * HEAD_WIDTH, HEAD_WIDTH, context), training


def _optimum(depth: int) -> tuple[int, float]:
    """Tokens and learning rate for a depth."""
    parameters = 12 * depth * (depth * HEAD_WIDTH) ** 2
    return TOKENS_A_PARAMETER * parameters, 0.003239 - 0.0001395 * math.log(parameters)
