"""train: steps of pretraining beside other systems; processor use, memory, and what a save costs."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import mean, median
from typing import Any

from benchmarks.harness import PROJECT, Row, measure, side_by_side, write_results
from models.architecture import Architecture

PEER = PROJECT / ".peers" / "train" / "bin" / "python"
PEERS = ("nanogpt", "mingpt", "transformers", "litgpt")
SIZES: dict[str, dict[str, int]] = {
    "small": {"layers": 6, "heads": 6, "width": 384, "context": 256, "vocabulary": 8192, "batch": 16},
    "gpt2-small": {"layers": 12, "heads": 12, "width": 768, "context": 256, "vocabulary": 50257, "batch": 4},
}
STEPS = {"small": (2, 4), "gpt2-small": (1, 2)}  # not timed, timed
SAVE_EVERY = 50
EXTRA: dict[str, Any] = {
    "network": "size",
    "threads": "threads",
    "tokens a second": lambda row: f"{row['bytes'] / row['seconds']:,.0f}",
    "utilisation": lambda row: f"{row['utilisation']:.3f}",
    "step, s": lambda row: f"{row['step_seconds']:.2f}",
}
TEXT = (
    "Steps of training in a process of its own: forward, backward, clipping at 1, AdamW; random tokens, no dropout, "
    "{precision}. `small` is 6 layers, 384 wide, context 256, vocabulary 8,192, batch 16; `gpt2-small` is GPT-2's with "
    "context 256, batch 4. Medians of steps and of {repeats} interleaved runs, of `gpt2-small` {repeats_gpt2}. "
    "`documents` are sequences. `limit` is the largest rate of a matrix product "
    "of 2,048 in the same precision, measured in the same run, as if nothing else were to do; `utilisation` is the "
    "model's arithmetic (6 N + 12 L d T a token) over that. nanoGPT and minGPT are their architectures in plain PyTorch, "
    "transformers and litgpt the packages; peers run with the C library as it is, `tuned` with the allocator's settings "
    "that the trainer sets for itself. `recompute` keeps no activations inside blocks.\n\n"
    "**A save** copies the state and is written beside the steps. {saves}\n\n**Two cores** {cores}"
)


def architecture_of(size: dict[str, int]) -> Architecture:
    """The network of a size."""
    return Architecture(size["vocabulary"], size["context"], size["layers"], size["heads"], size["width"])


class RandomTokens:
    """Data of a size: random tokens, the same for a step."""

    def __init__(self, size: dict[str, int]) -> None:
        self.size = size

    def batch_at(self, step: int) -> Any:
        import torch

        draw = torch.Generator().manual_seed(step)
        shape = (self.size["batch"], self.size["context"] + 1)
        ids = torch.randint(0, self.size["vocabulary"], shape, generator=draw)
        return ids[:, :-1].contiguous(), ids[:, 1:].contiguous()

    def sequences_at(self, step: int) -> int:
        return self.size["batch"]

    def tokens_after(self, step: int) -> int:
        return step * self.size["batch"] * self.size["context"]

    def held_out(self) -> list[Any]:
        return []


class Clock:
    """Watcher that notes when each step ended, and asks to stop after so many."""

    def __init__(self, steps: int) -> None:
        self.steps, self.ends = steps, list[float]()

    def log(self, step: int, figures: dict[str, float]) -> None:
        self.ends.append(time.perf_counter())

    def bad_step(self, bad: Exception) -> None:
        raise bad

    def stopping(self) -> bool:
        return len(self.ends) == self.steps


def run_ours(job: dict[str, Any]) -> None:
    """In a child: our loop on random tokens; prints the seconds of each timed step."""
    import torch

    from models.bert import build
    from models.objectives.chosen import OBJECTIVES
    from models.training.loop import Plan, Training
    from models.training.optimizer import OptimizerPlan
    from models.training.parallel import Parallel
    from models.training.schedule import RateSchedule

    never, size = 1 << 40, job["size"]
    torch.set_num_threads(job["threads"])
    model = build(architecture_of(size)).initialise(1)
    model.recompute = job.get("recompute", False)
    plan = Plan(
        run="benchmark",
        seed=1,
        steps=never,
        rate=RateSchedule(1, never, 0.1),
        optimizer=OptimizerPlan("adamw", 6e-4, 0.02, (0.9, 0.95), 1e-8, 0.1),
        clip=1.0,
        bf16=job["bf16"],
        micro_batch=size["batch"],
        on_bad_step="halt",
        spike_deviations=0.0,
        save_every=job.get("save_every", never),
        keep_checkpoints=1,
        pin_every=0,
        validate_every=never,
        log_every=1,
        compiled=job["compile"],
    )
    clock = Clock(job["warmup"] + job["steps"])
    with tempfile.TemporaryDirectory() as folder:
        training = Training(
            model,
            OBJECTIVES["next token"],
            plan,
            RandomTokens(size),
            Path(folder),
            clock,
            Parallel(),
            torch.device("cpu"),
        )
        if "save_every" not in job:
            training.save = lambda: None  # type: ignore[method-assign] # its memory is no part of training's
        training.run()
    steps = [after - before for before, after in zip(clock.ends[:-1], clock.ends[1:], strict=True)]
    print(json.dumps({"steps": steps[-job["steps"] :], "version": "0.1"}))


def run_limit(job: dict[str, Any]) -> None:
    """In a child: the best rate of a matrix product, as tokens of the network a second."""
    import torch

    torch.set_num_threads(job["threads"])
    kind = torch.bfloat16 if job["bf16"] else torch.float32
    a, b = torch.randn(2048, 2048).to(kind), torch.randn(2048, 2048).to(kind)
    seconds = []
    for _ in range(30):
        started = time.perf_counter()
        a @ b
        seconds.append(time.perf_counter() - started)
    rate = 2 * 2048**3 / min(seconds)
    tokens = job["size"]["batch"] * job["size"]["context"]
    step = tokens * architecture_of(job["size"]).flops_per_token() / rate
    print(json.dumps({"steps": [step], "version": f"{rate / 1e9:,.0f} GFLOP/s"}))


def child(command: list[str], job: dict[str, Any], tuned: bool) -> Row:
    """One run of one system as a row."""
    from tasks.train.stage import ENVIRONMENT

    kept = dict(os.environ)
    os.environ |= {name: value for name, value in ENVIRONMENT.items() if tuned and name.startswith("MALLOC")}
    try:
        row = measure([*command, json.dumps(job)])
    finally:
        os.environ.clear()
        os.environ |= kept
    size, step = job["size"], median(row["steps"])
    sequences = size["batch"] * len(row["steps"])
    return row | {
        "size": job["name"],
        "threads": job["threads"],
        "step_seconds": step,
        "documents": sequences,
        "bytes": sequences * size["context"],
        "seconds": step * len(row["steps"]),
    }


def systems_of(name: str, peers: list[str], bf16: bool, threads: int) -> dict[str, Callable[[], Row]]:
    """Everything that is timed at one size."""
    warmup, steps = STEPS[name]
    base = {"name": name, "size": SIZES[name], "bf16": bf16, "threads": threads, "warmup": warmup, "steps": steps}
    us, other = [sys.executable, "-m", "benchmarks.train", "--ours"], [str(PEER), "benchmarks/peers_train.py"]
    found: dict[str, Callable[[], Row]] = {}

    def add(label: str, command: list[str], tuned: bool, **job: Any) -> None:
        found[label] = partial(child, command, base | {"compile": False} | job, tuned)

    add("gristmill", us, True)
    add("gristmill compiled", us, True, compile=True)
    if name == "gpt2-small":
        add("gristmill recompute", us, True, recompute=True)
    for peer in peers:
        add(peer, other, False, system=peer)
        if peer not in ("litgpt", "transformers") or name == "small":
            add(f"{peer} compiled", other, False, system=peer, compile=True)
    if "nanogpt" in peers:
        add("nanogpt compiled, tuned", other, True, system="nanogpt", compile=True)
    if name == "small":
        add("gristmill compiled, 1 core", us, True, compile=True, threads=1)
        add("gristmill compiled, saving", us, True, compile=True, save_every=5, steps=15)
    limit = [sys.executable, "-m", "benchmarks.train", "--limit"]
    add("limit", limit, False)
    if name == "small":
        add("limit, 1 core", limit, False, threads=1)
    return found


def utilised(rows: list[Row]) -> None:
    """Adds to each row its share of the limit of its size."""
    for row in rows:
        alike = (other for other in rows if (other["size"], other["threads"]) == (row["size"], row["threads"]))
        limit = next(other for other in alike if other["system"].startswith("limit"))
        row["utilisation"] = limit["step_seconds"] / row["step_seconds"]


def gain(rows: list[Row], system: str) -> float:
    """How many times as fast a step of `small` is on all cores as on one."""
    all_cores, one = (
        next(row["step_seconds"] for row in rows if row["system"] == label and row["size"] == "small")
        for label in (system, f"{system}, 1 core")
    )
    return float(one / all_cores)


def save_cost(rows: list[Row]) -> str:
    """What saves add to the steps, in words."""
    saving = next(row for row in rows if row["system"] == "gristmill compiled, saving")
    plain = next(row for row in rows if row["system"] == "gristmill compiled" and row["size"] == "small")
    added = max(0.0, mean(saving["steps"]) - mean(plain["steps"])) * 5
    return (
        f"With one every 5 steps the mean step of `small` took {mean(saving['steps']):.3f} s against "
        f"{mean(plain['steps']):.3f} s: {added:.3f} s a save, {added / (SAVE_EVERY * mean(plain['steps'])):.2%} of "
        f"{SAVE_EVERY} steps."
    )


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", default=",".join(PEERS))
    parser.add_argument("--sizes", default=",".join(SIZES))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--json", type=Path)
    parser.add_argument("--ours", help=argparse.SUPPRESS)
    parser.add_argument("--limit", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ours or options.limit:
        return run_ours(json.loads(options.ours)) if options.ours else run_limit(json.loads(options.limit))
    import torch

    from models.transformer import has_bf16

    bf16 = has_bf16(torch.device("cpu"))
    peers = [peer for peer in options.peers.split(",") if peer]
    repeats = {"small": options.repeats, "gpt2-small": max(1, options.repeats - 1)}
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as cache:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache
        for name in options.sizes.split(","):
            systems = systems_of(name, peers, bf16, options.threads)
            rows += side_by_side(systems, repeats[name])
    utilised(rows)
    cores = ""
    if "small" in options.sizes:
        cores = f"are {gain(rows, 'gristmill compiled'):.2f} times as fast as one; for a matrix product {gain(rows, 'limit'):.2f}."
    precision = "bfloat16 autocast" if bf16 else "float32 (this processor has no bfloat16)"
    text = TEXT.format(
        precision=precision,
        repeats=repeats["small"],
        repeats_gpt2=repeats["gpt2-small"],
        saves=save_cost(rows) if cores else "",
        cores=cores,
    )
    write_results("train", "Pretraining", text, rows, EXTRA, options.json)
    return None


if __name__ == "__main__":
    main()
