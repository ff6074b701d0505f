"""pack: corpus to token arrays that training maps into memory, with the span of every document."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from tasks.core.stage import Made, Report, Stage, StageSettings
from tasks.tokens.tokenizer import Codec
from warehouse import schemas
from warehouse.artifact import Counts, PartWriter, Ref, file_of, load, read_tables, verified_path
from warehouse.store import Store

SPLITS = ("train", "validation")


class PackSettings(StageSettings):
    """How documents are divided between training and validation."""

    validation_share: float = Field(
        0.01,
        gt=0,
        lt=1,
        description="share of the documents that is held out, by hash of doc_id; of a source too small for that, the end "
        "of each document",
    )


def is_validation(doc_id: str, share: float) -> bool:
    """Whether a document is held out: a function of its id alone."""
    return int.from_bytes(hashlib.sha256(f"split:{doc_id}".encode()).digest()[:8], "big") < share * 2**64


def end_held_out(text: str, share: float) -> int:
    """Where the held-out end of a document begins: before the first white space of its last ``share`` of characters.

    Without white space there it begins with the share itself; neither side is empty where the text has two characters.
    """
    first = min(max(1, int(len(text) * (1 - share))), len(text) - 1)
    return next((place for place in range(first, len(text) - 1) if text[place].isspace()), max(0, first))


class Pack(Stage):
    """Token arrays of a corpus. Inputs: ``corpus``, ``tokenizer``.

    Documents are held out whole, by their hash. Of a source that is too small for that, a single book say, the end of
    each document is: nanoGPT and others divide a text so.
    """

    name = "pack"
    version = 4
    settings: PackSettings

    def plan(self) -> Sequence[str]:
        _ = self._small  # asked once, here, and not by each process that makes a part
        return [part.part for part in load(self.store, self.inputs["corpus"].ref).parts]

    def documents_expected(self) -> int:
        return load(self.store, self.inputs["corpus"].ref).counts.kept

    def part_inputs(self, part: str) -> Sequence[str]:
        corpus = file_of(self.store, self.inputs["corpus"].ref, "corpus", part)
        parts = load(self.store, self.inputs["corpus"].ref).parts
        source = next(known.statistics["source"] for known in parts if known.part == part)
        return [corpus.sha256, self.inputs["tokenizer"].identity, "ends" if source in self._small else "documents"]

    @cached_property
    def _small(self) -> frozenset[str]:
        """The sources of whose documents the hashes hold out none, or all; mostly the first part tells."""
        fates: dict[str, set[bool]] = {}
        for part in load(self.store, self.inputs["corpus"].ref).parts:
            found = fates.setdefault(part.statistics["source"], set())
            if len(found) < 2:
                ids = read_tables(self.store, self.inputs["corpus"].ref, "corpus", ["id"], [part.part])["id"]
                found |= {is_validation(doc_id, self.settings.validation_share) for doc_id in ids.to_pylist()}
        return frozenset(source for source, found in fates.items() if len(found) < 2)

    def _divided(self, document: dict[str, Any]) -> Iterator[tuple[str, str]]:
        """(split, text) of a document: the whole of it, or its beginning and its held-out end."""
        text = document["text"]
        if document["source"] not in self._small:
            yield "validation" if is_validation(document["id"], self.settings.validation_share) else "train", text
        else:
            place = end_held_out(text, self.settings.validation_share)
            yield "train", text[:place] if place else text
            if place:
                yield "validation", text[place:]

    def make(self, part: str, writer: PartWriter, report: Report) -> Made:
        """Encodes the part's documents, each ended by the end-of-text token, into one array a split."""
        codec = Codec.load(self.store, self.inputs["tokenizer"].ref)
        documents = read_tables(
            self.store, self.inputs["corpus"].ref, "corpus", ["id", "text", "source", "repeats"], [part]
        ).to_pylist()
        pieces = [(split, document, text) for document in documents for split, text in self._divided(document)]
        encoded = codec.encode_all([text for _, _, text in pieces])
        kind, ended = token_type(codec.size), np.array([codec.end_of_text], np.int32)
        spans: list[dict[str, Any]] = []
        statistics: dict[str, Any] = {"dtype": kind.str, "source": documents[0]["source"] if documents else ""}
        for split in SPLITS:
            arrays: list[npt.NDArray[Any]] = []
            start = 0
            for (where, document, text), tokens in zip(pieces, encoded, strict=True):
                for _ in range(0 if where != split else document["repeats"] if split == "train" else 1):
                    spans.append(
                        {
                            "doc_id": document["id"],
                            "shard": f"{split}/{part}.bin",
                            "start": start,
                            "length": len(tokens) + 1,
                            "split": split,
                            "source": document["source"],
                            "n_bytes": len(text.encode()),
                            "n_words": len(text.split()),
                        }
                    )
                    arrays += [tokens, ended]
                    start += len(tokens) + 1
            content = np.concatenate(arrays).astype(kind).tobytes() if arrays else b""
            writer.bytes(f"{split}/{part}.bin", content, rows=start)
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
