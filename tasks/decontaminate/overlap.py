"""overlap: where n-grams of evaluation sets stand in the documents of a source."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from tasks.core.stage import Made, PerPart, Report, StageSettings
from tasks.decontaminate.cut import CutSettings
from tasks.decontaminate.sets import EvaluationSet, identity, pieces
from tasks.text.buffers import buffers
from tasks.text.grams import GramIndex, find, grams_of, index_of
from tasks.text.normal import in_normal_form, put_back
from warehouse import schemas
from warehouse.artifact import Counts, PartWriter, file_of, read_tables
from warehouse.store import Store


class DecontaminateSettings(StageSettings):
    """GPT-3's decontamination (Brown et al. 2020, appendix C), and GPT-2's measure of overlap (Radford et al. 2019, section 4)."""

    sets: dict[str, EvaluationSet] = Field(
        default={}, description="name -> evaluation set; none leaves the corpus as it is"
    )
    words: int = Field(13, ge=2, description="words of an n-gram that contaminates (GPT-3: 13)")
    report_words: int = Field(8, ge=2, description="words of the n-grams whose share is reported (GPT-2: 8)")
    most_documents: int = Field(
        10, ge=1, description="n-grams in more documents than that are phrases of the language, and ignored (GPT-3: 10)"
    )
    cut: CutSettings = Field(CutSettings(), description="what goes with contaminated text")


def sought(store: Store, settings: DecontaminateSettings) -> dict[str, Any]:
    """What the n-grams that are looked for depend on."""
    sets = {name: identity(store, one) for name, one in settings.sets.items()}
    return {"sets": sets, "words": settings.words, "report_words": settings.report_words}


class Overlap(PerPart):
    """Where a source's documents hold n-grams of the evaluation sets. Inputs: ``documents``."""

    name = "overlap"
    version = 2
    of = "documents"
    settings: DecontaminateSettings

    @property
    def identity(self) -> dict[str, Any]:
        return sought(self.store, self.settings)

    def part_inputs(self, part: str) -> Sequence[str]:
        return [file_of(self.store, self.inputs["documents"].ref, "documents", part).sha256]

    def make(self, part: str, writer: PartWriter, report: Report) -> Made:
        """Every place of a contaminating n-gram, and which of the reported ones the part has."""
        documents = read_tables(self.store, self.inputs["documents"].ref, "documents", ["doc_id", "text"], [part])
        texts, others = in_normal_form(documents["text"])
        data, offsets = buffers(texts)
        long, short = self._indices
        hits = find(data, offsets, long)
        put_back(hits.text, hits.start, hits.stop, others)
        columns = {
            "doc_id": documents["doc_id"].take(pa.array(hits.text)),
            "gram": long.names[hits.gram],
            "start": hits.start,
            "stop": hits.stop,
        }
        writer.table("gram_hits", pa.table(columns, schema=schemas.GRAM_HITS))
        seen = short.names[np.unique(find(data, offsets, short).gram)]
        writer.table("grams_seen", pa.table({"gram": seen}, schema=schemas.GRAMS_SEEN))
        return Made(counts=Counts(documents_in=len(documents), kept=len(documents)))

    @cached_property
    def _indices(self) -> tuple[GramIndex, GramIndex]:
        texts = [piece.text for name, one in self.settings.sets.items() for piece in pieces(self.store, name, one)]
        data, offsets = buffers(pa.array(texts, pa.string()))
        long, short = (
            index_of(grams_of(data, offsets, n)[0], n) for n in (self.settings.words, self.settings.report_words)
        )
        return long, short
