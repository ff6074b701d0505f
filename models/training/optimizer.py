"""Optimisers: AdamW or BERT's for everything, or Muon for the matrices inside blocks and AdamW for the rest.

Muon (Jordan et al. 2024) steps along the orthogonalised momentum: Newton-Schulz iterations bring all singular
values of the update near 1. Its rate is scaled by sqrt(max(1, rows / columns)), as in the authors' code.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # coefficients of the quintic iteration (Jordan et al. 2024)
NEWTON_SCHULZ_STEPS = 5


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


class BertAdam(torch.optim.Optimizer):
    """Adam without bias correction and with decoupled decay, as BERT's released code has it (optimization.py)."""

    def __init__(self, groups: list[dict[str, Any]], lr: float, betas: tuple[float, float], eps: float) -> None:
        super().__init__(groups, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override] # no closure is ever given
        """One update of every parameter that has a gradient."""
        for group in self.param_groups:
            (beta1, beta2), rate = group["betas"], group["lr"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
                state["exp_avg"].lerp_(parameter.grad, 1 - beta1)
                state["exp_avg_sq"].mul_(beta2).addcmul_(parameter.grad, parameter.grad, value=1 - beta2)
                update = state["exp_avg"] / (state["exp_avg_sq"].sqrt() + group["eps"])
                parameter.sub_(update.add_(parameter, alpha=group["weight_decay"]), alpha=rate)


@dataclass(frozen=True)
class OptimizerPlan:
    """Which optimiser, at which peak rates. ``muon_learning_rate`` is for the matrices inside blocks."""

    kind: Literal["adamw", "muon", "bert_adam"]
    learning_rate: float
    muon_learning_rate: float
    betas: tuple[float, float]
    epsilon: float
    weight_decay: float


def make_optimizers(model: nn.Module, plan: OptimizerPlan) -> list[torch.optim.Optimizer]:
    """The optimisers of a model, by name order. Matrices decay, biases and gains do not (Brown et al. 2020, B)."""
    named = sorted(model.named_parameters())
    if plan.kind == "bert_adam":
        return [BertAdam(_groups(named, plan), plan.learning_rate, plan.betas, plan.epsilon)]
    inner = [(name, p) for name, p in named if name.startswith("blocks.") and p.ndim == 2 and plan.kind == "muon"]
    chosen = {name for name, _ in inner}
    groups = _groups([(name, p) for name, p in named if name not in chosen], plan)
    adamw = torch.optim.AdamW(groups, lr=plan.learning_rate, betas=plan.betas, eps=plan.epsilon, fused=True)
    muon = [Muon([p for _, p in inner], plan.muon_learning_rate, weight_decay=plan.weight_decay)] if inner else []
    return [adamw, *muon]


def _groups(named: list[tuple[str, nn.Parameter]], plan: OptimizerPlan) -> list[dict[str, Any]]:
    return [
        {"params": [p for _, p in named if p.ndim >= 2], "weight_decay": plan.weight_decay},
        {"params": [p for _, p in named if p.ndim < 2], "weight_decay": 0.0},
    ]
