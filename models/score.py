"""Scoring: how likely a model finds text. One contract for networks and n-gram baselines."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.bert import Bert
from models.loss import log_probabilities
from models.objectives.masked_tokens import MaskedBatch
from models.transformer import Transformer

Tokens = npt.NDArray[np.int64]
Nats = npt.NDArray[np.float64]
BATCH_TOKENS = 16_384  # of a batch of windows


class Scored(NamedTuple):
    """Token by token: log probability in nats, and whether the token was the model's first choice."""

    log_probability: Nats
    greedy: npt.NDArray[np.bool_]


class LanguageModel(Protocol):
    """What the evaluation asks of a model."""

    def score(self, documents: list[Tokens]) -> list[Scored]:
        """Scores every token of each document but the first, which is only context."""


class MaskedScores(NamedTuple):
    """A row a sequence: nats and right guesses summed over its hidden tokens, how many those are, and the label right."""

    nats: Nats
    right: Nats
    hidden: Nats
    label_right: Nats


@torch.inference_mode()
def score_masked(model: Bert, batches: Iterable[tuple[Tensor, ...]], bf16: bool = False) -> MaskedScores:
    """How well hidden tokens are guessed; ``bf16`` as in ``Network``."""
    device = model.eval().tokens.weight.device
    columns: list[list[Tensor]] = [[], [], [], []]
    for raw in batches:
        batch = MaskedBatch(*(tensor.to(device) for tensor in raw))
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
            hidden = model.hidden(batch.ids, types=batch.types)
            logits = model.masked_logits(hidden, batch.positions).float()
            follows = model.follows(hidden).float()
        nats = -torch.log_softmax(logits, -1).gather(-1, batch.targets[..., None])[..., 0]
        right = (logits.argmax(-1) == batch.targets).float()
        label = (follows.argmax(-1) == batch.not_next).float()
        sums = [(value * batch.weights).sum(1) for value in (nats, right, torch.ones_like(right))]
        for column, value in zip(columns, [*sums, label], strict=True):
            column.append(value.double().cpu())
    return MaskedScores(*(torch.cat(column).numpy() for column in columns))


class Network:
    """A decoder as a language model: long documents in windows of the context length, moved by ``stride`` tokens.

    A stride of 0 is half the context: every token but those of the first half of a document's first window is then
    scored with at least half a context before it. ``bf16`` multiplies in bfloat16: never by what the machine has, or
    scores would depend on it.
    """

    def __init__(self, model: Transformer, batch: int = 64, bf16: bool = False, stride: int = 0) -> None:
        self.model, self.batch, self.bf16 = model.eval(), batch, bf16
        self.stride = min(stride or model.arch.context // 2, model.arch.context)
        self.device = next(model.parameters()).device

    def score(self, documents: list[Tokens]) -> list[Scored]:
        """See LanguageModel."""
        out = [Scored(np.zeros(len(tokens) - 1), np.zeros(len(tokens) - 1, dtype=bool)) for tokens in documents]
        windows = [(index, start) for index, tokens in enumerate(documents) for start in self._starts(len(tokens) - 1)]
        windows.sort(key=lambda w: (min(len(documents[w[0]]) - 1 - w[1], self.model.arch.context), w))
        together = max(1, min(self.batch, BATCH_TOKENS // self.model.arch.context))
        for first in range(0, len(windows), together):
            self._score_windows(windows[first : first + together], documents, out)
        return out

    def _starts(self, predicted: int) -> list[int]:
        last = max(0, predicted - self.model.arch.context)
        return [*range(0, last, self.stride), last]

    @torch.inference_mode()
    def _score_windows(self, windows: list[tuple[int, int]], documents: list[Tokens], out: list[Scored]) -> None:
        context = self.model.arch.context
        pieces = [documents[index][start : start + context + 1] for index, start in windows]
        ids = torch.zeros(len(pieces), max(len(piece) for piece in pieces) - 1, dtype=torch.int64)
        targets = torch.zeros_like(ids)
        for row, piece in enumerate(pieces):
            ids[row, : len(piece) - 1] = torch.from_numpy(piece[:-1])
            targets[row, : len(piece) - 1] = torch.from_numpy(piece[1:])
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16):
            hidden = self.model.hidden(ids.to(self.device)).flatten(0, 1)
            found = log_probabilities(hidden, self.model.tokens.weight, targets.to(self.device).flatten())
        nats, chosen = (values.view(ids.shape).cpu() for values in found)
        for row, (index, start) in enumerate(windows):
            length = len(pieces[row]) - 1
            # A later window scores again what an earlier one saw; the one with more context wins.
            new = 0 if start == 0 else max(0, self._end_before(len(documents[index]) - 1, start) - start)
            out[index].log_probability[start + new : start + length] = nats[row, new:length].double().numpy()
            out[index].greedy[start + new : start + length] = chosen[row, new:length].numpy()

    def _end_before(self, predicted: int, start: int) -> int:
        """Where the window before the one at ``start`` ended."""
        starts = self._starts(predicted)
        return starts[starts.index(start) - 1] + self.model.arch.context
