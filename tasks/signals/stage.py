"""annotate: documents to signals. Facts, measured once; what to do about them is a policy's matter."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from tasks.signals import c4, fineweb, gopher
from tasks.signals import language as lang
from tasks.signals.document import Document, Measure
from tasks.stage import Made, Report, Stage, StageSettings
from warehouse.artifact import Counts, PartWriter, load, read_tables

MEASURES: tuple[Measure, ...] = (gopher.quality, gopher.repetition, c4.lines_and_pages, fineweb.lines)
SIGNALS = (*lang.SIGNALS, *gopher.SIGNALS, *c4.SIGNALS, *fineweb.SIGNALS)
NUMERIC = tuple(signal.name for signal in SIGNALS if signal.name != "language")
SCHEMA = pa.schema(
    [
        pa.field("doc_id", pa.string(), nullable=False),
        *(
            pa.field(
                signal.name,
                pa.string() if signal.name == "language" else pa.float64(),
                metadata={"unit": signal.unit, "meaning": signal.meaning, "source": signal.source},
            )
            for signal in SIGNALS
        ),
    ]
)


class AnnotateSettings(StageSettings):
    """Signals have no settings: a new definition is a new name."""


def measure(text: str) -> dict[str, float | str]:
    """Every signal of a text by name."""
    code, score = lang.language(text)
    document = Document(text)
    out: dict[str, float | str] = {"language": code, "language_score": score}
    for take in MEASURES:
        out.update(take(document))
    return out


class Annotate(Stage):
    """The signals of one source's documents."""

    name = "annotate"
    version = 1
    settings: AnnotateSettings

    def plan(self) -> Sequence[str]:
        return [part.part for part in load(self.store, self.inputs["documents"].ref).parts]

    def documents_expected(self) -> int:
        return load(self.store, self.inputs["documents"].ref).counts.kept

    def make(self, part: str, writer: PartWriter, report: Report) -> Made:
        """Measures each document of the part."""
        documents = read_tables(self.store, self.inputs["documents"].ref, "documents", ["doc_id", "text"], [part])
        rows = [
            {"doc_id": doc_id, **measure(text)}
            for doc_id, text in zip(documents["doc_id"].to_pylist(), documents["text"].to_pylist(), strict=True)
        ]
        writer.table("signals", pa.Table.from_pylist(rows, schema=SCHEMA))
        return Made(counts=Counts(documents_in=len(rows), kept=len(rows)))
