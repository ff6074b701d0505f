"""pack: corpus to token arrays that training maps into memory, with the span of every document."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from tasks.stage import Made, Report, Stage, StageSettings
from tasks.tokenizer import Codec
from warehouse import schemas
from warehouse.artifact import Counts, PartWriter, Ref, file_of, load, read_tables, verified_path
from warehouse.store import Store

SPLITS = ("train", "validation")


class PackSettings(StageSettings):
    """How documents are divided between training and validation."""

    validation_share: float = Field(
        0.01, gt=0, lt=1, description="share of the documents that is held out, by hash of doc_id"
    )


def is_validation(doc_id: str, share: float) -> bool:
    """Whether a document is held out: a function of its id alone."""
    return int.from_bytes(hashlib.sha256(f"split:{doc_id}".encode()).digest()[:8], "big") < share * 2**64


class Pack(Stage):
    """Token arrays of a corpus. Inputs: ``corpus``, ``tokenizer``."""

    name = "pack"
    version = 3
    settings: PackSettings

    def plan(self) -> Sequence[str]:
        return [part.part for part in load(self.store, self.inputs["corpus"].ref).parts]

    def documents_expected(self) -> int:
        return load(self.store, self.inputs["corpus"].ref).counts.kept

    def part_inputs(self, part: str) -> Sequence[str]:
        corpus = file_of(self.store, self.inputs["corpus"].ref, "corpus", part)
        return [corpus.sha256, self.inputs["tokenizer"].identity]

    def make(self, part: str, writer: PartWriter, report: Report) -> Made:
        """Encodes the part's documents, each ended by the end-of-text token, into one array a split."""
        codec = Codec.load(self.store, self.inputs["tokenizer"].ref)
        documents = read_tables(
            self.store, self.inputs["corpus"].ref, "corpus", ["id", "text", "source", "repeats"], [part]
        ).to_pylist()
        encoded = codec.encode_all([document["text"] for document in documents])
        kind, ended = token_type(codec.size), np.array([codec.end_of_text], np.int32)
        spans: list[dict[str, Any]] = []
        statistics: dict[str, Any] = {"dtype": kind.str, "source": documents[0]["source"] if documents else ""}
        for split in SPLITS:
            mine = [
                (d, tokens)
                for d, tokens in zip(documents, encoded, strict=True)
                if is_validation(d["id"], self.settings.validation_share) == (split == "validation")
                for _ in range(1 if split == "validation" else d["repeats"])
            ]
            pieces: list[npt.NDArray[Any]] = []
            start = 0
            for document, tokens in mine:
                spans.append(
                    {
                        "doc_id": document["id"],
                        "shard": f"{split}/{part}.bin",
                        "start": start,
                        "length": len(tokens) + 1,
                        "split": split,
                        "source": document["source"],
                        "n_bytes": len(document["text"].encode()),
                        "n_words": len(document["text"].split()),
                    }
                )
                pieces += [tokens, ended]
                start += len(tokens) + 1
            writer.bytes(
                f"{split}/{part}.bin", np.concatenate(pieces).astype(kind).tobytes() if pieces else b"", rows=start
            )
            statistics[f"{split}_tokens"] = start
        writer.table("token_spans", pa.Table.from_pylist(spans, schema=schemas.TOKEN_SPANS))
        return Made(counts=Counts(documents_in=len(documents), kept=len(documents)), statistics=statistics)


def token_type(vocabulary: int) -> np.dtype[Any]:
    """The smallest little-endian integer that holds every id."""
    return np.dtype("<u2") if vocabulary <= 1 << 16 else np.dtype("<u4")


@dataclass(frozen=True)
class Shard:
    """One token array: its name in ``token_spans`` and its place in the source's stream."""

    name: str
    offset: int
    tokens: int


class TokenStream:
    """All tokens of a source and split as one stream over memory-mapped shards, in the order of their names."""

    def __init__(self, store: Store, ref: Ref, source: str, split: str) -> None:
        self._store, self._ref, self._split = store, ref, split
        manifest = load(store, ref)
        self._files = {file.path: file for file in manifest.files(split)}
        self.shards: list[Shard] = []
        offset = 0
        for part in manifest.parts:
            tokens = part.statistics[f"{split}_tokens"]
            if part.statistics["source"] == source and tokens:
                self.shards.append(Shard(f"{split}/{part.part}.bin", offset, tokens))
                offset += tokens
        self.length = offset
        self._dtype = np.dtype(manifest.parts[0].statistics["dtype"])

    @cached_property
    def _arrays(self) -> dict[str, npt.NDArray[Any]]:
        return {
            shard.name: np.memmap(
                verified_path(self._store, self._ref, self._files[shard.name]), dtype=self._dtype, mode="r"
            )
            for shard in self.shards
        }

    def pieces(self, start: int, length: int) -> list[tuple[str, int, int]]:
        """(shard, start in it, length) of each piece of a range of the stream."""
        out = []
        for shard in self.shards:
            first, last = max(start, shard.offset), min(start + length, shard.offset + shard.tokens)
            if first < last:
                out.append((shard.name, first - shard.offset, last - first))
        return out

    def read(self, start: int, length: int) -> npt.NDArray[np.int64]:
        """The tokens of a range."""
        parts = [self._arrays[name][first : first + count] for name, first, count in self.pieces(start, length)]
        return np.concatenate(parts).astype(np.int64)


def sources_of(store: Store, ref: Ref) -> list[str]:
    """The sources that have tokens in a packed corpus."""
    return sorted({part.statistics["source"] for part in load(store, ref).parts if part.statistics["source"]})
