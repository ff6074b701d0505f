"""What another policy would keep: two policies over the same facts, without measuring anything anew."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from models.draws import uniform
from tasks.core.stage import Input
from tasks.select.facts import Facts, SelectSettings, where_it_stands
from tasks.select.policy import Check, passing
from warehouse.artifact import read_tables
from warehouse.store import Store

DUPLICATE = "duplicate"


class Verdicts(NamedTuple):
    """A policy over one source: its checks, and for each document the first that it breaks (their number: a duplicate; -1: kept)."""

    checks: list[Check]
    first: npt.NDArray[np.int64]

    @property
    def kept(self) -> npt.NDArray[np.bool_]:
        return self.first < 0

    def rule(self, row: int) -> str:
        """Why a document goes."""
        at = int(self.first[row])
        return DUPLICATE if at == len(self.checks) else self.checks[at].label

    def reason(self, row: int) -> str:
        """The same with the value and the threshold."""
        at = int(self.first[row])
        if at == len(self.checks) or self.checks[at].values is None:
            return self.rule(row)
        check = self.checks[at]
        assert check.values is not None
        return f"{check.label}: {check.values[row]:.4g}"

    def by_rule(self) -> dict[str, int]:
        """Rule -> documents that it was the first to remove."""
        counts = np.bincount(self.first[self.first >= 0], minlength=len(self.checks) + 1)
        labels = [*(check.label for check in self.checks), DUPLICATE]
        return {label: int(count) for label, count in zip(labels, counts, strict=True)}


class Comparison(NamedTuple):
    """One source under two policies."""

    source: str
    doc_ids: pa.ChunkedArray
    bytes: npt.NDArray[np.int64]
    now: Verdicts
    then: Verdicts

    def sample(self, rows: npt.NDArray[np.bool_], count: int) -> list[int]:
        """So many of some documents, the same ones each time."""
        places = np.nonzero(rows)[0]
        draws = uniform(1, "what-if", self.doc_ids.take(pa.array(places)).to_pylist())
        return [int(place) for place in places[np.argsort(draws, kind="stable")[:count]]]


def compare(store: Store, inputs: Mapping[str, Input], now: SelectSettings, then: SelectSettings) -> list[Comparison]:
    """Every source under two settings of the selection. ``inputs`` are those of the stage select.

    A text of which a policy takes out every line counts as kept here: texts are not read.
    """
    sides = [_verdicts(Facts(store, dict(inputs), settings), settings) for settings in (now, then)]
    found = []
    for source in now.policies:
        documents = read_tables(store, inputs[f"documents/{source}"].ref, "documents", ["doc_id", "n_bytes"])
        sizes = documents["n_bytes"].to_numpy()
        found.append(Comparison(source, documents["doc_id"], sizes, sides[0][source], sides[1][source]))
    return found


def _verdicts(facts: Facts, settings: SelectSettings) -> dict[str, Verdicts]:
    better = pa.array(list(facts.better()), pa.string())
    judged = {source: facts.checks(source) for source in sorted(settings.policies)}
    taken = where_it_stands(
        [table["doc_id"] for table, _ in judged.values()],
        [passing(checks, len(table)) for table, checks in judged.values()],
    )
    others = iter(~one for one in taken)
    found = {}
    for source, (table, checks) in judged.items():
        first = np.full(len(table), -1, np.int64)
        for number, check in enumerate(checks):
            first[(first < 0) & check.broken] = number
        duplicate = pc.is_in(table["doc_id"], value_set=better).to_numpy()
        duplicate = duplicate | (next(others) & settings.remove_duplicates)
        first[(first < 0) & duplicate] = len(checks)
        found[source] = Verdicts(checks, first)
    return found
