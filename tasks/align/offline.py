"""What learns from answers that are there: supervised answers, a reward model, direct preferences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from models.finetuned import FineTuned
from models.objectives.answers import REWARD, SFT, PairBatch, Preference, answer_nats, rewards
from models.objectives.objective import Objective
from models.objectives.policy import Proximal
from models.training.epochs import Epochs
from models.training.loop import Plan, Training
from models.training.parallel import Parallel
from models.transformer import Transformer
from tasks.align.conversation import Conversation
from tasks.align.encode import Answered, Turns, answer_batch, ranked_batch
from tasks.align.settings import AlignSettings
from tasks.core.estimates import mean
from tasks.train.within import Schedule, Watch

Tell = Callable[[int, int], None]


class Measured(NamedTuple):
    """A figure of what is held out, before and after."""

    metric: str
    before: float | None
    after: float
    stderr: float
    n: int


@dataclass(frozen=True)
class Given:
    """The conversations that are trained on and those that are held out, and how they become tokens."""

    trained: list[Conversation]
    tested: list[Conversation]
    turns: Turns
    settings: AlignSettings
    identity: str


def plan_of(settings: AlignSettings, run: str, steps: int, seen: int) -> Plan:
    """The settings in the words of the training loop."""
    s = settings
    schedule = Schedule(s.learning_rate, s.weight_decay, s.clip, s.warmup_share, s.decay, s.final_share)
    return schedule.plan(run, s.seed, steps, seen, s.precision == "bf16", s.micro_batch, s.save_every)


def objective_of(settings: AlignSettings) -> Objective:
    """What its method minimises."""
    s = settings
    if s.method == "dpo":
        return Preference(s.beta).objective
    if s.method == "ppo":
        return Proximal(s.ratio, s.value, s.text).objective
    return SFT if s.method == "sft" else REWARD


def train(
    model: nn.Module, data: Epochs, given: Given, run: str, folder: Path, tell: Tell, device: torch.device
) -> None:
    """Trains from the newest checkpoint in the folder to the end."""
    plan, objective = plan_of(given.settings, run, data.steps, data.seen), objective_of(given.settings)
    watch = Watch(lambda step: tell(step, plan.steps))
    Training(model, objective, plan, data, folder, watch, Parallel(), device).run()
    model.eval()


# Supervised answers


def supervised(
    model: Transformer, given: Given, run: str, folder: Path, tell: Tell, device: torch.device
) -> list[Measured]:
    """The best answer of each conversation, its tokens alone (Ouyang et al. 2022, section 3.5)."""
    rows = [given.turns.answered(one)[0] for one in given.trained]
    data = _epochs(len(rows), lambda chosen: answer_batch([rows[row] for row in chosen]), given)
    before = _nats(model.to(device), given)
    train(model, data, given, run, folder, tell, device)
    after = _nats(model, given)
    figure = mean(after, _groups(given.tested))
    return [Measured("nats a token of the best answer", float(before.mean()), figure.value, figure.stderr, len(after))]


@torch.no_grad()
def _nats(model: Transformer, given: Given) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Nats a token of each held-out conversation's best answer."""
    found = []
    rows = [given.turns.answered(one)[0] for one in given.tested]
    model.eval()
    for at in range(0, len(rows), given.settings.micro_batch):
        ids, answered = (
            one.to(model.tokens.weight.device) for one in answer_batch(rows[at : at + given.settings.micro_batch])
        )
        found += (-answer_nats(model, ids, answered) / answered[:, 1:].sum(1)).tolist()
    return np.array(found)


def _epochs(count: int, made: Callable[[Sequence[int]], tuple[torch.Tensor, ...]], given: Given) -> Epochs:
    s = given.settings
    return Epochs(count, made, s.batch, s.epochs, s.seed, given.identity)


def _groups(conversations: Sequence[Conversation]) -> np.ndarray[tuple[int], np.dtype[np.str_]]:
    return np.array([one.group or one.id for one in conversations])


# Reward


def reward_model(
    model: FineTuned, given: Given, run: str, folder: Path, tell: Tell, device: torch.device
) -> list[Measured]:
    """All pairs of a prompt's ranked answers; the bias is set so that the best answers score 0 on average (section 3.5)."""
    rows = [(given.turns.answered(one), one.ranks) for one in given.trained]
    data = _epochs(len(rows), lambda chosen: ranked_batch([rows[row] for row in chosen]), given)
    train(model, data, given, run, folder, tell, device)
    best = np.concatenate(
        [
            np.array(scores)[np.array(one.ranks) == 0]
            for one, scores in zip(given.trained, scored(model, given.trained, given), strict=True)
        ]
    )
    with torch.no_grad():
        model.head.bias.sub_(float(best.mean()))
    return pair_accuracies(given.tested, scored(model, given.tested, given))


@torch.no_grad()
def scored(model: FineTuned, conversations: Sequence[Conversation], given: Given) -> list[list[float]]:
    """The reward of each answer of each conversation."""
    found: list[list[float]] = []
    device = model.head.weight.device
    for at in range(0, len(conversations), given.settings.micro_batch):
        some = conversations[at : at + given.settings.micro_batch]
        batch = ranked_batch([(given.turns.answered(one), one.ranks) for one in some])
        values = rewards(model.eval(), type(batch)(*(tensor.to(device) for tensor in batch)))
        found += [row[: len(one.answers)] for row, one in zip(values.tolist(), some, strict=True)]
    return found


def pair_accuracies(conversations: Sequence[Conversation], scores: Sequence[Sequence[float]]) -> list[Measured]:
    """How often the better answer of a pair has the higher score, over all pairs and by their ranks; errors over groups."""
    pairs: dict[str, list[tuple[float, str]]] = {}
    for one, values in zip(conversations, scores, strict=True):
        for a, b in combinations(range(len(values)), 2):
            if one.ranks[a] == one.ranks[b]:
                continue
            better, worse = (a, b) if one.ranks[a] < one.ranks[b] else (b, a)
            right = 0.5 if values[better] == values[worse] else float(values[better] > values[worse])
            for name in ("pair accuracy", f"pair accuracy, rank {one.ranks[better]} above {one.ranks[worse]}"):
                pairs.setdefault(name, []).append((right, one.group or one.id))
    found = []
    for name, rows in sorted(pairs.items()):
        figure = mean(np.array([right for right, _ in rows]), np.array([group for _, group in rows]))
        found.append(Measured(name, None, figure.value, figure.stderr, len(rows)))
    return found


# Direct preferences


class _Pair(NamedTuple):
    better: Answered
    worse: Answered
    group: str


def preferences(
    model: Transformer, given: Given, run: str, folder: Path, tell: Tell, device: torch.device
) -> list[Measured]:
    """Each pair of a prompt's answers, beside what the network gave them before (Rafailov et al. 2023, equation 7)."""
    model.to(device).eval()
    trained, tested = (
        [_with_reference(model, pair, given, device) for pair in _pairs(some, given)]
        for some in (given.trained, given.tested)
    )
    data = _epochs(len(trained), lambda chosen: _pair_batch([trained[row] for row in chosen]), given)
    train(model, data, given, run, folder, tell, device)
    gained = []
    with torch.no_grad():
        for pair in tested:
            ids, answered, reference = (tensor.to(device) for tensor in _pair_batch([pair]))
            now = answer_nats(model, ids[0], answered[0])
            gained.append(float((now - reference[0])[0] - (now - reference[0])[1]))
    figure = mean((np.array(gained) > 0).astype(np.float64), np.array([pair.group for pair, _ in tested]))
    return [Measured("pair accuracy", None, figure.value, figure.stderr, len(gained))]


def _pairs(conversations: Sequence[Conversation], given: Given) -> list[_Pair]:
    return [
        _Pair(*((rows[a], rows[b]) if one.ranks[a] < one.ranks[b] else (rows[b], rows[a])), one.group or one.id)
        for one in conversations
        for rows in [given.turns.answered(one)]
        for a, b in combinations(range(len(rows)), 2)
        if one.ranks[a] != one.ranks[b]
    ]


@torch.no_grad()
def _with_reference(
    model: Transformer, pair: _Pair, given: Given, device: torch.device
) -> tuple[_Pair, tuple[float, float]]:
    ids, answered = (one.to(device) for one in answer_batch([pair.better, pair.worse]))
    better, worse = answer_nats(model, ids, answered).tolist()
    return pair, (better, worse)


def _pair_batch(given: Sequence[tuple[_Pair, tuple[float, float]]]) -> PairBatch:
    ids, answered = answer_batch([one for pair, _ in given for one in (pair.better, pair.worse)])
    return PairBatch(
        ids.view(len(given), 2, -1), answered.view(len(given), 2, -1), torch.tensor([told for _, told in given])
    )
