"""match: candidates to duplicates. Exact similarity decides, clusters are made of what it joins, the evidence is kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import pyarrow as pa
from pydantic import Field

from tasks.core.stage import Made, Report, Stage, StageSettings, operational
from tasks.dedup.band import EQUAL, EQUAL_TEXT, EQUAL_URL
from tasks.dedup.candidates import Pairs, ends_of, first_bands, packed
from tasks.dedup.clusters import Numbers, clustered, duplicates_table, labels, preference
from tasks.dedup.evidence import Evidence
from tasks.dedup.members import read_members
from tasks.dedup.texts import StoredShingles, distinct
from warehouse import log
from warehouse.artifact import Counts, Manifest, PartWriter, load, read_manifest, read_tables

PART = "clusters"
SIMILARITIES = ("jaccard", "containment")  # as they stand in evidence


class LikenessSettings(StageSettings):
    """When two documents count as one."""

    threshold: float = Field(0.8, gt=0, le=1, description="smallest similarity that joins two documents")
    similarity: Literal["jaccard", "containment"] = Field(
        "jaccard",
        description="of the two sets of shingles what both have, as a share of what either has, or of the smaller one",
    )
    window: int = Field(
        64, ge=1, description="in a band a document is compared with so many after it of those that share its key"
    )
    memory_mb: int = operational(1024, "memory for keys and shingles; what does not fit goes through the disk", ge=1)


class MatchSettings(LikenessSettings):
    """The same with what the sources and the signatures say."""

    shingle_words: int = Field(5, ge=1, description="words of a shingle, those of the signatures")
    priority: dict[str, int] = Field(default={}, description="source -> priority: the highest survives")


class Match(Stage):
    """The duplicate clusters over all sources.

    Inputs: ``candidates``, for each source ``signatures/…`` and ``documents/…``, and ``signals/…`` where they tell quality.
    """

    name = "match"
    version = 2
    settings: MatchSettings

    def plan(self) -> Sequence[str]:
        return [PART]

    def documents_expected(self) -> int:
        return sum(
            load(self.store, entry.ref).counts.kept
            for name, entry in self.inputs.items()
            if name.startswith("signatures/")
        )

    def make(self, part: str, writer: PartWriter, report: Report) -> Made:
        """Candidates of all bands, their exact similarity, clusters of those that are alike, and all evidence."""
        parts = [record.part for record in load(self.store, self.inputs["candidates"].ref).parts]
        near, bands = first_bands([self._pairs(part) for part in parts if part not in EQUAL])
        same_url, same_text = self._pairs(EQUAL_URL), self._pairs(EQUAL_TEXT)
        rows = distinct(*(side for pairs in (near, same_url, same_text) for side in ends_of(pairs)))
        members = read_members(self.store, self.inputs, rows, self.settings.priority)

        def ends(pairs: Pairs) -> tuple[Numbers, Numbers]:
            a, b = ends_of(pairs)
            return members.of_rows(a), members.of_rows(b)

        order, count = preference(members.table), len(members.table)
        urls, texts = labels(count, *ends(same_url)), labels(count, *ends(same_text))
        with self._shingles() as shingles:

            def overlaps(a: Numbers, b: Numbers) -> Numbers:
                return shingles.overlaps(members.rows[a], members.rows[b])

            column = SIMILARITIES.index(self.settings.similarity)
            earlier = list(self._earlier_pairs())
            evidence = Evidence(members.table["doc_id"], texts, overlaps, column, self.settings.threshold, earlier)
            evidence.compare(*ends(same_text))
            found = clustered(order, urls, texts, evidence.compare(*ends(near), bands), evidence.compare)
        writer.table("duplicates", duplicates_table(members.table["doc_id"], order, found))
        writer.table("duplicate_pairs", evidence.table(urls))
        total = self.documents_expected()
        return Made(counts=Counts(documents_in=total, kept=total), statistics={"compared": evidence.compared})

    def _pairs(self, part: str) -> Pairs:
        table = read_tables(self.store, self.inputs["candidates"].ref, "candidates", parts=[part])
        return packed(table["a"].to_numpy(), table["b"].to_numpy())

    def _shingles(self) -> StoredShingles:
        names = sorted(name for name in self.inputs if name.startswith("documents/"))
        documents = [self.inputs[name].ref for name in names]
        return StoredShingles(self.store, documents, self.settings.shingle_words, self.settings.memory_mb << 20)

    def _earlier_pairs(self) -> Iterator[pa.Table]:
        """The evidence of the runs before this one over the same kind of shingles."""
        for ref in log.current(self.store).get(self.name, []):
            manifest = read_manifest(self.store, ref)
            if manifest is not None and ref != self.ref and self._same_shingles(manifest):
                yield read_tables(self.store, ref, "duplicate_pairs", ["a", "b", "jaccard", "containment"])

    def _same_shingles(self, manifest: Manifest) -> bool:
        return manifest.version == self.version and manifest.settings["shingle_words"] == self.settings.shingle_words
