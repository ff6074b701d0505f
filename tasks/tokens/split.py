"""split: which documents are held out, group by group, and what of their text is looked for in the others.

A figure on held-out text says what a model makes of text that it has not seen. Other editions of a scene, or
documentation that a class inherits, are no such text: documents that belong together are held out together, and what
holds much of a held-out document all the same is not trained on (``relatives``).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import Field, field_validator

from models.draws import uniform
from tasks.core.stage import Made, Report, Stage, StageSettings
from tasks.text.buffers import buffers
from tasks.text.grams import grams_of
from tasks.web.urls import domain_of
from warehouse import schemas
from warehouse.artifact import Counts, PartWriter, load, read_tables, verified_path

PART = "held-out"
GRAM_WORDS = 8  # GPT-2's measure of overlap (Radford et al. 2019, section 4)
MOST_OF_A_SOURCE = 0.1  # a larger group is never held out: too little would be left to train on
HOST, FOLDER = "host", "folder"
DRAW = "split"  # whether a group is held out is a function of its name alone


class HoldOutSettings(StageSettings):
    """How much is held out."""

    validation_share: float = Field(
        0.01,
        gt=0,
        lt=1,
        description="share of the groups of documents that is held out, by the hash of their names; of a source too small "
        "for that, the end of each document",
    )


class RelatedSettings(HoldOutSettings):
    """And how alike two documents are that belong together."""

    related_similarity: float = Field(
        0.5,
        gt=0,
        le=1,
        description="compared documents with so large a Jaccard similarity, or of which one holds so much of the other, "
        "are one group",
    )


class SplitSettings(RelatedSettings):
    """And what the sources say of that."""

    groups: dict[str, str] = Field(
        default={}, description="source -> host, folder, or a pattern that names a group in a URL"
    )

    @field_validator("groups")
    @classmethod
    def _patterns(cls, groups: dict[str, str]) -> dict[str, str]:
        for source, pattern in groups.items():
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"sources.{source}.group is no regular expression: {error}") from error
        return groups


def declared_group(url: str, rule: str) -> str:
    """The group that a source's rule finds in a URL; nothing where it finds none."""
    if rule == HOST:
        return domain_of(url) if "://" in url else ""
    if rule == FOLDER:
        return url.rpartition("/")[0]
    found = re.search(rule, url) if rule else None
    return (found[1] if found.re.groups else found[0]) or "" if found else ""


class Split(Stage):
    """What is held out of a corpus. Inputs: ``corpus``, ``duplicates``.

    Of a source that is too small to hold groups out, as a single book is, the end of each document is held out: nanoGPT
    and others divide a text so.
    """

    name = "split"
    version = 2
    settings: SplitSettings

    def plan(self) -> Sequence[str]:
        return [PART]

    def make(self, part: str, writer: PartWriter, report: Report) -> Made:
        """The held-out documents with their groups, and their n-grams."""
        documents = self._documents()
        groups = self._groups(documents)
        sources = np.array(documents["source"].to_pylist(), object)
        held = self._held_out(documents, groups, sources)
        ends = sorted(source for source in set(sources) if len(set(held[sources == source])) < 2)
        held &= ~np.isin(sources, ends)
        chosen = documents.filter(pa.array(held))
        table = pa.table(
            {
                "doc_id": chosen["id"],
                "source": chosen["source"],
                "group_id": pa.array(groups, pa.string()).filter(pa.array(held)),
            },
            schema=schemas.HELD_OUT,
        )
        writer.table("held_out", table)
        writer.table("held_out_grams", self._grams(set(chosen["id"].to_pylist())))
        total = len(documents)
        return Made(
            counts=Counts(documents_in=total, kept=total), statistics={"ends": ends, "groups": len(set(groups))}
        )

    def _held_out(
        self, documents: pa.Table, groups: list[str], sources: npt.NDArray[np.object_]
    ) -> npt.NDArray[np.bool_]:
        """The documents of the groups that are drawn; of a source with many groups of which none is, those of the first."""
        draws = np.where(self._too_large(documents, groups), 1.0, uniform(0, DRAW, groups))
        held = draws < self.settings.validation_share
        for source in set(sources):
            mine = sources == source
            many = len(np.unique(draws[mine])) >= 1 / MOST_OF_A_SOURCE
            if many and not held[mine].any() and draws[mine].min() < 1.0:
                held |= mine & (draws == draws[mine].min())
        return held

    def documents_expected(self) -> int:
        return load(self.store, self.inputs["corpus"].ref).counts.kept

    def _documents(self) -> pa.Table:
        """Id, URL and source of every document of the corpus, in the order of its parts."""
        return read_tables(self.store, self.inputs["corpus"].ref, "corpus", ["id", "url", "source"])

    def _groups(self, documents: pa.Table) -> list[str]:
        """The group of each document: the smallest of the names that what belongs together has."""
        ids, rules = documents["id"].to_pylist(), self.settings.groups
        names = [
            f"{source}:{group}" if (group := declared_group(url or "", rules.get(source, ""))) else doc_id
            for doc_id, url, source in zip(
                ids, documents["url"].to_pylist(), documents["source"].to_pylist(), strict=True
            )
        ]
        name_of = dict(zip(ids, names, strict=True))
        parent = {name: name for name in names}

        def root(name: str) -> str:
            while parent[name] != name:
                parent[name] = name = parent[parent[name]]
            return name

        for a, b in self._related():
            if a in name_of and b in name_of:
                first, second = sorted((root(name_of[a]), root(name_of[b])))
                parent[second] = first
        return [root(name) for name in names]

    def _related(self) -> list[tuple[str, str]]:
        """The pairs that were compared and are alike, though not enough for one to be removed, or kept all the same."""
        columns = ["a", "b", "jaccard", "containment"]
        pairs = read_tables(self.store, self.inputs["duplicates"].ref, "duplicate_pairs", columns)
        least = self.settings.related_similarity
        alike = pc.or_kleene(pc.greater_equal(pairs["jaccard"], least), pc.greater_equal(pairs["containment"], least))
        pairs = pairs.filter(alike)
        return list(zip(pairs["a"].to_pylist(), pairs["b"].to_pylist(), strict=True))

    def _too_large(self, documents: pa.Table, groups: list[str]) -> npt.NDArray[np.bool_]:
        """Whether the group of each document is more than one document, and too much of its source."""
        frame = pa.table({"source": documents["source"], "group": groups})
        sizes = frame.group_by(["source", "group"]).aggregate([([], "count_all")])
        totals = dict(zip(*(column.to_pylist() for column in frame["source"].value_counts().flatten()), strict=True))
        columns = (sizes[name].to_pylist() for name in ("source", "group", "count_all"))
        large = {
            group for source, group, n in zip(*columns, strict=True) if n > 1 and n > MOST_OF_A_SOURCE * totals[source]
        }
        return np.array([group in large for group in groups], np.bool_)

    def _grams(self, held_out: set[str]) -> pa.Table:
        """The distinct n-grams of each held-out document; the corpus is read part by part."""
        ref = self.inputs["corpus"].ref
        wanted = pa.array(sorted(held_out), pa.string())
        tables = [schemas.HELD_OUT_GRAMS.empty_table()]
        for file in load(self.store, ref).files("corpus"):
            table = pq.read_table(verified_path(self.store, ref, file), columns=["id", "text"])
            table = table.filter(pc.is_in(table["id"], value_set=wanted))
            if len(table):
                names, texts = grams_of(*buffers(table["text"]), GRAM_WORDS)
                found = pa.table(
                    {"doc_id": table["id"].take(pa.array(texts)), "gram": names}, schema=schemas.HELD_OUT_GRAMS
                )
                tables.append(found.group_by(["doc_id", "gram"]).aggregate([]))
        return pa.concat_tables(tables).sort_by([("gram", "ascending"), ("doc_id", "ascending")])


def facts_of(stage: Stage) -> dict[str, Any]:
    """What a split decided beside its tables: the sources of whose documents the ends are held out."""
    statistics: dict[str, Any] = load(stage.store, stage.inputs["split"].ref).parts[0].statistics
    return statistics


def digest(values: Sequence[str]) -> str:
    """One name for some names."""
    return hashlib.sha256("\n".join(values).encode()).hexdigest()
