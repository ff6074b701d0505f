"""Answers: what a language model is aligned by. Each objective is a loss of sequences that hold a prompt and an answer to it.

SFT, ranking and PPO are those of InstructGPT (Ouyang et al. 2022, sections 3.5 and C); DPO is Rafailov et al. 2023, equation 7.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from models.finetuned import FineTuned
from models.objectives.objective import Objective
from models.transformer import Transformer


class AnswerBatch(NamedTuple):
    """Prompts with answers, (batch, time): ``answered`` is 1 where a token is of an answer, and 0 where it is shown or padding."""

    ids: Tensor
    answered: Tensor


class RankedBatch(NamedTuple):
    """K answers a prompt. ``ids`` is (prompts, K, time), ``lengths`` (prompts, K), ``ranks`` (prompts, K): 0 is best, -1 is none."""

    ids: Tensor
    lengths: Tensor
    ranks: Tensor


class PairBatch(NamedTuple):
    """The better answer and the worse, (pairs, 2, time) each, and the log-probability that the reference gives them, (pairs, 2)."""

    ids: Tensor
    answered: Tensor
    reference: Tensor


def token_nats(model: Transformer, ids: Tensor) -> Tensor:
    """Log-probability of each token behind those before it, (batch, time - 1)."""
    logits = F.linear(model.hidden(ids), model.tokens.weight).float()[:, :-1]
    return torch.log_softmax(logits, -1).gather(-1, ids[:, 1:, None])[..., 0]


def answer_nats(model: Transformer, ids: Tensor, answered: Tensor) -> Tensor:
    """Log-probability of whole answers, (batch,)."""
    return (token_nats(model, ids) * answered[:, 1:]).sum(1)


# Supervised fine-tuning


def sft_loss(model: Transformer, *batch: Tensor) -> Tensor:
    """Nats of an answer's token: an answer's mean, then the batch's."""
    given = AnswerBatch(*batch)
    return -(answer_nats(model, given.ids, given.answered) / given.answered[:, 1:].sum(1).clamp(min=1)).mean()


def sft_figures(model: Transformer, *batch: Tensor) -> dict[str, Tensor]:
    """Held out: the same."""
    return {"validation_loss": sft_loss(model, *batch)}


SFT = Objective(sft_loss, sft_figures)


# Reward


def ranking_loss(scores: Tensor, ranks: Tensor) -> Tensor:
    """-log sigmoid(better - worse), the mean over a prompt's pairs without ties, then over prompts (section 3.5, equation 1)."""
    better = _better(ranks)
    apart = F.logsigmoid(scores[:, :, None] - scores[:, None, :]) * better
    return -(apart.sum((1, 2)) / better.sum((1, 2)).clamp(min=1)).mean()


def _better(ranks: Tensor) -> Tensor:
    """(prompts, K, K), 1 where the first of a pair is better than the second."""
    there = ranks >= 0
    return ((ranks[:, :, None] < ranks[:, None, :]) & there[:, :, None] & there[:, None, :]).float()


def rewards(model: FineTuned, given: RankedBatch) -> Tensor:
    """The score of each answer, (prompts, K)."""
    ids, lengths = given.ids.flatten(0, 1), given.lengths.flatten()
    states, _ = model.read(ids, lengths, torch.zeros_like(ids))
    return model.score(states.view(*given.lengths.shape, -1)).float()


def reward_loss(model: FineTuned, *batch: Tensor) -> Tensor:
    """The loss of ranked answers."""
    given = RankedBatch(*batch)
    return ranking_loss(rewards(model, given), given.ranks)


def reward_figures(model: FineTuned, *batch: Tensor) -> dict[str, Tensor]:
    """Held out: the loss, and the share of a prompt's pairs in which the better answer has the higher score."""
    given = RankedBatch(*batch)
    scores = rewards(model, given)
    better = _better(given.ranks)
    right = ((scores[:, :, None] > scores[:, None, :]).float() * better).sum((1, 2)) / better.sum((1, 2)).clamp(min=1)
    return {"validation_loss": ranking_loss(scores, given.ranks), "accuracy": right.mean()}


REWARD = Objective(reward_loss, reward_figures)


# Direct preferences


@dataclass(frozen=True)
class Preference:
    """DPO: ``beta`` is the price of leaving the reference."""

    beta: float = 0.1

    @property
    def objective(self) -> Objective:
        """The loss and the held-out figures."""
        return Objective(partial(dpo_loss, self.beta), partial(dpo_figures, self.beta))


def dpo_loss(beta: float, model: Transformer, *batch: Tensor) -> Tensor:
    """-log sigmoid of beta times how much more the better answer has gained over the reference than the worse."""
    return -F.logsigmoid(beta * _gained(model, PairBatch(*batch))).mean()


def dpo_figures(beta: float, model: Transformer, *batch: Tensor) -> dict[str, Tensor]:
    """Held out: the loss, and the share of pairs in which the better answer has gained more."""
    gained = _gained(model, PairBatch(*batch))
    return {"validation_loss": -F.logsigmoid(beta * gained).mean(), "accuracy": (gained > 0).float().mean()}


def _gained(model: Transformer, given: PairBatch) -> Tensor:
    nats = answer_nats(model, given.ids.flatten(0, 1), given.answered.flatten(0, 1)).view(-1, 2)
    gained = nats - given.reference
    return gained[:, 0] - gained[:, 1]
