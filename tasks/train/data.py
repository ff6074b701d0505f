"""The training data of a run: the batches of its steps, and what it is validated on."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch

from models.objectives.masked_tokens import MaskedBatch
from models.training.loop import Batch
from models.training.masking import Vocabulary, masked_sequence
from models.training.order import Window
from tasks.tokens.pack import TokenStream
from tasks.tokens.tokenizer import Codec
from tasks.train.order import DataOrder
from tasks.train.settings import SHORTEST_HELD_OUT, PretrainSettings
from warehouse.artifact import Ref
from warehouse.store import Store

Tokens = np.ndarray[Any, np.dtype[np.int64]]


class TrainingData(DataOrder):
    """Batches of a run. ``rank`` of ``world`` takes every world-th sequence of the global batch.

    ``vocabulary`` is what BERT's masking asks for; a causal model needs none.
    """

    def __init__(
        self,
        store: Store,
        tokens: Ref,
        settings: PretrainSettings,
        rank: int = 0,
        world: int = 1,
        vocabulary: Vocabulary | None = None,
    ) -> None:
        super().__init__(store, tokens, settings)
        self._settings, self._vocabulary = settings, vocabulary
        self.validation = {source: TokenStream(store, tokens, source, "validation") for source in self.streams}
        self.rank, self.world = rank, world

    def batch_at(self, step: int) -> Batch:
        """This rank's part of a step: (ids, targets), (sequences, context) each, or a MaskedBatch."""
        windows = self.order.batch_at(step)
        rows = range(self.rank, len(windows), self.world)
        texts = [self._read(windows[row]) for row in rows or [0]]
        if self._vocabulary is None:
            batch = _shifted(texts)
        else:
            # The other sentence is of the batch's next window: the step alone tells every document that is in it.
            others = [self._read(windows[(row + 1) % len(windows)]) for row in rows or [0]]
            batch = self._masked(texts, others, [("step", step, row) for row in rows or [0]])
        return tuple(tensor[: len(rows)] for tensor in batch)  # a rank may have none

    def sequences_at(self, step: int) -> int:
        """Sequences of the global batch."""
        return self._settings.batches.size(step)

    def tokens_after(self, step: int) -> int:
        """Tokens seen when a step ends."""
        return self._settings.tokens_after(step)

    def held_out(self) -> list[Batch]:
        """About ``validation_sequences`` held-out windows, spread evenly over each source in proportion to the mixture."""
        return self._validation_batches

    def _read(self, window: Window) -> Tokens:
        return self.streams[window.source].read(window.start, self.order.window_tokens)

    def _masked(
        self, texts: list[Tokens], others: list[Tokens], subjects: Sequence[tuple[str, *tuple[int, ...]]]
    ) -> Batch:
        """Windows, what may stand for their second halves, and what the draws depend on, to a batch."""
        assert self._vocabulary is not None
        made = [
            masked_sequence(text, other, self._vocabulary, self._settings.seed, *subject)
            for text, other, subject in zip(texts, others, subjects, strict=True)
        ]
        columns = {
            name: torch.from_numpy(np.stack([getattr(sequence, name) for sequence in made]))
            for name in MaskedBatch._fields
        }
        return MaskedBatch(**columns)

    @cached_property
    def _validation_batches(self) -> list[Batch]:
        total = sum(weight for _, weight in self.order.weights)
        rows: list[Tokens] = []
        for source, weight in self.order.weights:
            stream, length = self.validation[source], self.order.context
            available = (stream.length - self.order.beyond) // length
            count = min(available, max(1, round(self._settings.validation_sequences * weight / total)))
            rows += [stream.read(i * available // count * length, self.order.window_tokens) for i in range(count)]
        if not rows:  # nothing held out is as long as the context: the longest of it, in a window of its own length
            longest = max(self.validation.values(), key=lambda stream: stream.length)
            rows = [longest.read(0, longest.length)] if longest.length >= SHORTEST_HELD_OUT else []
        size = self._settings.micro_batch
        parts = [slice(first, first + size) for first in range(0, len(rows), size)]
        if self._vocabulary is None:
            return [_shifted(rows[part]) for part in parts]
        others, subjects = [*rows[-1:], *rows[:-1]], [("held out", row) for row in range(len(rows))]
        return [self._masked(rows[part], others[part], subjects[part]) for part in parts]


def masking_vocabulary(codec: Codec, whole_words: bool) -> Vocabulary:
    """What BERT's masking has to know of a tokenizer."""
    if not whole_words:
        return Vocabulary(codec.size, codec.end_of_text)
    texts = [codec.decode([token]) for token in range(codec.size)]
    return Vocabulary(
        codec.size,
        codec.end_of_text,
        begins_inside=np.array([text[:1].isalnum() for text in texts]),
        ends_inside=np.array([text[-1:].isalnum() for text in texts]),
    )


def _shifted(rows: list[Tokens]) -> Batch:
    tokens = torch.from_numpy(np.stack(rows))
    return tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
