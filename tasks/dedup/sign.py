"""sign: documents to signatures, what near-duplicates are found by."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from tasks.dedup import minhash
from tasks.stage import Made, Report, Stage, StageSettings
from warehouse import schemas
from warehouse.artifact import Counts, PartWriter, load, read_tables


class SignSettings(StageSettings):
    """The scheme is fixed: 128 permutations over word 5-grams, as datasketch makes them."""


class Sign(Stage):
    """The signatures of one source's documents."""

    name = "sign"
    version = 1
    settings: SignSettings

    def plan(self) -> Sequence[str]:
        return [part.part for part in load(self.store, self.inputs["documents"].ref).parts]

    def documents_expected(self) -> int:
        return load(self.store, self.inputs["documents"].ref).counts.kept

    def make(self, part: str, writer: PartWriter, report: Report) -> Made:
        """Signs each document of the part."""
        documents = read_tables(
            self.store, self.inputs["documents"].ref, "documents", ["doc_id", "url", "text", "n_chars"], [part]
        )
        texts = documents["text"].to_pylist()
        sets = [minhash.shingles(text) for text in texts]
        table = pa.table(
            {
                "doc_id": documents["doc_id"],
                "url": documents["url"],
                "text_digest": [minhash.text_digest(text) for text in texts],
                "n_shingles": [len(one) for one in sets],
                "n_chars": documents["n_chars"],
                "signature": [signature.tolist() for signature in minhash.signatures(sets)],
            },
            schema=schemas.SIGNATURES,
        )
        writer.table("signatures", table)
        return Made(counts=Counts(documents_in=len(texts), kept=len(texts)))
