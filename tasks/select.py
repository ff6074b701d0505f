"""select: facts to verdicts, and the corpus of what is kept. Every document gets a row that says why."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, field_validator

from tasks import pii
from tasks.policy import Check, Policy, passing
from tasks.signals.lines import without_lines
from tasks.stage import Input, Made, Report, Stage, StageSettings
from warehouse import schemas
from warehouse.artifact import Counts, PartWriter, load, read_tables
from warehouse.store import Store

BYTES_PER_TOKEN = 4  # the estimate shown until the corpus is packed
DUPLICATE_RULES = ("duplicate url", "duplicate exact", "duplicate near")
EMPTY_RULE = "no line is left"


class SelectSettings(StageSettings):
    """The policy of each source, and the mixture."""

    policies: dict[str, Policy] = Field(description="source -> its policy")
    weights: dict[str, float] = Field(description="source -> its share of the training mixture, any scale")
    remove_duplicates: bool = Field(True, description="keep one document of each duplicate cluster")
    repeats: dict[int, int] = Field(
        default={},
        description="documents of a cluster -> how often the one that is kept of it is seen, as FineWeb2 re-weights (2 = 2, 5 = 3: "
        "twice where there were two to four of it, three times where there were more)",
    )
    seed: int = Field(1, description="seed of the draws that policies make, each by doc_id")

    @field_validator("weights")
    @classmethod
    def _some(cls, weights: dict[str, float]) -> dict[str, float]:
        if any(weight < 0 for weight in weights.values()) or not sum(weights.values()) > 0:
            raise ValueError("weights must not be negative, and one must be above 0")
        return weights

    @field_validator("repeats")
    @classmethod
    def _sensible(cls, repeats: dict[int, int]) -> dict[int, int]:
        if any(size < 2 or times < 1 for size, times in repeats.items()):
            raise ValueError("repeats must name cluster sizes from 2 on, and be at least 1")
        return repeats


class Duplicate(NamedTuple):
    """Why a document is not the one that is kept of its cluster."""

    kind: str
    jaccard: float | None
    kept: str


class Facts:
    """What a policy decides about: the signals of each source, and the clusters of duplicates over all of them."""

    def __init__(self, store: Store, inputs: dict[str, Input], settings: SelectSettings) -> None:
        self._store, self._inputs, self._settings = store, inputs, settings

    def signals(self, source: str, columns: Iterable[str], part: str | None = None) -> pa.Table:
        """Columns of a source's signals, of one part or of all, with doc_id."""
        parts = None if part is None else [part]
        return read_tables(self._store, self._inputs[f"signals/{source}"].ref, "signals", ["doc_id", *columns], parts)

    def checks(self, source: str, part: str | None = None) -> tuple[pa.Table, list[Check]]:
        """The source's policy over a part of its documents, or over all of them."""
        policy = self._settings.policies[source]
        table = self.signals(source, policy.signals, part)
        return table, policy.checks(table, self._settings.seed, self._cutoffs[source])

    @cached_property
    def _cutoffs(self) -> dict[str, dict[str, float]]:
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
        """Document -> the first of its cluster that its own source's rules let pass.

        A cluster whose preferred member a rule removes is not lost: the next one that passes survives.
        """
        if not self._settings.remove_duplicates or not len(self.clusters):
            return {}
        passes = self._passing(self.clusters["doc_id"])
        survivor: dict[str, str] = {}
        found: dict[str, Duplicate] = {}
        columns = ("cluster_id", "doc_id", "kind", "jaccard")
        for cluster, doc_id, kind, jaccard, ok in zip(
            *(self.clusters[name].to_pylist() for name in columns), passes.tolist(), strict=True
        ):
            first = survivor.setdefault(cluster, doc_id) if ok else survivor.get(cluster)
            if first is not None and first != doc_id:
                found[doc_id] = Duplicate(kind, jaccard, first)
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


class Select(Stage):
    """Decisions and corpus over all sources. Inputs: ``documents/…``, ``signals/…`` for each source, ``duplicates``."""

    name = "select"
    version = 2
    settings: SelectSettings

    @cached_property
    def _places(self) -> dict[str, str]:
        """Part -> its source."""
        return {
            part.part: source
            for source in sorted(self.settings.policies)
            for part in load(self.store, self.inputs[f"documents/{source}"].ref).parts
        }

    def plan(self) -> Sequence[str]:
        return list(self._places)

    def documents_expected(self) -> int:
        return sum(
            load(self.store, self.inputs[f"documents/{source}"].ref).counts.kept for source in self.settings.policies
        )

    def make(self, part: str, writer: PartWriter, report: Report) -> Made:
        """Each document's first broken rule, else its better duplicate, else it is kept."""
        source = self._places[part]
        policy, facts = self.settings.policies[source], Facts(self.store, self.inputs, self.settings)
        documents = read_tables(self.store, self.inputs[f"documents/{source}"].ref, "documents", parts=[part])
        signals, checks = facts.checks(source, part)
        if signals["doc_id"] != documents["doc_id"]:
            raise RuntimeError(f"the signals of {part} are not those of its documents")
        texts = without_lines(documents["text"], policy.drop_lines)
        decisions = self._decisions(documents, checks, facts.better(), self._repeated(part), texts)
        kept = np.array([row["verdict"] == "kept" for row in decisions], np.bool_)
        sizes = pc.binary_length(documents["text"]).to_numpy()
        funnel = {label: [0, 0] for label in (*policy.labels, *DUPLICATE_RULES, EMPTY_RULE)}
        for row in np.nonzero(~kept)[0].tolist():
            taken = funnel[decisions[row]["rule"]]
            funnel[decisions[row]["rule"]] = [taken[0] + 1, taken[1] + int(sizes[row])]
        names = set(policy.replace_pii)
        published = [pii.replaced(texts[row], names) if names else texts[row] for row in np.nonzero(kept)[0].tolist()]
        writer.table("decisions", pa.Table.from_pylist(decisions, schema=schemas.DECISIONS))
        writer.table("corpus", self._corpus(documents.filter(pa.array(kept)), published, source, part, facts))
        counts = Counts(documents_in=len(documents), kept=int(kept.sum()), removed=int((~kept).sum()))
        return Made(counts=counts, statistics={"funnel": funnel, "bytes_in": int(sizes.sum())})

    def _decisions(
        self,
        documents: pa.Table,
        checks: list[Check],
        better: dict[str, Duplicate],
        repeated: dict[str, str],
        texts: list[str],
    ) -> list[dict[str, Any]]:
        """A row for each document: the rule that removed it, and all that would have."""
        rows = []
        columns = (documents[name].to_pylist() for name in ("doc_id", "url", "source"))
        for row, (doc_id, url, source) in enumerate(zip(*columns, strict=True)):
            broken = [check for check in checks if check.broken[row]]
            found: list[tuple[str, float | None, float | None, str | None]] = [
                (check.label, _value(check, row), check.threshold_of(row), None) for check in broken
            ]
            if doc_id in repeated:
                found.append(("duplicate url", 1.0, None, f"the same document, of {repeated[doc_id]}"))
            elif doc_id in better:
                duplicate = better[doc_id]
                found.append((f"duplicate {duplicate.kind}", duplicate.jaccard, None, f"kept: {duplicate.kept}"))
            if not texts[row]:
                found.append((EMPTY_RULE, None, None, None))
            rule, value, threshold, detail = found[0] if found else (None, None, None, None)
            rows.append(
                {
                    "doc_id": doc_id,
                    "verdict": "removed" if found else "kept",
                    "stage": self.name,
                    "rule": rule,
                    "value": value,
                    "threshold": threshold,
                    "url": url,
                    "source": source,
                    "detail": detail,
                    "rules": [name for name, *_ in found],
                }
            )
        return rows

    def _repeated(self, part: str) -> dict[str, str]:
        """Documents of this part that an earlier one holds too (one URL with one text, in two archives) -> its source."""
        repeated: dict[str, str] = {}
        mine: set[str] = set()
        for other, source in reversed(self._places.items()):
            ids = read_tables(self.store, self.inputs[f"documents/{source}"].ref, "documents", ["doc_id"], [other])
            if other == part:
                mine = set(ids["doc_id"].to_pylist())
            elif mine:
                repeated |= dict.fromkeys(mine.intersection(ids["doc_id"].to_pylist()), source)
        return repeated if self.settings.remove_duplicates else {}

    def _corpus(self, documents: pa.Table, texts: list[str], source: str, part: str, facts: Facts) -> pa.Table:
        """The rows of documents that are kept, with the texts as they are published."""
        signals = facts.signals(source, ["language", "language_score"], part)
        rows = pc.index_in(documents["doc_id"], value_set=signals["doc_id"].combine_chunks())
        language = signals.take(rows)
        weights, repeats = self.settings.weights, facts.repeats()
        constant = {"dump": source, "source": source, "weight": weights[source] / sum(weights.values())}
        columns = {
            "text": texts,
            "id": documents["doc_id"],
            "url": documents["url"],
            "date": documents["published"],
            "language": language["language"],
            "language_score": language["language_score"],
            "token_count": [-(-len(text.encode()) // BYTES_PER_TOKEN) for text in texts],
            "repeats": [repeats.get(doc_id, 1) for doc_id in documents["doc_id"].to_pylist()],
            **{name: [value] * len(texts) for name, value in constant.items()},
        }
        return pa.table({name: columns[name] for name in schemas.CORPUS.names}, schema=schemas.CORPUS)


def _value(check: Check, row: int) -> float | None:
    return None if check.values is None else float(check.values[row])
