"""The training loop: one global batch a step, on any number of ranks, resumed to the bit."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from models.training import checkpoint
from models.training.guard import BadStep, Guard
from models.training.optimizer import OptimizerPlan, make_optimizers
from models.training.order import draw_key
from models.training.parallel import Parallel
from models.training.schedule import RateSchedule
from models.transformer import Transformer

Batch = tuple[Tensor, ...]  # what the model's ``loss`` takes; the first dimension of each counts sequences
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


def train(model: Transformer, plan: Plan, data: Data, folder: Path, watcher: Watcher, parallel: Parallel) -> bool:
    """Trains to ``plan.steps`` from the newest checkpoint in ``folder``; returns whether it got there.

    Raises BadStep where a loss spikes or a number is not finite and the plan says to halt.
    """
    device = model.tokens.weight.device
    loss_of = parallel.wrap(_Loss(model, plan))
    optimizers = make_optimizers(model, plan.optimizer)
    peaks = [[group["lr"] for group in optimizer.param_groups] for optimizer in optimizers]
    guard = Guard(plan.spike_deviations)
    found = checkpoint.newest(folder, plan.run)
    step = checkpoint.restore(found, model, optimizers, guard.statistics) if found else 0
    saver = checkpoint.Saver(folder, plan.run, plan.keep_checkpoints, plan.pin_every)
    if step == plan.steps and not found:  # nothing to train: the initial weights are the run's
        _save(saver, step, checkpoint.state_tensors(model, optimizers, guard.statistics), parallel)
    clock, tokens, skipped = time.perf_counter(), data.tokens_after(step), 0
    while step < plan.steps:
        step += 1
        share = plan.rate.share(data.tokens_after(step))
        _set_rates(optimizers, peaks, share)
        batch = tuple(tensor.to(device) for tensor in data.batch_at(step))
        loss, norm = _gradients(loss_of, plan, step, batch, data.sequences_at(step), parallel)
        bad = guard.judge(step, loss, norm)
        if bad is None:
            for optimizer in optimizers:
                optimizer.step()
        elif plan.on_bad_step == "halt" or skipped == BAD_STEPS_IN_A_ROW:
            saver.wait()
            raise bad
        else:
            watcher.bad_step(bad)
        skipped = skipped + 1 if bad else 0
        figures: dict[str, float] = {}
        if step % plan.log_every == 0 or step == plan.steps:
            figures = {"loss": loss, "gradient_norm": norm, "learning_rate": plan.optimizer.learning_rate * share}
            figures["tokens_per_second"] = (data.tokens_after(step) - tokens) / (time.perf_counter() - clock)
        if step % plan.validate_every == 0 or step == plan.steps:
            figures |= _validated(loss_of, data.held_out(), plan.bf16)
            parallel.settle(loss_of)
        if figures:
            watcher.log(step, figures)
            clock, tokens = time.perf_counter(), data.tokens_after(step)
        stop = parallel.any(watcher.stopping())
        if step % plan.save_every == 0 or step == plan.steps or stop:
            _save(saver, step, checkpoint.state_tensors(model, optimizers, guard.statistics), parallel)
        if stop and step < plan.steps:
            break
    saver.wait()
    parallel.barrier()
    return step == plan.steps


def _save(saver: checkpoint.Saver, step: int, state: dict[str, Tensor], parallel: Parallel) -> None:
    """The first rank's part of a save; gathering the state was everybody's."""
    if parallel.first:
        saver.save(step, state)


def _set_rates(optimizers: list[torch.optim.Optimizer], peaks: list[list[float]], share: float) -> None:
    """Gives every parameter group its peak rate times the schedule's share."""
    for optimizer, rates in zip(optimizers, peaks, strict=True):
        for group, peak in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = peak * share


class _Loss(nn.Module):
    """The loss, or the held-out figures, as a module's forward: what wrappers wrap."""

    def __init__(self, model: Transformer, plan: Plan) -> None:
        super().__init__()
        self.model = model
        self.loss: Callable[..., Tensor] = model.loss
        if plan.compiled:
            # One variant for every size that a micro-batch can have, or a resumed run could meet other code.
            torch._dynamo.config.recompile_limit = plan.micro_batch + 1
            self.loss = torch.compile(model.loss, dynamic=False)

    def forward(self, *batch: Tensor, held_out: bool = False) -> Any:
        return self.model.figures(*batch) if held_out else self.loss(*batch)


def _gradients(
    loss_of: nn.Module, plan: Plan, step: int, batch: Batch, sequences: int, parallel: Parallel
) -> tuple[float, float]:
    """Clipped gradients of the global batch's mean loss, accumulated over micro-batches; that loss, and their norm.

    Every rank passes as many micro-batches, weighted by their sequences, so that the mean is the same whoever holds
    which; a rank that has none left passes an empty one.
    """
    loss_of.train()
    torch.manual_seed(draw_key(plan.seed, "dropout", step, parallel.rank) % 2**63)
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
    return parallel.sum(total), parallel.whole(norm)


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
