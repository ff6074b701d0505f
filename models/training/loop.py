"""The training loop: one global batch a step, on any number of ranks, resumed to the bit."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from models.draws import random_bits
from models.objectives.objective import Objective
from models.training import checkpoint
from models.training.guard import BadStep, Guard
from models.training.optimizer import OptimizerPlan, make_optimizers
from models.training.parallel import Parallel, whole
from models.training.schedule import RateSchedule

Batch = tuple[Tensor, ...]  # what the objective's ``loss`` takes; the first dimension of each counts sequences
BAD_STEPS_IN_A_ROW = 10  # that are skipped before a run halts after all


@dataclass(frozen=True)
class Plan:
    """Hyper-parameters and cadences of a run."""

    run: str  # the run's key: a checkpoint of another run is refused
    seed: int
    steps: int
    rate: RateSchedule
    optimizer: OptimizerPlan
    clip: float
    bf16: bool  # autocast to bfloat16
    micro_batch: int  # sequences in one forward pass of one rank
    on_bad_step: Literal["halt", "skip"]
    spike_deviations: float  # above the mean of recent losses; 0: none is a spike
    save_every: int
    keep_checkpoints: int
    pin_every: int
    validate_every: int
    log_every: int
    compiled: bool

    def saves_after(self, step: int) -> bool:
        """Whether a checkpoint is due: by the cadence, to be pinned, or since it is the last."""
        pins = self.pin_every > 0 and step % self.pin_every == 0
        return pins or step % self.save_every == 0 or step == self.steps


class Data(Protocol):
    """What training asks of its data."""

    def batch_at(self, step: int) -> Batch:
        """This rank's share of a step's global batch."""

    def sequences_at(self, step: int) -> int:
        """Sequences of the global batch."""

    def tokens_after(self, step: int) -> int:
        """Tokens seen when a step ends."""

    def held_out(self) -> list[Batch]:
        """What the run is validated on, the same on every rank."""


class Watcher(Protocol):
    """Who looks on. Nothing that it does changes the training."""

    def log(self, step: int, figures: dict[str, float]) -> None:
        """Receives metrics."""

    def bad_step(self, bad: BadStep) -> None:
        """Hears of a step that was skipped."""

    def stopping(self) -> bool:
        """Whether to save and stop."""


class Training:
    """One run: it goes on from the newest checkpoint in ``folder`` when it is made."""

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        plan: Plan,
        data: Data,
        folder: Path,
        watcher: Watcher,
        parallel: Parallel,
        device: torch.device,
    ) -> None:
        self.model, self.plan, self.data, self.watcher, self.parallel = model, plan, data, watcher, parallel
        self.device = device
        self.loss_of = parallel.wrap(_Loss(model, objective, plan), device)
        self.optimizers = make_optimizers(model, plan.optimizer)
        self.peaks = [[group["lr"] for group in optimizer.param_groups] for optimizer in self.optimizers]
        self.guard = Guard(plan.spike_deviations)
        self.saver = checkpoint.Saver(folder, plan.run, plan.keep_checkpoints, plan.pin_every, parallel.first)
        found = checkpoint.newest(folder, plan.run)
        self.step = checkpoint.restore(found, model, self.optimizers, self.guard.statistics) if found else 0
        if not plan.steps and not found:  # nothing to train: the first weights are the run's
            self.save()
        self._clock, self._tokens = time.perf_counter(), data.tokens_after(self.step)

    def run(self) -> bool:
        """Trains to the plan's last step; returns whether it got there, or was told to stop.

        Raises BadStep where a loss spikes or a number is not finite and the plan says to halt.
        """
        while self.step < self.plan.steps:
            self.take_step()
            self.watch()
            stop = self.parallel.any(self.watcher.stopping())
            if stop or self.plan.saves_after(self.step):
                self.save()
            if stop:
                break
        self.saver.wait()
        self.parallel.barrier()
        return self.step == self.plan.steps

    def take_step(self) -> None:
        """One step of the optimisers, or none where it is a bad one. Raises BadStep."""
        self.step += 1
        self.rate_share = self.plan.rate.share(self.data.tokens_after(self.step))
        _set_rates(self.optimizers, self.peaks, self.rate_share)
        batch = tuple(tensor.to(self.device) for tensor in self.data.batch_at(self.step))
        sequences = self.data.sequences_at(self.step)
        self.loss, self.norm = _gradients(self.loss_of, self.plan, self.step, batch, sequences, self.parallel)
        bad = self.guard.judge(self.step, self.loss, self.norm)
        if bad is None:
            for optimizer in self.optimizers:
                optimizer.step()
        elif self.plan.on_bad_step == "halt" or self.guard.bad_in_a_row > BAD_STEPS_IN_A_ROW:
            self.saver.wait()
            raise bad
        else:
            self.watcher.bad_step(bad)

    def watch(self) -> None:
        """Tells the figures that are due."""
        plan, step, figures = self.plan, self.step, dict[str, float]()
        if step % plan.log_every == 0 or step == plan.steps:
            seconds, tokens = time.perf_counter() - self._clock, self.data.tokens_after(step) - self._tokens
            figures = {"loss": self.loss, "gradient_norm": self.norm, "tokens_per_second": tokens / seconds}
            figures["learning_rate"] = plan.optimizer.learning_rate * self.rate_share
        if step % plan.validate_every == 0 or step == plan.steps:
            figures |= _validated(self.loss_of, self.data.held_out(), plan.bf16)
            self.parallel.settle(self.loss_of)
        if figures:
            self.watcher.log(step, figures)
            self._clock, self._tokens = time.perf_counter(), self.data.tokens_after(step)

    def save(self) -> None:
        """Begins to write the state; gathering it is every rank's work."""
        self.saver.save(self.step, checkpoint.state_tensors(self.model, self.optimizers, self.guard.statistics))


def _set_rates(optimizers: list[torch.optim.Optimizer], peaks: list[list[float]], share: float) -> None:
    """Gives every parameter group its peak rate times the schedule's share."""
    for optimizer, rates in zip(optimizers, peaks, strict=True):
        for group, peak in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = peak * share


class _Loss(nn.Module):
    """The objective's loss, or its held-out figures, as a module's forward: what wrappers wrap."""

    def __init__(self, model: nn.Module, objective: Objective, plan: Plan) -> None:
        super().__init__()
        self.model = model
        self.loss: Callable[..., Tensor] = partial(objective.loss, model)
        self.figures = partial(objective.figures, model)
        if plan.compiled:
            # One variant for every size that a micro-batch can have, or a resumed run could meet other code.
            torch._dynamo.config.recompile_limit = plan.micro_batch + 1
            self.loss = torch.compile(self.loss, dynamic=False)

    def forward(self, *batch: Tensor, held_out: bool = False) -> Any:
        return self.figures(*batch) if held_out else self.loss(*batch)


def _gradients(
    loss_of: nn.Module, plan: Plan, step: int, batch: Batch, sequences: int, parallel: Parallel
) -> tuple[float, float]:
    """Clipped gradients of the global batch's mean loss, accumulated over micro-batches; that loss, and their norm.

    Every rank passes as many micro-batches, weighted by their sequences, so that the mean is the same whoever holds
    which; a rank that has none left passes an empty one.
    """
    loss_of.train()
    torch.manual_seed(random_bits(plan.seed, "dropout", step, parallel.rank) % 2**63)
    loss_of.zero_grad(set_to_none=True)
    total = torch.zeros((), device=batch[0].device)
    micro_batches = math.ceil(math.ceil(sequences / parallel.world) / plan.micro_batch)
    for number in range(micro_batches):
        part = slice(number * plan.micro_batch, (number + 1) * plan.micro_batch)
        micro = tuple(tensor[part] for tensor in batch)
        share = len(micro[0]) / sequences
        if not len(micro[0]):
            micro = tuple(tensor.new_zeros(1, *tensor.shape[1:]) for tensor in batch)
        with parallel.gradients_meet(loss_of, last=number == micro_batches - 1):
            with torch.autocast(total.device.type, dtype=torch.bfloat16, enabled=plan.bf16):
                loss = loss_of(*micro)
            # The ranks' gradients are averaged, and their shares sum to 1.
            (loss * (share * parallel.world)).backward()
        total += loss.detach() * share
    norm = nn.utils.clip_grad_norm_(loss_of.parameters(), plan.clip)
    return parallel.sum(total), float(whole(norm))


def _validated(loss_of: nn.Module, batches: list[Batch], bf16: bool) -> dict[str, float]:
    """Mean figures over batches, by their sequences, without touching any training state."""
    loss_of.eval()
    sums: dict[str, float] = {}
    device = next(loss_of.parameters()).device
    with torch.no_grad(), torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
        for batch in batches:
            for name, value in loss_of(*(tensor.to(device) for tensor in batch), held_out=True).items():
                sums[name] = sums.get(name, 0.0) + float(value) * len(batch[0])
    return {name: value / sum(len(batch[0]) for batch in batches) for name, value in sums.items()}
