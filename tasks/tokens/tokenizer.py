"""tokenizer: corpus to a byte-level BPE (Radford et al. 2019, section 2.2), trained by tokenizers."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from pydantic import Field
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

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
        1 << 30, ge=1, description="bytes of text to learn from at most, taken in the order of the corpus"
    )


class TrainTokenizer(Stage):
    """One tokenizer from a corpus."""

    name = "tokenizer"
    version = 1
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
        tokenizer.train_from_iterator(self._texts(), trainer)
        tokenizer.add_special_tokens([END_OF_TEXT])
        writer.bytes(TOKENIZER_FILE, tokenizer.to_str(pretty=True).encode())
        return Made(statistics={"vocabulary": tokenizer.get_vocab_size()})

    def _texts(self) -> Iterator[str]:
        left = self.settings.train_bytes
        ref = self.inputs["corpus"].ref
        for file in load(self.store, ref).files("corpus"):
            for text in pq.read_table(verified_path(self.store, ref, file), columns=["text"])["text"].to_pylist():
                if left <= 0:
                    return
                left -= len(text.encode())
                yield text


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
