"""The order of a run's training data: which pieces of token shards a step reads, and the way back."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from models.training.masking import ADDED_IN_A_SEQUENCE
from models.training.order import Order
from tasks.pack import TokenStream, sources_of
from tasks.pretrain.settings import PretrainSettings
from warehouse.artifact import Ref, load, read_tables
from warehouse.errors import GristmillError
from warehouse.store import Store


class DataOrder:
    """The trained sources' token streams in the order of ``batch(step)``."""

    def __init__(self, store: Store, tokens: Ref, settings: PretrainSettings) -> None:
        self._store, self._tokens = store, tokens
        wanted = {source: settings.mixture.get(source, 0.0) for source in sources_of(store, tokens)}
        weights = {source: weight for source, weight in wanted.items() if weight > 0}
        if not weights:
            raise GristmillError(
                "no source with training tokens has a weight above 0: give one a weight, or loosen its policy"
            )
        self.streams = {source: TokenStream(store, tokens, source, "train") for source in weights}
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


class StoredOrder:
    """warehouse.catalog.TrainingOrder over the training runs of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._order = lru_cache(maxsize=8)(self._load)

    def windows(self, run: str, step: int) -> list[dict[str, Any]]:
        """The pieces of token shards in a step's batch; none for a step that the run does not have."""
        return self._order(run).pieces_at(step) if 1 <= step <= self._settings(run).last_step else []

    def steps(self, run: str, shard: str, start: int, length: int) -> list[int]:
        """The steps of a run that saw any token of a span, the end of the run included."""
        trained = self._order(run)
        for source, stream in trained.streams.items():
            for known in stream.shards:
                if known.name == shard:
                    last = self._settings(run).last_step
                    return trained.order.steps_of(source, known.offset + start, length, last)
        return []

    def _load(self, run: str) -> DataOrder:
        tokens = Ref(stage="pack", key=load(self._store, Ref(stage="pretrain", key=run)).inputs["tokens"])
        return DataOrder(self._store, tokens, self._settings(run))

    def _settings(self, run: str) -> PretrainSettings:
        return PretrainSettings.model_validate(load(self._store, Ref(stage="pretrain", key=run)).settings)
