"""select: facts to verdicts, and the corpus of what is kept. Every document gets a row that says why."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks import pii
from tasks.core.stage import Made, Report, Stage
from tasks.decontaminate.cut import without_stretches
from tasks.repetition.recur import KINDS
from tasks.select.facts import SelectSettings
from tasks.select.measured import read_signals
from tasks.select.policy import Check
from tasks.signals.lines import without_lines
from warehouse import schemas
from warehouse.artifact import Counts, PartWriter, file_of, load, read_tables

BYTES_PER_TOKEN = 4  # the estimate shown until the corpus is packed
DUPLICATE_RULES = ("duplicate url", "duplicate exact", "duplicate near")
EMPTY_RULE = "no line is left"
CONTAMINATED_RULE = "contaminated"
Elected = dict[str, dict[str, Any]]
Stretches = dict[str, list[tuple[int, int]]]  # document -> characters from where to where


class Select(Stage):
    """Decisions and corpus over all sources.

    Inputs: ``documents/…``, ``signals/…`` and ``repetition/…`` of each source, ``elections``, and ``contamination``
    where there are evaluation sets.
    """

    name = "select"
    version = 7
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
        policy, elected = self.settings.policies[source], self._elected(part)
        documents = read_tables(self.store, self.inputs[f"documents/{source}"].ref, "documents", parts=[part])
        columns = ["language", "language_score", *policy.signals]
        signals = read_signals(self.store, self.inputs, source, columns, [part])
        if signals["doc_id"] != documents["doc_id"]:
            raise RuntimeError(f"the signals of {part} are not those of its documents")
        checks = policy.checks(signals, self.settings.seed, self._cutoffs(source))
        stretches = self._stretches(documents["doc_id"])
        clean = self._clean(part, documents, stretches)
        texts = without_lines(pa.chunked_array([clean], pa.string()), policy.drop_lines)
        reasons = [
            None if text else CONTAMINATED_RULE if doc_id in stretches else EMPTY_RULE
            for text, doc_id in zip(texts, documents["doc_id"].to_pylist(), strict=True)
        ]
        decisions = self._decisions(documents, checks, elected, reasons)
        kept = np.array([row["verdict"] == "kept" for row in decisions], np.bool_)
        sizes = pc.binary_length(documents["text"]).to_numpy()
        funnel = {label: [0, 0] for label in (*policy.labels, *DUPLICATE_RULES, CONTAMINATED_RULE, EMPTY_RULE)}
        for row in np.nonzero(~kept)[0].tolist():
            taken = funnel[decisions[row]["rule"]]
            funnel[decisions[row]["rule"]] = [taken[0] + 1, taken[1] + int(sizes[row])]
        names = set(policy.replace_pii)
        published = [texts[row] for row in np.nonzero(kept)[0].tolist()]
        if names:
            published = pii.replaced(published, names)
        writer.table("decisions", pa.Table.from_pylist(decisions, schema=schemas.DECISIONS))
        here = pa.array(kept)
        corpus = self._corpus(documents.filter(here), signals.filter(here), published, source, elected)
        writer.table("corpus", corpus)
        counts = Counts(documents_in=len(documents), kept=int(kept.sum()), removed=int((~kept).sum()))
        return Made(counts=counts, statistics={"source": source, "funnel": funnel, "bytes_in": int(sizes.sum())})

    def _decisions(
        self,
        documents: pa.Table,
        checks: list[Check],
        elected: Elected,
        emptied: list[str | None],
    ) -> list[dict[str, Any]]:
        """A row for each document: the rule that removed it, and all that would have."""
        rows = []
        columns = (documents[name].to_pylist() for name in ("doc_id", "url", "source"))
        for row, (doc_id, url, source) in enumerate(zip(*columns, strict=True)):
            broken = [check for check in checks if check.broken[row]]
            found: list[tuple[str, float | None, float | None, str | None]] = [
                (check.label, _value(check, row), check.threshold_of(row), None) for check in broken
            ]
            fate = elected.get(doc_id)
            if fate and fate["elsewhere"]:
                found.append(("duplicate url", 1.0, None, f"the same document, of {fate['elsewhere']}"))
            elif fate and fate["kept_doc_id"]:
                found.append((f"duplicate {fate['kind']}", fate["jaccard"], None, f"kept: {fate['kept_doc_id']}"))
            if reason := emptied[row]:
                found.append((reason, None, None, None))
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

    def _elected(self, part: str) -> Elected:
        """Document of a part -> what became of it among its duplicates."""
        table = read_tables(self.store, self.inputs["elections"].ref, "elections")
        rows = table.filter(pc.equal(table["part"], part)).to_pylist()
        return {row["doc_id"]: row for row in rows}

    def _clean(self, part: str, documents: pa.Table, stretches: Stretches) -> list[str]:
        """The texts without what evaluation sets hold and what recurs, where that is to go; empty where nothing is left."""
        texts: list[str] = documents["text"].to_pylist()
        recurring = self._recurring(part)
        for row, doc_id in enumerate(documents["doc_id"].to_pylist()):
            if doc_id in stretches or doc_id in recurring:
                text = texts[row]
                lines = [(a, _line_end(text, a, b)) for a, b in recurring.get(doc_id, [])]
                texts[row] = without_stretches(text, stretches.get(doc_id, []), self.settings.cut, lines) or ""
        return texts

    def _recurring(self, part: str) -> Stretches:
        """Document -> the stretches of it that recur in its source and that the policy wants out."""
        source = self._places[part]
        kinds = [kind for kind in self.settings.policies[source].drop_lines if kind in KINDS]
        found: Stretches = {}
        if kinds:
            table = read_tables(self.store, self.inputs[f"repetition/{source}"].ref, "recurring_text", parts=[part])
            for row in table.filter(pc.is_in(table["kind"], value_set=pa.array(kinds))).to_pylist():
                found.setdefault(row["doc_id"], []).append((row["start"], row["stop"]))
        return found

    def _stretches(self, doc_ids: pa.ChunkedArray) -> Stretches:
        """Document -> the stretches of it that evaluation sets hold too."""
        found: Stretches = {}
        if "contamination" in self.inputs:
            table = read_tables(
                self.store, self.inputs["contamination"].ref, "contamination", ["doc_id", "start", "stop"]
            )
            for row in table.filter(pc.is_in(table["doc_id"], value_set=doc_ids.combine_chunks())).to_pylist():
                found.setdefault(row["doc_id"], []).append((row["start"], row["stop"]))
        return found

    def _cutoffs(self, source: str) -> dict[str, float]:
        cutoffs: dict[str, dict[str, float]] = load(self.store, self.inputs["elections"].ref).statistic("cutoffs")
        return cutoffs[source]

    def part_inputs(self, part: str) -> Sequence[str]:
        source = self._places[part]
        files = [
            file_of(self.store, self.inputs[f"{table}/{source}"].ref, table, part).sha256
            for table in ("documents", "signals", "repetition")
        ]
        documents = self.inputs[f"documents/{source}"].ref
        ids = read_tables(self.store, documents, "documents", ["doc_id"], [part])["doc_id"]
        facts = [self._cutoffs(source), self._elected(part), self._stretches(ids), self._recurring(part)]
        return [*files, hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()]

    def part_settings(self, part: str) -> dict[str, Any]:
        source, settings = self._places[part], self.settings
        policy = settings.policies[source].model_dump(mode="json")
        cut = settings.cut.model_dump(mode="json")
        return {"policy": policy, "seed": settings.seed, "cut": cut, "source": source}

    def _corpus(
        self, documents: pa.Table, signals: pa.Table, texts: list[str], source: str, elected: Elected
    ) -> pa.Table:
        """The rows of documents that are kept, with the texts as they are published."""
        constant = {"dump": source, "source": source}
        columns = {
            "text": texts,
            "id": documents["doc_id"],
            "url": documents["url"],
            "date": documents["published"],
            "language": signals["language"],
            "language_score": signals["language_score"],
            "token_count": [-(-len(text.encode()) // BYTES_PER_TOKEN) for text in texts],
            "repeats": [elected[i]["repeats"] if i in elected else 1 for i in documents["doc_id"].to_pylist()],
            **{name: [value] * len(texts) for name, value in constant.items()},
        }
        return pa.table({name: columns[name] for name in schemas.CORPUS.names}, schema=schemas.CORPUS)


def _line_end(text: str, start: int, stop: int) -> int:
    """Where a stretch ends with its newline, if it begins a line."""
    begins = start == 0 or text[start - 1] == "\n"
    return stop + 1 if begins and text[stop : stop + 1] == "\n" else stop


def _value(check: Check, row: int) -> float | None:
    return None if check.values is None else float(check.values[row])
