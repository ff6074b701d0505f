"""The training loop: cross-entropy, one global batch a step, resumed to the bit."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from models.training import checkpoint
from models.training.optimizer import make_optimizers
from models.training.order import draw_key
from models.training.schedule import learning_rate_share
from models.transformer import Decoder

Batch = tuple[Tensor, Tensor]  # ids and targets, (sequences, context) each


@dataclass(frozen=True)
class Plan:
    """Hyper-parameters and cadences of a run."""

    run: str  # the run's key: a checkpoint of another run is refused
    seed: int
    steps: int
    warmup_steps: int
    peak_learning_rate: float
    final_learning_rate_share: float
    weight_decay: float
    betas: tuple[float, float]
    clip: float
    muon_learning_rate: float | None  # peak rate of Muon for the matrices inside blocks; None: AdamW for everything
    bf16: bool  # autocast to bfloat16
    micro_batch: int  # sequences in one forward pass of one rank
    save_every: int
    keep_checkpoints: int
    validate_every: int
    log_every: int


class NonFiniteLoss(Exception):
    """The loss or the gradient is not a number: the step was not applied."""

    def __init__(self, step: int) -> None:
        super().__init__(f"the loss is not finite at step {step}")
        self.step = step


def train(
    model: Decoder,
    plan: Plan,
    batch_at: Callable[[int], Batch],
    validation_loss: Callable[[], float],
    folder: Path,
    log: Callable[[int, dict[str, float]], None],
    saved: Callable[[Path], None],
    stopping: Callable[[], bool],
) -> bool:
    """Trains to ``plan.steps`` from the newest checkpoint in ``folder``; returns whether it got there.

    ``batch_at(step)`` gives this rank's share of a step's global batch. ``log`` receives metrics, ``saved``
    each checkpoint's path; where ``stopping`` says so the state is saved and False returned.
    Raises NonFiniteLoss.
    """
    device = next(model.parameters()).device
    optimizers = make_optimizers(model, plan.peak_learning_rate, plan.betas, plan.weight_decay, plan.muon_learning_rate)
    peaks = [[group["lr"] for group in optimizer.param_groups] for optimizer in optimizers]
    found = checkpoint.newest(folder, plan.run)
    step = checkpoint.restore(found, model, optimizers) if found else 0
    distributed = torch.distributed.is_initialized()
    first_rank = not distributed or torch.distributed.get_rank() == 0
    wrapped: nn.Module = DistributedDataParallel(_Loss(model)) if distributed else _Loss(model)
    clock, tokens = time.perf_counter(), 0
    while step < plan.steps:
        step += 1
        ids, targets = batch_at(step)
        tokens += ids.numel() * (torch.distributed.get_world_size() if distributed else 1)
        share = learning_rate_share(step, plan.steps, plan.warmup_steps, plan.final_learning_rate_share)
        _set_rates(optimizers, peaks, share)
        loss, norm = _step(wrapped, model, optimizers, plan, step, ids.to(device), targets.to(device))
        metrics: dict[str, float] = {}
        if step % plan.log_every == 0 or step == plan.steps:
            metrics = {"loss": loss, "gradient_norm": norm, "learning_rate": plan.peak_learning_rate * share}
            metrics["tokens_per_second"] = tokens / (time.perf_counter() - clock)
        if first_rank and (step % plan.validate_every == 0 or step == plan.steps):
            metrics["validation_loss"] = validation_loss()
        if metrics and first_rank:
            log(step, metrics)
            clock, tokens = time.perf_counter(), 0
        stop = stopping()
        if first_rank and (step % plan.save_every == 0 or step == plan.steps or stop):
            saved(checkpoint.save(folder, step, plan.run, model, optimizers, plan.keep_checkpoints))
        if stop and step < plan.steps:
            return False
    return True


def _set_rates(optimizers: list[torch.optim.Optimizer], peaks: list[list[float]], share: float) -> None:
    """Gives every parameter group its peak rate times the schedule's share."""
    for optimizer, rates in zip(optimizers, peaks, strict=True):
        for group, peak in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = peak * share


class _Loss(nn.Module):
    """The loss as a module's forward, which is what DistributedDataParallel wraps."""

    def __init__(self, model: Decoder) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, targets: Tensor) -> Tensor:
        return self.model.loss(ids, targets)


def _step(
    wrapped: nn.Module,
    model: Decoder,
    optimizers: list[torch.optim.Optimizer],
    plan: Plan,
    step: int,
    ids: Tensor,
    targets: Tensor,
) -> tuple[float, float]:
    """One optimiser step over gradient-accumulated micro-batches; returns the loss and the gradient's norm."""
    model.train()
    rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
    torch.manual_seed(draw_key(plan.seed, "dropout", step, rank) % 2**63)
    for optimizer in optimizers:
        optimizer.zero_grad(set_to_none=True)
    total = torch.zeros((), device=ids.device)
    for first in range(0, len(ids), plan.micro_batch):
        part = slice(first, first + plan.micro_batch)
        share = len(ids[part]) / len(ids)
        with torch.autocast(ids.device.type, dtype=torch.bfloat16, enabled=plan.bf16):
            loss = wrapped(ids[part], targets[part])
        (loss * share).backward()
        total += loss.detach() * share
    if torch.distributed.is_initialized():
        torch.distributed.all_reduce(total)
        total /= torch.distributed.get_world_size()
    norm = float(nn.utils.clip_grad_norm_(model.parameters(), plan.clip))
    if not math.isfinite(float(total)) or not math.isfinite(norm):
        raise NonFiniteLoss(step)
    for optimizer in optimizers:
        optimizer.step()
    return float(total), norm


def mean_loss(model: Decoder, batches: Iterator[Batch], bf16: bool) -> float:
    """Mean loss over batches of equal size, without touching any training state."""
    device = next(model.parameters()).device
    model.eval()
    with torch.inference_mode(), torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
        losses = [float(model.loss(ids.to(device), targets.to(device))) for ids, targets in batches]
    model.train()
    return sum(losses) / len(losses)
