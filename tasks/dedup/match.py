"""match: signatures to duplicates. LSH finds candidates, exact Jaccard decides, components make clusters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from tasks.dedup import minhash
from tasks.stage import Made, Report, Stage, StageSettings
from warehouse import schemas
from warehouse.artifact import Counts, PartWriter, load, read_tables

STRENGTH = ("url", "exact", "near")  # strongest first


class MatchSettings(StageSettings):
    """When two documents count as one."""

    threshold: float = Field(
        0.8, gt=0, le=1, description="smallest exact Jaccard similarity of word 5-grams that joins two documents"
    )
    bands: int = Field(16, ge=1, description="LSH bands")
    rows: int = Field(8, ge=1, description="signature rows in a band")
    priority: dict[str, int] = Field(default={}, description="source -> priority: the highest survives")

    @model_validator(mode="after")
    def _fits(self) -> MatchSettings:
        if self.bands * self.rows > minhash.NUM_PERM:
            raise ValueError(f"bands x rows is {self.bands * self.rows}, but a signature has {minhash.NUM_PERM} rows")
        return self


class Pair(NamedTuple):
    """Two documents by row number, and what was found."""

    a: int
    b: int
    band: int
    jaccard: float
    verdict: str


class Match(Stage):
    """The duplicate clusters over all sources. Inputs: ``signatures/<source>`` and ``documents/<source>``."""

    name = "match"
    version = 1
    settings: MatchSettings

    def plan(self) -> Sequence[str]:
        return ["clusters"]

    def documents_expected(self) -> int:
        return sum(load(self.store, self.inputs[name].ref).counts.kept for name in self._names("documents"))

    def make(self, part: str, writer: PartWriter, report: Report) -> Made:
        """Equal URLs and texts first, then verified near pairs, then components and their order of preference."""
        documents = self._signatures()
        equal = self._equal_pairs(documents, "url", "url") + self._equal_pairs(documents, "text_digest", "exact")
        near = self._near_pairs(documents, {(pair.a, pair.b) for pair in equal})
        pairs = sorted(equal + near)
        writer.table("duplicates", self._clusters(documents, [pair for pair in pairs if pair.verdict != "rejected"]))
        ids = documents["doc_id"].to_pylist()
        writer.table(
            "duplicate_pairs",
            pa.Table.from_pylist(
                [
                    {"a": ids[p.a], "b": ids[p.b], "band": p.band, "jaccard": p.jaccard, "verdict": p.verdict}
                    for p in pairs
                ],
                schema=schemas.DUPLICATE_PAIRS,
            ),
        )
        total = documents.num_rows
        return Made(counts=Counts(documents_in=total, kept=total))

    def _names(self, kind: str) -> list[str]:
        return sorted(name for name in self.inputs if name.startswith(f"{kind}/"))

    def _signatures(self) -> pa.Table:
        """All signatures with their source's priority, sorted by doc_id: row numbers depend on content alone."""
        tables = []
        for name in self._names("signatures"):
            table = read_tables(self.store, self.inputs[name].ref, "signatures")
            priority = self.settings.priority.get(name.split("/", 1)[1], 0)
            tables.append(table.append_column("priority", pa.array([priority] * table.num_rows, pa.int64())))
        return pa.concat_tables(tables).sort_by("doc_id")

    def _equal_pairs(self, documents: pa.Table, column: str, verdict: str) -> list[Pair]:
        rows: dict[str, list[int]] = {}
        for row, value in enumerate(documents[column].to_pylist()):
            rows.setdefault(value, []).append(row)
        return [Pair(a, b, -1, 1.0, verdict) for same in rows.values() for a, b in pairwise(same)]

    def _near_pairs(self, documents: pa.Table, known: set[tuple[int, int]]) -> list[Pair]:
        matrix = np.array(pc.list_flatten(documents["signature"])).reshape(documents.num_rows, minhash.NUM_PERM)
        candidates = minhash.candidate_pairs(matrix, self.settings.bands, self.settings.rows)
        candidates = {pair: band for pair, band in candidates.items() if pair not in known}
        sets = self._shingles(documents["doc_id"], {row for pair in candidates for row in pair})
        out = []
        for (a, b), band in candidates.items():
            similarity = minhash.jaccard(sets[a], sets[b])
            out.append(Pair(a, b, band, similarity, "near" if similarity >= self.settings.threshold else "rejected"))
        return out

    def _shingles(self, doc_ids: pa.ChunkedArray, rows: Iterable[int]) -> dict[int, set[str]]:
        wanted = {doc_ids[row].as_py(): row for row in rows}
        found: dict[int, set[str]] = {}
        for name in self._names("documents"):
            table = read_tables(self.store, self.inputs[name].ref, "documents", ["doc_id", "text"])
            table = table.filter(pc.is_in(table["doc_id"], value_set=pa.array(list(wanted), pa.string())))
            for doc_id, text in zip(table["doc_id"].to_pylist(), table["text"].to_pylist(), strict=True):
                found[wanted[doc_id]] = minhash.shingles(text)
        return found

    def _clusters(self, documents: pa.Table, pairs: list[Pair]) -> pa.Table:
        """Components over verified pairs; the preferred member is first by priority, length, doc_id."""
        n = documents.num_rows
        edges = np.array([(p.a, p.b) for p in pairs], dtype=np.int64).reshape(-1, 2)
        _, component = connected_components(
            coo_array((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(n, n)), directed=False
        )
        best: dict[int, tuple[int, float]] = {}
        for pair in pairs:
            for row in (pair.a, pair.b):
                strength, similarity = best.get(row, (len(STRENGTH), 0.0))
                best[row] = min(strength, STRENGTH.index(pair.verdict)), max(similarity, pair.jaccard)
        ids, priority, size = (documents[name].to_pylist() for name in ("doc_id", "priority", "n_chars"))
        clusters: dict[int, list[int]] = {}
        for row in sorted(best):
            clusters.setdefault(int(component[row]), []).append(row)
        out: list[dict[str, Any]] = []
        for members in clusters.values():
            ordered = sorted(members, key=lambda row: (-priority[row], -size[row], ids[row]))
            for rank, row in enumerate(ordered):
                out.append(
                    {
                        "doc_id": ids[row],
                        "cluster_id": ids[members[0]],
                        "cluster_size": len(members),
                        "kept_doc_id": ids[ordered[0]],
                        "kind": STRENGTH[best[row][0]],
                        "jaccard": best[row][1],
                        "rank": rank,
                    }
                )
        return pa.Table.from_pylist(sorted(out, key=lambda row: str(row["doc_id"])), schema=schemas.DUPLICATES)
