"""The training data of a run: token streams in the order of ``batch(step)``, and the way back from tokens to steps."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import torch

from models.bert import MaskedBatch
from models.training.loop import Batch
from models.training.masking import ADDED_IN_A_SEQUENCE, Vocabulary, masked_sequence
from models.training.order import Order, Window
from tasks.pack import TokenStream, sources_of
from tasks.pretrain.settings import PretrainSettings
from tasks.tokenizer import Codec
from warehouse.artifact import Ref, load, read_tables
from warehouse.errors import GristmillError
from warehouse.store import Store

Tokens = np.ndarray[Any, np.dtype[np.int64]]


class TrainingData:
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
        self._store, self._tokens, self._settings, self._vocabulary = store, tokens, settings, vocabulary
        wanted = {source: settings.mixture.get(source, 0.0) for source in sources_of(store, tokens)}
        weights = {source: weight for source, weight in wanted.items() if weight > 0}
        if not weights:
            raise GristmillError(
                "no source with training tokens has a weight above 0: give one a weight, or loosen its policy"
            )
        self.streams = {source: TokenStream(store, tokens, source, "train") for source in weights}
        self.validation = {source: TokenStream(store, tokens, source, "validation") for source in weights}
        self.rank, self.world = rank, world
        masked = settings.model.family == "bert"
        try:
            self.order = Order(
                identity=tokens.key,
                seed=settings.seed,
                context=settings.model.context - (ADDED_IN_A_SEQUENCE if masked else 0),
                batch=settings.batches,
                streams=tuple((source, stream.length) for source, stream in self.streams.items()),
                weights=tuple(sorted(weights.items())),
                beyond=0 if masked else 1,
            )
        except ValueError as error:
            raise GristmillError(str(error)) from error

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

    def documents_at(self, step: int) -> list[str]:
        """The doc_ids in a step's global batch."""
        spans = read_tables(
            self._store, self._tokens, "token_spans", ["doc_id", "shard", "start", "length"]
        ).to_pylist()
        pieces = self.pieces_at(step)
        return [
            span["doc_id"]
            for span in spans
            if any(
                span["shard"] == piece["shard"]
                and span["start"] < piece["start"] + piece["length"]
                and piece["start"] < span["start"] + span["length"]
                for piece in pieces
            )
        ]

    def pieces_at(self, step: int) -> list[dict[str, Any]]:
        """The pieces of token shards that a step's global batch reads."""
        return [
            {"slot": window.slot, "source": window.source, "shard": shard, "start": start, "length": length}
            for window in self.order.batch_at(step)
            for shard, start, length in self.streams[window.source].pieces(window.start, self.order.window_tokens)
        ]

    def _read(self, window: Window) -> Tokens:
        return self.streams[window.source].read(window.start, self.order.window_tokens)

    def _masked(self, texts: list[Tokens], others: list[Tokens], subjects: Sequence[tuple[object, ...]]) -> Batch:
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


class StoredOrder:
    """warehouse.catalog.TrainingOrder over the training runs of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._data = lru_cache(maxsize=8)(self._load)

    def windows(self, run: str, step: int) -> list[dict[str, Any]]:
        """The pieces of token shards in a step's batch."""
        return self._data(run).pieces_at(step)

    def steps(self, run: str, shard: str, start: int, length: int) -> list[int]:
        """The steps of a run that saw any token of a span, the end of the run included."""
        data = self._data(run)
        for source, stream in data.streams.items():
            for known in stream.shards:
                if known.name == shard:
                    last = self._settings(run).last_step
                    return data.order.steps_of(source, known.offset + start, length, last)
        return []

    def _load(self, run: str) -> TrainingData:
        tokens = Ref(stage="pack", key=load(self._store, Ref(stage="pretrain", key=run)).inputs["tokens"])
        return TrainingData(self._store, tokens, self._settings(run))

    def _settings(self, run: str) -> PretrainSettings:
        return PretrainSettings.model_validate(load(self._store, Ref(stage="pretrain", key=run)).settings)
