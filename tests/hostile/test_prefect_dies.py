"""What a run needs of Prefect may die: the run goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PROJECT, Run
from tests.test_operation import until
from tests.test_training import descendants


@pytest.mark.timeout(300)
def test_a_run_goes_on_where_its_temporary_server_is_killed(copied: Run, tmp_path: Path) -> None:
    changes = ("pretrain.steps=700", "pretrain.log_every=1")
    overrides = [word for change in (*copied.overrides, *changes) for word in ("--set", change)]
    command = [sys.executable, "-m", "flows.commands.cli", "pretrain", "demo-tiny", *overrides]
    before = set((copied.store / "log" / "metrics").rglob("*.parquet"))
    with (
        (tmp_path / "said").open("w") as out,
        subprocess.Popen(command, cwd=PROJECT, stdout=out, stderr=out) as process,
    ):
        until(lambda: set((copied.store / "log" / "metrics").rglob("*.parquet")) - before)
        (server,) = [
            number
            for number in descendants(process.pid)
            if b"flows.orchestration.gate" in Path(f"/proc/{number}/cmdline").read_bytes()
        ]
        os.kill(server, signal.SIGKILL)
        status = process.wait(200)
    said = (tmp_path / "said").read_text()
    assert status == 0, said
    assert "another takes its place" in said
    assert copied.here("pretrain", "demo-tiny", overrides=changes).stdout.startswith("Everything of the recipe")


@pytest.mark.timeout(300)
def test_servers_that_start_at_once_on_a_new_database_all_start(tmp_path: Path) -> None:
    """As two commands in two terminals, the first ever on a machine."""
    variables = {**os.environ, "PREFECT_HOME": str(tmp_path / "prefect")}
    variables.pop("PREFECT_API_URL", None)
    script = "from flows.orchestration.server import TemporaryServer; server = TemporaryServer(print); server.stop()"
    command = [sys.executable, "-c", script]
    started = [subprocess.Popen(command, cwd=PROJECT, env=variables, stderr=subprocess.PIPE) for _ in range(3)]
    for process in started:
        _, said = process.communicate(timeout=250)
        assert process.returncode == 0, said
