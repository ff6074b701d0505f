"""Out of memory is a sentence that says what to set, whoever ran out of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import duckdb
import numpy as np
import pytest

from flows.commands.cli import _guarded
from tasks.core.process import events, is_out_of_memory
from tests.conftest import PROJECT, Run
from tests.test_training import command, job_of
from warehouse.errors import GristmillError


def test_a_trainer_without_memory_says_what_to_set(finished: Run, tmp_path: Path) -> None:
    job = job_of(finished, tmp_path, steps=1, model={"width": 400_000, "heads": 4, "layers": 1})
    done = subprocess.run(command(job), cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    said = json.loads(done.stdout.splitlines()[-1])["error"]
    assert said.startswith("the trainer needs more memory than there is: lower pretrain.micro_batch")


def test_a_trainer_that_the_system_killed_is_said_to_have_been(tmp_path: Path) -> None:
    dies = [sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]
    with pytest.raises(GristmillError, match="was killed, perhaps for want of memory: set less"):
        list(events(dies, tmp_path / "log", for_less_memory="set less"))


def too_large_a_query() -> None:
    duckdb.connect(config={"memory_limit": "20MB", "temp_directory": ""}).execute(
        "SELECT list(s) FROM (SELECT range AS n, repeat('x', 99) AS s FROM range(1000000))"
    )


@pytest.mark.parametrize("asks", [lambda: np.empty(1 << 50), lambda: [0] * (1 << 50), too_large_a_query])
def test_a_command_without_memory_ends_with_one_sentence(capsys: pytest.CaptureFixture[str], asks: object) -> None:
    assert _guarded(asks) == 1  # type: ignore[arg-type]
    said = capsys.readouterr().err
    assert "there is not enough memory: make one part at a time with --set workers=1" in said
    assert said.count("\n") == 1


def test_other_errors_are_not_taken_for_want_of_memory() -> None:
    assert not is_out_of_memory(OSError(28, "No space left on device"))
    assert is_out_of_memory(OSError(12, "Cannot allocate memory"))
