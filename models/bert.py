"""BERT's two heads on the transformer (Devlin et al. 2018, section 3.1): masked tokens and the next sentence."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.architecture import Architecture
from models.transformer import Transformer


class Bert(Transformer):
    """A bidirectional transformer with the heads that it is pretrained by."""

    def __init__(self, arch: Architecture) -> None:
        super().__init__(arch)
        self.masked_dense = nn.Linear(arch.width, arch.width)
        self.ln_masked = nn.LayerNorm(arch.width, eps=arch.norm_eps)
        self.masked_bias = nn.Parameter(torch.zeros(arch.vocabulary))
        self.pooler = nn.Linear(arch.width, arch.width)
        self.next_sentence = nn.Linear(arch.width, 2)

    def forward(self, ids: Tensor, types: Tensor | None = None) -> Tensor:
        """Logits of the token at every position, (batch, time, vocabulary)."""
        return F.linear(self.transformed(self.hidden(ids, types=types)), self.tokens.weight, self.masked_bias)

    def transformed(self, hidden: Tensor) -> Tensor:
        """What the masked-token head multiplies with the embedding: dense, GELU, LayerNorm."""
        approximate = "tanh" if self.arch.activation == "gelu_tanh" else "none"
        found: Tensor = self.ln_masked(F.gelu(self.masked_dense(hidden), approximate=approximate))
        return found

    def follows(self, hidden: Tensor) -> Tensor:
        """(batch, 2) logits: the second segment is the next, or a random one."""
        logits: Tensor = self.next_sentence(torch.tanh(self.pooler(hidden[:, 0])))
        return logits

    def masked_logits(self, hidden: Tensor, positions: Tensor) -> Tensor:
        """(batch, predictions, vocabulary) of the tokens hidden at ``positions``, (batch, predictions)."""
        return F.linear(self.transformed(self.at_masked(hidden, positions)), self.tokens.weight, self.masked_bias)

    def at_masked(self, hidden: Tensor, positions: Tensor) -> Tensor:
        """The hidden states of the hidden tokens, (batch, predictions, width)."""
        rows = torch.arange(len(hidden), device=hidden.device)[:, None]
        return hidden[rows, positions]  # whose backward pass is deterministic on every device


def build(arch: Architecture) -> Transformer:
    """The network of an architecture, its weights not yet drawn."""
    return Transformer(arch) if arch.causal else Bert(arch)
