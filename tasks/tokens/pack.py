"""pack: corpus to token arrays that training maps into memory, with the span of every document."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks.core.stage import Made, PerPart, Report
from tasks.tokens.divide import held_out_end
from tasks.tokens.split import HoldOutSettings, digest, facts_of
from tasks.tokens.tokenizer import Codec
from warehouse import schemas
from warehouse.artifact import Counts, PartWriter, Ref, file_of, load, read_tables, verified_path
from warehouse.store import Store

SPLITS = ("train", "validation")


class Pack(PerPart):
    """Token arrays of a corpus. Inputs: ``corpus``, ``tokenizer``, ``split``, ``relatives``.

    What is held out becomes the validation split; relatives of it are in neither.
    """

    name = "pack"
    version = 5
    of = "corpus"
    settings: HoldOutSettings

    def part_settings(self, part: str) -> dict[str, Any]:
        return {"validation_share": self.settings.validation_share} if self._source(part) in self._small else {}

    def part_inputs(self, part: str) -> Sequence[str]:
        ref = self.inputs["corpus"].ref
        mine = set(read_tables(self.store, ref, "corpus", ["id"], [part])["id"].to_pylist())
        aside = [digest(sorted(mine & ids)) for ids in (self._held_out, self._related(part))]
        ends = "ends" if self._source(part) in self._small else "documents"
        return [file_of(self.store, ref, "corpus", part).sha256, self.inputs["tokenizer"].identity, ends, *aside]

    def _source(self, part: str) -> str:
        parts = load(self.store, self.inputs["corpus"].ref).parts
        return str(next(known.statistics["source"] for known in parts if known.part == part))

    @cached_property
    def _small(self) -> frozenset[str]:
        """The sources of whose documents the ends are held out."""
        return frozenset(facts_of(self)["ends"])

    @cached_property
    def _held_out(self) -> frozenset[str]:
        return frozenset(
            read_tables(self.store, self.inputs["split"].ref, "held_out", ["doc_id"])["doc_id"].to_pylist()
        )

    def _related(self, part: str) -> frozenset[str]:
        found = read_tables(self.store, self.inputs["relatives"].ref, "decisions", ["doc_id"], [part])
        return frozenset(found["doc_id"].to_pylist())

    def _divided(self, document: dict[str, Any]) -> Iterator[tuple[str, str]]:
        """(split, text) of a document: the whole of it, or its beginning and its held-out end."""
        text = document["text"]
        if document["source"] not in self._small:
            yield "validation" if document["id"] in self._held_out else "train", text
        else:
            place = held_out_end(text, self.settings.validation_share)
            yield "train", text[:place] if place else text
            if place:
                yield "validation", text[place:]

    def make(self, part: str, writer: PartWriter, report: Report) -> Made:
        """Encodes the part's documents, each ended by the end-of-text token, into one array a split."""
        codec = Codec.load(self.store, self.inputs["tokenizer"].ref)
        columns, related = ["id", "text", "source", "repeats"], self._related(part)
        everything = read_tables(self.store, self.inputs["corpus"].ref, "corpus", columns, [part]).to_pylist()
        documents = [document for document in everything if document["id"] not in related]
        pieces = [(split, document, text) for document in documents for split, text in self._divided(document)]
        encoded = codec.encode_all([text for _, _, text in pieces])
        kind, ended = token_type(codec.size), np.array([codec.end_of_text], np.int32)
        spans: list[dict[str, Any]] = []
        statistics: dict[str, Any] = {"dtype": kind.str, "source": everything[0]["source"] if everything else ""}
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
        counts = Counts(documents_in=len(everything), kept=len(documents), removed=len(everything) - len(documents))
        return Made(counts=counts, statistics=statistics)


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
