"""elect: which document of each cluster of duplicates survives under the policies, decided once for all parts of a corpus."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from tasks.core.stage import Made, Report, Stage
from tasks.select.facts import Facts, SelectSettings
from warehouse import schemas
from warehouse.artifact import PartWriter, load

PART = "elections"


class Elect(Stage):
    """The fates of duplicates. Inputs: for each source ``documents/…`` and ``signals/…``, and ``duplicates``."""

    name = "elect"
    version = 3
    settings: SelectSettings

    def plan(self) -> Sequence[str]:
        return [PART]

    def make(self, part: str, writer: PartWriter, report: Report) -> Made:
        """A row for each document that another one stands for, or that stands for others, by the part it is in."""
        facts = Facts(self.store, self.inputs, self.settings)
        rows = list(self._rows(facts))
        writer.table("elections", pa.Table.from_pylist(rows, schema=schemas.ELECTIONS))
        return Made(statistics={"cutoffs": facts.cutoffs})

    def _rows(self, facts: Facts) -> Iterator[dict[str, Any]]:
        better, repeats, holders = facts.better(), facts.repeats(), facts.holders()
        stands = {
            doc_id: source
            for source, (doc_ids, here) in holders.items()
            for doc_id in doc_ids.filter(pa.array(here)).to_pylist()
        }
        for source, (doc_ids, here) in holders.items():
            first = 0
            for part in load(self.store, self.inputs[f"documents/{source}"].ref).parts:
                rows = slice(first, first + part.counts.kept)
                first += part.counts.kept
                for doc_id, taken in zip(doc_ids[rows.start : rows.stop].to_pylist(), here[rows].tolist(), strict=True):
                    elsewhere = None if taken or not self.settings.remove_duplicates else stands[doc_id]
                    duplicate, times = better.get(doc_id), repeats.get(doc_id, 1)
                    if elsewhere or duplicate or times > 1:
                        yield {
                            "part": part.part,
                            "doc_id": doc_id,
                            "kept_doc_id": duplicate.kept if duplicate else None,
                            "kind": duplicate.kind if duplicate else None,
                            "jaccard": duplicate.jaccard if duplicate else None,
                            "elsewhere": elsewhere,
                            "repeats": times,
                        }
