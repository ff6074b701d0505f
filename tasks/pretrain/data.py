"""The training data of a run: token streams in the order of ``batch(step)``, and the way back from tokens to steps."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch

from models.training.loop import Batch
from models.training.order import Order
from tasks.pack import TokenStream, sources_of
from tasks.pretrain.settings import PretrainSettings
from warehouse.artifact import Ref, load, read_tables
from warehouse.errors import GristmillError
from warehouse.store import Store


class TrainingData:
    """Batches of a run. ``rank`` of ``world`` takes every world-th sequence of the global batch."""

    def __init__(self, store: Store, tokens: Ref, settings: PretrainSettings, rank: int = 0, world: int = 1) -> None:
        self._store, self._tokens = store, tokens
        wanted = {source: settings.mixture.get(source, 0.0) for source in sources_of(store, tokens)}
        weights = {source: weight for source, weight in wanted.items() if weight > 0}
        if not weights:
            raise GristmillError(
                "no source with training tokens has a weight above 0: give one a weight, or loosen its policy"
            )
        self.streams = {source: TokenStream(store, tokens, source, "train") for source in weights}
        self.validation = {source: TokenStream(store, tokens, source, "validation") for source in weights}
        self.context, self.rank, self.world = settings.context, rank, world
        try:
            self.order = Order(
                identity=tokens.key,
                seed=settings.seed,
                context=settings.context,
                batch=settings.batch,
                streams=tuple((source, stream.length) for source, stream in self.streams.items()),
                weights=tuple(sorted(weights.items())),
            )
        except ValueError as error:
            raise GristmillError(str(error)) from error

    def batch_at(self, step: int) -> Batch:
        """This rank's ids and targets of a step, (sequences, context) each."""
        windows = self.order.batch_at(step)[self.rank :: self.world]
        return _shifted([self.streams[window.source].read(window.start, self.context + 1) for window in windows])

    def documents_at(self, step: int) -> list[str]:
        """The doc_ids in a step's global batch."""
        spans = read_tables(
            self._store, self._tokens, "token_spans", ["doc_id", "shard", "start", "length"]
        ).to_pylist()
        pieces = [
            piece
            for window in self.order.batch_at(step)
            for piece in self.streams[window.source].pieces(window.start, self.context + 1)
        ]
        return [
            span["doc_id"]
            for span in spans
            if any(
                span["shard"] == shard and span["start"] < start + length and start < span["start"] + span["length"]
                for shard, start, length in pieces
            )
        ]

    def validation_batches(self, sequences: int) -> list[Batch]:
        """About so many held-out windows, spread evenly over each source's stream in proportion to the mixture."""
        total = sum(weight for _, weight in self.order.weights)
        rows = []
        for source, weight in self.order.weights:
            stream = self.validation[source]
            available = (stream.length - 1) // self.context
            count = min(available, max(1, round(sequences * weight / total)))
            rows += [stream.read(i * available // count * self.context, self.context + 1) for i in range(count)]
        return [_shifted(rows[i : i + 16]) for i in range(0, len(rows), 16)]


def _shifted(rows: list[np.ndarray[Any, np.dtype[np.int64]]]) -> Batch:
    tokens = torch.from_numpy(np.stack(rows))
    return tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()


class StoredOrder:
    """warehouse.catalog.TrainingOrder over the training runs of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._data = lru_cache(maxsize=8)(self._load)

    def windows(self, run: str, step: int) -> list[dict[str, Any]]:
        """The pieces of token shards in a step's batch."""
        data = self._data(run)
        return [
            {"slot": window.slot, "source": window.source, "shard": shard, "start": start, "length": length}
            for window in data.order.batch_at(step)
            for shard, start, length in data.streams[window.source].pieces(window.start, data.context + 1)
        ]

    def steps(self, run: str, shard: str, start: int, length: int) -> list[int]:
        """The steps of a run that saw any token of a span, the end of the run included."""
        data = self._data(run)
        for source, stream in data.streams.items():
            for known in stream.shards:
                if known.name == shard:
                    return data.order.steps_of(source, known.offset + start, length, self._last_step(run))
        return []

    def _load(self, run: str) -> TrainingData:
        manifest = load(self._store, Ref(stage="pretrain", key=run))
        return TrainingData(
            self._store,
            Ref(stage="pack", key=manifest.inputs["tokens"]),
            PretrainSettings.model_validate(manifest.settings),
        )

    def _last_step(self, run: str) -> int:
        return PretrainSettings.model_validate(load(self._store, Ref(stage="pretrain", key=run)).settings).steps
