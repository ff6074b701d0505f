"""Optimisers: AdamW for everything, or Muon for the matrices inside blocks and AdamW for the rest.

Muon (Jordan et al. 2024) steps along the orthogonalised momentum: Newton-Schulz iterations bring all singular
values of the update near 1. Its rate is scaled by sqrt(max(1, rows / columns)), as in the authors' code.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # coefficients of the quintic iteration (Jordan et al. 2024)
NEWTON_SCHULZ_STEPS = 5
ADAM_EPS = 1e-8


def orthogonalised(update: Tensor) -> Tensor:
    """The nearest matrix with singular values of about 1, by Newton-Schulz; ``update`` is (rows, columns)."""
    a, b, c = NEWTON_SCHULZ
    x: Tensor = update / (update.norm() + 1e-7)
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised, with decoupled weight decay. For matrices only."""

    def __init__(
        self, parameters: Iterable[nn.Parameter], lr: float, momentum: float = 0.95, weight_decay: float = 0.0
    ) -> None:
        super().__init__(list(parameters), {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override] # no closure is ever given
        """One update of every matrix that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
                update = orthogonalised(
                    parameter.grad.lerp(state["momentum"], group["momentum"])
                )  # Nesterov's look ahead
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(
                    update, alpha=-group["lr"] * math.sqrt(max(1.0, parameter.shape[0] / parameter.shape[1]))
                )


def adamw(
    named: list[tuple[str, nn.Parameter]], lr: float, betas: tuple[float, float], weight_decay: float
) -> torch.optim.AdamW:
    """AdamW (Brown et al. 2020, appendix B): matrices decay, biases and gains do not."""
    groups = [
        {"params": [p for _, p in named if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for _, p in named if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=lr, betas=betas, eps=ADAM_EPS, fused=True)


def make_optimizers(
    model: nn.Module, lr: float, betas: tuple[float, float], weight_decay: float, muon_lr: float | None
) -> list[torch.optim.Optimizer]:
    """The optimisers of a model, by name order; ``muon_lr`` None trains everything by AdamW."""
    named = sorted(model.named_parameters())
    if muon_lr is None:
        return [adamw(named, lr, betas, weight_decay)]
    inner = [(name, p) for name, p in named if name.startswith("blocks.") and p.ndim == 2]
    chosen = {name for name, _ in inner}
    rest = [(name, p) for name, p in named if name not in chosen]
    return [adamw(rest, lr, betas, weight_decay), Muon([p for _, p in inner], muon_lr, weight_decay=weight_decay)]
