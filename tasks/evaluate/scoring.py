"""Scores of one run and its baselines on the same held-out text, and samples to read."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from models.bert import Bert
from models.generate import Sampling, generate
from models.ngram import NGram, unigram_on_hidden
from models.score import LanguageModel, Network, score_masked
from tasks.core.stage import Input
from tasks.evaluate.settings import BASELINES, MODEL_PART, EvaluateSettings
from tasks.evaluate.suite import Cloze, HeldOut, cloze_of, hidden_tokens, language_modelling, last_word, rows
from tasks.tokens.pack import TokenStream, sources_of
from tasks.tokens.tokenizer import Codec
from tasks.train.data import TrainingData, masking_vocabulary
from tasks.train.published import load_model
from tasks.train.settings import PretrainSettings
from warehouse import schemas
from warehouse.artifact import PartWriter, load, read_tables, verified_path
from warehouse.store import Store


class Scoring:
    """What is asked of each part of an evaluation: MODEL_PART, or one of BASELINES."""

    def __init__(
        self, store: Store, settings: EvaluateSettings, inputs: dict[str, Input], training: PretrainSettings
    ) -> None:
        self.store, self.settings, self.inputs, self._training = store, settings, inputs, training

    def write(self, part: str, writer: PartWriter) -> None:
        """Scores one model or baseline by what it was trained for."""
        ways = {"next token": self._write_causal, "masked tokens": self._write_masked}
        ways[self._training.model.objective](part, writer)

    def _write_causal(self, part: str, writer: PartWriter) -> None:
        """Held-out text and last words; of the network samples too."""
        run, orders = self.inputs["checkpoint"].ref, BASELINES["next token"]
        documents = self._held_out()
        clozes = self._clozes(documents)
        model: LanguageModel
        if part == MODEL_PART:
            network = load_model(self.store, run, self.inputs["tokenizer"].ref)
            model, name, step = Network(network, bf16=self._bf16), run.key, load(self.store, run).statistic("steps")
            samples = [
                {"run": run.key, "step": step, "prompt": prompt, "text": self._sample(network, prompt)}
                for prompt in self.settings.prompts
            ]
            writer.table("samples", pa.Table.from_pylist(samples, schema=schemas.SAMPLES))
        else:
            model, name, step = NGram(orders[part], self._codec.size, self._training_tokens()), part, None
        figures = language_modelling(documents, model.score([document.tokens for document in documents]))
        if clozes:
            figures += last_word(clozes, model)
        writer.table("evaluations", pa.Table.from_pylist(rows(name, step, figures), schema=schemas.EVALUATIONS))

    def _write_masked(self, part: str, writer: PartWriter) -> None:
        """Scores a bidirectional network, or how often each token occurs, on hidden tokens."""
        run, vocabulary = self.inputs["checkpoint"].ref, masking_vocabulary(self._codec, self._training.whole_words)
        asked = self._training.model_copy(update={"validation_sequences": self.settings.max_documents})
        batches = TrainingData(self.store, self.inputs["tokens"].ref, asked, vocabulary=vocabulary).held_out()
        if part == MODEL_PART:
            network = load_model(self.store, run, self.inputs["tokenizer"].ref)
            assert isinstance(network, Bert)
            name, step, scores = (
                run.key,
                load(self.store, run).statistic("steps"),
                score_masked(network, batches, self._bf16),
            )
        else:
            name, step, scores = part, None, unigram_on_hidden(self._training_tokens(), self._codec.size, batches)
        figures = hidden_tokens(scores, with_label=part == MODEL_PART)
        writer.table("evaluations", pa.Table.from_pylist(rows(name, step, figures), schema=schemas.EVALUATIONS))

    @property
    def _bf16(self) -> bool:
        return self.settings.precision == "bf16"

    @cached_property
    def _codec(self) -> Codec:
        return Codec.load(self.store, self.inputs["tokenizer"].ref)

    def _held_out(self) -> list[HeldOut]:
        """Validation documents of the trained sources in the order of doc_id, which is random in their content."""
        spans = read_tables(self.store, self.inputs["tokens"].ref, "token_spans").to_pylist()
        trained = self._trained_sources()
        picked = sorted(
            (span for span in spans if span["split"] == "validation" and span["source"] in trained),
            key=lambda span: str(span["doc_id"]),
        )[: self.settings.max_documents]
        texts = self._texts({span["doc_id"] for span in picked})
        return [
            HeldOut(
                span["source"],
                _end(texts[span["doc_id"]], span["n_bytes"]),
                self._span_tokens(span),
                span["n_words"],
                span["n_bytes"],
            )
            for span in picked
        ]

    def _trained_sources(self) -> list[str]:
        """The sources that the network was trained on."""
        mixture = self._training.mixture
        return [source for source in sources_of(self.store, self.inputs["tokens"].ref) if mixture.get(source, 0) > 0]

    def _span_tokens(self, span: dict[str, Any]) -> np.ndarray[Any, np.dtype[np.int64]]:
        """A document's tokens with the end-of-text token before them as the first context."""
        manifest = load(self.store, self.inputs["tokens"].ref)
        file = next(file for file in manifest.files("validation") if file.path == span["shard"])
        shard = np.memmap(
            verified_path(self.store, self.inputs["tokens"].ref, file),
            dtype=np.dtype(manifest.parts[0].statistics["dtype"]),
            mode="r",
        )
        tokens = shard[span["start"] : span["start"] + span["length"] - 1].astype(np.int64)
        return np.concatenate([[self._codec.end_of_text], tokens])

    def _texts(self, doc_ids: set[str]) -> dict[str, str]:
        ref = self.inputs["corpus"].ref
        found = {}
        for file in load(self.store, ref).files("corpus"):
            table = pq.read_table(verified_path(self.store, ref, file), columns=["id", "text"])
            found.update(
                {
                    i: text
                    for i, text in zip(table["id"].to_pylist(), table["text"].to_pylist(), strict=True)
                    if i in doc_ids
                }
            )
        return found

    def _clozes(self, documents: list[HeldOut]) -> list[Cloze]:
        found = (cloze_of(document, self._codec.encode, self._codec.end_of_text) for document in documents)
        return [cloze for cloze in found if cloze is not None][: self.settings.max_clozes]

    def _training_tokens(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """The training tokens of all trained sources, once each."""
        ref = self.inputs["tokens"].ref
        streams = [TokenStream(self.store, ref, source, "train") for source in self._trained_sources()]
        return np.concatenate([stream.read(0, stream.length) for stream in streams if stream.length])

    def _sample(self, network: Any, prompt: str) -> str:
        codec = self._codec
        tokens = [codec.end_of_text, *codec.encode(prompt)]
        s = self.settings
        sampling = Sampling(s.temperature, s.top_k, s.top_p, seed=s.seed)
        made = generate(network, tokens, s.sample_tokens, sampling, stop=codec.end_of_text)
        return codec.decode(made)


def _end(text: str, size: int) -> str:
    """The last bytes of a text: of a document that is held out whole, all of it."""
    return text.encode()[-size:].decode()
