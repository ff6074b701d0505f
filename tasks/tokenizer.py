"""tokenizer: corpus to a byte-level BPE (Radford et al. 2019, section 2.2), trained by tokenizers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import pyarrow.parquet as pq
import tiktoken
from pydantic import Field
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from tasks.stage import Made, Report, Stage, StageSettings
from warehouse.artifact import PartWriter, Ref, load, verified_path
from warehouse.errors import GristmillError
from warehouse.store import Store

END_OF_TEXT = "<|endoftext|>"
# GPT-2's split pattern.
SPLIT = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
# The same pieces by a pattern that tiktoken reads faster: tried in the same order, and without giving back.
FAST_SPLIT = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"
TOKENIZER_FILE = "tokenizer/tokenizer.json"
SELF_CHECK = (
    "It's 2026; we'll see.\n\n  Tabs\tand   spaces ",
    "naïve café — “quoted” … 日本語 العربية 👩‍🚀\r\n",
    "x" * 300,
    "'S 'LL don't",
    "\x00\x7f",
)
Encode = Callable[[str], list[int]]


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
    """Encodes and decodes text: tiktoken's speed where it was shown to agree with the stored tokenizer."""

    def __init__(self, path: Path) -> None:
        self.tokenizer = Tokenizer.from_file(str(path))
        self.end_of_text = int(self.tokenizer.get_vocab()[END_OF_TEXT])
        self.size = int(self.tokenizer.get_vocab_size())
        fast = _tiktoken(self.tokenizer, self.end_of_text)
        self.encode: Encode = fast.encode_ordinary
        if any(fast.encode_ordinary(text) != self._slow(text) for text in SELF_CHECK):
            self.encode = self._slow

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

    def _slow(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of token ids."""
        return str(self.tokenizer.decode(list(tokens), skip_special_tokens=True))

    def encoder(self, texts: list[str]) -> Encode:
        """The fast encoding where it agrees with the stored tokenizer on these texts, else the stored tokenizer's."""
        return self.encode if all(self.encode(text) == self._slow(text) for text in texts) else self._slow


@lru_cache(maxsize=4)
def _codec(path: Path, digest: str) -> Codec:
    """The parts of a corpus are encoded by one tokenizer: a process reads it once."""
    return Codec(path)


def _tiktoken(tokenizer: Tokenizer, end_of_text: int) -> tiktoken.Encoding:
    """The same merges as a tiktoken encoding: token ids are ranks, in the order in which they were learnt."""
    to_byte = {character: byte for byte, character in _byte_characters().items()}
    ranks = {
        bytes(to_byte[character] for character in token): rank
        for token, rank in tokenizer.get_vocab(with_added_tokens=False).items()
        if token != END_OF_TEXT
    }
    return tiktoken.Encoding(
        "gristmill", pat_str=FAST_SPLIT, mergeable_ranks=ranks, special_tokens={END_OF_TEXT: end_of_text}
    )


def _byte_characters() -> dict[int, str]:
    """GPT-2's printable stand-in for each byte."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    table = {byte: chr(byte) for byte in printable}
    for byte in range(256):
        if byte not in table:
            table[byte] = chr(256 + len(table) - len(printable))
    return table
