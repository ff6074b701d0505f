"""The shape of a transformer: the few switches in which GPT-1, GPT-2, GPT-3 and BERT differ."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Norm = Literal["pre", "post"]
Activation = Literal["gelu_tanh", "gelu"]
Initialisation = Literal["gpt1", "gpt2", "bert"]

MLP_RATIO = 4  # d_ff = 4 d in all of them


@dataclass(frozen=True)
class Architecture:
    """Everything that decides a network's parameters and what it computes.

    ``norm``: LayerNorm before each sublayer and once at the end (GPT-2, GPT-3), or after each residual sum
    (GPT-1, BERT). ``head_width`` 0 is ``width / heads``. ``band`` 0 is dense attention; otherwise every odd
    layer sees the last ``band`` positions only (GPT-3, after the Sparse Transformer). ``token_types`` and
    ``embedding_norm`` are BERT's. ``dropout`` acts on embeddings and residual writes, ``attention_dropout`` on
    attention weights.
    """

    vocabulary: int
    context: int = 256
    layers: int = 4
    heads: int = 4
    width: int = 256
    head_width: int = 0
    norm: Norm = "pre"
    causal: bool = True
    band: int = 0
    token_types: int = 0
    embedding_norm: bool = False
    activation: Activation = "gelu_tanh"
    norm_eps: float = 1e-5
    initialisation: Initialisation = "gpt2"
    dropout: float = 0.0
    attention_dropout: float = 0.0

    def __post_init__(self) -> None:
        if not self.head_width:
            if self.width % self.heads:
                raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}: give head_width too")
            object.__setattr__(self, "head_width", self.width // self.heads)
        if self.band and not self.causal:
            raise ValueError("banded attention looks back only: it needs a causal model")

    @property
    def inner_width(self) -> int:
        """Width of all heads together."""
        return self.heads * self.head_width

    def band_of(self, layer: int) -> int:
        """How many positions a layer sees, 0 for all: layers alternate, and the first is dense."""
        return self.band if layer % 2 else 0

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    def flops_per_token(self) -> int:
        """Training FLOPs a token: 6 N + 12 L d T, N with tied embeddings counted once (Chowdhery et al. 2022)."""
        return 6 * self.parameter_count() + 12 * self.layers * self.inner_width * self.context

    def parameter_count(self) -> int:
        """Parameters by formula; the built network has as many (a test compares)."""
        d, inner, mlp = self.width, self.inner_width, MLP_RATIO * self.width
        attention = 3 * inner * (d + 1) + d * (inner + 1)
        block = attention + mlp * (d + 1) + d * (mlp + 1) + 4 * d
        embeddings = (self.vocabulary + self.context + self.token_types) * d
        norms = 2 * d * ((self.norm == "pre") + self.embedding_norm)
        # BERT: dense, LayerNorm and output bias for masked tokens; pooler and two classes for the next sentence.
        heads = 0 if self.causal else d * (d + 1) + 2 * d + self.vocabulary + d * (d + 1) + 2 * (d + 1)
        return embeddings + self.layers * block + norms + heads
