"""What changes over a run, as functions of how much was seen: the learning rate and the size of a batch."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

Decay = Literal["cosine", "linear"]


@dataclass(frozen=True)
class RateSchedule:
    """Linear warm-up, then a decay to a share of the peak, then constant (Brown et al. 2020, appendix B).

    Counted in tokens, so that it does not depend on how they are cut into steps.
    """

    warmup_tokens: int
    decay_tokens: int
    final_share: float
    decay: Decay = "cosine"

    def share(self, tokens: int) -> float:
        """The share of the peak rate at a step that ends with so many tokens seen."""
        if tokens <= self.warmup_tokens:
            return tokens / self.warmup_tokens
        progress = min(1.0, (tokens - self.warmup_tokens) / max(1, self.decay_tokens - self.warmup_tokens))
        left = 1 - progress if self.decay == "linear" else 0.5 * (1 + math.cos(math.pi * progress))
        return self.final_share + (1 - self.final_share) * left


@dataclass(frozen=True)
class BatchSchedule:
    """Sequences of each step: from ``first``, growing linearly while the first ``ramp`` sequences pass, to ``full``."""

    full: int
    first: int = 0
    ramp: int = 0

    def first_slot(self, step: int) -> int:
        """Sequences before a step, counted from 1."""
        starts = _ramp_starts(self)
        ramped = len(starts) - 1
        return starts[step - 1] if step <= ramped else starts[ramped] + (step - 1 - ramped) * self.full

    def size(self, step: int) -> int:
        """Sequences in a step's global batch."""
        return self.first_slot(step + 1) - self.first_slot(step)

    def step_of(self, slot: int) -> int:
        """The step that a sequence is in."""
        starts = _ramp_starts(self)
        if slot < starts[-1]:
            return bisect_right(starts, slot)
        return len(starts) + (slot - starts[-1]) // self.full

    def steps_for(self, sequences: int) -> int:
        """Steps until so many sequences were seen."""
        return self.step_of(sequences - 1) if sequences else 0


@lru_cache(maxsize=16)
def _ramp_starts(schedule: BatchSchedule) -> tuple[int, ...]:
    """Where each step of the ramp begins, and where the ramp ends."""
    first = min(schedule.first or schedule.full, schedule.full)
    starts = [0]
    while starts[-1] < schedule.ramp:
        starts.append(starts[-1] + first + (schedule.full - first) * starts[-1] // schedule.ramp)
    return tuple(starts)
