"""Prompts as tokens: what is asked apart from what comes before it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from models.continuation import Continuation
from models.score import Tokens
from tasks.tokens.tokenizer import Codec

REMEMBERED = 1 << 16  # texts whose length in tokens is known


class Encoding:
    """A tokenizer as prompts need it. ``begin`` puts the end-of-text token before each, as training has it before documents."""

    def __init__(self, codec: Codec, begin: bool) -> None:
        self.codec, self.begin = codec, begin
        self.count = lru_cache(REMEMBERED)(lambda text: len(codec.encode(text)))

    def continuations(self, pairs: Sequence[tuple[str, str]]) -> list[Continuation]:
        """Each pair as tokens. The whole is encoded and parted where the context's own tokens end.

        Where a token would span the border the two are encoded apart, so that no piece of the context is asked. Without
        any context the end-of-text token stands for it.
        """
        contexts = self.codec.encode_all([context for context, _ in pairs])
        wholes = self.codec.encode_all([context + answer for context, answer in pairs])
        found = []
        for (_, answer), before, whole in zip(pairs, contexts, wholes, strict=True):
            clean = len(whole) > len(before) and np.array_equal(whole[: len(before)], before)
            asked = whole[len(before) :] if clean else np.array(self.codec.encode(answer), np.int32)
            found.append(Continuation(self.after_begin(before), asked.astype(np.int64)))
        return found

    def after_begin(self, tokens: Sequence[int] | npt.NDArray[np.integer[Any]]) -> Tokens:
        """Tokens behind the end-of-text token, where prompts begin so or there are none."""
        begin = [self.codec.end_of_text] if self.begin or not len(tokens) else []
        return np.concatenate([np.array(begin, np.int64), np.asarray(tokens, np.int64)])

    @cache  # noqa: B019 (an encoding lives as long as its process asks)
    def word_tokens(self, begins: re.Pattern[str], goes_on: re.Pattern[str]) -> tuple[list[bool], list[bool]]:
        """Of each token whether a word can begin with it, and whether it can stand inside of one."""
        texts = [self.codec.decode([token]) for token in range(self.codec.size)]
        return [begins.match(text) is not None for text in texts], [goes_on.match(text) is not None for text in texts]
