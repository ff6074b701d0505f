"""The order of a run's training data: which pieces of token shards a step reads, and the way back."""

from __future__ import annotations

from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from models.training.order import Order
from tasks.tokens.pack import TokenStream, sources_of
from tasks.train.runs import LATEST, KnownRun, find_run
from tasks.train.settings import PretrainSettings
from warehouse.artifact import Ref, read_tables
from warehouse.errors import GristmillError, MissingArtifact
from warehouse.store import Store


class _Spans(NamedTuple):
    """The documents of a shard: which, from which token, and of how many."""

    doc_ids: list[str]
    starts: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]


class DataOrder:
    """The trained sources' token streams in the order of ``batch(step)``."""

    def __init__(self, store: Store, tokens: Ref, settings: PretrainSettings) -> None:
        self._store, self._tokens = store, tokens
        self._of_shard: dict[str, _Spans] = {}
        wanted = {source: settings.mixture.get(source, 0.0) for source in sources_of(store, tokens)}
        weights = {source: weight for source, weight in wanted.items() if weight > 0}
        if not weights:
            raise GristmillError(
                "no source with training tokens has a weight above 0: give one a weight, or loosen its policy"
            )
        self.streams = {source: TokenStream(store, tokens, source, "train") for source in weights}
        traits = settings.model.traits
        try:
            self.order = Order(
                identity=tokens.key,
                seed=settings.seed,
                context=settings.model.context - traits.added_in_a_sequence,
                batch=settings.batches,
                streams=tuple((source, stream.length) for source, stream in self.streams.items()),
                weights=tuple(sorted(weights.items())),
                beyond=traits.beyond,
            )
        except ValueError as error:
            raise GristmillError(str(error)) from error

    def documents_at(self, step: int) -> list[str]:
        """The doc_ids in a step's global batch."""
        return list(dict.fromkeys(row["doc_id"] for row in self.spans_at(step)))

    def spans_at(self, step: int) -> list[dict[str, Any]]:
        """The stretches of documents that a step's global batch reads, slot by slot."""
        found = []
        for piece in self.pieces_at(step):
            spans = self._spans(piece["shard"])
            first, last = piece["start"], piece["start"] + piece["length"]
            for row in range(
                int(np.searchsorted(spans.starts, first, "right")) - 1, int(np.searchsorted(spans.starts, last))
            ):
                start, stop = max(first, int(spans.starts[row])), min(last, int(spans.starts[row] + spans.lengths[row]))
                found.append(piece | {"doc_id": spans.doc_ids[row], "start": start, "length": stop - start})
        return found

    def steps_of(self, shard: str, start: int, length: int, last_step: int) -> list[int]:
        """The steps up to ``last_step`` whose batch holds any token of a span."""
        for source, stream in self.streams.items():
            for known in stream.shards:
                if known.name == shard:
                    return self.order.steps_of(source, known.offset + start, length, last_step)
        return []

    def _spans(self, shard: str) -> _Spans:
        """The documents of a shard, in the order in which they stand in it: they fill it without gaps."""
        if shard not in self._of_shard:
            columns = ["doc_id", "shard", "start", "length"]
            table = read_tables(self._store, self._tokens, "token_spans", columns, [PurePosixPath(shard).stem])
            table = table.filter(pc.equal(table["shard"], shard)).sort_by("start")
            self._of_shard[shard] = _Spans(
                table["doc_id"].to_pylist(), table["start"].to_numpy(), table["length"].to_numpy()
            )
        return self._of_shard[shard]

    def pieces_at(self, step: int) -> list[dict[str, Any]]:
        """The pieces of token shards that a step's global batch reads."""
        return [
            {"slot": window.slot, "source": window.source, "shard": shard, "start": start, "length": length}
            for window in self.order.batch_at(step)
            for shard, start, length in self.streams[window.source].pieces(window.start, self.order.window_tokens)
        ]


class StoredOrder:
    """warehouse.catalog.TrainingOrder over the training runs of a store, finished or under way.

    A run is named as in ``find_run``. What a run was trained on is looked up in its own tokens, not in the newest.
    """

    def __init__(self, store: Store, as_of: str | None = None, recipe: str = "") -> None:
        self._store, self._as_of, self._recipe = store, as_of, recipe
        self._known = lru_cache(maxsize=8)(self._load)

    def documents(self, name: str, step: int) -> list[dict[str, Any]]:
        """The stretches of documents in a step's batch; none for a step that the run does not have."""
        try:
            run, order = self._known(name)
        except MissingArtifact:
            return []
        found = order.spans_at(step) if 1 <= step <= run.settings.last_step else []
        return [{**row, "run": run.key} for row in found]

    def steps(self, name: str, doc_id: str) -> list[dict[str, Any]]:
        """The steps of a run that saw any token of a document, the end of the run included, and where the document stands."""
        run, order = self._known(name)
        spans = read_tables(self._store, run.tokens, "token_spans", ["doc_id", "shard", "start", "length", "split"])
        spans = spans.filter(pc.and_(pc.equal(spans["doc_id"], doc_id), pc.equal(spans["split"], "train")))
        return [
            {"shard": span["shard"], "start": span["start"], "length": span["length"], "step": step}
            for span in spans.to_pylist()
            for step in order.steps_of(span["shard"], span["start"], span["length"], run.settings.last_step)
        ]

    def _load(self, name: str) -> tuple[KnownRun, DataOrder]:
        try:
            run = find_run(self._store, name, self._recipe, self._as_of)
        except MissingArtifact:
            if name != LATEST:
                raise
            run = find_run(self._store, name, as_of=self._as_of)  # of whatever recipe the store has
        return run, DataOrder(self._store, run.tokens, run.settings)
