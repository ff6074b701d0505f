"""seek and expose: which questions stand in the text that a model was trained on (Brown et al. 2020, appendix C, table C.1).

N is the 5th percentile of a task's questions in words, at least 8 and at most 13; a question is dirty where any of its
N-grams stands in a document. Of a shorter one all words are looked for, from five on; of fewer nothing can be told. What stands in
more than ten documents is a phrase of the language and tells nothing. Beyond the paper, a question is dirty too where it stands there in
other words: seven in a row of those that say what it is about, in any order and whatever their endings.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tasks.core.stage import Made, Report, Stage
from tasks.suite.declared import TASKS
from tasks.text.buffers import buffers
from tasks.text.grams import GramIndex, find, grams_of, index_of, normalised
from tasks.text.matches import match_row
from tasks.text.normal import in_normal_form, put_back
from warehouse import schemas
from warehouse.artifact import PartWriter, file_of, load, read_tables
from warehouse.scan import scan

SHORTEST, LONGEST, PERCENTILE = 8, 13, 5
FEWEST_WORDS = 5  # of a question that is looked for whole
BAG_WORDS = 7  # that say what a question is about, in any order
MOST_DOCUMENTS = 10
ROLE = "questions/"
Grams = npt.NDArray[np.uint64]


def words_of_task(lengths: Sequence[int]) -> int:
    """N: the 5th percentile of the questions' lengths in words, from 8 to 13."""
    return int(np.clip(np.percentile(lengths, PERCENTILE, method="lower"), SHORTEST, LONGEST))


class Sought(NamedTuple):
    """What is looked for: n words in a row, or a bag of them."""

    n: int
    bags: bool


class Owned(NamedTuple):
    """Names of n-grams or bags, and the question that each is of."""

    names: Grams
    owners: npt.NDArray[np.int64]


class _Asked:
    """The questions of one task and their n-grams: of each length that is looked for, their names and whose they are."""

    def __init__(self, stage: Stage, role: str) -> None:
        table = read_tables(stage.store, stage.inputs[role].ref, "questions", ["example_id", "role", "text"])
        table = table.filter(pc.equal(table["role"], "asked"))
        self.task, self.names = role.removeprefix(ROLE), table["example_id"].to_pylist()
        lengths = np.array([len(normalised(text)) for text in table["text"].to_pylist()])
        self.n = words_of_task(lengths.tolist())
        sought = np.where(lengths < FEWEST_WORDS, 0, np.minimum(lengths, self.n))  # 0: too short to tell
        self.grams: dict[Sought, Owned] = {}
        for n in np.unique(sought[sought > 0]).tolist():
            places = np.flatnonzero(sought == n)
            names, owners = grams_of(*buffers(table["text"].take(pa.array(places))), n)
            self.grams[Sought(n, False)] = Owned(names, places[owners])
        if TASKS[self.task].kind != "text":  # of a whole text some seven words stand somewhere in any order
            self.grams[Sought(BAG_WORDS, True)] = Owned(*grams_of(*buffers(table["text"]), BAG_WORDS, bags=True))

    def owned(self, bags: bool | None = None) -> Owned:
        """The n-grams, the bags, or both, of all lengths."""
        found = [each for sought, each in self.grams.items() if bags in (None, sought.bags)]
        names = np.concatenate([np.empty(0, np.uint64), *(each.names for each in found)])
        return Owned(names, np.concatenate([np.empty(0, np.int64), *(each.owners for each in found)]))


def _asked(stage: Stage) -> list[_Asked]:
    return [_Asked(stage, role) for role in sorted(stage.inputs) if role.startswith(ROLE)]


class Seek(Stage):
    """Where the N-grams of questions stand in the corpus. Inputs: ``corpus``, ``questions/…``."""

    name = "seek"
    version = 1

    @property
    def identity(self) -> dict[str, Any]:
        return {}

    def plan(self) -> Sequence[str]:
        return [part.part for part in load(self.store, self.inputs["corpus"].ref).parts]

    def part_inputs(self, part: str) -> Sequence[str]:
        asked = [f"{role} {one.identity}" for role, one in sorted(self.inputs.items()) if role.startswith(ROLE)]
        return [file_of(self.store, self.inputs["corpus"].ref, "corpus", part).sha256, *asked]

    def make(self, part: str, writer: PartWriter, report: Report) -> Made:
        """Looks for each N-gram in the documents of one part."""
        documents = read_tables(self.store, self.inputs["corpus"].ref, "corpus", ["id", "text"], [part])
        texts, others = in_normal_form(documents["text"])
        data, offsets = buffers(texts)
        tables = [schemas.QUESTION_HITS.empty_table()]
        for index in self._indices:
            hits = find(data, offsets, index)
            put_back(hits.text, hits.start, hits.stop, others)
            columns = {
                "doc_id": documents["id"].take(pa.array(hits.text)),
                "n": np.full(len(hits.text), index.n),
                "bag": np.full(len(hits.text), index.bags),
                "gram": index.names[hits.gram],
                "start": hits.start,
                "stop": hits.stop,
            }
            tables.append(pa.table(columns, schema=schemas.QUESTION_HITS))
        writer.table("question_hits", pa.concat_tables(tables))
        return Made(statistics={"documents": len(documents)})

    @cached_property
    def _indices(self) -> list[GramIndex]:
        grams: dict[Sought, list[Grams]] = defaultdict(list)
        for asked in _asked(self):
            for sought, owned in asked.grams.items():
                grams[sought].append(owned.names)
        return [index_of(np.concatenate(found), *sought) for sought, found in sorted(grams.items())]


class Expose(Stage):
    """Which questions of each task are dirty, and where. Inputs: ``corpus``, ``tokens``, ``hits``, ``questions/…``."""

    name = "expose"
    version = 1

    @property
    def identity(self) -> dict[str, Any]:
        return {}

    def plan(self) -> Sequence[str]:
        return [role.removeprefix(ROLE) for role in sorted(self.inputs) if role.startswith(ROLE)]

    def part_inputs(self, part: str) -> Sequence[str]:
        return [
            *(self.inputs[role].identity for role in ("corpus", "tokens", "hits")),
            self.inputs[ROLE + part].identity,
        ]

    def make(self, part: str, writer: PartWriter, report: Report) -> Made:
        """Drops N-grams that stand in many documents, and says whose the others are."""
        asked = _Asked(self, ROLE + part)
        hits = self._hits(asked)
        found = np.unique(hits["gram"].to_numpy())
        (grams, there), (bags, reworded) = (self._counted(asked, of_bags, found) for of_bags in (False, True))
        rows = [
            {
                "task": part,
                "example_id": name,
                "words": asked.n,
                "grams": grams[place],
                "found": there[place],
                "reworded": reworded[place],
                "dirty": there[place] + reworded[place] > 0 if grams[place] + bags[place] else None,
            }
            for place, name in enumerate(asked.names)
        ]
        writer.table("exposed", pa.Table.from_pylist(rows, schema=schemas.EXPOSED))
        contamination = sorted(
            self._matches(asked, hits), key=lambda row: (row["doc_id"], row["start"], row["example_id"])
        )
        writer.table("contamination", pa.Table.from_pylist(contamination, schema=schemas.CONTAMINATION))
        return Made(statistics={"dirty": sum(bool(row["dirty"]) for row in rows)})

    def _counted(self, asked: _Asked, bags: bool, found: Grams) -> tuple[list[int], list[int]]:
        """How many different ones each question has, and how many of them are in the corpus."""
        owned = asked.owned(bags)
        pairs = pa.table({"owner": owned.owners, "gram": owned.names}).group_by(["owner", "gram"]).aggregate([])
        owners, there = pairs["owner"].to_numpy(), np.isin(pairs["gram"].to_numpy(), found)
        return (
            np.bincount(owners, minlength=len(asked.names)).tolist(),
            np.bincount(owners[there], minlength=len(asked.names)).tolist(),
        )

    def _hits(self, asked: _Asked) -> pa.Table:
        """The hits of a task's N-grams, but those of N-grams that stand in too many documents."""
        wanted = pa.array(np.unique(asked.owned().names))  # a name says of what it is
        found = scan(self.store, [self.inputs["hits"].ref], "question_hits", schemas.QUESTION_HITS.names)
        mine = (table.filter(pc.is_in(table["gram"], value_set=wanted)).cast(schemas.QUESTION_HITS) for table in found)
        hits = pa.concat_tables([schemas.QUESTION_HITS.empty_table(), *mine])
        pairs = hits.select(["gram", "doc_id"]).group_by(["gram", "doc_id"]).aggregate([])
        counts = pairs.group_by("gram").aggregate([("doc_id", "count")])
        rare = counts.filter(pc.less_equal(counts["doc_id_count"], MOST_DOCUMENTS))["gram"]
        return self._trained_on(hits.filter(pc.is_in(hits["gram"], value_set=rare.combine_chunks())))

    def _trained_on(self, hits: pa.Table) -> pa.Table:
        """Those in text that is trained on: what is held out, and the held-out end of a document, taught nothing."""
        spans = read_tables(self.store, self.inputs["tokens"].ref, "token_spans", ["doc_id", "split", "n_bytes"])
        trained = spans.filter(pc.equal(spans["split"], "train"))
        places = pc.index_in(hits["doc_id"], value_set=trained["doc_id"].combine_chunks())
        sizes = pc.fill_null(trained["n_bytes"].combine_chunks().take(places.combine_chunks()), 0)
        return hits.filter(pc.less(hits["start"], pa.chunked_array([sizes], pa.int64())))

    def _matches(self, asked: _Asked, hits: pa.Table) -> Iterator[dict[str, Any]]:
        """A row for each stretch of a document that is a question's, with the text around it."""
        owners: dict[int, list[int]] = defaultdict(list)
        names, whose = asked.owned()
        wanted = np.isin(names, np.unique(hits["gram"].to_numpy()))
        for gram, owner in zip(names[wanted].tolist(), whose[wanted].tolist(), strict=True):
            if owner not in owners[gram]:
                owners[gram].append(owner)
        stretches: dict[str, dict[tuple[int, str], list[list[int]]]] = defaultdict(lambda: defaultdict(list))
        # What stands there word for word is not shown as reworded once more.
        for row in hits.sort_by([("doc_id", "ascending"), ("bag", "ascending"), ("start", "ascending")]).to_pylist():
            for owner in owners[row["gram"]]:
                if row["bag"] and (owner, "question") in stretches[row["doc_id"]]:
                    continue
                mine = stretches[row["doc_id"]][owner, "reworded" if row["bag"] else "question"]
                if mine and row["start"] <= mine[-1][1]:
                    mine[-1][1] = max(mine[-1][1], row["stop"])
                else:
                    mine.append([row["start"], row["stop"]])
        for doc_id, text in self._texts(list(stretches)):
            for (owner, how), places in stretches[doc_id].items():
                for start, stop in places:
                    yield match_row(doc_id, text, asked.task, asked.names[owner], how, start, stop)

    def _texts(self, doc_ids: list[str]) -> Iterator[tuple[str, str]]:
        left, ref = pa.array(sorted(doc_ids), pa.string()), self.inputs["corpus"].ref
        for part in load(self.store, ref).parts if doc_ids else ():
            table = read_tables(self.store, ref, "corpus", ["id", "text"], [part.part])
            table = table.filter(pc.is_in(table["id"], value_set=left))
            yield from zip(table["id"].to_pylist(), table["text"].to_pylist(), strict=True)
