"""tokenizer: corpus to a byte-level BPE (Radford et al. 2019, section 2.2), trained by tokenizers."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import Field, field_validator
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from models.draws import uniform
from tasks.core.stage import Made, Report, Stage, StageSettings
from tasks.tokens.alphabet import SPLIT
from tasks.tokens.encode import Encoder
from warehouse.artifact import PartWriter, Ref, load, verified_path
from warehouse.errors import GristmillError
from warehouse.store import Store

END_OF_TEXT = "<|endoftext|>"
TOKENIZER_FILE = "tokenizer/tokenizer.json"
SELF_CHECK = (
    "It's 2026; we'll see.\n\n  Tabs\tand   spaces ",
    "naïve café — “quoted” … 日本語 العربية 👩‍🚀\r\n",
    "x" * 300,
    "'S 'LL don't",
    "\x00\x7f",
)
CHECKED_TEXTS, CHECKED_CHARS = 16, 2_000  # of many texts: on them the compiled encoding is held against the stored one


class TokenizerSettings(StageSettings):
    """The size of the vocabulary and how much text it is learnt from."""

    vocabulary: int = Field(4096, ge=258, description="tokens in all: 256 bytes, the merges, and the end-of-text token")
    train_bytes: int = Field(
        1 << 30, ge=1, description="bytes of text to learn from at most: of a larger corpus, documents are drawn"
    )
    shares: dict[str, float] = Field(
        {}, description="source -> its share of what is drawn; where none is named, sources have equal ones"
    )
    seed: int = Field(1, ge=0, description="seed of the draw")

    @field_validator("shares")
    @classmethod
    def _shares_are_some(cls, shares: dict[str, float]) -> dict[str, float]:
        if shares and not (min(shares.values()) >= 0 and 0 < sum(shares.values()) < np.inf):
            raise ValueError("shares are numbers from 0 on, of which one is above 0")
        return shares


class TrainTokenizer(Stage):
    """One tokenizer from a corpus."""

    name = "tokenizer"
    version = 2
    settings: TokenizerSettings
    in_worker = False  # its own threads use every core

    def plan(self) -> Sequence[str]:
        return ["tokenizer"]

    def make(self, part: str, writer: PartWriter, report: Report) -> Made:
        """Learns merges from the corpus' text."""
        os.environ["TOKENIZERS_PARALLELISM"] = "true"
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=self.settings.vocabulary - 1,
            show_progress=False,
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        )
        texts = iter(self._texts())
        first = next(texts, None)
        if first is None:
            raise GristmillError(
                "the tokenizer has no text to learn from: raise tokenizer.train_bytes, or name sources with documents in tokenizer.shares"
            )
        tokenizer.train_from_iterator(chain([first], texts), trainer)
        tokenizer.add_special_tokens([END_OF_TEXT])
        writer.bytes(TOKENIZER_FILE, tokenizer.to_str(pretty=True).encode())
        return Made(statistics={"vocabulary": tokenizer.get_vocab_size()})

    def _texts(self) -> Iterator[str]:
        """The texts that are drawn, in the order of the corpus."""
        chosen = drawn(self._documents(), self.settings)
        ref, at = self.inputs["corpus"].ref, 0
        for file in load(self.store, ref).files("corpus"):
            texts = pq.read_table(verified_path(self.store, ref, file), columns=["text"])["text"]
            yield from texts.filter(pa.array(chosen[at : at + len(texts)])).to_pylist()
            at += len(texts)

    def _documents(self) -> pa.Table:
        """id, source and n_bytes of each document of the corpus."""
        ref, found = self.inputs["corpus"].ref, []
        for file in load(self.store, ref).files("corpus"):
            table = pq.read_table(verified_path(self.store, ref, file), columns=["id", "source", "text"])
            found.append(table.select(["id", "source"]).append_column("n_bytes", pc.binary_length(table["text"])))
        return pa.concat_tables(found)


def drawn(documents: pa.Table, settings: TokenizerSettings) -> npt.NDArray[np.bool_]:
    """Which documents a tokenizer learns from: all of them, or so many of each source that its share is full.

    What a source does not fill of its share goes to the others. Documents come in the order of a draw by their names.
    """
    sizes = documents["n_bytes"].to_numpy().astype(np.int64)
    chosen = np.ones(len(sizes), np.bool_)
    if sizes.sum() <= settings.train_bytes and not settings.shares:
        return chosen
    names, sources = documents["source"].to_pylist(), sorted(set(documents["source"].to_pylist()))
    rows = {source: np.array([row for row, name in enumerate(names) if name == source]) for source in sources}
    room = shared_out(
        {source: int(sizes[rows[source]].sum()) for source in sources},
        {source: settings.shares.get(source, 0.0) if settings.shares else 1.0 for source in sources},
        settings.train_bytes,
    )
    draws = uniform(settings.seed, "tokenizer", documents["id"].to_pylist())
    for source, of_source in rows.items():
        order = of_source[np.argsort(draws[of_source], kind="stable")]
        chosen[order] = np.cumsum(sizes[order]) <= room[source] + 0.5
    return chosen


def shared_out(sizes: dict[str, int], shares: dict[str, float], room: float) -> dict[str, float]:
    """How many bytes of each source fit into the room: as its share of what the smaller ones leave of it, or all it has."""
    found: dict[str, float] = {}
    for source in sorted(sizes, key=lambda name: sizes[name] / shares[name] if shares[name] else np.inf):
        left = sum(share for name, share in shares.items() if name not in found)
        found[source] = min(sizes[source], room * shares[source] / left) if left else 0.0
        room -= found[source]
    return found


class Codec:
    """Encodes and decodes text by a stored tokenizer."""

    def __init__(self, path: Path) -> None:
        self.tokenizer = Tokenizer.from_file(str(path))
        self.tokenizer.encode_special_tokens = True  # a page that writes the end-of-text token ends no document
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        self.end_of_text = int(self.tokenizer.get_vocab()[END_OF_TEXT])
        self.size = int(self.tokenizer.get_vocab_size())

    @classmethod
    def load(cls, store: Store, ref: Ref) -> Codec:
        """The codec of a tokenizer artifact. Raises GristmillError where the file is damaged."""
        (file,) = load(store, ref).files("tokenizer")
        path = verified_path(store, ref, file)
        try:
            return _codec(path, file.sha256)
        except (ValueError, KeyError) as error:
            raise GristmillError(
                f"the tokenizer {ref} cannot be read ({error}): delete its folder and run the same command again"
            ) from error

    def encode(self, text: str) -> list[int]:
        """Token ids of a text."""
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def encode_all(self, texts: list[str]) -> list[npt.NDArray[np.int32]]:
        """Token ids of each of many texts: in compiled code where that was shown to agree with ``encode``."""
        beginnings = [text[:CHECKED_CHARS] for text in texts[:CHECKED_TEXTS]]
        agrees = self._compiled is not None and self._agrees(self._compiled, beginnings)
        found = self._compiled(texts) if self._compiled is not None and agrees else [None] * len(texts)
        return [
            np.array(self.encode(text), np.int32) if tokens is None else tokens
            for text, tokens in zip(texts, found, strict=True)
        ]

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of token ids."""
        return str(self.tokenizer.decode(list(tokens), skip_special_tokens=True))

    @cached_property
    def _compiled(self) -> Encoder | None:
        """The same encoding in compiled code; None for tokenizers of other kinds."""
        try:
            encoder = Encoder(self.tokenizer)
        except ValueError:
            return None
        return encoder if self._agrees(encoder, SELF_CHECK) else None

    def _agrees(self, encoder: Encoder, texts: Sequence[str]) -> bool:
        pairs = zip(texts, encoder(list(texts)), strict=True)
        return all(tokens is None or tokens.tolist() == self.encode(text) for text, tokens in pairs)


@lru_cache(maxsize=4)
def _codec(path: Path, digest: str) -> Codec:
    """The parts of a corpus are encoded by one tokenizer: a process reads it once."""
    return Codec(path)
