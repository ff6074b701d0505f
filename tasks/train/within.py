"""Training in this process: what fine-tunings and alignments, which run in workers, have in common."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from models.training.guard import BadStep
from models.training.loop import Plan
from models.training.optimizer import OptimizerPlan
from models.training.schedule import Decay, RateSchedule

BETAS, EPSILON = (0.9, 0.999), 1e-8  # Adam's (Radford et al. 2018; Ouyang et al. 2022 have (0.9, 0.95))


@dataclass(frozen=True)
class Schedule:
    """The rate of a training that counts examples."""

    learning_rate: float
    weight_decay: float
    clip: float
    warmup_share: float = 0.0
    decay: Decay = "linear"
    final_share: float = 0.0

    def plan(self, run: str, seed: int, steps: int, seen: int, bf16: bool, micro_batch: int, save_every: int) -> Plan:
        """The hyper-parameters in the words of the training loop; what is held out is looked at when it ends."""
        return Plan(
            run=run,
            seed=seed,
            steps=steps,
            rate=RateSchedule(round(self.warmup_share * seen), seen, self.final_share, self.decay),
            optimizer=OptimizerPlan(
                kind="adamw",
                learning_rate=self.learning_rate,
                muon_learning_rate=self.learning_rate,
                betas=BETAS,
                epsilon=EPSILON,
                weight_decay=self.weight_decay,
            ),
            clip=self.clip,
            bf16=bf16,
            micro_batch=micro_batch,
            on_bad_step="halt",
            spike_deviations=0.0,
            save_every=save_every,
            keep_checkpoints=2,
            pin_every=0,
            validate_every=steps,
            log_every=10,
            compiled=False,
        )


class Watch:
    """models.training.loop.Watcher: tells the step."""

    def __init__(self, tell: Callable[[int], None]) -> None:
        self._tell = tell

    def log(self, step: int, figures: dict[str, float]) -> None:
        """See Watcher."""
        self._tell(step)

    def bad_step(self, bad: BadStep) -> None:
        """See Watcher."""

    def stopping(self) -> bool:
        """See Watcher."""
        return False


@contextmanager
def exactly(threads: int, device: str) -> Iterator[torch.device]:
    """This process computes the same numbers each time, on the device that is asked for."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what deterministic algorithms ask for on CUDA
    before: Any = (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled())
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    try:
        yield torch.device("cuda" if device == "cuda" or (device == "auto" and torch.cuda.is_available()) else "cpu")
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])
