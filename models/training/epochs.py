"""Examples epoch by epoch: ``batch(step)`` as a pure function of the seed, as pretraining's order is, for data that are counted."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from models.draws import random_bits
from models.training.loop import Batch
from models.training.order import permute


class Epochs:
    """models.training.loop.Data over ``count`` examples, each epoch in an order of its own; ``made`` makes a batch of some of them."""

    def __init__(
        self,
        count: int,
        made: Callable[[Sequence[int]], Batch],
        batch: int,
        epochs: int,
        seed: int,
        identity: str,
        held_out: Sequence[Batch] = (),
    ) -> None:
        self._count, self._made, self._batch = count, made, batch
        self._seed, self._identity, self._held_out = seed, identity, list(held_out)
        self.seen = count * epochs
        self.steps = math.ceil(self.seen / batch)

    def batch_at(self, step: int) -> Batch:
        """The examples of a step, from 1."""
        return self._made(
            [self._at(slot) for slot in range((step - 1) * self._batch, min(step * self._batch, self.seen))]
        )

    def sequences_at(self, step: int) -> int:
        """Examples of the batch: the last one may have fewer."""
        return min(self._batch, self.seen - (step - 1) * self._batch)

    def tokens_after(self, step: int) -> int:
        """Examples seen when a step ends: the schedule counts in them."""
        return min(step * self._batch, self.seen)

    def held_out(self) -> list[Batch]:
        """What the run is validated on."""
        return self._held_out

    def _at(self, slot: int) -> int:
        epoch, index = divmod(slot, self._count)
        return permute(index, self._count, random_bits(self._seed, "epoch", self._identity, epoch))
