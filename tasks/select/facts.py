"""What a selection decides about: each source's signals under its policy, and the clusters of duplicates over all sources."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from itertools import groupby
from operator import itemgetter

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, field_validator

from tasks.core.stage import Input, StageSettings
from tasks.decontaminate.cut import CutSettings
from tasks.select.likeness import Duplicate, Likeness
from tasks.select.measured import read_signals
from tasks.select.policy import Check, Policy, passing
from warehouse.artifact import read_tables
from warehouse.store import Store


class SelectSettings(StageSettings):
    """The policy of each source, and what becomes of duplicates."""

    policies: dict[str, Policy] = Field(description="source -> its policy")
    remove_duplicates: bool = Field(True, description="keep one document of each duplicate cluster")
    repeats: dict[int, int] = Field(
        default={},
        description="documents of a cluster -> how often the one that is kept of it is seen, as FineWeb2 re-weights (2 = 2, 5 = 3: "
        "twice where there were two to four of it, three times where there were more)",
    )
    seed: int = Field(1, description="seed of the draws that policies make, each by doc_id")
    cut: CutSettings = Field(CutSettings(), description="what goes with contaminated text")

    @field_validator("repeats")
    @classmethod
    def _sensible(cls, repeats: dict[int, int]) -> dict[int, int]:
        if any(size < 2 or times < 1 for size, times in repeats.items()):
            raise ValueError("repeats must name cluster sizes from 2 on, and be at least 1")
        return repeats


class Facts:
    """What a policy decides about: the signals of each source, and the clusters of duplicates over all of them."""

    def __init__(self, store: Store, inputs: Mapping[str, Input], settings: SelectSettings) -> None:
        self._store, self._inputs, self._settings = store, inputs, settings

    def signals(self, source: str, columns: Iterable[str]) -> pa.Table:
        """Columns of a source's signals, with doc_id."""
        return read_signals(self._store, self._inputs, source, columns)

    def checks(self, source: str) -> tuple[pa.Table, list[Check]]:
        """The source's policy over all of its documents."""
        policy = self._settings.policies[source]
        table = self.signals(source, policy.signals)
        return table, policy.checks(table, self._settings.seed, self.cutoffs[source])

    @cached_property
    def cutoffs(self) -> dict[str, dict[str, float]]:
        """Source -> signal -> the value at which its ``top_share`` cuts the source off."""
        return {
            source: policy.cutoffs(lambda signal, source=source: self.signals(source, [signal])[signal])  # type: ignore[misc]
            for source, policy in self._settings.policies.items()
        }

    @cached_property
    def clusters(self) -> pa.Table:
        """The duplicates in their clusters' order of preference."""
        table = read_tables(self._store, self._inputs["duplicates"].ref, "duplicates")
        return table.sort_by([("cluster_id", "ascending"), ("rank", "ascending")])

    def better(self) -> dict[str, Duplicate]:
        """Document -> the one of its cluster that is kept instead.

        Where a rule removes the preferred member, the next one that passes survives, and those that are not verified to
        be like it stand for themselves.
        """
        if not self._settings.remove_duplicates or not len(self.clusters):
            return {}
        passes = self._passing(self.clusters["doc_id"]).tolist()
        columns = (self.clusters[name].to_pylist() for name in ("cluster_id", "doc_id", "kind", "jaccard"))
        found: dict[str, Duplicate] = {}
        orphans: list[list[tuple[str, bool]]] = []
        for _, rows in groupby(zip(*columns, passes, strict=True), key=itemgetter(0)):
            (_, preferred, _, _, kept), *others = rows
            if kept:
                found |= {doc_id: Duplicate(kind, jaccard, preferred) for _, doc_id, kind, jaccard, _ in others}
            else:
                orphans.append([(preferred, False), *((doc_id, ok) for _, doc_id, _, _, ok in others)])
        if orphans:
            pairs = read_tables(
                self._store, self._inputs["duplicates"].ref, "duplicate_pairs", ["a", "b", "verdict", "jaccard"]
            )
            likeness = Likeness([doc_id for members in orphans for doc_id, _ in members], pairs)
            for members in orphans:
                found |= likeness.elected(members)
        return found

    def _passing(self, doc_ids: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
        """Which of some documents break no rule of their source."""
        out = np.zeros(len(doc_ids), np.bool_)
        for source in self._settings.policies:
            table, checks = self.checks(source)
            places = pc.index_in(doc_ids, value_set=table["doc_id"].combine_chunks())
            here = pc.is_valid(places).to_numpy()
            out[here] |= passing(checks, len(table))[places.drop_null().to_numpy()]
        return out

    def holders(self) -> dict[str, tuple[pa.ChunkedArray, npt.NDArray[np.bool_]]]:
        """Source -> its documents, and where each stands: the same document may be in several archives, and is taken from one."""
        judged = {source: self.checks(source) for source in sorted(self._settings.policies)}
        masks = where_it_stands(
            [table["doc_id"] for table, _ in judged.values()],
            [passing(checks, len(table)) for table, checks in judged.values()],
        )
        return {
            source: (table["doc_id"], mask) for (source, (table, _)), mask in zip(judged.items(), masks, strict=True)
        }

    def repeats(self) -> dict[str, int]:
        """Document of a cluster -> how often it is seen, where that is more than once."""
        if not self._settings.repeats:
            return {}
        steps = sorted(self._settings.repeats.items(), reverse=True)
        times = [
            next((times for least, times in steps if size >= least), 1)
            for size in self.clusters["cluster_size"].to_pylist()
        ]
        return dict(zip(self.clusters["doc_id"].to_pylist(), times, strict=True))


def where_it_stands(columns: list[pa.ChunkedArray], passes: list[npt.NDArray[np.bool_]]) -> list[npt.NDArray[np.bool_]]:
    """Of columns of doc_ids, which row each document is taken from: the first that its source lets pass, else the first."""
    ids = pa.chunked_array([chunk for column in columns for chunk in column.chunks], pa.string())
    codes = pc.index_in(ids, value_set=ids.unique()).to_numpy()
    order = np.lexsort((np.arange(len(codes)), ~np.concatenate([*passes, np.empty(0, np.bool_)]), codes))
    chosen = np.zeros(len(codes), np.bool_)
    chosen[order[np.append(True, codes[order][1:] != codes[order][:-1])] if len(order) else order] = True
    return np.split(chosen, np.cumsum([len(column) for column in columns])[:-1])
