"""Shared by all tests: quiet Prefect, free ports, and one finished tiny run that many tests look at."""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from flows.orchestration.gate import OPEN
from flows.orchestration.secret import basic

# The gate draws the same examples in every run; `make fuzz` draws others, and more of them.
settings.register_profile("gate", derandomize=True, deadline=None)
settings.register_profile("fuzz", max_examples=3000, deadline=None, print_blob=True)
settings.load_profile("gate")

os.environ.update(
    {"DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "PREFECT_LOGGING_LEVEL": "CRITICAL"}
)
os.environ.pop("PREFECT_API_URL", None)
# Two processes share two cores: threads that wait for one another in each would only take turns.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("PREFECT_HOME", tempfile.mkdtemp(prefix="gristmill-tests-"))

# What starts in the background of a script ignores Ctrl-C, and so would all that tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

PROJECT = Path(__file__).resolve().parents[1]
# Trains as on a processor with bfloat16 or without, whatever this one has: make test PRECISION=fp32.
PRECISION = (
    (f"pretrain.precision={os.environ['GRISTMILL_TEST_PRECISION']}",)
    if os.environ.get("GRISTMILL_TEST_PRECISION")
    else ()
)
FINISHED = (
    "GRISTMILL_TEST_FINISHED"  # a folder with a finished run of the same code, in place of one of the session's own
)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
CHROMIUM_FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
SHARED = PROJECT.parent / "shared" / "data"
LONGEST = (
    "test_training",
    "test_lying_site",
    "test_pipeline",
    "test_operation",
    "test_server",
)  # the second needs no finished run


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def sign_in(page: Any, address: str, secret: str) -> None:
    """Opens the link that `gristmill ui` prints, and waits for the page behind it."""
    page.goto(f"{address}{OPEN}#{basic(secret)}")
    page.wait_for_url("**/dashboard*", timeout=60_000)
    # Prefect's page forgets the secret when its first question is broken off, as by leaving the page at once.
    page.get_by_text("Flow Runs").first.wait_for(timeout=60_000)
    page.wait_for_load_state("networkidle")


class Run:
    """A store with a tiny recipe over sites at ports of its own."""

    def __init__(self, store: Path, ports: tuple[int, int]) -> None:
        self.store, self.ports = store, ports

    @property
    def overrides(self) -> tuple[str, ...]:
        return (
            *PRECISION,
            f"store={self.store}",
            f'sources.works.crawl.seeds=["http://127.0.0.1:{self.ports[0]}/"]',
            f'sources.reference.crawl.seeds=["http://127.0.0.1:{self.ports[1]}/"]',
        )

    def drive(self, *overrides: str, until: str = "answer", check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs the stages as plain functions in a process of their own."""
        return subprocess.run(
            self.command(*overrides, until=until), cwd=PROJECT, capture_output=True, text=True, check=check
        )

    def command(self, *overrides: str, until: str = "answer") -> list[str]:
        return [sys.executable, "-m", "tests.drive", until, *self.overrides, *overrides]

    def gristmill(self, *arguments: str, overrides: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        """Runs the command line in a process of its own."""
        command = [sys.executable, "-m", "flows.commands.cli", *arguments, *self._sets(overrides)]
        return subprocess.run(
            command, cwd=PROJECT, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "200"}
        )

    def here(self, *arguments: str, overrides: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        """Runs the command line in this process, which spares its start."""
        from flows.commands.cli import main

        words, out, err = (
            [*arguments, *self._sets(overrides)],
            io.TextIOWrapper(io.BytesIO()),
            io.TextIOWrapper(io.BytesIO()),
        )
        status = 0
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                main(words)
            except SystemExit as end:
                status = int(end.code or 0)
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(words, status, out.read(), err.read())

    def _sets(self, overrides: tuple[str, ...]) -> list[str]:
        return [word for override in (*self.overrides, *overrides) for word in ("--set", override)]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A worker process takes a file at a time: the longest ones first, or they would be waited for at the end.

    ``make test ORDER=seed`` shuffles the tests of each file, and the files.
    """
    if seed := os.environ.get("GRISTMILL_TEST_ORDER"):
        files = sorted({item.path for item in items})
        random.Random(seed).shuffle(files)
        random.Random(seed).shuffle(items)
        items.sort(key=lambda item: files.index(item.path))
    items.sort(key=lambda item: LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST))


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all worker processes of this test session."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


def make_finished(folder: Path) -> None:
    """The tiny recipe, run to its end: a store ``finished``, and the ports of its sites in ``finished.json``."""
    run = Run(folder / "finished", (free_port(), free_port()))
    done = run.drive(check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    (folder / "finished.json").write_text(json.dumps(run.ports))


@pytest.fixture(scope="session")
def finished(shared_folder: Path) -> Run:
    """The tiny recipe, run once to its end as plain functions. Tests must not change its store."""
    note, store = shared_folder / "finished.json", shared_folder / "finished"
    with locked(shared_folder / "finished.lock"):
        if not note.exists():
            if given := os.environ.get(FINISHED):
                shutil.copytree(Path(given) / "finished", store)
                shutil.copy(Path(given) / "finished.json", note)
            else:
                make_finished(shared_folder)
    works, reference = json.loads(note.read_text())
    return Run(store, (works, reference))


@pytest.fixture
def copied(finished: Run, tmp_path: Path) -> Run:
    """A copy of the finished run's store that a test may change."""
    shutil.copytree(finished.store, tmp_path / "store")
    return Run(tmp_path / "store", finished.ports)
