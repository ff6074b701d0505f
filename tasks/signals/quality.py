"""quality: a classifier that tells curated texts from crawled ones (Brown et al. 2020, appendix A)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field, model_validator

from models.draws import uniform
from tasks.core.stage import Made, Report, Stage, StageSettings
from tasks.signals.classifier import BUCKETS, features, word_counts
from tasks.text.buffers import buffers
from warehouse import schemas
from warehouse.artifact import PartWriter, read_tables
from warehouse.errors import GristmillError

LEAST_DOCUMENTS = 20  # of each class: with fewer there is nothing to learn, and no AUC
PASSES, PENALTY = 30, 1e-6


class QualitySettings(StageSettings):
    """Which sources are good examples, and which are not. Without any, there is no classifier."""

    positive: tuple[str, ...] = Field(
        (), description="sources of curated texts; one with weight 0 can serve this alone"
    )
    negative: tuple[str, ...] = Field((), description="sources of raw crawl, of which most is worse")
    documents: int = Field(50_000, ge=100, description="documents of each class to learn from at most, drawn by doc_id")
    held_out_share: float = Field(0.1, gt=0, lt=1, description="share of them that the AUC is measured on")
    seed: int = Field(1, description="seed of the draw")

    @model_validator(mode="after")
    def _two_classes(self) -> QualitySettings:
        if bool(self.positive) != bool(self.negative) or set(self.positive) & set(self.negative):
            raise ValueError("quality needs positive and negative sources, and none that is both")
        return self


class TrainQuality(Stage):
    """One classifier over the documents of several sources. Inputs: ``documents/…`` of each."""

    name = "quality"
    version = 2
    settings: QualitySettings

    def plan(self) -> Sequence[str]:
        return ["classifier"]

    def make(self, part: str, writer: PartWriter, report: Report) -> Made:
        """Learns from most of the drawn documents and measures itself on the rest."""
        from sklearn.linear_model import SGDClassifier
        from sklearn.metrics import roc_auc_score

        good, bad = self._drawn(self.settings.positive), self._drawn(self.settings.negative)
        texts = pa.concat_arrays([good["text"].combine_chunks(), bad["text"].combine_chunks()])
        ids = [*good["doc_id"].to_pylist(), *bad["doc_id"].to_pylist()]
        is_good = np.arange(len(ids)) < len(good)
        held_out = np.concatenate([self._held_out(ids[: len(good)]), self._held_out(ids[len(good) :])])
        data, offsets = buffers(texts)
        table = features(data, offsets)
        # Passes in a seeded order and no linear algebra library: the same bits on any machine.
        model = SGDClassifier(
            loss="log_loss", alpha=PENALTY, max_iter=PASSES, tol=None, average=True, class_weight="balanced", random_state=self.settings.seed
        )  # fmt: skip
        model.fit(table[~held_out], is_good[~held_out])
        auc = float(roc_auc_score(is_good[held_out], model.decision_function(table[held_out])))
        counts = np.asarray(word_counts(data, offsets, signed=False)[is_good & ~held_out].sum(axis=0)).ravel()
        shares = (counts + 1.0) / (counts.sum() + BUCKETS)
        writer.table(
            "classifier",
            pa.table([model.coef_[0].astype(np.float32), np.log(shares).astype(np.float32)], schema=schemas.CLASSIFIER),
        )
        figures = {
            "positives": len(good),
            "negatives": len(bad),
            "held_out": int(held_out.sum()),
            "auc": round(auc, 6),
            "intercept": float(np.float32(model.intercept_[0])),
        }
        row = {**figures, "positive": list(self.settings.positive), "negative": list(self.settings.negative)}
        writer.table("classifiers", pa.Table.from_pylist([row], schema=schemas.CLASSIFIERS))
        return Made(statistics=figures)

    def _held_out(self, ids: list[str]) -> npt.NDArray[np.bool_]:
        """The share of one class that nothing is learnt from, one document at least."""
        draws = uniform(self.settings.seed, "quality held out", ids)
        count = max(1, round(self.settings.held_out_share * len(ids)))
        return np.argsort(np.argsort(draws, kind="stable"), kind="stable") < count

    def _drawn(self, sources: Sequence[str]) -> pa.Table:
        """So many documents of some sources, by draw, in the order of doc_id."""
        tables = [
            read_tables(self.store, self.inputs[f"documents/{source}"].ref, "documents", ["doc_id", "text"])
            for source in sorted(sources)
        ]
        table = pa.concat_tables(tables)
        if len(table) < LEAST_DOCUMENTS:
            raise GristmillError(
                f"the quality classifier needs {LEAST_DOCUMENTS} documents of {', '.join(sources)} and there are {len(table)}: "
                "name larger sources in quality.positive and quality.negative, or none"
            )
        draws = uniform(self.settings.seed, "quality draw", table["doc_id"].to_pylist())
        chosen = np.argsort(draws, kind="stable")[: self.settings.documents]
        return table.take(pa.array(np.sort(chosen))).sort_by("doc_id")
