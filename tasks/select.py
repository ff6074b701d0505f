"""select: facts to verdicts. A policy is a list of rules over signal names; every document gets a row that says why."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from tasks.signals.stage import SIGNALS
from tasks.stage import Made, Report, Stage, StageSettings
from warehouse import schemas
from warehouse.artifact import Counts, PartWriter, load, read_tables

BYTES_PER_TOKEN = 4  # the estimate shown until the corpus is packed
DUPLICATE_RULES = ("duplicate url", "duplicate exact", "duplicate near")


class Rule(BaseModel):
    """Keep a document only where a signal lies within bounds."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    signal: str = Field(description="name of a signal")
    min: float | None = Field(None, description="smallest value that is kept")
    max: float | None = Field(None, description="largest value that is kept")
    only: str | None = Field(None, description="the one value that is kept, of the signal language")
    reference: str = Field("", description="where the bound comes from")

    @field_validator("signal")
    @classmethod
    def _known(cls, signal: str) -> str:
        names = [known.name for known in SIGNALS]
        if signal not in names:
            nearest = difflib.get_close_matches(signal, names, n=1, cutoff=0)[0]
            raise ValueError(f"there is no signal {signal}; the nearest is {nearest}")
        return signal

    @model_validator(mode="after")
    def _bounds_fit(self) -> Rule:
        if (self.signal == "language") != (self.only is not None):
            raise ValueError("the signal language takes only = CODE, every other signal min or max")
        return self

    def broken_by(self, signals: dict[str, Any]) -> tuple[str, float | None, float | None] | None:
        """(rule, value, threshold) where the document breaks the rule, else None."""
        value = signals[self.signal]
        if self.only is not None:
            return (f"{self.signal} is not {self.only}", None, None) if value != self.only else None
        if self.min is not None and value < self.min:
            return f"{self.signal} below {self.min:g}", value, self.min
        if self.max is not None and value > self.max:
            return f"{self.signal} above {self.max:g}", value, self.max
        return None

    def labels(self) -> list[str]:
        """The names that ``broken_by`` can give, in order."""
        if self.only is not None:
            return [f"{self.signal} is not {self.only}"]
        return [
            f"{self.signal} {side} {bound:g}"
            for side, bound in (("below", self.min), ("above", self.max))
            if bound is not None
        ]


class SelectSettings(StageSettings):
    """The policy of each source, and the mixture."""

    policies: dict[str, tuple[Rule, ...]] = Field(description="source -> its rules, in order")
    weights: dict[str, float] = Field(description="source -> its share of the training mixture, any scale")
    remove_duplicates: bool = Field(True, description="keep one document of each duplicate cluster")

    @field_validator("weights")
    @classmethod
    def _some(cls, weights: dict[str, float]) -> dict[str, float]:
        if any(weight < 0 for weight in weights.values()) or not sum(weights.values()) > 0:
            raise ValueError("weights must not be negative, and one must be above 0")
        return weights


class Select(Stage):
    """Decisions and corpus over all sources. Inputs: ``documents/…``, ``signals/…`` for each source, ``duplicates``."""

    name = "select"
    version = 1
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
        documents = read_tables(
            self.store, self.inputs[f"documents/{source}"].ref, "documents", parts=[part]
        ).to_pylist()
        signals = {
            row["doc_id"]: row
            for row in read_tables(
                self.store, self.inputs[f"signals/{source}"].ref, "signals", parts=[part]
            ).to_pylist()
        }
        better, repeated = self._better_duplicates(), self._repeated(part)
        rules = self.settings.policies[source]
        funnel = {label: [0, 0] for label in (*(label for rule in rules for label in rule.labels()), *DUPLICATE_RULES)}
        decisions, corpus = [], []
        for document in documents:
            decision = self._decide(document, signals[document["doc_id"]], rules, better, repeated)
            decisions.append(decision)
            if decision["verdict"] == "kept":
                corpus.append(self._published(document, signals[document["doc_id"]], source))
            else:
                taken = funnel[decision["rule"]]
                funnel[decision["rule"]] = [taken[0] + 1, taken[1] + len(document["text"].encode())]
        writer.table("decisions", pa.Table.from_pylist(decisions, schema=schemas.DECISIONS))
        writer.table("corpus", pa.Table.from_pylist(corpus, schema=schemas.CORPUS))
        counts = Counts(documents_in=len(documents), kept=len(corpus), removed=len(documents) - len(corpus))
        return Made(
            counts=counts, statistics={"funnel": funnel, "bytes_in": sum(len(d["text"].encode()) for d in documents)}
        )

    def _decide(
        self,
        document: dict[str, Any],
        signals: dict[str, Any],
        rules: tuple[Rule, ...],
        better: dict[str, tuple[str, float, str]],
        repeated: dict[str, str],
    ) -> dict[str, Any]:
        decision: dict[str, Any] = {
            "doc_id": document["doc_id"],
            "verdict": "kept",
            "stage": self.name,
            "rule": None,
            "value": None,
            "threshold": None,
            "url": document["url"],
            "source": document["source"],
            "detail": None,
        }
        broken = next(filter(None, (rule.broken_by(signals) for rule in rules)), None)
        if broken is not None:
            return decision | {"verdict": "removed", "rule": broken[0], "value": broken[1], "threshold": broken[2]}
        if document["doc_id"] in repeated:
            detail = f"the same document, of {repeated[document['doc_id']]}"
            return decision | {"verdict": "removed", "rule": "duplicate url", "value": 1.0, "detail": detail}
        if document["doc_id"] in better:
            kind, similarity, survivor = better[document["doc_id"]]
            return decision | {
                "verdict": "removed",
                "rule": f"duplicate {kind}",
                "value": similarity,
                "detail": f"kept: {survivor}",
            }
        return decision

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

    def _better_duplicates(self) -> dict[str, tuple[str, float, str]]:
        """Document -> (kind, Jaccard, doc_id) of the cluster's first member that its source's rules let pass.

        A cluster whose preferred member a rule removes is not lost: the next one that passes survives.
        """
        if not self.settings.remove_duplicates:
            return {}
        duplicates = read_tables(self.store, self.inputs["duplicates"].ref, "duplicates").sort_by(
            [("cluster_id", "ascending"), ("rank", "ascending")]
        )
        passing = self._passing(set(duplicates["doc_id"].to_pylist()))
        survivor: dict[str, str] = {}
        better: dict[str, tuple[str, float, str]] = {}
        for row in duplicates.to_pylist():
            first = (
                survivor.setdefault(row["cluster_id"], row["doc_id"])
                if row["doc_id"] in passing
                else survivor.get(row["cluster_id"])
            )
            if first is not None and first != row["doc_id"]:
                better[row["doc_id"]] = row["kind"], row["jaccard"], first
        return better

    def _passing(self, doc_ids: set[str]) -> set[str]:
        """Those of the documents that break no rule of their source."""
        out = set()
        for source, rules in self.settings.policies.items():
            columns = ["doc_id", *dict.fromkeys(rule.signal for rule in rules)]
            for row in read_tables(self.store, self.inputs[f"signals/{source}"].ref, "signals", columns).to_pylist():
                if row["doc_id"] in doc_ids and not any(rule.broken_by(row) for rule in rules):
                    out.add(row["doc_id"])
        return out

    def _published(self, document: dict[str, Any], signals: dict[str, Any], source: str) -> dict[str, Any]:
        weights = self.settings.weights
        return {
            "text": document["text"],
            "id": document["doc_id"],
            "url": document["url"],
            "dump": source,
            "date": document["published"],
            "language": signals["language"],
            "language_score": signals["language_score"],
            "token_count": -(-len(document["text"].encode()) // BYTES_PER_TOKEN),
            "source": source,
            "weight": weights[source] / sum(weights.values()),
        }
