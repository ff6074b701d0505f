"""The learning rate: linear warm-up, then cosine to a share of the peak (Brown et al. 2020, appendix B)."""

from __future__ import annotations

import math


def learning_rate_share(step: int, steps: int, warmup: int, final_share: float) -> float:
    """The share of the peak rate at a step, counted from 1."""
    if step <= warmup:
        return step / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return final_share + (1 - final_share) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
