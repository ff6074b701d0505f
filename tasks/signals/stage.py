"""annotate: documents to signals. Facts, measured once; what to do about them is a policy's matter."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks import pii
from tasks.core.stage import Made, PerPart, Report, StageSettings
from tasks.signals import classifier, compression, language
from tasks.signals import measure as of_text
from tasks.signals import pii as of_pii
from tasks.signals.classifier import Classifier
from tasks.signals.definition import Signal
from tasks.text.buffers import buffers
from warehouse.artifact import Counts, PartWriter, file_of, load, read_tables

SIGNALS: tuple[Signal, ...] = (
    *language.SIGNALS, *of_text.SIGNALS, *compression.SIGNALS, *of_pii.SIGNALS, *classifier.SIGNALS,
)  # fmt: skip
SCHEMA = pa.schema(
    [
        pa.field("doc_id", pa.string(), nullable=False),
        *(
            pa.field(
                signal.name,
                pa.string() if signal.name == "language" else pa.float64(),
                metadata={
                    "unit": signal.unit,
                    "meaning": signal.meaning,
                    "source": signal.source,
                    "version": str(signal.version),
                    **({"null where": f"too few of the letters are or have {signal.needs}"} if signal.needs else {}),
                },
            )
            for signal in SIGNALS
        ),
    ]
)


class AnnotateSettings(StageSettings):
    """Signals have no settings: a new definition is a new version of the signal, and of this stage."""


def measure(
    texts: pa.Array | pa.ChunkedArray, quality: Classifier | None = None
) -> dict[str, list[str] | npt.NDArray[np.float64]]:
    """Every signal of a column of texts, by name; those of the classifier only where there is one."""
    data, offsets = buffers(texts)
    plain = [text or "" for text in texts.to_pylist()]
    codes, scores = language.languages(plain)
    found: dict[str, list[str] | npt.NDArray[np.float64]] = {"language": codes, "language_score": scores}
    found.update(of_text.measured(texts))
    found.update(compression.ratios(data, offsets))
    found.update({f"pii_{name}_count": count for name, count in pii.counts(plain).items()})
    if quality is not None:
        found.update(classifier.scored(quality, data, offsets))
    return found


class Annotate(PerPart):
    """The signals of one source's documents. Inputs: ``documents``, and ``quality`` where the recipe has a classifier."""

    name = "annotate"
    version = 7
    of = "documents"
    settings: AnnotateSettings

    def part_inputs(self, part: str) -> Sequence[str]:
        quality = [self.inputs["quality"].identity] if "quality" in self.inputs else []
        return [file_of(self.store, self.inputs["documents"].ref, "documents", part).sha256, *quality]

    def make(self, part: str, writer: PartWriter, report: Report) -> Made:
        """Measures the documents of the part, a column at a time."""
        documents = read_tables(self.store, self.inputs["documents"].ref, "documents", ["doc_id", "text"], [part])
        found = measure(documents["text"], self._classifier())
        columns = [
            documents["doc_id"].combine_chunks(),
            *(pa.array(found[s.name], SCHEMA.field(s.name).type, from_pandas=True) if s.name in found else pa.nulls(len(documents), pa.float64()) for s in SIGNALS),
        ]  # fmt: skip
        writer.table("signals", pa.table(columns, schema=SCHEMA))
        return Made(counts=Counts(documents_in=len(documents), kept=len(documents)))

    def _classifier(self) -> Classifier | None:
        if "quality" not in self.inputs:
            return None
        ref = self.inputs["quality"].ref
        table = read_tables(self.store, ref, "classifier")
        intercept = load(self.store, ref).statistic("intercept")
        return Classifier(table["coefficient"].to_numpy(), intercept, table["log_share"].to_numpy())
