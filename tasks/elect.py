"""elect: which document of each cluster of duplicates survives under the policies, decided once for all parts of a corpus."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from tasks.facts import Facts, SelectSettings
from tasks.stage import Made, Report, Stage
from warehouse import schemas
from warehouse.artifact import PartWriter, load, read_tables

PART = "elections"


class Elect(Stage):
    """The fates of duplicates. Inputs: for each source ``documents/…`` and ``signals/…``, and ``duplicates``."""

    name = "elect"
    version = 1
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
        better, repeats = facts.better(), facts.repeats()
        holder: dict[str, str] = {}  # document -> the source of the first part that holds it
        for source in sorted(self.settings.policies):
            ref = self.inputs[f"documents/{source}"].ref
            for part in load(self.store, ref).parts:
                ids = read_tables(self.store, ref, "documents", ["doc_id"], [part.part])["doc_id"].to_pylist()
                for doc_id in ids:
                    elsewhere = holder.get(doc_id) if self.settings.remove_duplicates else None
                    if elsewhere or doc_id in better or repeats.get(doc_id, 1) > 1:
                        duplicate = better.get(doc_id)
                        yield {
                            "part": part.part,
                            "doc_id": doc_id,
                            "kept_doc_id": duplicate.kept if duplicate else None,
                            "kind": duplicate.kind if duplicate else None,
                            "jaccard": duplicate.jaccard if duplicate else None,
                            "elsewhere": elsewhere,
                            "repeats": repeats.get(doc_id, 1),
                        }
                for doc_id in ids:
                    holder.setdefault(doc_id, source)
