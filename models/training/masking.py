"""BERT's data (Devlin et al. 2018, sections 3.1 and A.1) as a pure function of a window of tokens and a key.

A window becomes ``[CLS] A [SEP] B [SEP]``: A its beginning, B what follows, or for half of the sequences as much of
another window. Of the words or tokens 15 % are chosen; 80 % of those are replaced by ``[MASK]``, 10 % by a random
token, 10 % stay.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.draws import random_bits

Ids = npt.NDArray[np.int64]

MASKED_SHARE, TO_MASK, TO_RANDOM = 0.15, 0.8, 0.1
NOT_NEXT_SHARE = 0.5
SHORTEST_SEGMENT_SHARE = 0.25  # of the window; the point where A ends is drawn evenly from what is left
SPECIAL_TOKENS = ("[CLS]", "[SEP]", "[MASK]")  # they follow the tokenizer's own tokens
ADDED_IN_A_SEQUENCE = 3


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer's ``size`` and end-of-text id, and for whole words which tokens begin and end with a letter or digit."""

    size: int
    end_of_text: int
    begins_inside: npt.NDArray[np.bool_] | None = None
    ends_inside: npt.NDArray[np.bool_] | None = None

    @property
    def cls(self) -> int:
        """The first position of a sequence, from which the next sentence is told."""
        return self.size

    @property
    def sep(self) -> int:
        """The end of a segment."""
        return self.size + 1

    @property
    def mask(self) -> int:
        """The stand-in for a hidden token."""
        return self.size + 2


@dataclass(frozen=True)
class MaskedSequence:
    """One training example; the last three have a row for every prediction that a sequence may have."""

    ids: Ids
    types: Ids
    positions: Ids
    targets: Ids
    weights: npt.NDArray[np.float32]
    not_next: int


def predictions(context: int) -> int:
    """Hidden tokens of a full sequence."""
    return max(1, round(MASKED_SHARE * context))


def masked_sequence(
    window: Ids, other: Ids, vocabulary: Vocabulary, seed: int, purpose: str, *subject: object
) -> MaskedSequence:
    """``window`` and ``other`` hold context - 3 tokens; the draws depend on seed, purpose and subject (step, row) alone."""
    draw = np.random.Generator(np.random.Philox(random_bits(seed, purpose, *subject, "masking")))
    length = len(window)
    shortest = max(1, int(length * SHORTEST_SEGMENT_SHARE))
    end = int(draw.integers(shortest, max(shortest, length - shortest) + 1))
    not_next = int(draw.random() < NOT_NEXT_SHARE)
    second = (other if not_next else window)[end:]
    ids = np.concatenate([[vocabulary.cls], window[:end], [vocabulary.sep], second, [vocabulary.sep]])
    types = (np.arange(len(ids)) > end + 1).astype(np.int64)
    positions = _chosen(ids, vocabulary, predictions(len(ids)), draw)
    hidden, targets = ids.copy(), ids[positions]
    fate = draw.random(len(positions))
    random_tokens = draw.integers(0, vocabulary.size, len(positions))
    hidden[positions] = np.where(
        fate < TO_MASK, vocabulary.mask, np.where(fate < TO_MASK + TO_RANDOM, random_tokens, targets)
    )
    rest = predictions(len(ids)) - len(positions)
    return MaskedSequence(
        ids=hidden,
        types=types,
        positions=np.pad(positions, (0, rest)),
        targets=np.pad(targets, (0, rest)),
        weights=np.pad(np.ones(len(positions), dtype=np.float32), (0, rest)),
        not_next=not_next,
    )


def _chosen(ids: Ids, vocabulary: Vocabulary, wanted: int, draw: np.random.Generator) -> Ids:
    """The positions to hide, ascending: tokens, or whole words as long as they fit into ``wanted``."""
    can_hide = (ids < vocabulary.size) & (ids != vocabulary.end_of_text)
    if vocabulary.begins_inside is None or vocabulary.ends_inside is None:
        places = np.flatnonzero(can_hide)
        return np.sort(draw.permutation(places)[:wanted])
    known = np.where(can_hide, ids, vocabulary.end_of_text)
    continued = np.concatenate([[False], (vocabulary.ends_inside[known] & can_hide)[:-1]])
    begins = can_hide & ~(vocabulary.begins_inside[known] & continued)
    word = np.where(can_hide, np.cumsum(begins), 0)
    chosen: list[int] = []
    for number in draw.permutation(np.arange(1, word.max(initial=0) + 1)):
        places = np.flatnonzero(word == number)
        if len(chosen) + len(places) <= wanted:
            chosen.extend(places.tolist())
        if len(chosen) == wanted:
            break
    return np.sort(np.array(chosen, dtype=np.int64))
