"""The text that models are asked about: documents that were held out, as the tasks want them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from models.pseudo import ADDED
from tasks.core.stage import Input
from tasks.evaluate.cloze import cloze_of
from tasks.evaluate.settings import EvaluateSettings
from tasks.tokens.pack import TokenStream, sources_of
from tasks.tokens.tokenizer import Codec
from tasks.train.settings import PretrainSettings
from warehouse.artifact import load, read_tables, verified_path
from warehouse.store import Store

if TYPE_CHECKING:
    from models.training.loop import Batch

Tokens = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Passage:
    """Tokens of which the last ``asked`` are to be predicted, and what a figure of them is divided by."""

    tokens: Tokens
    asked: int
    source: str = ""
    n_words: int = 0
    n_bytes: int = 0
    doc_id: str = ""


class HeldOutText:
    """What was held out of a packed corpus, in the order of doc_id, which is random in the documents' content.

    Inputs as in ``Evaluate``; ``training`` is that of the network which is asked.
    """

    def __init__(
        self, store: Store, settings: EvaluateSettings, inputs: dict[str, Input], training: PretrainSettings
    ) -> None:
        self._store, self._settings, self._training = store, settings, training
        self._corpus, self._tokens = inputs["corpus"].ref, inputs["tokens"].ref
        self._split, self._relatives = inputs["split"].ref, inputs["relatives"].ref
        self.codec = Codec.load(store, inputs["tokenizer"].ref)

    def documents(self) -> list[Passage]:
        """Each document whole, the end-of-text token before it."""
        return [
            Passage(tokens, len(tokens) - 1, span["source"], span["n_words"], span["n_bytes"], span["doc_id"])
            for span in self._spans()
            for tokens in [self._span_tokens(span)]
        ]

    def clozes(self) -> list[Passage]:
        """One passage of a document, whose last word is asked."""
        spans = self._spans()
        texts = self._texts(spans)
        found = []
        for span in spans:
            cloze = cloze_of(_end(texts[span["doc_id"]], span["n_bytes"]))
            if cloze is not None:
                before, answer = self.codec.encode(cloze[0]), self.codec.encode(f" {cloze[1]}")
                tokens = np.array([self.codec.end_of_text, *before, *answer], dtype=np.int64)
                found.append(Passage(tokens, len(answer), span["source"], doc_id=span["doc_id"]))
        return found[: self._settings.max_clozes]

    def masked_windows(self) -> list[Batch]:
        """Windows of held-out text with hidden tokens, the same number of each source, for every run the same."""
        from tasks.train.data import TrainingData, masking_vocabulary

        asked = {
            "validation_sequences": self._settings.max_documents,
            "mixture": dict.fromkeys(self.sources, 1.0),
            "seed": self._settings.seed,
        }
        return TrainingData(
            self._store,
            self._tokens,
            self._training.model_copy(update=asked),
            vocabulary=masking_vocabulary(self.codec, self._training.whole_words),
        ).held_out()

    def beginnings(self) -> list[Passage]:
        """The beginning of each of a few documents, as much as a bidirectional network sees at once."""
        room = self._training.model.context - ADDED
        return [
            Passage(one.tokens[1 : room + 1], min(one.asked, room), one.source, doc_id=one.doc_id)
            for one in self.documents()[: self._settings.max_pseudo]
            if one.asked
        ]

    def training_tokens(self) -> Tokens:
        """The training tokens of these sources, once each: what baselines are counted on."""
        streams = [TokenStream(self._store, self._tokens, source, "train") for source in self.sources]
        return np.concatenate([stream.read(0, stream.length) for stream in streams if stream.length])

    def overlaps(self, passages: list[Passage]) -> npt.NDArray[np.float64]:
        """The share of the 8-grams of each passage's document that stand in training text.

        Not a number for a document without any, or of whose source the ends of documents are held out.
        """
        grams = read_tables(self._store, self._split, "held_out_grams")
        seen = read_tables(self._store, self._relatives, "held_out_grams_seen")["gram"].unique()
        known = pa.table(
            {"doc_id": grams["doc_id"], "seen": pc.is_in(grams["gram"], value_set=seen).cast(pa.float64())}
        )
        shares = known.group_by("doc_id").aggregate([("seen", "mean")])
        share_of = dict(zip(shares["doc_id"].to_pylist(), shares["seen_mean"].to_pylist(), strict=True))
        return np.array([share_of.get(passage.doc_id, np.nan) for passage in passages], np.float64)

    @property
    def sources(self) -> list[str]:
        """The sources that are asked about."""
        return [source for source in sources_of(self._store, self._tokens) if source in self._settings.sources]

    def _spans(self) -> list[dict[str, Any]]:
        spans = read_tables(self._store, self._tokens, "token_spans").to_pylist()
        held_out = [span for span in spans if span["split"] == "validation" and span["source"] in self.sources]
        return sorted(held_out, key=lambda span: str(span["doc_id"]))[: self._settings.max_documents]

    def _span_tokens(self, span: dict[str, Any]) -> Tokens:
        """A document's tokens with the end-of-text token before them as the first context."""
        manifest = load(self._store, self._tokens)
        file = next(file for file in manifest.files("validation") if file.path == span["shard"])
        shard = np.memmap(
            verified_path(self._store, self._tokens, file),
            dtype=np.dtype(manifest.parts[0].statistics["dtype"]),
            mode="r",
        )
        tokens = shard[span["start"] : span["start"] + span["length"] - 1].astype(np.int64)
        return np.concatenate([[self.codec.end_of_text], tokens])

    def _texts(self, spans: list[dict[str, Any]]) -> dict[str, str]:
        parts = sorted({PurePosixPath(span["shard"]).stem for span in spans})
        wanted = {span["doc_id"] for span in spans}
        table = read_tables(self._store, self._corpus, "corpus", ["id", "text"], parts)
        columns = (table["id"].to_pylist(), table["text"].to_pylist())
        return {doc_id: text for doc_id, text in zip(*columns, strict=True) if doc_id in wanted}


def _end(text: str, size: int) -> str:
    """The last bytes of a text: of a document that is held out whole, all of it."""
    return text.encode()[-size:].decode()
