"""Several continuations of one beginning in one sequence: what each position sees, and where it stands.

A prompt of a thousand tokens with four answers is a tree: the prompt once, and each answer behind it as if it were
alone. Positions go on from the prompt in every branch, and a branch sees the prompt and itself. So the prompt is
computed once, with the very numbers that four sequences would give.
"""

from __future__ import annotations

import torch
from torch import Tensor

from models.attention import sees

STEM, PADDING = 0, -1  # branches are counted from 1


class Layout:
    """``positions`` and ``branches``, (batch, time) each: where a token stands, and whose it is (0 the stem, -1 padding)."""

    def __init__(self, positions: Tensor, branches: Tensor) -> None:
        self.positions, self.branches = positions, branches
        self._masks: dict[int, Tensor] = {}

    def mask(self, band: int) -> Tensor:
        """(batch, 1, time, time), True where a query's token sees a key's; padding sees padding, so that no row is empty."""
        if band not in self._masks:
            query, key = self.positions[:, :, None], self.positions[:, None, :]
            mine, theirs = self.branches[:, :, None], self.branches[:, None, :]
            seen = sees(query, key, band) & ((mine == theirs) | ((theirs == STEM) & (mine != PADDING)))
            self._masks[band] = seen[:, None]
        return self._masks[band]

    def to(self, device: torch.device) -> Layout:
        """The same on a device."""
        return Layout(self.positions.to(device), self.branches.to(device))


class Padding:
    """Sequences that are shorter than the batch: every position sees the ``lengths`` first tokens, (batch,), ahead of it too."""

    def __init__(self, lengths: Tensor, time: int) -> None:
        places = torch.arange(time, device=lengths.device)
        self.positions = places.expand(len(lengths), time)
        self._seen = (places < lengths[:, None])[:, None, None]

    def mask(self, band: int) -> Tensor:
        """(batch, 1, 1, time), True where a key is text; no network that looks both ways has a band."""
        return self._seen
