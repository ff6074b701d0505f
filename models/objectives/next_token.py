"""The next token: what GPT-1, GPT-2 and GPT-3 are pretrained for (Radford et al. 2018, equation 1)."""

from __future__ import annotations

import torch
from torch import Tensor

from models.loss import cross_entropy
from models.transformer import Transformer


def loss(model: Transformer, *batch: Tensor) -> Tensor:
    """Mean cross-entropy in nats of (ids, targets), (batch, time) each; the logits exist in chunks only."""
    ids, targets = batch
    weights = torch.full((targets.numel(),), 1 / targets.numel(), device=ids.device)
    return cross_entropy(model.hidden(ids).flatten(0, 1), model.tokens.weight, targets.flatten(), weights)


def figures(model: Transformer, *batch: Tensor) -> dict[str, Tensor]:
    """What is reported of held-out text: the mean nats of a token."""
    return {"validation_loss": loss(model, *batch)}
