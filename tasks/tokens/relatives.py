"""relatives: documents that hold much of a held-out one, or that were not drawn, and are not trained on; what overlap is left."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from models.draws import uniform
from tasks.core.stage import Made, PerPart, Report
from tasks.text.buffers import buffers
from tasks.text.grams import GramIndex, Hits, find, grams_of, index_of
from tasks.tokens.divide import held_out_end
from tasks.tokens.split import GRAM_WORDS, PART, HoldOutSettings, facts_of
from warehouse import schemas
from warehouse.artifact import Counts, PartWriter, file_of, read_tables

RULE, NOT_DRAWN = "relative of held-out text", "not drawn"
LEAST_SHARED = 10  # distinct n-grams: a phrase that both have, or one word again and again, makes no relative


class RelativesSettings(HoldOutSettings):
    """What is a relative of held-out text."""

    related_share: float = Field(
        0.2,
        gt=0,
        le=1,
        description="a document that holds so large a share of a held-out one's 8-grams, or so much of which stands in one, "
        "is not trained on",
    )
    subset: float = Field(
        1.0,
        gt=0,
        le=1,
        description="share of the documents that are trained on, drawn by their names: a study's second factor",
    )
    subset_seed: int = Field(0, description="seed of that draw")

    def identity(self) -> dict[str, Any]:
        """Without a draw, where all are trained on."""
        drawn = {"subset", "subset_seed"} if self.subset == 1 else set()
        return {name: value for name, value in super().identity().items() if name not in drawn}


class Relatives(PerPart):
    """What of a corpus is kept from training since it holds text that is held out. Inputs: ``corpus``, ``split``."""

    name = "relatives"
    version = 2
    of = "corpus"
    settings: RelativesSettings

    def part_inputs(self, part: str) -> Sequence[str]:
        corpus = file_of(self.store, self.inputs["corpus"].ref, "corpus", part)
        held_out = [
            file_of(self.store, self.inputs["split"].ref, name, PART) for name in ("held_out", "held_out_grams")
        ]
        return [corpus.sha256, *(file.sha256 for file in held_out), *facts_of(self)["ends"]]

    def make(self, part: str, writer: PartWriter, report: Report) -> Made:
        """A row for each document that is not trained on, and the held-out n-grams that the others have."""
        documents = read_tables(
            self.store, self.inputs["corpus"].ref, "corpus", ["id", "url", "source", "text"], [part]
        )
        held_out = pc.is_in(documents["id"], value_set=self._doc_ids)
        documents = documents.filter(pc.invert(held_out))
        texts = self._trained_texts(documents)
        data, offsets = buffers(texts)
        hits = find(data, offsets, self._index)
        table = self._decisions(documents, hits, self._sizes(data, offsets))
        table = pa.concat_tables([table, self._not_drawn(documents, table["doc_id"])])
        lost = pc.is_in(documents["id"], value_set=table["doc_id"])
        related = np.isin(hits.text, np.nonzero(lost.to_numpy())[0])
        seen = self._index.names[np.unique(hits.gram[~related])]
        writer.table("decisions", table)
        writer.table("held_out_grams_seen", pa.table({"gram": seen}, schema=schemas.GRAMS_SEEN))
        total, removed = len(held_out), len(table)
        funnel = {}
        for rule in dict.fromkeys([RULE, *table["rule"].to_pylist()]):
            mine = pc.is_in(documents["id"], value_set=table.filter(pc.equal(table["rule"], rule))["doc_id"])
            size = int(pc.sum(pc.binary_length(documents["text"].filter(mine))).as_py() or 0)
            funnel[rule] = [int(pc.sum(mine).as_py() or 0), size]
        bytes_in = int(pc.sum(pc.binary_length(documents["text"])).as_py() or 0)
        return Made(
            counts=Counts(documents_in=total, kept=total - removed, removed=removed),
            statistics={"funnel": funnel, "bytes_in": bytes_in},
        )

    def _trained_texts(self, documents: pa.Table) -> pa.Array:
        """What of each document would be trained on: of a small source its beginning."""
        texts = documents["text"].combine_chunks()
        small = set(facts_of(self)["ends"])
        if not small.intersection(documents["source"].to_pylist()):
            return texts
        cut = [
            text[: held_out_end(text, self.settings.validation_share)] if source in small else text
            for text, source in zip(texts.to_pylist(), documents["source"].to_pylist(), strict=True)
        ]
        return pa.array(cut, pa.string())

    def _decisions(self, documents: pa.Table, hits: Hits, sizes: npt.NDArray[np.int64]) -> pa.Table:
        """The documents that are related to one that is held out, with the largest share that either has of the other."""
        rows = []
        grams, owners, lengths = self._held_out
        columns = [documents[name].to_pylist() for name in ("id", "url", "source")]
        pairs = np.unique(np.stack([hits.text, hits.gram], axis=1), axis=0)
        if not len(pairs):
            return schemas.DECISIONS.empty_table()
        texts, begins = np.unique(pairs[:, 0], return_index=True)
        for text, found in zip(texts.tolist(), np.split(self._index.names[pairs[:, 1]], begins[1:]), strict=True):
            first, last = np.searchsorted(grams, found), np.searchsorted(grams, found, "right")
            mine = np.concatenate([owners[a:b] for a, b in zip(first.tolist(), last.tolist(), strict=True)])
            held, shared = np.unique(mine, return_counts=True)
            shares = np.maximum(shared / lengths[held], shared / max(1, int(sizes[text])))
            shares[shared < LEAST_SHARED] = 0.0
            best = int(np.argmax(shares))
            if shares[best] >= self.settings.related_share:
                doc_id, url, source = (column[text] for column in columns)
                rows.append(
                    {
                        "doc_id": doc_id,
                        "verdict": "removed",
                        "stage": self.name,
                        "rule": RULE,
                        "value": float(shares[best]),
                        "threshold": self.settings.related_share,
                        "url": url,
                        "source": source,
                        "detail": f"shares {int(shared[best])} {GRAM_WORDS}-grams with {self._doc_ids[int(held[best])].as_py()}",
                        "rules": [RULE],
                    }
                )
        return pa.Table.from_pylist(rows, schema=schemas.DECISIONS)

    def _not_drawn(self, documents: pa.Table, related: pa.ChunkedArray) -> pa.Table:
        """The documents that the draw leaves out."""
        if self.settings.subset == 1:
            return schemas.DECISIONS.empty_table()
        left = documents.filter(pc.invert(pc.is_in(documents["id"], value_set=related)))
        small = pa.array(
            sorted(facts_of(self)["ends"]), pa.string()
        )  # of a few texts each is worth too much to be drawn
        left = left.filter(pc.invert(pc.is_in(left["source"], value_set=small)))
        draws = uniform(self.settings.subset_seed, "subset", left["id"].to_pylist())
        rows = [
            {
                "doc_id": row["id"],
                "verdict": "removed",
                "stage": self.name,
                "rule": NOT_DRAWN,
                "value": float(draw),
                "threshold": self.settings.subset,
                "url": row["url"],
                "source": row["source"],
                "detail": f"drawn by seed {self.settings.subset_seed}",
                "rules": [NOT_DRAWN],
            }
            for row, draw in zip(left.select(["id", "url", "source"]).to_pylist(), draws.tolist(), strict=True)
            if draw >= self.settings.subset
        ]
        return pa.Table.from_pylist(rows, schema=schemas.DECISIONS)

    def _sizes(self, data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Distinct n-grams of each text."""
        names, texts = grams_of(data, offsets, GRAM_WORDS)
        distinct = np.unique(np.stack([texts.astype(np.uint64), names], axis=1), axis=0)
        return np.bincount(distinct[:, 0].astype(np.int64), minlength=len(offsets) - 1)

    @cached_property
    def _held_out(self) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The held-out n-grams, sorted, the place of the document that has each, and how many each document has."""
        table = read_tables(self.store, self.inputs["split"].ref, "held_out_grams")
        owners = pc.index_in(table["doc_id"], value_set=self._doc_ids).to_numpy().astype(np.int64)
        return table["gram"].to_numpy(), owners, np.bincount(owners, minlength=max(1, len(self._doc_ids)))

    @cached_property
    def _index(self) -> GramIndex:
        return index_of(self._held_out[0], GRAM_WORDS)

    @cached_property
    def _doc_ids(self) -> pa.Array:
        return read_tables(self.store, self.inputs["split"].ref, "held_out", ["doc_id"])["doc_id"].combine_chunks()
