"""PPO: a policy writes answers, what scores them pays for them, and the policy moves a little (Ouyang et al. 2022, sections 3.5 and C.4).

A batch of rollouts is a function of the weights, the seed and its number, and is stored before anything is learnt of it: a run that was
killed anywhere goes on from its checkpoint with the same rollouts, and ends in the same weights.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import Tensor

from models.draws import random_bits
from models.objectives.answers import token_nats
from models.objectives.policy import ActorCritic, RolloutBatch, advantages, token_rewards, whitened
from models.sampling import sample
from models.training.loop import Batch, Training
from models.training.order import permute
from models.training.parallel import Parallel
from models.transformer import Transformer
from tasks.align.conversation import Conversation
from tasks.align.encode import Answered, answer_batch
from tasks.align.offline import Given, Measured, Tell, objective_of, plan_of
from tasks.align.settings import WORD
from tasks.core.estimates import mean
from tasks.train.within import Watch

Score = Callable[[Sequence[Conversation], Sequence[Answered], Sequence[str]], list[float]]
Text = Callable[[int], Tensor]  # a batch's number -> windows of the pretraining's text, (episodes, texts, tokens)


def program(name: str) -> Callable[[str], float]:
    """A reward that is a function of the answer's words: ``shorter``, ``longer`` or ``word:WORD``."""
    if name.startswith(WORD):
        wanted = name.removeprefix(WORD).casefold()
        return lambda text: float(wanted in text.casefold().split())
    sign = -1.0 if name == "shorter" else 1.0
    return lambda text: sign * len(text.split()) / 10


@dataclass(frozen=True)
class Written:
    """A batch of answers: tensors to learn from, and a row each."""

    batch: RolloutBatch
    rows: list[dict[str, Any]]


class Rollouts:
    """models.training.loop.Data: the minibatches of stored rollouts, written by the policy as it is when their first one is asked for."""

    def __init__(
        self,
        model: ActorCritic,
        reference: Transformer,
        score: Score,
        given: Given,
        decode: Callable[[Sequence[int]], str],
        text: Text,
        folder: Path,
    ) -> None:
        self._model, self._reference, self._score, self._given = model, reference, score, given
        self._decode, self._text, self._folder = decode, text, folder
        s = given.settings
        self._minibatches = s.episodes // s.batch * s.epochs
        self.steps = s.steps * self._minibatches
        self.seen = self.steps * s.batch
        self._at, self._now = 0, None  # the batch of rollouts that is held

    _now: RolloutBatch | None

    def batch_at(self, step: int) -> Batch:
        """A minibatch: of each batch of rollouts ``epochs`` times all, in an order of its own."""
        s = self._given.settings
        number, place = divmod(step - 1, self._minibatches)
        if self._at != number + 1 or self._now is None:
            self._at, self._now = number + 1, self._rollouts(number + 1)
        epoch, part = divmod(place, s.episodes // s.batch)
        key = random_bits(s.seed, "minibatch", number, epoch)
        rows = [permute(row, s.episodes, key) for row in range(part * s.batch, (part + 1) * s.batch)]
        chosen = RolloutBatch(*(tensor[rows] for tensor in self._now))
        whole = chosen.weights.sum()  # of the tokens of this minibatch
        return chosen._replace(weights=chosen.weights * len(rows) / whole)

    def sequences_at(self, step: int) -> int:
        """Answers of a minibatch."""
        return self._given.settings.batch

    def tokens_after(self, step: int) -> int:
        """Answers seen when a step ends."""
        return step * self._given.settings.batch

    def held_out(self) -> list[Batch]:
        """Nothing: what is held out is looked at before and after."""
        return []

    def rows(self) -> list[dict[str, Any]]:
        """All that was written, batch by batch."""
        return [row for path in sorted(self._folder.glob("rollouts-*.json")) for row in json.loads(path.read_text())]

    def _rollouts(self, number: int) -> RolloutBatch:
        path = self._folder / f"rollouts-{number:06d}.safetensors"
        if not path.with_suffix(".json").exists():
            written = self._write(number)
            _store(path, written)
        return RolloutBatch(**load_file(path))

    def _write(self, number: int) -> Written:
        s, trained = self._given.settings, self._given.trained
        slots = [(number - 1) * s.episodes + row for row in range(s.episodes)]
        epochs = [divmod(slot, len(trained)) for slot in slots]
        chosen = [
            trained[permute(index, len(trained), random_bits(s.seed, "prompts", epoch))] for epoch, index in epochs
        ]
        return written(
            self._model,
            self._reference,
            self._score,
            self._given,
            self._decode,
            chosen,
            slots,
            number,
            self._text(number),
        )


def _store(path: Path, made: Written) -> None:
    """The tensors, then the rows that say they are there, each durable."""
    tensors = {name: value.contiguous() for name, value in made.batch._asdict().items()}
    _durably(path, save(tensors))
    _durably(path.with_suffix(".json"), json.dumps(made.rows).encode())


def _durably(path: Path, content: bytes) -> None:
    temporary = path.with_name(f"{path.name}.tmp")
    with temporary.open("wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, path)


@torch.no_grad()
def written(
    model: ActorCritic,
    reference: Transformer,
    score: Score,
    given: Given,
    decode: Callable[[Sequence[int]], str],
    chosen: Sequence[Conversation],
    subjects: Sequence[object],
    number: int | None,
    text: Tensor,
) -> Written:
    """Answers of a policy to prompts, what they earn, and their advantages."""
    s, turns = given.settings, given.turns
    model.eval()
    prompts = [turns.prompt(one.turns, turns.context - s.answer_tokens) for one in chosen]
    answers = sample(
        model.policy, prompts, s.answer_tokens, subjects, s.seed, s.temperature, turns.end, turns.forbidden
    )
    pairs = [Answered(prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)]
    device = model.policy.tokens.weight.device
    ids, answered = (one.to(device) for one in answer_batch(pairs))
    nats, old = token_nats(model.policy, ids), token_nats(reference, ids)
    values, mask = model.values(ids).float(), answered[:, 1:]
    texts = [decode([token for token in answer if token != turns.end]) for answer in answers]
    earned = torch.tensor(score(chosen, pairs, texts), device=device)
    gained, returns = advantages(token_rewards(nats, old, mask, earned, s.kl).cpu(), values.cpu(), mask.cpu(), s.gae)
    batch = RolloutBatch(ids, mask, nats * mask, values, whitened(gained, mask.cpu()), returns, text)
    kl = ((nats - old) * mask).sum(1)
    rows = [
        {
            "step": number,
            "example_id": one.id,
            "prompt": one.turns[-1].text,
            "text": said,
            "reward": float(reward),
            "kl": float(left),
            "digest": hashlib.sha256(json.dumps([pair.answer, told]).encode()).hexdigest()[:16],
        }
        for one, said, reward, left, pair, told in zip(
            chosen, texts, earned, kl, pairs, (nats * mask).tolist(), strict=True
        )
    ]
    return Written(RolloutBatch(*(tensor.cpu() for tensor in batch)), rows)


class _Averaging(Training):
    """Training that keeps an average of the policy's weights, which is what is published (EMA, section C.4)."""

    average: float

    def take_step(self) -> None:
        """A step, after which the average moves."""
        super().take_step()
        model: Any = self.model
        with torch.no_grad():
            for kept, now in zip(model.averaged.parameters(), model.policy.parameters(), strict=True):
                kept.lerp_(now, 1 - self.average)


def with_average(model: ActorCritic) -> ActorCritic:
    """A second copy of the policy, which no gradient reaches, and which checkpoints hold."""
    model.averaged = copy.deepcopy(model.policy).requires_grad_(False)
    return model


def proximal(
    model: ActorCritic,
    reference: Transformer,
    score: Score,
    given: Given,
    decode: Callable[[Sequence[int]], str],
    text: Text,
    run: str,
    folder: Path,
    tell: Tell,
    device: torch.device,
) -> tuple[Transformer, list[Measured], list[dict[str, Any]]]:
    """Trains a policy; returns it, what is measured of it, and all that was written: before (0), batch by batch, and after (None)."""
    s = given.settings
    model, reference = with_average(model).to(device), reference.to(device).eval()
    before = _asked(model, reference, score, given, decode, 0)
    data = Rollouts(model, reference, score, given, decode, text, folder)
    plan, objective = plan_of(s, run, data.steps, data.seen), objective_of(s)
    training = _Averaging(
        model, objective, plan, data, folder, Watch(lambda step: tell(step, plan.steps)), Parallel(), device
    )
    training.average = s.average
    training.run()
    averaged: Any = model.averaged
    model.policy.load_state_dict(averaged.state_dict())
    after = _asked(model, reference, score, given, decode, None)
    return model.policy.eval(), _measured(given, before, after), [*before, *data.rows(), *after]


def _asked(
    model: ActorCritic,
    reference: Transformer,
    score: Score,
    given: Given,
    decode: Callable[[Sequence[int]], str],
    number: int | None,
) -> list[dict[str, Any]]:
    """What is written to the held-out prompts, by the same draws before and after."""
    rows = []
    for at in range(0, len(given.tested), given.settings.episodes):
        some = given.tested[at : at + given.settings.episodes]
        subjects = [f"held out {one.id}" for one in some]
        nothing = torch.zeros(len(some), 0, 2, dtype=torch.int64)
        rows += written(model, reference, score, given, decode, some, subjects, number, nothing).rows
    return rows


def _measured(given: Given, before: Sequence[dict[str, Any]], after: Sequence[dict[str, Any]]) -> list[Measured]:
    groups = np.array([one.group or one.id for one in given.tested])
    found = []
    for metric, column in (("reward of an answer", "reward"), ("nats from where it started", "kl")):
        figure = mean(np.array([row[column] for row in after]), groups)
        found.append(
            Measured(metric, float(np.mean([row[column] for row in before])), figure.value, figure.stderr, len(after))
        )
    words = [[len(row["text"].split()) for row in rows] for rows in (before, after)]
    length = mean(np.array(words[1], np.float64), groups)
    return [*found, Measured("words of an answer", float(np.mean(words[0])), length.value, length.stderr, len(after))]
