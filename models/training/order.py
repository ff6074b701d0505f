"""The order of training data: ``batch(step)`` as a pure function.

The state of the loader is one integer. A global batch is a list of windows of tokens; which
ones depends on the streams' lengths, the seed, the mixture weights, the batch size and the step alone, never
on ranks, workers or what was read before.

Each slot belongs to a source. Slots come in blocks in which every source has its share exactly (largest
remainders), in a seeded order, so that how often a source was drawn before any slot is known without looking.
A source's windows are taken without replacement: epoch by epoch, each a seeded permutation (a Feistel network
with cycle walking, which needs no memory and can be inverted).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from models.draws import random_bits
from models.training.schedule import BatchSchedule

BLOCK_SLOTS = 1024
FEISTEL_ROUNDS = 4


class Window(NamedTuple):
    """One sequence of a batch: the window ``start .. start + context`` of a source's token stream."""

    slot: int
    source: str
    start: int


def permute(index: int, size: int, key: int) -> int:
    """Where ``index`` goes in a seeded permutation of ``range(size)``."""
    half = _half_bits(size)
    while True:
        index = _feistel(index, half, key, range(FEISTEL_ROUNDS))
        if index < size:
            return index


def unpermute(value: int, size: int, key: int) -> int:
    """The inverse of ``permute``."""
    half = _half_bits(size)
    while True:
        left, right = value >> half, value & ((1 << half) - 1)
        for number in reversed(range(FEISTEL_ROUNDS)):
            left, right = right ^ _round(left, half, key, number), left
        value = (left << half) | right
        if value < size:
            return value


def _half_bits(size: int) -> int:
    return max(1, ((size - 1).bit_length() + 1) // 2)


def _feistel(index: int, half: int, key: int, rounds: range) -> int:
    left, right = index >> half, index & ((1 << half) - 1)
    for number in rounds:
        left, right = right, left ^ _round(right, half, key, number)
    return (left << half) | right


def _round(value: int, half: int, key: int, number: int) -> int:
    """A murmur3-like mix of 64 bits, cut to half of the block."""
    x = (value + key + number * 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
    x = ((x ^ (x >> 33)) * 0xFF51AFD7ED558CCD) & 0xFFFFFFFFFFFFFFFF
    x = ((x ^ (x >> 33)) * 0xC4CEB9FE1A85EC53) & 0xFFFFFFFFFFFFFFFF
    return (x ^ (x >> 33)) & ((1 << half) - 1)


def quotas(weights: Mapping[str, float]) -> dict[str, int]:
    """How many of a block's slots each source has: largest remainders, ties by name."""
    total = sum(weights.values())
    exact = {name: BLOCK_SLOTS * weight / total for name, weight in sorted(weights.items())}
    share = {name: int(value) for name, value in exact.items()}
    by_remainder = sorted(exact, key=lambda name: (share[name] - exact[name], name))
    for name in by_remainder[: BLOCK_SLOTS - sum(share.values())]:
        share[name] += 1
    return share


@dataclass(frozen=True)
class Order:
    """Everything that the order depends on.

    ``streams``: tokens a source holds; ``weights``: its share of the draws; ``identity``: the key of the
    token arrays; ``batch``: how many sequences each step takes; ``beyond``: tokens that a window reads after its
    own (1 for the last target of a causal model).
    """

    identity: str
    seed: int
    context: int
    batch: BatchSchedule
    streams: tuple[tuple[str, int], ...]
    weights: tuple[tuple[str, float], ...]
    beyond: int = 1

    def __post_init__(self) -> None:
        for name, tokens in self.streams:
            if tokens < self.window_tokens:
                raise ValueError(
                    f"the source {name} has {tokens} training tokens, fewer than one window of {self.window_tokens}: "
                    "give it more text, a weight of 0, or the model a shorter context"
                )
        for name, share in quotas(dict(self.weights)).items():
            if not share:
                raise ValueError(
                    f"the source {name} has less than 1 in {BLOCK_SLOTS} of the mixture: give it more weight, or 0"
                )

    @property
    def window_tokens(self) -> int:
        """Tokens that one window reads."""
        return self.context + self.beyond

    def windows_of(self, source: str) -> int:
        """Windows in an epoch of a source: starts move by the context length."""
        return (dict(self.streams)[source] - self.beyond) // self.context

    def window(self, slot: int) -> Window:
        """What the slot-th sequence of the whole run is."""
        block, place = divmod(slot, BLOCK_SLOTS)
        layout, quota = self._layout(block), quotas(dict(self.weights))
        source = layout[place]
        draw = block * quota[source] + layout[:place].count(source)
        size = self.windows_of(source)
        epoch, index = divmod(draw, size)
        return Window(slot, source, permute(index, size, self._epoch_key(source, epoch)) * self.context)

    def batch_at(self, step: int) -> list[Window]:
        """The global batch of a step, counted from 1."""
        return [self.window(slot) for slot in range(self.batch.first_slot(step), self.batch.first_slot(step + 1))]

    def steps_of(self, source: str, start: int, length: int, last_step: int) -> list[int]:
        """The steps up to ``last_step`` whose batch holds any of ``length`` tokens of a source from ``start``."""
        quota, size = quotas(dict(self.weights))[source], self.windows_of(source)
        touched = range(
            max(0, start - self.beyond) // self.context, min(size - 1, (start + length - 1) // self.context) + 1
        )
        steps = set()
        draws = quota * (self.batch.first_slot(last_step + 1) // BLOCK_SLOTS + 1)
        for epoch in range(draws // size + 1):
            for window in touched:
                draw = epoch * size + unpermute(window, size, self._epoch_key(source, epoch))
                slot = self._slot_of(source, draw, quota)
                steps.add(self.batch.step_of(slot))
        return sorted(step for step in steps if step <= last_step)

    def _slot_of(self, source: str, draw: int, quota: int) -> int:
        block, nth = divmod(draw, quota)
        places = [place for place, name in enumerate(self._layout(block)) if name == source]
        return block * BLOCK_SLOTS + places[nth]

    def _epoch_key(self, source: str, epoch: int) -> int:
        return random_bits(self.seed, "epoch", self.identity, source, epoch)

    def _layout(self, block: int) -> tuple[str, ...]:
        return _block_layout(self.weights, random_bits(self.seed, "block", self.identity, block))


@lru_cache(maxsize=64)
def _block_layout(weights: tuple[tuple[str, float], ...], key: int) -> tuple[str, ...]:
    """Which source each slot of a block belongs to."""
    slots = [name for name, share in quotas(dict(weights)).items() for _ in range(share)]
    return tuple(slots[permute(place, BLOCK_SLOTS, key)] for place in range(BLOCK_SLOTS))
