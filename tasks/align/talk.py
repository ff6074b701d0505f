"""Talking with an aligned network: turns to its answer, piece by piece as it is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from models.generate import Sampling, stream
from models.transformer import Transformer
from tasks.align.conversation import Turn
from tasks.align.encode import LEARNT, Turns
from tasks.tokens.tokenizer import Codec
from tasks.train.published import load_model
from warehouse.artifact import Ref
from warehouse.errors import GristmillError
from warehouse.store import Store

HALF = "\ufffd"  # what the beginning of a letter decodes to, as long as its other bytes are not written


class Talker:
    """An aligned network. Raises GristmillError for one that knows no turns."""

    def __init__(self, store: Store, run: Ref, tokenizer: Ref) -> None:
        self._codec = Codec.load(store, tokenizer)
        self._model: Transformer = load_model(store, run)
        if self._model.arch.vocabulary != self._codec.size + LEARNT:
            raise GristmillError("the network knows no turns: name an alignment, as gristmill align makes them")
        self._turns = Turns(self._codec.encode, self._codec.size, self._model.arch.context)

    def answer(self, said: Sequence[Turn], tokens: int, sampling: Sampling) -> Iterator[str]:
        """The pieces of an answer; of what was said before, the last that fits into the context is read."""
        length = min(tokens, self._model.arch.context // 2)
        prompt = self._turns.prompt(said, self._model.arch.context - length)
        written = stream(self._model, prompt, length, sampling, self._turns.end, self._turns.forbidden)
        return pieces(written, self._codec.decode)


def pieces(tokens: Iterable[int], decode: Callable[[Sequence[int]], str]) -> Iterator[str]:
    """Text as its tokens come, never with half of a letter; what is half at the end comes last."""
    known: list[int] = []
    told = ""
    for token in tokens:
        known.append(token)
        text = decode(known)
        whole = text.rstrip(HALF)
        if len(whole) > len(told):
            yield whole[len(told) :]
            told = whole
    rest = decode(known)[len(told) :]
    if rest:
        yield rest
