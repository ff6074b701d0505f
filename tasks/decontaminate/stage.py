"""decontaminate: which documents hold text of evaluation sets, with that text; and how much of each example is in them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tasks.core.stage import Made, Report, Stage
from tasks.decontaminate.overlap import DecontaminateSettings, sought
from tasks.decontaminate.sets import pieces
from tasks.text.buffers import buffers
from tasks.text.grams import grams_of
from tasks.text.matches import match_row
from warehouse import schemas
from warehouse.artifact import PartWriter, load, read_tables
from warehouse.scan import scan

PART = "contamination"


class Owner(NamedTuple):
    """An n-gram's home: an evaluation set, an example in it, and whether it is of the question or of the answer."""

    benchmark: str
    example: str
    field: str


class Decontaminate(Stage):
    """Contamination of all sources. Inputs: ``overlaps/…`` and ``documents/…`` for each source, ``duplicates``."""

    name = "decontaminate"
    version = 1
    settings: DecontaminateSettings

    @property
    def identity(self) -> dict[str, Any]:
        return {**sought(self.store, self.settings), "most_documents": self.settings.most_documents}

    def plan(self) -> Sequence[str]:
        return [PART]

    def make(self, part: str, writer: PartWriter, report: Report) -> Made:
        """Drops n-grams that are common, joins what is left of matches, and finds whose they are."""
        hits = self._hits()
        grams, names = hits["gram"].to_numpy(), hits["doc_id"]
        rare = ~np.isin(grams, self._common(grams, names))
        hits = hits.filter(pa.array(rare)).sort_by([("doc_id", "ascending"), ("start", "ascending")])
        owners = self._owners(np.unique(hits["gram"].to_numpy()))
        rows = list(self._rows(hits, owners))
        rows.sort(key=lambda row: (row["doc_id"], row["start"], row["benchmark"], row["example_id"], row["field"]))
        writer.table("contamination", pa.Table.from_pylist(rows, schema=schemas.CONTAMINATION))
        writer.table(
            "evaluation_overlap", pa.Table.from_pylist(list(self._overlap()), schema=schemas.EVALUATION_OVERLAP)
        )
        found = len({row["doc_id"] for row in rows})
        return Made(statistics={"contaminated_documents": found, "common_grams": int(len(grams) - rare.sum())})

    def _names(self, kind: str) -> list[str]:
        return sorted(name for name in self.inputs if name.startswith(f"{kind}/"))

    def _hits(self) -> pa.Table:
        refs = [self.inputs[name].ref for name in self._names("overlaps")]
        tables = [*scan(self.store, refs, "gram_hits", schemas.GRAM_HITS.names), schemas.GRAM_HITS.empty_table()]
        return pa.concat_tables([table.cast(schemas.GRAM_HITS) for table in tables])

    def _common(self, grams: npt.NDArray[np.uint64], doc_ids: pa.ChunkedArray) -> npt.NDArray[np.uint64]:
        """The n-grams that stand in too many documents, those of one cluster of duplicates counted as one."""
        duplicates = read_tables(self.store, self.inputs["duplicates"].ref, "duplicates", ["doc_id", "kept_doc_id"])
        places = pc.index_in(doc_ids, value_set=duplicates["doc_id"].combine_chunks())
        kept = pc.coalesce(duplicates["kept_doc_id"].take(places), doc_ids)
        pairs = pa.table({"gram": grams, "document": kept}).group_by(["gram", "document"]).aggregate([])
        counts = pairs.group_by("gram").aggregate([("document", "count")])
        common = counts.filter(pc.greater(counts["document_count"], self.settings.most_documents))
        return common["gram"].to_numpy()  # type: ignore[no-any-return]

    def _owners(self, grams: npt.NDArray[np.uint64]) -> dict[int, list[Owner]]:
        """Whose these n-grams are."""
        found: dict[int, list[Owner]] = defaultdict(list)
        for owner, names in self._grams_of_sets(self.settings.words):
            for name in names[np.isin(names, grams)].tolist():
                if owner not in found[name]:
                    found[name].append(owner)
        return found

    def _grams_of_sets(self, n: int) -> Iterator[tuple[Owner, npt.NDArray[np.uint64]]]:
        for benchmark, one in self.settings.sets.items():
            texts = list(pieces(self.store, benchmark, one))
            data, offsets = buffers(pa.array([piece.text for piece in texts], pa.string()))
            names, places = grams_of(data, offsets, n)
            ends = np.searchsorted(places, np.arange(len(texts) + 1))
            for number, piece in enumerate(texts):
                yield Owner(benchmark, piece.example, piece.field), names[ends[number] : ends[number + 1]]

    def _rows(self, hits: pa.Table, owners: dict[int, list[Owner]]) -> Iterator[dict[str, Any]]:
        """A row for each stretch of a document that is one example's, with the text around it."""
        stretches: dict[str, list[tuple[Owner, int, int]]] = defaultdict(list)
        growing: dict[tuple[str, Owner], int] = {}
        for doc_id, gram, start, stop in zip(
            *(hits[name].to_pylist() for name in ("doc_id", "gram", "start", "stop")), strict=True
        ):
            for owner in owners[gram]:
                place = growing.get((doc_id, owner))
                if place is not None and start <= stretches[doc_id][place][2]:
                    stretches[doc_id][place] = (
                        owner,
                        stretches[doc_id][place][1],
                        max(stop, stretches[doc_id][place][2]),
                    )
                else:
                    growing[doc_id, owner] = len(stretches[doc_id])
                    stretches[doc_id].append((owner, start, stop))
        for doc_id, text in self._texts(list(stretches)):
            for owner, start, stop in stretches[doc_id]:
                yield match_row(doc_id, text, owner.benchmark, owner.example, owner.field, start, stop)

    def _texts(self, doc_ids: list[str]) -> Iterator[tuple[str, str]]:
        """The texts of some documents, one each."""
        left = set(doc_ids)
        for name in self._names("documents"):
            ref = self.inputs[name].ref
            for part in load(self.store, ref).parts:
                table = read_tables(self.store, ref, "documents", ["doc_id", "text"], [part.part])
                table = table.filter(pc.is_in(table["doc_id"], value_set=pa.array(sorted(left), pa.string())))
                yield from zip(table["doc_id"].to_pylist(), table["text"].to_pylist(), strict=True)
                left.difference_update(table["doc_id"].to_pylist())

    def _overlap(self) -> Iterator[dict[str, Any]]:
        """How many of each example's shorter n-grams stand in any document: what GPT-2's authors asked Bloom filters."""
        refs = [self.inputs[name].ref for name in self._names("overlaps")]
        parts = [table["gram"].to_numpy() for table in scan(self.store, refs, "grams_seen", ["gram"])]
        seen = np.unique(np.concatenate([np.empty(0, np.uint64), *parts]))
        counts: dict[Owner, list[int]] = defaultdict(lambda: [0, 0])
        for owner, names in self._grams_of_sets(self.settings.report_words):
            distinct = np.unique(names)
            counts[owner][0] += len(distinct)
            counts[owner][1] += int(np.isin(distinct, seen).sum())
        for owner, (total, found) in sorted(counts.items()):
            share = found / total if total else None
            yield {"benchmark": owner.benchmark, "example_id": owner.example, "field": owner.field, "n_grams": total, "found": found, "share": share}  # fmt: skip
