"""The input transformations: an example as the sequences of tokens that a network reads.

GPT-1 (Radford et al. 2018, section 3.3): ``[start] text [extract]``, ``[start] first [delimiter] second [extract]``, both orders of a
pair that is graded, and one sequence for each answer to choose; the three tokens are new and learnt. BERT (Devlin et al. 2018, figure 4):
``[CLS] first [SEP]`` and ``[CLS] first [SEP] second [SEP]``, whose second segment has the other token type.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from models.objectives.labels import LabelledBatch
from models.objectives.traits import ObjectiveName
from tasks.finetune.task import Example, Form

LEARNT = 3  # start, delimiter and extract, behind the tokenizer's own tokens


class Read(NamedTuple):
    """Tokens and their types."""

    ids: list[int]
    types: list[int]


class Encoded(NamedTuple):
    """An example as sequences, and whether its text was longer than the context."""

    sequences: list[Read]
    gold: float
    truncated: bool


@dataclass(frozen=True)
class Transformation:
    """How examples of one form become sequences for one kind of network. ``size`` counts the tokenizer's tokens."""

    form: Form
    objective: ObjectiveName
    size: int
    context: int

    def __call__(self, example: Example, encode: Callable[[str], Sequence[int]]) -> Encoded:
        """The sequences of an example."""
        first = list(encode(example.first))
        if self.form == "choice":
            made = [self._joined(first, list(encode(one)), keep_end=True) for one in example.choices]
        elif self.form == "classification":
            made = [self._joined(first, None)]
        else:
            second = list(encode(example.second))
            made = [self._joined(first, second)]
            if self.form == "similarity" and self.objective == "next token":
                made.append(self._joined(second, first))
        return Encoded([sequence for sequence, _ in made], example.gold, any(cut for _, cut in made))

    def _joined(self, first: list[int], second: list[int] | None, keep_end: bool = False) -> tuple[Read, bool]:
        """One sequence. Where it is longer than the context the longer text is cut, at its beginning where ``keep_end``."""
        room = self.context - (2 if second is None else 3)
        over = len(first) + len(second or ()) - room
        if over > 0:
            first, second = self._cut(first, second, room, keep_end)
        begin, between, end = self.size, self.size + 1, self.size + 2
        if self.objective == "masked tokens":
            end = between  # [SEP] stands between the texts and behind them
        tail = [] if second is None else [between, *second]
        ids = [begin, *first, *tail, end]
        types = [0] * len(ids)
        if second is not None and self.objective == "masked tokens":
            types = [0] * (len(first) + 2) + [1] * (len(second) + 1)
        return Read(ids, types), over > 0

    def _cut(
        self, first: list[int], second: list[int] | None, room: int, keep_end: bool
    ) -> tuple[list[int], list[int] | None]:
        if second is None:
            return first[:room], None
        # The shorter text keeps up to half of the room, and what it does not need goes to the other one.
        other = min(len(second), max(room // 2, room - len(first)))
        mine = room - other
        return (first[len(first) - mine :] if keep_end else first[:mine]), second[:other]


def batch_of(examples: Sequence[Encoded], number: bool) -> LabelledBatch:
    """Examples in one batch, padded with token 0 to the longest sequence; one with fewer choices has sequences of no length."""
    count = max(len(one.sequences) for one in examples)
    longest = max(len(sequence.ids) for one in examples for sequence in one.sequences)
    ids = np.zeros((len(examples), count, longest), np.int64)
    types, lengths = np.zeros_like(ids), np.zeros((len(examples), count), np.int64)
    for row, one in enumerate(examples):
        for place, sequence in enumerate(one.sequences):
            ids[row, place, : len(sequence.ids)] = sequence.ids
            types[row, place, : len(sequence.ids)] = sequence.types
            lengths[row, place] = len(sequence.ids)
    gold = [one.gold for one in examples]
    return LabelledBatch(
        torch.from_numpy(ids),
        torch.from_numpy(types),
        torch.from_numpy(lengths),
        torch.tensor(gold, dtype=torch.float32) if number else torch.tensor([int(one) for one in gold]),
    )
