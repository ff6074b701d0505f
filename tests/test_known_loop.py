"""The training loop's memory: which checkpoint it goes on from, what it remembers of losses, when it saves and pins."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from models.training import checkpoint
from models.training.guard import Guard
from models.training.loop import Training
from models.training.parallel import Parallel
from models.training.schedule import RateSchedule
from tests.test_known_training import OWN, Inputs, ThreeParameters, hand_plan
from tests.test_training import Seen

CPU = torch.device("cpu")


def trained(folder: Path, **changes: object) -> Training:
    made = Training(ThreeParameters(), OWN, hand_plan(folder, **changes), Inputs(), folder, Seen(), Parallel(), CPU)  # type: ignore[arg-type]
    assert made.run()
    return made


def test_a_run_goes_on_from_its_newest_checkpoint(tmp_path: Path) -> None:
    trained(tmp_path, steps=3, save_every=1, keep_checkpoints=3, decay_tokens=500)
    assert sorted(path.stem for path in tmp_path.glob("*.json")) == [f"step-0000000{n}" for n in (1, 2, 3)]
    made = Training(
        ThreeParameters(),
        OWN,
        hand_plan(tmp_path, steps=5, decay_tokens=500),
        Inputs(),
        tmp_path,
        Seen(),
        Parallel(),
        CPU,
    )  # type: ignore[arg-type]
    assert made.step == 3
    made.run()
    whole = trained(tmp_path / "whole", steps=5, decay_tokens=500)
    assert torch.equal(made.model.weight, whole.model.weight)
    assert torch.equal(made.guard.statistics, whole.guard.statistics)
    assert made.guard.statistics[0] == 5


def test_checkpoints_are_kept_and_pinned_at_their_steps(tmp_path: Path) -> None:
    trained(tmp_path, steps=11, save_every=4, keep_checkpoints=2, pin_every=3)
    steps = [checkpoint.step_of(path) for path in sorted(tmp_path.glob("*.safetensors"))]
    assert steps == [3, 6, 9, 11]
    for step in (3, 6, 9):
        whole = trained(tmp_path / f"to-{step}", steps=step, save_every=100)
        path = checkpoint.pinned(tmp_path, hand_plan(tmp_path).run, step)
        assert path is not None
        found = checkpoint.load_file(path)
        assert torch.equal(found["model.weight"], whole.model.weight)
    assert checkpoint.pinned(tmp_path, hand_plan(tmp_path).run, 4) is None


def test_a_spike_is_told_by_standard_deviations_of_what_was_remembered() -> None:
    draw, judge, remembered = np.random.default_rng(3), Guard(4.0), []
    mean = variance = 0.0
    for seen in range(200):
        loss = 3.0 + draw.normal(0, 0.3)
        assert judge.judge(seen, loss, 1.0) is None or len(remembered) >= 50
        share = max(1 / (seen + 1), 0.05)
        difference = loss - mean
        mean, variance = mean + share * difference, (1 - share) * (variance + share * difference**2)
        remembered.append(loss)
    assert judge.statistics.tolist() == pytest.approx([200, mean, variance, 0])
    deviation = math.sqrt(variance)
    for factor, spiked in ((3.9, False), (4.1, True)):
        other = Guard(4.0)
        other.statistics.copy_(judge.statistics)
        assert (other.judge(201, mean + factor * deviation, 1.0) is not None) == spiked
        assert other.bad_in_a_row == int(spiked)
    early = Guard(4.0)
    assert all(early.judge(step, loss, 1.0) is None for step, loss in enumerate([1.0] * 49 + [50.0]))


def test_the_rate_reaches_its_floor_at_the_end_of_the_decay_and_not_before() -> None:
    for decay in ("linear", "cosine"):
        rate = RateSchedule(100, 1100, 0.2, decay)  # type: ignore[arg-type]
        assert rate.share(100) == 1.0
        assert rate.share(600) == pytest.approx(0.6)
        assert 0.2 < rate.share(1050) < 0.25
        assert rate.share(1100) == rate.share(5000) == pytest.approx(0.2)
    assert RateSchedule(100, 1100, 0.2, "linear").share(350) == pytest.approx(0.8)
    assert RateSchedule(100, 1100, 0.2).share(350) == pytest.approx(0.2 + 0.8 * 0.5 * (1 + math.cos(math.pi / 4)))
