"""What a network is trained for: a loss, and the figures that it reports, as functions of a network and a batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Objective:
    """``loss(model, *batch)`` in nats, and ``figures(model, *batch)`` of what is held out, by their names."""

    loss: Callable[..., Tensor]
    figures: Callable[..., dict[str, Tensor]]
