"""Continuing many texts at once, each by draws of its own: what one text gets does not depend on those beside it.

Prompts of different lengths are read together, padded behind their ends; from then on each row goes on at its own position, and sees
its own tokens alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from models.attention import sees
from models.draws import random_bits
from models.transformer import Transformer


class Rows:
    """Rows of a cache that go on: ``keys`` are the positions of all their tokens, (batch, time), -1 for padding."""

    def __init__(self, keys: Tensor) -> None:
        self.positions, self._keys = keys[:, -1:], keys

    def mask(self, band: int) -> Tensor:
        """(batch, 1, 1, time), True where the newest token sees a key."""
        return (sees(self.positions, self._keys, band) & (self._keys >= 0))[:, None, None]


@torch.inference_mode()
def sample(
    model: Transformer,
    prompts: Sequence[Sequence[int]],
    length: int,
    subjects: Sequence[object],
    seed: int,
    temperature: float = 1.0,
    stop: int | None = None,
    forbidden: Sequence[int] = (),
) -> list[list[int]]:
    """Up to ``length`` tokens behind each prompt, the ``stop`` token included; none of the ``forbidden`` ones.

    Row i draws by (seed, subjects[i], its token's number). Of a prompt the last tokens are read, so many that the answer fits
    into the context. Raises ValueError where it never does.
    """
    room = model.arch.context - length
    if room < 1:
        raise ValueError(f"{length} tokens behind a prompt do not fit into a context of {model.arch.context}")
    rows = [list(prompt[-room:]) for prompt in prompts]
    device, most = model.tokens.weight.device, max(map(len, rows))
    lengths = torch.tensor([len(row) for row in rows], device=device)
    ids = torch.tensor([row + [0] * (most - len(row)) for row in rows], device=device)
    places = torch.arange(most, device=device).expand(len(rows), most)
    keys = torch.where(places < lengths[:, None], places, -1)
    cache = model.eval().new_cache()
    states = model.hidden(ids, cache)[torch.arange(len(rows), device=device), lengths - 1]
    written: list[list[int]] = [[] for _ in rows]
    for number in range(length):
        logits = F.linear(states, model.tokens.weight).double()
        logits[:, list(forbidden)] = -torch.inf
        drawn = torch.tensor(
            [random_bits(seed, "token", one, number) / 2.0**64 for one in subjects], dtype=torch.double
        )
        tokens = draw(logits / temperature, drawn.to(device))
        done = [bool(row) and row[-1] == stop for row in written]
        for row, token, ended in zip(written, tokens.tolist(), done, strict=True):
            if not ended:
                row.append(token)
        if number == length - 1 or all(row[-1] == stop for row in written):
            break
        keys = torch.cat([keys, (lengths + number)[:, None]], 1)
        states = model.hidden(tokens[:, None], cache, layout=Rows(keys))[:, 0]  # type: ignore[arg-type]
    return written


def draw(logits: Tensor, uniforms: Tensor) -> Tensor:
    """The token at which the cumulative probability of each row passes its draw from [0, 1)."""
    reached = torch.softmax(logits, 1).cumsum(1)
    return torch.searchsorted(reached, (uniforms * reached[:, -1])[:, None], right=True)[:, 0].clamp(
        max=logits.shape[1] - 1
    )
