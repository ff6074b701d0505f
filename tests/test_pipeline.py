"""The promises of the whole: killed anywhere it ends in the same bytes; nothing is made twice; everything is traceable."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from flows.graph import STAGES
from flows.query import rows
from tests.conftest import PROJECT, Run, locked
from tests.test_training import descendants, ended
from warehouse.catalog import all_manifests
from warehouse.log import METRICS
from warehouse.store import Store

KILLS = int(os.environ.get("GRISTMILL_KILLS", "1"))  # in each stage; 6 were run by hand
PURE_STAGES = STAGES[1:]  # after the crawl, whose archive holds times
# The recipe has no evaluation sets, fine-tunes nothing and aligns nothing.
NOT_MADE = ("overlap", "decontaminate", "label", "finetune", "dialogue", "align")
MADE = [stage for stage in STAGES if stage not in NOT_MADE]


def digests(store: Path) -> dict[tuple[str, str, str], str]:
    """(stage, key, path) -> SHA-256 of every file after the crawl."""
    return {
        (manifest.stage, manifest.key, file.path): file.sha256
        for manifest in all_manifests(Store(str(store)))
        if manifest.stage in PURE_STAGES
        for part in manifest.parts
        for file in part.files
    }


def assert_same_artifacts(one: Path, other: Path) -> None:
    """Prints the rows in which tables differ, where they do."""
    found, expected = digests(one), digests(other)
    for stage, key, path in sorted(name for name in found.keys() & expected.keys() if found[name] != expected[name]):
        if path.endswith(".parquet"):
            tables = (pq.read_table(store / "artifacts" / stage / key / path) for store in (one, other))
            pairs = zip(*(table.to_pylist() for table in tables), strict=False)
            print(stage, path, [pair for pair in pairs if pair[0] != pair[1]][:20])
    assert found == expected


def made_twice(store: Path) -> list[dict]:
    return rows(
        Store(str(store)),
        "SELECT stage, key, part, count(*) AS n FROM work WHERE part IS NOT NULL GROUP BY ALL HAVING n > 1",
    )


def kill_in(stage: str, command: list[str], draw: random.Random, store: Path) -> bool:
    """Runs until a moment within a stage, then kills the whole process group; False where the run got past it."""
    with subprocess.Popen(
        command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.decode().strip() == f"begin {stage}":
                break
        if stage == "pretrain":
            _wait_for_a_save(store, process)
        else:
            time.sleep(draw.uniform(0.0, 1.0 if stage in ("crawl", "extract", "evaluate") else 0.03))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        return f"end {stage}" not in process.stdout.read().decode()


def _wait_for_a_save(store: Path, process: subprocess.Popen[bytes]) -> None:
    """Until a checkpoint is being written."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if any((store / "scratch").glob("pretrain/*/checkpoints/*.tmp")):
            return


@pytest.mark.timeout(500)
@pytest.mark.parametrize("turn", range(KILLS))
def test_run_killed_in_every_stage_ends_in_the_same_bytes_and_makes_nothing_twice(
    finished: Run, tmp_path: Path, shared_folder: Path, turn: int
) -> None:
    draw = random.Random(20261122 + turn)
    killed = Run(tmp_path / "killed", finished.ports)
    command = killed.command("pretrain.save_every=1")
    with locked(
        shared_folder / "ports.lock"
    ):  # the sites' ports are part of the URLs, so two runs cannot crawl at once
        kills = {stage: kill_in(stage, command, draw, killed.store) for stage in ("crawl", "extract")}
    kills |= {stage: kill_in(stage, command, draw, killed.store) for stage in MADE[2:]}
    killed.drive("pretrain.save_every=1")
    assert all(kills.values()), kills
    assert_same_artifacts(killed.store, finished.store)
    assert made_twice(killed.store) == []


@pytest.mark.timeout(400)
def test_command_line_killed_and_run_again_ends_in_the_same_bytes(
    finished: Run, tmp_path: Path, shared_folder: Path
) -> None:
    run = Run(tmp_path / "cli", finished.ports)
    command = [
        sys.executable,
        "-m",
        "flows.commands.cli",
        "run",
        "demo-tiny",
        *(word for o in run.overrides for word in ("--set", o)),
    ]
    with locked(shared_folder / "ports.lock"):
        for moment in ("extract", "pretrain"):
            with subprocess.Popen(
                command, cwd=PROJECT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
            ) as process:
                while (
                    not (run.store / "artifacts" / moment).exists()
                    and not any((run.store / "scratch").glob(f"{moment}/*"))
                    and process.poll() is None
                ):
                    time.sleep(0.05)
                time.sleep(0.5)
                assert process.poll() is None
                os.killpg(process.pid, signal.SIGKILL)
        done = run.gristmill("run", "demo-tiny")
    assert done.returncode == 0, done.stderr
    assert_same_artifacts(run.store, finished.store)
    assert made_twice(run.store) == []
    report = done.stdout.split("Report: ")[1].split()[0]
    page = Path(report).read_text()
    assert page.count("<svg") >= 8
    assert "http://" not in page.replace("http://www.w3.org", "").replace(
        "http://127.0.0.1", ""
    )  # nothing is fetched to show it
    again = run.gristmill("run", "demo-tiny")
    assert "nothing was done" in again.stdout
    assert made_twice(run.store) == []


@pytest.mark.parametrize("workers", [1, 4])
def test_any_worker_count_gives_the_same_corpus(finished: Run, tmp_path: Path, workers: int) -> None:
    other = Run(tmp_path / "other", finished.ports)
    for stage in ("crawl",):
        shutil.copytree(finished.store / "artifacts" / stage, other.store / "artifacts" / stage)
    other.drive(f"workers={workers}", until="pack")
    expected = {
        name: digest
        for name, digest in digests(finished.store).items()
        if name[0] in STAGES[1 : STAGES.index("pack") + 1]
    }
    assert digests(other.store) == expected


def test_changed_threshold_makes_the_selection_and_what_follows_and_nothing_before(
    finished: Run, tmp_path: Path
) -> None:
    store = tmp_path / "copy"
    shutil.copytree(finished.store, store)
    run = Run(store, finished.ports)
    before = {m.ref for m in all_manifests(Store(str(store)))}
    status = run.here("status", "demo-tiny", overrides=("policies.books.rules.0.min=80",)).stdout
    states = {
        line.split()[0]: "to make" in line for line in status.splitlines() if line.split() and line.split()[0] in STAGES
    }
    assert states == {stage: MADE.index(stage) >= MADE.index("elect") for stage in MADE}
    run.drive("policies.books.rules.0.min=80", until="pack")
    made = {m.stage for m in all_manifests(Store(str(store))) if m.ref not in before}
    assert made == {"elect", "select", "tokenizer", "split", "relatives", "pack"}


@pytest.mark.timeout(600)  # it waits for tests that crawl the same ports
def test_second_crawl_of_an_unchanged_site_gives_the_same_documents_key(
    finished: Run, tmp_path: Path, shared_folder: Path
) -> None:
    store = tmp_path / "copy"
    shutil.copytree(finished.store, store)
    run = Run(store, finished.ports)
    before = digests(store)
    with locked(shared_folder / "ports.lock"):
        done = run.here("crawl", "demo-tiny")
    assert done.returncode == 0, done.stderr
    crawls = [m for m in all_manifests(Store(str(store))) if m.stage == "crawl"]
    assert sorted(m.settings["sequence"] for m in crawls) == [1, 1, 2, 2]
    assert "to make" not in run.here("status", "demo-tiny").stdout
    assert "nothing was done" in run.here("run", "demo-tiny").stdout
    assert digests(store) == before


def test_removed_and_corrupt_parts_are_made_anew_to_the_same_bytes(finished: Run, tmp_path: Path) -> None:
    store = tmp_path / "copy"
    shutil.copytree(finished.store, store)
    run = Run(store, finished.ports)
    expected = digests(store)
    victims = [
        next((store / "artifacts" / stage).rglob(pattern))
        for stage, pattern in (("annotate", "signals/*.parquet"), ("pack", "train/*.bin"))
    ]
    victims[0].unlink()
    victims[1].write_bytes(victims[1].read_bytes()[:-2])
    run.drive()
    corrupt = next((store / "artifacts" / "select").rglob("corpus/*.parquet"))
    corrupt.write_bytes(corrupt.read_bytes()[:-1] + b"?")
    assert "set aside" in run.here("status", "demo-tiny", "--verify").stdout
    run.drive()
    assert digests(store) == expected
    assert "to make" not in run.here("status", "demo-tiny").stdout
    for victim in (*victims, corrupt):
        assert victim.exists()


def test_two_runs_at_once_make_each_part_once(finished: Run, tmp_path: Path) -> None:
    store = tmp_path / "both"
    shutil.copytree(finished.store / "artifacts" / "crawl", store / "artifacts" / "crawl")
    run = Run(store, finished.ports)
    both = [
        subprocess.Popen(run.command(until="pack"), cwd=PROJECT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    for process in both:
        _, errors = process.communicate(timeout=200)
        assert process.returncode == 0, errors.decode()[-2000:]
    assert made_twice(store) == []
    assert digests(store) == {
        name: digest
        for name, digest in digests(finished.store).items()
        if name[0] in STAGES[1 : STAGES.index("pack") + 1]
    }


def test_store_named_from_another_folder_is_the_same_store(finished: Run, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "flows.commands.cli",
            "sql",
            "SELECT count(*) AS n FROM corpus",
            "--format",
            "csv",
            "--set",
            f"store={finished.store}",
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout.split()[1]) > 10


@contextlib.contextmanager
def training(finished: Run, folder: Path) -> Iterator[tuple[Run, subprocess.Popen[bytes]]]:
    """The command line in a process group of its own, once it has trained a few of very many steps; says errors to a file."""
    shutil.copytree(finished.store, folder / "store")
    run = Run(folder / "store", finished.ports)
    sets = (*run.overrides, "pretrain.steps=100000", "pretrain.save_every=100000", "pretrain.log_every=1")
    words = [word for one in sets for word in ("--set", one)]
    command = [sys.executable, "-m", "flows.commands.cli", "pretrain", "demo-tiny", *words]
    with (
        (folder / "errors").open("w") as errors,
        subprocess.Popen(command, cwd=PROJECT, stderr=errors, start_new_session=True) as process,
    ):
        deadline = time.monotonic() + 200
        known = set((run.store / METRICS).rglob("*.parquet"))
        while set((run.store / METRICS).rglob("*.parquet")) <= known and time.monotonic() < deadline:
            time.sleep(0.1)
        yield run, process


@pytest.mark.parametrize(
    ("how", "to"), [(signal.SIGINT, os.killpg), (signal.SIGINT, os.kill), (signal.SIGTERM, os.kill)]
)
def test_command_line_told_to_stop_saves_the_training_and_ends(
    finished: Run, tmp_path: Path, how: signal.Signals, to: Callable[[int, int], None]
) -> None:
    with training(finished, tmp_path) as (run, process):
        family = descendants(process.pid)
        assert len(family) >= 2  # Prefect's temporary server, and the trainer
        to(process.pid, how)  # a terminal's Ctrl-C reaches the whole group
        process.wait(timeout=120)
    assert len(list((run.store / "scratch").glob("pretrain/*/checkpoints/step-*.json"))) == 1
    assert process.returncode == 128 + how
    said = (tmp_path / "errors").read_text()
    assert "the same command goes on from there" in said
    assert "Traceback" not in said
    assert emptied(process.pid)
    assert ended(family)


def test_command_line_killed_alone_leaves_no_process(finished: Run, tmp_path: Path) -> None:
    with training(finished, tmp_path) as (_, process):
        family = descendants(process.pid)
        process.kill()
    assert emptied(process.pid)
    assert ended(family)


def emptied(group: int) -> bool:
    """Whether every process of a group ends soon."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False
