"""Training: resumed to the bit, untouched by how it is watched, the same data for any number of ranks."""

from __future__ import annotations

import contextlib
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

from models.architecture import Architecture
from models.bert import build
from models.draws import random_bits
from models.objectives.chosen import OBJECTIVES
from models.presets import Shape
from models.score import Network
from models.training import checkpoint
from models.training.guard import BadStep, Guard
from models.training.loop import Batch, Plan, Training
from models.training.optimizer import OptimizerPlan, make_optimizers, orthogonalised
from models.training.parallel import Parallel
from models.training.schedule import RateSchedule
from models.transformer import Transformer
from tasks.train.data import TrainingData
from tasks.train.job import Job
from tasks.train.order import DataOrder
from tasks.train.published import publish
from tasks.train.runs import find_run
from tasks.train.settings import PretrainSettings
from tests.conftest import PROJECT, Run
from warehouse import log
from warehouse.artifact import Counts, PartWriter, Ref, load
from warehouse.store import Store

NEXT_TOKEN = OBJECTIVES["next token"]
KILLS = int(os.environ.get("GRISTMILL_KILLS", "1"))  # for each way to train; 20 was run by hand


def job_of(run: Run, folder: Path, **changes: object) -> Job:
    """The finished run's training again, in a folder of its own."""
    store = Store(str(run.store))
    current = log.current(store)
    done = load(store, current["pretrain"][0])
    changes["model"] = done.settings["model"] | dict(changes.get("model", {}))  # type: ignore[call-overload]
    settings = PretrainSettings.model_validate(done.settings | {"threads": 1, "save_every": 10} | changes)
    folder.mkdir(parents=True, exist_ok=True)
    mirror = Store(str(folder / "store"))
    (folder / "store").mkdir(exist_ok=True)
    (folder / "store" / "artifacts").symlink_to(run.store / "artifacts")
    return Job(
        store=mirror.url,
        run=Ref(stage="pretrain", key="test"),
        tokens=current["pack"][0],
        tokenizer=current["tokenizer"][0],
        vocabulary=515 if settings.model.family == "bert" else 512,
        settings=settings,
        folder=folder / "checkpoints",
    )


def command(job: Job) -> list[str]:
    path = job.folder.parent / "job.json"
    path.write_text(job.model_dump_json())
    launcher = (
        [sys.executable]
        if job.settings.ranks == 1
        else [sys.executable, "-m", "tasks.train.launch", "--standalone", f"--nproc-per-node={job.settings.ranks}"]
    )
    return [*launcher, "-m", "tasks.train.process", str(path)]


def train(job: Job, environment: dict[str, str] | None = None) -> dict[str, torch.Tensor]:
    """Trains to the end; the final parameters and optimiser state."""
    variables = {**os.environ, **(environment or {})}
    done = subprocess.run(command(job), cwd=PROJECT, capture_output=True, text=True, check=False, env=variables)
    assert done.returncode == 0, done.stdout[-500:] + done.stderr[-2000:]
    path = checkpoint.newest(job.folder, "test")
    assert path is not None
    assert path.stem == f"step-{job.settings.steps:08d}"
    return load_file(path)


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def undisturbed(finished: Run, tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    """The state after 60 steps on one rank that nothing interrupted, validated every 10."""
    return train(
        job_of(finished, tmp_path_factory.mktemp("undisturbed"), validate_every=10, steps=60, precision="fp32")
    )


def test_how_often_it_is_validated_logged_and_saved_changes_no_weight(
    finished: Run, tmp_path: Path, undisturbed: dict[str, torch.Tensor]
) -> None:
    seldom = job_of(finished, tmp_path, validate_every=25, log_every=7, save_every=60, steps=60, precision="fp32")
    assert same(train(seldom), undisturbed)


def test_sigterm_saves_and_the_same_command_goes_on(
    finished: Run, tmp_path: Path, undisturbed: dict[str, torch.Tensor]
) -> None:
    job = job_of(finished, tmp_path, save_every=10_000, steps=60, log_every=1, precision="fp32")
    with subprocess.Popen(command(job), cwd=PROJECT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while '"step": 5' not in process.stdout.readline():
            pass
        process.terminate()
        rest = process.stdout.read()
    assert process.returncode == 1
    assert "its state is saved" in rest
    assert checkpoint.newest(job.folder, "test") is not None
    assert same(train(job), undisturbed)


def test_two_ranks_see_the_batch_of_one(finished: Run, tmp_path: Path) -> None:
    store = Store(str(finished.store))
    tokens = log.current(store)["pack"][0]
    settings = PretrainSettings.model_validate(load(store, log.current(store)["pretrain"][0]).settings)
    whole = TrainingData(store, tokens, settings)
    halves = [TrainingData(store, tokens, settings, rank, 2) for rank in range(2)]
    for step in (1, 7, 30):
        rows = {tuple(row) for row in whole.batch_at(step)[0].tolist()}
        assert rows == {tuple(row) for half in halves for row in half.batch_at(step)[0].tolist()}


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_ranks_train_to_nearly_the_weights_of_one(finished: Run, tmp_path: Path, parallel: str) -> None:
    # The second rank has fewer sequences, and fewer passes. What is compared is whose gradients are summed: in float32.
    uneven = {"steps": 10, "batch": 5, "micro_batch": 2, "precision": "fp32"}
    one = train(job_of(finished, tmp_path / "1", **uneven))
    two = train(job_of(finished, tmp_path / "2", ranks=2, parallel=parallel, **uneven))
    assert one.keys() == two.keys()
    for name, value in one.items():
        if name.startswith("model."):
            assert torch.allclose(value, two[name], atol=2e-3), name


def test_state_of_two_slicing_ranks_goes_on_in_one(
    finished: Run, tmp_path: Path, undisturbed: dict[str, torch.Tensor]
) -> None:
    settings = {
        "parallel": "fsdp",
        "decay_tokens": 60 * 4 * 64,
        "precision": "fp32",
    }  # the schedule of 60 steps, wherever it stops
    started = job_of(finished, tmp_path / "two", steps=30, ranks=2, **settings)
    train(started)
    alone = job_of(finished, tmp_path / "one", steps=60, **settings)
    ended = train(alone.model_copy(update={"folder": started.folder}))
    # Sums over two ranks are rounded in another order: nearly the same weights, not the same.
    for name, value in undisturbed.items():
        if name.startswith("model."):
            assert torch.allclose(value, ended[name], atol=2e-3), name


def small() -> Transformer:
    return build(Architecture(vocabulary=32, context=8, layers=1, heads=1, width=8)).initialise(1)


ADAMW = OptimizerPlan("adamw", 1e-3, 0.02, (0.9, 0.95), 1e-8, 0.1)


def test_damaged_checkpoint_is_passed_over_and_a_foreign_one_refused(tmp_path: Path) -> None:
    model, guard = small(), torch.zeros(4, dtype=torch.float64)
    optimizers = make_optimizers(model, ADAMW)
    NEXT_TOKEN.loss(model, torch.zeros(1, 4, dtype=torch.int64), torch.zeros(1, 4, dtype=torch.int64)).backward()
    optimizers[0].step()
    saver = checkpoint.Saver(tmp_path, "run", keep=2, pin_every=2)
    for step in range(1, 7):
        saver.save(step, checkpoint.state_tensors(model, optimizers, guard))
    saver.wait()
    kept = [checkpoint.step_of(path) for path in sorted(tmp_path.glob("*.safetensors"))]
    assert kept == [2, 4, 5, 6]
    newest = tmp_path / "step-00000006.safetensors"
    newest.write_bytes(newest.read_bytes()[:-4])
    assert checkpoint.newest(tmp_path, "run") == tmp_path / "step-00000005.safetensors"
    for record in ("{}", "null", "[]", ""):
        (tmp_path / "step-00000005.json").write_text(record)
        assert checkpoint.newest(tmp_path, "run") == tmp_path / "step-00000004.safetensors"
    with pytest.raises(checkpoint.ForeignCheckpoint):
        checkpoint.newest(tmp_path, "other")


def test_pinned_steps_are_saved_whatever_the_cadence_and_published_whole(finished: Run, tmp_path: Path) -> None:
    job = job_of(finished, tmp_path / "job", steps=10, save_every=4, pin_every=3)
    train(job)
    assert [step for step in range(1, 11) if checkpoint.pinned(job.folder, "test", step)] == [3, 6, 9, 10]
    store = Store(str(tmp_path / "store"))
    writer = PartWriter(store, job.run, "final")
    publish(job, job.settings.model.architecture(job.vocabulary), writer)
    writer.commit(Counts(), {})
    published = {path.name: path for path in Path(store.url).rglob("pinned/*.safetensors")}
    assert sorted(published) == [f"step-0000000{step}.safetensors" for step in (3, 6, 9)]
    for name, path in published.items():
        saved = load_file(job.folder / name)
        assert same(load_file(path), {key[6:]: value for key, value in saved.items() if key.startswith("model.")})
    (job.folder / "step-00000006.safetensors").write_bytes(b"damaged")
    assert checkpoint.pinned(job.folder, "test", 6) is None


def test_ranks_end_with_the_process_that_started_them(finished: Run, tmp_path: Path) -> None:
    job = job_of(finished, tmp_path / "job", steps=100_000, save_every=5, ranks=2)
    script = f"import sys\nfrom tasks.core.process import events\nlist(events({command(job)!r}, __import__('pathlib').Path('{tmp_path}/log')))"
    with subprocess.Popen([sys.executable, "-c", script], cwd=PROJECT) as parent:
        deadline = time.monotonic() + 120
        while not list(job.folder.glob("*.json")) and time.monotonic() < deadline:
            time.sleep(0.1)
        ranks = descendants(parent.pid)
        parent.kill()
        parent.wait()
    assert list(job.folder.glob("*.json"))
    assert len(ranks) >= 3  # the launcher and its two ranks
    assert ended(ranks)


def ended(processes: list[int], seconds: float = 60) -> bool:
    """Whether all of them end in that time; what nobody waits for stays as a zombie, which has ended too."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not any(_runs(number) for number in processes):
            return True
        time.sleep(0.1)
    return False


def _runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_save_that_fails_is_heard_of(tmp_path: Path) -> None:
    saver = checkpoint.Saver(tmp_path / "folder", "run", keep=2)
    (tmp_path / "folder" / "step-00000001.tmp").mkdir()
    saver.save(1, {"a": torch.zeros(2)})
    with pytest.raises(OSError, match="step-00000001"):
        saver.wait()


def test_initial_weights_depend_on_the_seed_alone_and_follow_the_papers() -> None:
    def drawn(family: str) -> Transformer:
        return build(Shape(family, 4, 4, 128, context=64).architecture(512)).initialise(1)  # type: ignore[arg-type]

    torch.manual_seed(5)
    first, second = drawn("gpt"), drawn("gpt")
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    block = first.blocks[0]
    assert block.up.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert block.down.weight.std().item() == pytest.approx(0.02 / np.sqrt(8), rel=0.05)
    assert first.positions.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert drawn("gpt1").blocks[0].down.weight.std().item() == pytest.approx(0.02, rel=0.05)
    bert = drawn("bert")
    assert bert.blocks[0].up.weight.abs().max().item() <= 0.04
    assert bert.masked_dense.weight.abs().max().item() <= 0.04


def test_scores_of_a_long_document_are_the_models_own_probabilities() -> None:
    model = build(Architecture(vocabulary=64, context=16, layers=1, heads=2, width=32)).initialise(3).eval()
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
    assert losses[-1] < losses[0] - 0.2  # by 0.29 to 0.32, with the precision


def test_steps_of_a_span_and_pieces_of_a_step_agree(finished: Run) -> None:
    store = Store(str(finished.store))
    run = find_run(store)
    order = DataOrder(store, run.tokens, run.settings)
    for step in (1, 17, 40):
        for piece in order.pieces_at(step):
            assert step in order.steps_of(piece["shard"], piece["start"], piece["length"], run.settings.last_step)


class Fixed:
    """Data: random tokens, a function of the step."""

    def __init__(self, sequences: int, context: int, vocabulary: int) -> None:
        self.sequences, self.context, self.vocabulary = sequences, context, vocabulary

    def batch_at(self, step: int) -> Batch:
        draw = torch.Generator().manual_seed(random_bits("data", step) % 2**63)
        # Tokens that go on from one another in a way that can be learnt.
        starts = torch.randint(0, self.vocabulary, (self.sequences, 1), generator=draw)
        ids = (starts + 7 * torch.arange(self.context + 1)) % self.vocabulary
        return ids[:, :-1].contiguous(), ids[:, 1:].contiguous()

    def sequences_at(self, step: int) -> int:
        return self.sequences

    def tokens_after(self, step: int) -> int:
        return step * self.sequences * self.context

    def held_out(self) -> list[Batch]:
        return [self.batch_at(0)]


class Seen:
    """Watcher that remembers."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.bad: list[BadStep] = []

    def log(self, step: int, figures: dict[str, float]) -> None:
        self.losses.append(figures["loss"])

    def bad_step(self, bad: BadStep) -> None:
        self.bad.append(bad)

    def stopping(self) -> bool:
        return False


def plan_of(data: Fixed, **changes: object) -> Plan:
    values: dict[str, object] = {
        "run": "r",
        "seed": 1,
        "steps": 50,
        "rate": RateSchedule(data.tokens_after(10), data.tokens_after(50), 0.1),
        "optimizer": ADAMW,
        "clip": 1.0,
        "bf16": False,
        "micro_batch": 4,
        "on_bad_step": "halt",
        "spike_deviations": 0.0,
        "save_every": 50,
        "keep_checkpoints": 1,
        "pin_every": 0,
        "validate_every": 50,
        "log_every": 1,
        "compiled": False,
    }
    return Plan(**(values | changes))  # type: ignore[arg-type]


class PlainGpt(torch.nn.Module):
    """The network as a textbook has it: no fused projection, explicit attention, whole logits."""

    def __init__(self, model: Transformer) -> None:
        super().__init__()
        self.heads = model.arch.heads
        self.p = torch.nn.ParameterDict({n.replace(".", "-"): p.detach().clone() for n, p in model.named_parameters()})
        self.layers = model.arch.layers

    def forward(self, ids: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        time = ids.shape[1]
        x = self.p["tokens-weight"][ids] + self.p["positions-weight"][:time]
        for layer in range(self.layers):

            def of(name: str, layer: int = layer) -> torch.Tensor:
                return self.p[f"blocks-{layer}-{name}"]

            h = self.norm(x, of("ln_1-weight"), of("ln_1-bias"))
            q, k, v = (h @ of("attention-qkv-weight").T + of("attention-qkv-bias")).chunk(3, -1)
            heads = []
            for mine in torch.arange(x.shape[-1]).chunk(self.heads):
                scores = q[..., mine] @ k[..., mine].transpose(1, 2) / len(mine) ** 0.5
                scores = scores + torch.full((time, time), -torch.inf).triu(1)
                heads.append(scores.softmax(-1) @ v[..., mine])
            x = x + torch.cat(heads, -1) @ of("attention-out-weight").T + of("attention-out-bias")
            h = self.norm(x, of("ln_2-weight"), of("ln_2-bias")) @ of("up-weight").T + of("up-bias")
            h = 0.5 * h * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (h + 0.044715 * h**3)))
            x = x + h @ of("down-weight").T + of("down-bias")
        logits = self.norm(x, self.p["ln_final-weight"], self.p["ln_final-bias"]) @ self.p["tokens-weight"].T
        return -logits.log_softmax(-1).gather(-1, targets[..., None]).mean()

    def norm(self, x: torch.Tensor, gain: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        centred = x - x.mean(-1, keepdim=True)
        return centred / (centred.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt() * gain + bias


def test_fifty_losses_are_those_of_plain_training(tmp_path: Path) -> None:
    data = Fixed(8, 32, 61)
    model = build(Shape("gpt", 2, 4, 48, context=32).architecture(61)).initialise(3)
    plain = PlainGpt(model)
    seen = Seen()
    assert Training(model, NEXT_TOKEN, plan_of(data), data, tmp_path, seen, Parallel(), CPU).run()
    matrices = [p for p in plain.parameters() if p.ndim > 1]
    others = [p for p in plain.parameters() if p.ndim == 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.95), eps=1e-8)
    for step in range(1, 51):
        cosine = 0.1 + 0.45 * (1 + np.cos(np.pi * (step - 10) / 40))
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * (step / 10 if step <= 10 else cosine)
        optimizer.zero_grad()
        loss = plain(*data.batch_at(step))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
        optimizer.step()
        assert seen.losses[step - 1] == pytest.approx(loss.item(), abs=1e-4), step
    assert seen.losses[-1] < seen.losses[0] - 0.5


def test_bert_adam_is_adam_without_bias_correction() -> None:
    torch.manual_seed(0)
    weight, gradients = torch.nn.Parameter(torch.randn(3, 4)), [torch.randn(3, 4) for _ in range(5)]
    expected, m, v = weight.detach().clone(), torch.zeros(3, 4), torch.zeros(3, 4)
    holder = torch.nn.Module()
    holder.weight = weight
    (optimizer,) = make_optimizers(holder, OptimizerPlan("bert_adam", 1e-2, 0.0, (0.9, 0.999), 1e-6, 0.01))
    for gradient in gradients:
        weight.grad = gradient.clone()
        optimizer.step()
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        expected = expected - 1e-2 * (m / (v.sqrt() + 1e-6) + 0.01 * expected)
    assert torch.allclose(weight, expected, atol=1e-6)


def test_recomputed_activations_give_the_same_gradients() -> None:
    ids = torch.randint(0, 61, (2, 32), generator=torch.Generator().manual_seed(1))
    gradients = []
    for recompute in (False, True):
        model = build(Shape("gpt", 2, 4, 48, context=32, dropout=0.1).architecture(61)).initialise(3)
        model.recompute = recompute
        torch.manual_seed(4)
        NEXT_TOKEN.loss(model, ids, ids).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    assert torch.equal(*gradients)


def test_a_spike_is_one_against_recent_losses_and_a_checkpoint_carries_them() -> None:
    guard = Guard(spike_deviations=6.0)
    noise = np.random.default_rng(0).normal(0, 0.05, 200)
    for step in range(200):
        assert guard.judge(step, 4 - step / 200 + noise[step], 1.0) is None
    resumed = Guard(spike_deviations=6.0)
    resumed.statistics.copy_(guard.statistics)
    for judge in (guard, resumed):
        assert "spiked" in str(judge.judge(201, 4.5, 1.0))
        assert "loss is not finite" in str(judge.judge(201, float("nan"), 1.0))
        assert "gradient is not finite" in str(judge.judge(201, 3.0, float("inf")))
        assert judge.judge(201, 3.0, 1.0) is None


def test_bad_step_changes_nothing_and_is_skipped_or_halts(tmp_path: Path) -> None:
    class Poisoned(Fixed):
        def batch_at(self, step: int) -> Batch:
            if step == 4:
                with torch.no_grad():
                    model.ln_final.weight[0] = torch.nan
            elif step == 5:
                with torch.no_grad():
                    model.ln_final.weight[0] = 1.0
            return super().batch_at(step)

    data, seen = Poisoned(4, 8, 32), Seen()
    model = small()
    assert Training(
        model, NEXT_TOKEN, plan_of(data, steps=6, on_bad_step="skip"), data, tmp_path / "a", seen, Parallel(), CPU
    ).run()
    assert [bad.step for bad in seen.bad] == [4]
    assert all(bool(torch.isfinite(p).all()) for p in model.parameters())
    model = small()
    data = Fixed(4, 8, 32)
    with torch.no_grad():
        model.ln_final.weight[0] = torch.nan  # and so it stays: skipping does not go on for ever, stopped or not
    with pytest.raises(BadStep, match="not finite at step 11"):
        Training(
            model,
            NEXT_TOKEN,
            plan_of(data, on_bad_step="skip", save_every=6),
            data,
            tmp_path / "c",
            seen,
            Parallel(),
            CPU,
        ).run()
    with pytest.raises(BadStep, match="not finite at step 11"):
        Training(
            model,
            NEXT_TOKEN,
            plan_of(data, on_bad_step="skip", save_every=6),
            data,
            tmp_path / "c",
            seen,
            Parallel(),
            CPU,
        ).run()
    model, data = small(), Poisoned(4, 8, 32)
    with pytest.raises(BadStep, match="not finite at step 4"):
        Training(model, NEXT_TOKEN, plan_of(data, steps=6), data, tmp_path / "b", seen, Parallel(), CPU).run()


def descendants(process: int) -> list[int]:
    """A process' children and theirs: torchrun gives each rank a session of its own."""
    children = [int(word) for word in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    return [number for child in children for number in (child, *descendants(child))]


def signalled(family: list[int], which: signal.Signals) -> None:
    for number in family:
        with contextlib.suppress(ProcessLookupError):
            os.kill(number, which)


def in_a_save(folder: Path, process: subprocess.Popen[bytes], family: list[int]) -> None:
    """Returns when the family stands still while a file is half written, or when it has ended.

    A save takes some milliseconds: between the look and a kill it would often be over.
    """
    while process.poll() is None:
        if list(folder.glob("*.tmp")):
            signalled(family, signal.SIGSTOP)
            if list(folder.glob("*.tmp")):
                return
            signalled(family, signal.SIGCONT)


CPU = torch.device("cpu")
DROPOUTS = {"dropout": 0.1, "attention_dropout": 0.1}
WAYS = {
    "one rank": {"model": DROPOUTS},
    "two ranks": {"ranks": 2},
    "two slicing ranks": {"ranks": 2, "parallel": "fsdp"},
    "compiled": {"compile": True, "model": DROPOUTS},
    "muon": {"optimizer": "muon", "model": DROPOUTS},
    "bert": {"optimizer": "bert_adam", "model": {"family": "bert", **DROPOUTS}},
}


@pytest.mark.parametrize("changes", WAYS.values(), ids=WAYS)
@pytest.mark.timeout(1800)
def test_kills_at_random_moments_change_no_byte(finished: Run, tmp_path: Path, changes: dict[str, object]) -> None:
    """The run saves every second step, so many a kill falls into a save."""
    rng = np.random.default_rng(5)
    settings = {"steps": 200, "save_every": 2, "validate_every": 50, **changes}
    cache = {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "inductor")}
    begun = time.monotonic()
    expected = train(job_of(finished, tmp_path / "whole", **settings), cache)
    whole_seconds = time.monotonic() - begun
    job = job_of(finished, tmp_path / "killed", **settings)
    kills = in_save = 0
    while kills < KILLS or not in_save:
        with subprocess.Popen(
            command(job),
            cwd=PROJECT,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, **cache},
        ) as process:
            saved = set(job.folder.glob("*.json"))
            deadline = time.monotonic() + 60 + whole_seconds
            # A kill counts once the run has gone on by a save or more: some milliseconds after one, or within one.
            while set(job.folder.glob("*.json")) <= saved and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.001)
            family = [process.pid, *descendants(process.pid)]
            if kills % 2:
                time.sleep(rng.uniform(0, 0.12))
            else:
                in_a_save(job.folder, process, family)
            if process.poll() is not None:
                break
            signalled(family, signal.SIGKILL)
            process.wait()
            kills += 1
            in_save += bool(list(job.folder.glob("*.tmp")))
    assert kills >= KILLS
    assert in_save >= 1
    assert same(train(job, cache), expected)


def test_bert_is_trained_and_scored_beside_how_often_each_token_occurs(copied: Run) -> None:
    from flows.query import rows

    done = copied.drive("model.family=bert", "pretrain.optimizer=bert_adam", "pretrain.whole_words=true", check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = {
        (row["run"].startswith("baseline"), row["task"], row["metric"]): row["value"]
        for row in rows(Store(str(copied.store)), "FROM evaluations WHERE prompt IS NULL")
    }
    metrics = ("accuracy", "perplexity a token", "bits a hidden token")
    expected = {(baseline, "hidden tokens", metric) for baseline in (True, False) for metric in metrics}
    alone = {(False, "pseudo-perplexity", metric) for metric in ("pseudo-perplexity a token", "accuracy")}
    assert found.keys() == expected | alone | {(False, "next sentence", "accuracy")}
    assert 1 < found[False, "hidden tokens", "perplexity a token"] < 515
