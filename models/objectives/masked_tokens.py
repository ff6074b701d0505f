"""Masked tokens and the next sentence: what BERT is pretrained for (Devlin et al. 2018, section 3.1)."""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from models.bert import Bert
from models.loss import cross_entropy


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


def loss(model: Bert, *batch: Tensor) -> Tensor:
    """Nats of a hidden token plus nats of the next-sentence label."""
    tokens, label = _losses(model, MaskedBatch(*batch))
    return tokens + label


def figures(model: Bert, *batch: Tensor) -> dict[str, Tensor]:
    """Held out: nats and accuracy of hidden tokens, accuracy of the next-sentence label."""
    sequences = MaskedBatch(*batch)
    hidden = model.hidden(sequences.ids, types=sequences.types)
    right = (model.masked_logits(hidden, sequences.positions).argmax(-1) == sequences.targets) * sequences.weights
    return {
        "validation_loss": _losses(model, sequences)[0],
        "masked_accuracy": right.sum() / sequences.weights.sum(),
        "next_sentence_accuracy": (model.follows(hidden).argmax(-1) == sequences.not_next).float().mean(),
    }


def _losses(model: Bert, batch: MaskedBatch) -> tuple[Tensor, Tensor]:
    """Mean nats of a hidden token (a sequence's mean, then the batch's), and of the next-sentence label."""
    hidden = model.hidden(batch.ids, types=batch.types)
    shares = batch.weights / batch.weights.sum(1, keepdim=True).clamp(min=1) / len(batch.ids)
    states = model.transformed(model.at_masked(hidden, batch.positions)).flatten(0, 1)
    tokens = cross_entropy(states, model.tokens.weight, batch.targets.flatten(), shares.flatten(), model.masked_bias)
    return tokens, F.cross_entropy(model.follows(hidden).float(), batch.not_next)
