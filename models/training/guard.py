"""What keeps one bad step from ruining a run: non-finite numbers and loss spikes are seen before they are applied."""

from __future__ import annotations

import math

import torch
from torch import Tensor

MEMORY = 0.95  # of the moving mean and variance: about the last 20 steps
STEPS_TO_LEARN = 50  # before a loss can be called a spike


class BadStep(Exception):
    """A step that was not applied: its loss spiked, or its loss or gradient is not a number."""

    def __init__(self, step: int, reason: str) -> None:
        super().__init__(f"{reason} at step {step}")
        self.step, self.reason = step, reason


class Guard:
    """Judges each step by the losses before it. Its memory is a tensor that checkpoints carry."""

    def __init__(self, spike_deviations: float) -> None:
        self.spike_deviations = spike_deviations
        self.statistics: Tensor = torch.zeros(4, dtype=torch.float64)  # steps seen, mean, variance, bad in a row

    @property
    def bad_in_a_row(self) -> int:
        """Bad steps since the last good one."""
        return int(self.statistics[3])

    def judge(self, step: int, loss: float, gradient_norm: float) -> BadStep | None:
        """What is wrong with a step; what it was like is remembered."""
        bad = self._fault(step, loss, gradient_norm)
        seen, mean, variance, bad_before = self.statistics.tolist()
        if bad is not None:
            self.statistics[3] = bad_before + 1
            return bad
        share = max(1 / (seen + 1), 1 - MEMORY)
        difference = loss - mean
        moved = mean + share * difference
        spread = (1 - share) * (variance + share * difference**2)
        self.statistics.copy_(torch.tensor([seen + 1, moved, spread, 0], dtype=torch.float64))
        return None

    def _fault(self, step: int, loss: float, gradient_norm: float) -> BadStep | None:
        if not math.isfinite(loss):
            return BadStep(step, "the loss is not finite")
        if not math.isfinite(gradient_norm):
            return BadStep(step, "the gradient is not finite")
        seen, mean, variance, _ = self.statistics.tolist()
        limit = mean + self.spike_deviations * math.sqrt(variance)
        if self.spike_deviations and seen >= STEPS_TO_LEARN and loss > limit:
            return BadStep(step, f"the loss spiked to {loss:.3f}, where recent ones allow {limit:.3f},")
        return None
