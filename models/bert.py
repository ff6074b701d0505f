"""BERT's two heads on the transformer (Devlin et al. 2018, section 3.1): masked tokens and the next sentence."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.architecture import Architecture
from models.loss import cross_entropy
from models.transformer import Transformer


class MaskedBatch(NamedTuple):
    """Sequences of two segments with some tokens hidden.

    ``ids`` and ``types`` are (batch, time); ``positions``, ``targets`` and ``weights`` (batch, predictions): where a
    token was hidden, which, and 1, or 0 where a sequence has fewer; ``not_next`` (batch,) is 1 where the second
    segment does not follow the first.
    """

    ids: Tensor
    types: Tensor
    positions: Tensor
    targets: Tensor
    weights: Tensor
    not_next: Tensor


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

    def masked_logits(self, hidden: Tensor, batch: MaskedBatch) -> Tensor:
        """(batch, predictions, vocabulary) of the hidden tokens."""
        return F.linear(self.transformed(self.at_masked(hidden, batch)), self.tokens.weight, self.masked_bias)

    def at_masked(self, hidden: Tensor, batch: MaskedBatch) -> Tensor:
        """The hidden states of the hidden tokens, (batch, predictions, width)."""
        rows = torch.arange(len(hidden), device=hidden.device)[:, None]
        return hidden[rows, batch.positions]  # whose backward pass is deterministic on every device

    def loss(self, *batch: Tensor) -> Tensor:
        """Nats of a hidden token plus nats of the next-sentence label."""
        tokens, label = self._losses(MaskedBatch(*batch))
        return tokens + label

    def figures(self, *batch: Tensor) -> dict[str, Tensor]:
        """Held out: nats and accuracy of hidden tokens, accuracy of the next-sentence label."""
        sequences = MaskedBatch(*batch)
        hidden = self.hidden(sequences.ids, types=sequences.types)
        right = (self.masked_logits(hidden, sequences).argmax(-1) == sequences.targets) * sequences.weights
        return {
            "validation_loss": self._losses(sequences)[0],
            "masked_accuracy": right.sum() / sequences.weights.sum(),
            "next_sentence_accuracy": (self.follows(hidden).argmax(-1) == sequences.not_next).float().mean(),
        }

    def _losses(self, batch: MaskedBatch) -> tuple[Tensor, Tensor]:
        """Mean nats of a hidden token (a sequence's mean, then the batch's), and of the next-sentence label."""
        hidden = self.hidden(batch.ids, types=batch.types)
        shares = batch.weights / batch.weights.sum(1, keepdim=True).clamp(min=1) / len(batch.ids)
        states = self.transformed(self.at_masked(hidden, batch)).flatten(0, 1)
        tokens = cross_entropy(states, self.tokens.weight, batch.targets.flatten(), shares.flatten(), self.masked_bias)
        return tokens, F.cross_entropy(self.follows(hidden).float(), batch.not_next)


def build(arch: Architecture) -> Transformer:
    """The network of an architecture, its weights not yet drawn."""
    return Transformer(arch) if arch.causal else Bert(arch)
