"""Policies: proximal policy optimisation of a language model against a reward (Schulman et al. 2017; Ouyang et al. 2022, section 3.5).

A token is an action, an answer an episode without discount. The reward of a token is the price of leaving the reference,
-beta (log policy - log reference), and at the last one the answer's reward beside it. Advantages are generalised (Schulman et al. 2016,
equation 16). The loss of text from the pretraining, PPO-ptx, may be mixed in (Ouyang et al. 2022, equation 2).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from models.finetuned import FineTuned
from models.objectives.answers import token_nats
from models.objectives.objective import Objective
from models.objectives.traits import CLIP
from models.transformer import Transformer


class RolloutBatch(NamedTuple):
    """Answers that a policy wrote, (batch, time); what belongs to a token's place before it is (batch, time - 1).

    ``weights`` are 0 where nothing was written and sum to the batch's size, whatever part of it is seen. ``text`` is
    (batch, texts, tokens) of the pretraining, without texts where it is not mixed in.
    """

    ids: Tensor
    weights: Tensor
    nats: Tensor
    values: Tensor
    advantages: Tensor
    returns: Tensor
    text: Tensor


class ActorCritic(nn.Module):
    """A policy, and what finds the worth of a beginning: a network of its own, made as a reward model is."""

    def __init__(self, policy: Transformer, critic: FineTuned) -> None:
        super().__init__()
        self.policy, self.critic = policy, critic

    def values(self, ids: Tensor) -> Tensor:
        """The worth of each beginning that a token follows, (batch, time - 1)."""
        network = self.critic.network
        assert isinstance(network, Transformer)
        found: Tensor = self.critic.head(network.hidden(ids))[:, :-1, 0]
        return found


@dataclass(frozen=True)
class Proximal:
    """How far a step may go, and what is minimised beside the surrogate."""

    clip: float = CLIP
    value: float = 0.5  # weight of the critic's loss
    text: float = 0.0  # gamma: weight of the text's loss (27.8 in the paper's PPO-ptx)

    @property
    def objective(self) -> Objective:
        """The loss; nothing is held out."""
        return Objective(partial(loss, self), _nothing)


def _nothing(_model: ActorCritic, *_batch: Tensor) -> dict[str, Tensor]:
    return {}


def loss(how: Proximal, model: ActorCritic, *batch: Tensor) -> Tensor:
    """The clipped surrogate's, the critic's and the text's."""
    given = RolloutBatch(*batch)
    share = given.weights / len(given.ids)
    ratio = torch.exp(token_nats(model.policy, given.ids) - given.nats)
    clipped = ratio.clamp(1 - how.clip, 1 + how.clip)
    surrogate = torch.minimum(ratio * given.advantages, clipped * given.advantages)
    values = model.values(given.ids).float()
    near = given.values + (values - given.values).clamp(-how.clip, how.clip)
    worth = torch.maximum((values - given.returns) ** 2, (near - given.returns) ** 2) / 2
    total = (share * (how.value * worth - surrogate)).sum()
    if how.text and given.text.shape[1]:
        total = total - how.text * token_nats(model.policy, given.text.flatten(0, 1)).mean()
    return total


def token_rewards(nats: Tensor, reference: Tensor, answered: Tensor, scores: Tensor, beta: float) -> Tensor:
    """What each token earns, (batch, time): the price of leaving the reference, and at an answer's last token its score."""
    last = answered.cumsum(1) == answered.sum(1, keepdim=True)
    ends = last & (answered > 0)
    return answered * (-beta * (nats - reference)) + ends * scores[:, None]


def advantages(
    rewards: Tensor, values: Tensor, answered: Tensor, lam: float, discount: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Generalised advantages and returns of each token, (batch, time); 0 where nothing was written.

    delta_t = r_t + discount V_t+1 - V_t and A_t = delta_t + discount lam A_t+1; behind the last token V is 0.
    """
    found = torch.zeros_like(rewards)
    ahead, worth = torch.zeros(len(rewards), dtype=rewards.dtype), torch.zeros(len(rewards), dtype=rewards.dtype)
    for at in range(rewards.shape[1] - 1, -1, -1):
        there = answered[:, at] > 0
        delta = rewards[:, at] + discount * worth - values[:, at]
        found[:, at] = torch.where(there, delta + discount * lam * ahead, 0.0)
        ahead, worth = torch.where(there, found[:, at], ahead), torch.where(there, values[:, at], worth)
    return found, torch.where(answered > 0, found + values, 0.0)


def whitened(values: Tensor, answered: Tensor) -> Tensor:
    """Advantages of a batch with mean 0 and variance 1 over what was written."""
    count = answered.sum()
    mean = (values * answered).sum() / count
    variance = (((values - mean) ** 2) * answered).sum() / count
    return answered * (values - mean) / torch.sqrt(variance + 1e-8)
