"""Labels: what a network is fine-tuned for, L3 = L2 + lambda L1 (Radford et al. 2018, equation 5).

L2 is the cross-entropy of the label, or of the right answer among several, or the squared error of a number; L1 the next token of the
same sequences, which a causal network alone has.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from models.finetuned import FineTuned
from models.loss import cross_entropy
from models.objectives.objective import Objective
from models.objectives.traits import LANGUAGE_MODEL


class LabelledBatch(NamedTuple):
    """Examples, some of which may have fewer choices.

    ``ids`` and ``types`` are (examples, sequences, time), ``lengths`` (examples, sequences), 0 where there is none, ``gold``
    (examples,).
    """

    ids: Tensor
    types: Tensor
    lengths: Tensor
    gold: Tensor


@dataclass(frozen=True)
class Labels:
    """How labels are learnt: ``language_model`` is lambda; ``number`` where a label is a number and no class."""

    language_model: float = LANGUAGE_MODEL
    number: bool = False

    @property
    def objective(self) -> Objective:
        """The loss and the held-out figures."""
        return Objective(partial(loss, self), partial(figures, self))


def loss(how: Labels, model: FineTuned, *batch: Tensor) -> Tensor:
    """L3 in nats of an example."""
    examples = LabelledBatch(*batch)
    scores, text = answered(model, examples, how.language_model > 0)
    labels = _label_loss(how, scores, examples.gold)
    return labels if text is None else labels + how.language_model * text


def figures(how: Labels, model: FineTuned, *batch: Tensor) -> dict[str, Tensor]:
    """Held out: the label's loss, and of classes how often the likeliest is right."""
    examples = LabelledBatch(*batch)
    scores, _ = answered(model, examples, text=False)
    found = {"validation_loss": _label_loss(how, scores, examples.gold)}
    return found if how.number else found | {"accuracy": (scores.argmax(1) == examples.gold).float().mean()}


def answered(model: FineTuned, batch: LabelledBatch, text: bool) -> tuple[Tensor, Tensor | None]:
    """The scores of the labels or answers, and nats of a token of the sequences, where they are asked for and the network has any."""
    ids, types, lengths = batch.ids.flatten(0, 1), batch.types.flatten(0, 1), batch.lengths.flatten()
    states, hidden = model.read(ids, lengths.clamp(min=1), types)
    scores = model.score(states.view(*batch.lengths.shape, -1))
    if model.ranks:
        scores = scores.masked_fill(batch.lengths == 0, -torch.inf)
    return scores, _text_loss(model, hidden, ids, lengths) if text and hidden is not None else None


def _label_loss(how: Labels, scores: Tensor, gold: Tensor) -> Tensor:
    if how.number:
        return F.mse_loss(scores[:, 0].float(), gold.float())
    return F.cross_entropy(scores.float(), gold)


def _text_loss(model: FineTuned, hidden: Tensor, ids: Tensor, lengths: Tensor) -> Tensor:
    """The mean over sequences of each one's mean nats of a token, as the released code has it."""
    predicted = torch.arange(ids.shape[1] - 1, device=ids.device) < lengths[:, None] - 1
    weights = predicted / (lengths[:, None] - 1).clamp(min=1) / (lengths > 0).sum()
    output = model.network.tokens.weight
    return cross_entropy(hidden[:, :-1].flatten(0, 1), output, ids[:, 1:].flatten(), weights.flatten())
