"""sign: documents to signatures, what near-duplicates are found by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from tasks.core.stage import Made, PerPart, Report, StageSettings
from tasks.dedup.digest import digests
from warehouse import schemas
from warehouse.artifact import Counts, PartWriter, file_of, read_tables

if TYPE_CHECKING:
    from tasks.dedup.minhash import Scheme, Sketches


class SignSettings(StageSettings):
    """MinHash in datasketch's scheme affine32. FineWeb has 112 hashes in 14 bands of 8, GPT-3 had 10 hashes."""

    hashes: int = Field(128, ge=1, description="numbers of a signature")
    bands: int = Field(16, ge=1, description="LSH bands: documents that share one are compared")
    rows: int = Field(8, ge=1, description="numbers in a band")
    shingle_words: int = Field(5, ge=1, description="words of a shingle; a shorter text is one shingle")
    seed: int = Field(1, ge=0, lt=1 << 32, description="seed of the permutations")

    @model_validator(mode="after")
    def _fits(self) -> SignSettings:
        if self.bands * self.rows > self.hashes:
            raise ValueError(f"bands x rows is {self.bands * self.rows}, but a signature has {self.hashes} numbers")
        return self

    @property
    def scheme(self) -> Scheme:
        """The same, for compiled code."""
        from tasks.dedup.minhash import Scheme

        return Scheme(self.hashes, self.bands, self.rows, self.shingle_words, self.seed)


BAND = "band_"


def band_name(band: int) -> str:
    """The column, and the part, of a band."""
    return f"{BAND}{band:02d}"


class Sign(PerPart):
    """The signatures of one source's documents."""

    name = "sign"
    version = 5
    of = "documents"
    settings: SignSettings

    def part_inputs(self, part: str) -> Sequence[str]:
        return [file_of(self.store, self.inputs["documents"].ref, "documents", part).sha256]

    def make(self, part: str, writer: PartWriter, report: Report) -> Made:
        """Signs each document of the part."""
        from tasks.dedup.minhash import sketches

        documents = read_tables(
            self.store, self.inputs["documents"].ref, "documents", ["doc_id", "url", "text", "n_chars"], [part]
        )
        table = signature_table(documents, sketches(documents["text"], self.settings.scheme))
        keys = [field.name for field in table.schema if field.type == pa.uint64()]
        writer.table("signatures", table, random=keys)
        return Made(counts=Counts(documents_in=len(documents), kept=len(documents)))


def signature_table(documents: pa.Table, found: Sketches) -> pa.Table:
    """The rows of the signatures table, in the order of the documents."""
    # The number of a row, or the name of a file, is no address: two that are called alike are two.
    addressed = pc.match_substring(documents["url"], "://")
    urls = digests(pc.if_else(addressed, documents["url"], documents["doc_id"]))
    columns = {
        "doc_id": documents["doc_id"],
        "doc_key": digests(documents["doc_id"])[:, 0],
        "url_key": urls[:, 0],
        "url_check": urls[:, 1],
        "text_key": found.digests[:, 0],
        "text_check": found.digests[:, 1],
        "n_shingles": found.shingles,
        "n_chars": documents["n_chars"],
        **{band_name(band): keys for band, keys in enumerate(found.keys)},
    }
    fields = [pa.field(name, pa.uint64(), nullable=False) for name in columns if name.startswith(BAND)]
    return pa.table(columns, schema=pa.schema([*schemas.SIGNATURES, *fields]))
