"""Examples as prompts: what a language model is asked in words, without any training on labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.continuation import continuations
from models.draws import random_bits
from models.score import Network
from tasks.finetune.task import Example, LabelledSettings
from tasks.suite.encoding import Encoding
from tasks.suite.question import filled

JOIN = "\n\n"


@dataclass(frozen=True)
class Prompts:
    """How examples are put. ``shots`` of those that are trained on are shown, drawn for each example by the seed and its name."""

    task: LabelledSettings
    classes: Sequence[str]
    trained: Sequence[Example]
    shots: int
    seed: int
    encoding: Encoding
    context: int

    def pairs(self, one: Example) -> list[tuple[str, str]]:
        """What is shown, and each class or choice behind it."""
        answers = [f" {name}" for name in (one.choices or self.classes)]
        asked = self._asked(one)
        room = self.context - 1 - max(self.encoding.count(answer) for answer in answers)
        shown = asked
        for demonstration in self._demonstrations(one):  # as many as fit, the nearest to the question first
            longer = f"{demonstration}{JOIN}{shown}"
            if self.encoding.count(longer) > room:
                break
            shown = longer
        return [(shown, answer) for answer in answers]

    def scores(self, network: Network, examples: Sequence[Example]) -> list[npt.NDArray[np.float64]]:
        """The log-probability of each class or choice in nats, among all of them."""
        encoded = [self.encoding.continuations(self.pairs(one)) for one in examples]
        found = []
        for pieces, scored in zip(encoded, continuations(network, encoded), strict=True):
            nats = np.array([one.log_probability.sum() for one in scored])
            if self.task.form == "choice":  # by tokens, as GPT-3 does
                nats = nats / np.array([len(piece.asked) for piece in pieces])
            found.append(nats - np.logaddexp.reduce(nats))
        return found

    def _asked(self, one: Example) -> str:
        return filled(self.task.asked, {"first": one.first, "second": one.second})

    def _demonstrations(self, one: Example) -> list[str]:
        drawn: dict[int, None] = {}
        turn = 0
        while len(drawn) < min(self.shots, len(self.trained)):
            drawn[random_bits(self.seed, "shown", one.id, turn) % len(self.trained)] = None
            turn += 1
        shown = [self.trained[place] for place in drawn]
        return [f"{self._asked(each)} {(each.choices or self.classes)[int(each.gold)]}" for each in shown]
