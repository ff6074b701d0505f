"""Training: resumed to the bit, untouched by how it is watched, the same data for any number of ranks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from models.generate import generate
from models.score import Network
from models.training import checkpoint
from models.training.optimizer import make_optimizers, orthogonalised
from models.transformer import Architecture, Decoder
from tasks.pretrain.data import StoredOrder, TrainingData
from tasks.pretrain.process import Job
from tasks.pretrain.settings import PretrainSettings
from tests.conftest import PROJECT, Run
from warehouse import log
from warehouse.artifact import Ref, load
from warehouse.store import Store


def job_of(run: Run, folder: Path, **changes: object) -> Job:
    """The finished run's training again, in a folder of its own."""
    store = Store(str(run.store))
    current = log.current(store)
    done = load(store, current["pretrain"][0])
    settings = PretrainSettings.model_validate(done.settings | {"threads": 1, "save_every": 10} | changes)
    folder.mkdir(parents=True, exist_ok=True)
    mirror = Store(str(folder / "store"))
    (folder / "store").mkdir(exist_ok=True)
    (folder / "store" / "artifacts").symlink_to(run.store / "artifacts")
    return Job(
        store=mirror.url,
        run=Ref(stage="pretrain", key="test"),
        tokens=current["pack"][0],
        vocabulary=512,
        settings=settings,
        folder=folder / "checkpoints",
    )


def command(job: Job) -> list[str]:
    path = job.folder.parent / "job.json"
    path.write_text(job.model_dump_json())
    launcher = (
        [sys.executable]
        if job.settings.ranks == 1
        else [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={job.settings.ranks}"]
    )
    return [*launcher, "-m", "tasks.pretrain.process", str(path)]


def train(job: Job) -> dict[str, torch.Tensor]:
    """Trains to the end; the final parameters and optimiser state."""
    done = subprocess.run(command(job), cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-500:] + done.stderr[-2000:]
    path = checkpoint.newest(job.folder, "test")
    assert path is not None
    assert path.stem == f"step-{job.settings.steps:08d}"
    return load_file(path)


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module", params=["adamw", "muon"])
def optimizer(request: pytest.FixtureRequest) -> str:
    return request.param


def test_kill_during_training_and_during_a_save_resumes_to_identical_state(
    finished: Run, tmp_path: Path, optimizer: str
) -> None:
    changes = {"optimizer": optimizer, "dropout": 0.1, "steps": 30}
    expected = train(job_of(finished, tmp_path / "whole", **changes))
    job = job_of(finished, tmp_path / "killed", save_every=1, **changes)
    in_save = 0
    for kill in range(3):
        with subprocess.Popen(
            command(job), cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
        ) as process:
            assert process.stdout is not None
            for _ in range(3 + 2 * kill):
                process.stdout.readline()
            deadline = time.monotonic() + 20
            while not list(job.folder.glob("*.tmp")) and time.monotonic() < deadline and process.poll() is None:
                pass
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            in_save += bool(list(job.folder.glob("*.tmp")))
    assert in_save >= 1
    assert checkpoint.newest(job.folder, "test") is not None
    assert same(train(job), expected)


def test_validating_every_10_and_every_25_steps_gives_the_same_weights(finished: Run, tmp_path: Path) -> None:
    often = train(job_of(finished, tmp_path / "10", validate_every=10, steps=50))
    seldom = train(job_of(finished, tmp_path / "25", validate_every=25, log_every=7, save_every=50, steps=50))
    assert same(often, seldom)


def test_sigterm_saves_and_the_same_command_goes_on(finished: Run, tmp_path: Path) -> None:
    job = job_of(finished, tmp_path / "job", save_every=10_000, steps=60, log_every=1)
    with subprocess.Popen(command(job), cwd=PROJECT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while '"step": 5' not in process.stdout.readline():
            pass
        process.terminate()
        rest = process.stdout.read()
    assert process.returncode == 1
    assert "its state is saved" in rest
    assert checkpoint.newest(job.folder, "test") is not None
    assert same(train(job), train(job_of(finished, tmp_path / "whole", steps=60)))


def test_two_ranks_see_the_batch_of_one(finished: Run, tmp_path: Path) -> None:
    store = Store(str(finished.store))
    tokens = log.current(store)["pack"][0]
    settings = PretrainSettings.model_validate(load(store, log.current(store)["pretrain"][0]).settings)
    whole = TrainingData(store, tokens, settings)
    halves = [TrainingData(store, tokens, settings, rank, 2) for rank in range(2)]
    for step in (1, 7, 30):
        rows = {tuple(row) for row in whole.batch_at(step)[0].tolist()}
        assert rows == {tuple(row) for half in halves for row in half.batch_at(step)[0].tolist()}


def test_two_ranks_train_to_nearly_the_weights_of_one(finished: Run, tmp_path: Path) -> None:
    one = train(job_of(finished, tmp_path / "1", steps=10))
    two = train(job_of(finished, tmp_path / "2", steps=10, ranks=2))
    for name, value in one.items():
        if name.startswith("model."):
            assert torch.allclose(value, two[name], atol=2e-3), name


def test_damaged_checkpoint_is_passed_over_and_a_foreign_one_refused(tmp_path: Path) -> None:
    model = Decoder(Architecture(vocabulary=32, context=8, layers=1, heads=1, width=8)).initialise(1)
    optimizers = make_optimizers(model, 1e-3, (0.9, 0.95), 0.1, None)
    model.loss(torch.zeros(1, 4, dtype=torch.int64), torch.zeros(1, 4, dtype=torch.int64)).backward()
    optimizers[0].step()
    for step in (1, 2, 3):
        checkpoint.save(tmp_path, step, "run", model, optimizers, keep=2)
    assert sorted(path.stem for path in tmp_path.glob("*.safetensors")) == ["step-00000002", "step-00000003"]
    newest = tmp_path / "step-00000003.safetensors"
    newest.write_bytes(newest.read_bytes()[:-4])
    assert checkpoint.newest(tmp_path, "run") == tmp_path / "step-00000002.safetensors"
    with pytest.raises(checkpoint.ForeignCheckpoint):
        checkpoint.newest(tmp_path, "other")


def test_initial_weights_depend_on_the_seed_alone_and_follow_the_paper() -> None:
    arch = Architecture(vocabulary=512, context=64, layers=4, heads=4, width=128)
    torch.manual_seed(5)
    first = Decoder(arch).initialise(1)
    second = Decoder(arch).initialise(1)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    block = first.blocks[0]
    assert block.up.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert block.down.weight.std().item() == pytest.approx(0.02 / np.sqrt(8), rel=0.05)
    assert first.positions.weight.std().item() == pytest.approx(0.01, rel=0.05)


def test_parameter_count_of_gpt2_small() -> None:
    with torch.device("meta"):
        assert (
            Decoder(Architecture(vocabulary=50257, context=1024, layers=12, heads=12, width=768)).parameter_count()
            == 124_439_808
        )


def test_generation_with_cache_equals_generation_without() -> None:
    model = Decoder(Architecture(vocabulary=64, context=16, layers=2, heads=2, width=32)).initialise(3)
    prompt, tokens = [1, 2, 3], [1, 2, 3]
    with torch.inference_mode():
        for _ in range(10):
            tokens.append(int(model(torch.tensor([tokens]))[0, -1].argmax()))
    assert generate(model, prompt, 10, temperature=0) == tokens[3:]
    assert generate(model, prompt, 40, seed=4, top_k=5) == generate(model, prompt, 40, seed=4, top_k=5)
    assert len(generate(model, prompt, 40, seed=4)) == 40  # past the context length


def test_scores_of_a_long_document_are_the_models_own_probabilities() -> None:
    model = Decoder(Architecture(vocabulary=64, context=16, layers=1, heads=2, width=32)).initialise(3).eval()
    tokens = np.random.default_rng(0).integers(0, 64, 45).astype(np.int64)
    (scored,) = Network(model).score([tokens])
    assert len(scored.log_probability) == 44
    for position in range(44):
        seen = next(end for end in (*range(16, 44, 8), 44) if position < end)
        start = max(0, seen - 16)
        with torch.inference_mode():
            logits = model(torch.from_numpy(tokens[start : position + 1])[None])[0, -1]
        expected = torch.log_softmax(logits, 0)[tokens[position + 1]].item()
        assert scored.log_probability[position] == pytest.approx(expected, abs=1e-4), position


def test_orthogonalised_update_has_singular_values_near_one() -> None:
    values = torch.linalg.svdvals(orthogonalised(torch.randn(48, 16, generator=torch.Generator().manual_seed(0))))
    assert values.min() > 0.5
    assert values.max() < 1.5


def test_loss_falls_on_real_text(finished: Run) -> None:
    store = Store(str(finished.store))
    run = log.current(store)["pretrain"][0]
    from flows.query import rows

    losses = [
        row["value"]
        for row in rows(store, f"SELECT value FROM metrics WHERE run = '{run.key}' AND name = 'loss' ORDER BY step")
    ]
    assert losses[-1] < losses[0] - 0.3


def test_steps_of_a_span_and_windows_of_a_step_agree(finished: Run) -> None:
    store = Store(str(finished.store))
    run = log.current(store)["pretrain"][0]
    order = StoredOrder(store)
    for step in (1, 17, 40):
        for piece in order.windows(run.key, step):
            assert step in order.steps(run.key, piece["shard"], piece["start"], piece["length"])
