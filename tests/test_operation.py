"""Schedules fire by themselves, and what dies is settled: `gristmill ui` as an operator has it."""

from __future__ import annotations

import contextlib
import datetime
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.orchestration.health import Api, faults, wait_for_schedules
from flows.recipe.loading import load_recipe
from tests.conftest import PROJECT, Run, free_port
from tests.test_training import descendants, ended
from warehouse.errors import GristmillError

pytestmark = [pytest.mark.server, pytest.mark.timeout(700)]
# What the server wrote with SQLAlchemy 2.1, each minute, and nothing else was to be seen of it.
FAILING = """17:11:30:15.878 | ERROR   | docket.dependencies - ↩ [    60ms] schedule_recent_deployments(){schedule_recent_deployments}
Traceback (most recent call last):
  File "worker.py", line 1134, in _execute
    result = await execution.function(
sqlalchemy.exc.InvalidRequestError: Can't evaluate bulk DML statement; please supply a bulk_dml decorated function
"""


def until(found: Callable[[], Any], seconds: float = 120) -> Any:
    """What a question gives at last."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if answer := found():
            return answer
        time.sleep(0.3)
    raise AssertionError(f"{found} gave nothing in {seconds} s")


class Ui:
    """`gristmill ui` in a project's folder, with a Prefect home of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        folder.mkdir()
        for name in ("flows", "tasks", "models", "warehouse", "configs", "demo"):
            (folder / name).symlink_to(PROJECT / name)
        shutil.copy(PROJECT / "prefect.yaml", folder)

    @contextlib.contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        said = self.folder / "said"
        home = {"PREFECT_HOME": str(self.folder / "prefect"), "PREFECT_WORKER_QUERY_SECONDS": "2"}
        variables = {**os.environ, **home, "COLUMNS": "200"}
        command = [sys.executable, "-m", "flows.commands.cli", "ui", "--port", str(self.port)]
        with (
            said.open("w") as out,
            subprocess.Popen(command, cwd=self.folder, env=variables, stdout=out, stderr=out) as process,
        ):
            try:
                until(lambda: "Prefect UI:" in said.read_text() or process.poll() is not None)
                assert process.poll() is None, said.read_text()
                yield process
            finally:
                if process.poll() is None:
                    process.terminate()

    @property
    def api(self) -> Api:
        """Asked as another command of this user would."""
        secret = (self.folder / "prefect" / f"gristmill-{self.port}.secret").read_text()
        return Api(f"http://127.0.0.1:{self.port}/api", secret)

    @property
    def said(self) -> str:
        return (self.folder / "said").read_text()

    def deployment(self, name: str) -> dict[str, Any]:
        (found,) = [one for one in self.api.post("/deployments/filter") if one["name"] == name]
        return dict(found)

    def runs(self, deployment: dict[str, Any], *states: str) -> list[dict[str, Any]]:
        asked = {"deployment_id": {"any_": [deployment["id"]]}, "state": {"type": {"any_": list(states)}}}
        return list(self.api.post("/flow_runs/filter", {"flow_runs": asked}))

    def give(self, deployment: dict[str, Any], parameters: dict[str, Any]) -> None:
        self.api.ask("PATCH", f"/deployments/{deployment['id']}", {"parameters": parameters})

    def schedule(self, deployment: dict[str, Any], seconds: float) -> None:
        anchor = datetime.datetime.now(datetime.UTC).isoformat()
        schedule = {"schedule": {"interval": seconds, "anchor_date": anchor}, "active": True}
        self.api.ask("POST", f"/deployments/{deployment['id']}/schedules", [schedule])


def test_a_schedule_fires_and_after_server_and_workers_were_killed_the_next_run_completes(
    finished: Run, tmp_path: Path
) -> None:
    shutil.copytree(finished.store, tmp_path / "store")
    run, ui = Run(tmp_path / "store", finished.ports), Ui(tmp_path / "project")

    def recipe(*overrides: str) -> dict[str, Any]:
        return {"recipe": load_recipe("demo-tiny", (*run.overrides, *overrides)).model_dump(mode="json")}

    def training() -> bool:
        return any((run.store / "scratch").glob("pretrain/*/checkpoints/step-*.json"))

    with ui.running() as process:
        pretrain = ui.deployment("pretrain")
        ui.give(pretrain, recipe("pretrain.steps=1000", "pretrain.save_every=20"))
        ui.schedule(pretrain, 15)
        until(training)  # a schedule started it, nobody else
        (begun,) = ui.runs(pretrain, "RUNNING")
        assert begun["auto_scheduled"]
        family = descendants(process.pid)
        assert len(family) >= 5  # server, two workers, the run, its trainer
        for number in family:
            said = Path(f"/proc/{number}/cmdline").read_bytes()
            if any(name in said for name in (b"prefect", b"flows.orchestration.gate", b"flows.orchestration.worker")):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(number, signal.SIGKILL)
        process.kill()
    assert ended(family)  # the run and its trainer end with the worker that began them
    with ui.running() as process:
        assert f"The run {begun['name']} was cut off" in ui.said
        assert ui.api.get(f"/flow_runs/{begun['id']}")["state_type"] == "CRASHED"
        completed = until(lambda: ui.runs(pretrain, "COMPLETED"), 300)
        assert completed[0]["auto_scheduled"]
        assert completed[0]["id"] != begun["id"]
        # SIGTERM while something runs ends it all, and the training saves first.
        other = ui.deployment("pipeline")
        shutil.rmtree(run.store / "scratch" / "pretrain")
        ui.give(other, recipe("pretrain.steps=1000000", "pretrain.save_every=1000000", "pretrain.log_every=1"))
        ui.api.post(f"/deployments/{other['id']}/create_flow_run", {"state": {"type": "SCHEDULED"}})
        metrics = set((run.store / "log" / "metrics").rglob("*.parquet"))
        until(lambda: set((run.store / "log" / "metrics").rglob("*.parquet")) - metrics)
        family = descendants(process.pid)
        process.terminate()
        assert process.wait(100) == 0, ui.said
        assert ended(family, 5)
        assert training()


def test_a_server_whose_services_fail_is_not_taken_for_healthy(tmp_path: Path) -> None:
    log = tmp_path / "ui.log"
    log.write_text("12:00:00.000 | ERROR   | docket.dependencies - of an earlier start\n")
    begin = log.stat().st_size
    with log.open("a") as out:
        out.write("12:00:01.000 | INFO    | prefect.server - all is well\n")
    assert faults(log, begin) == {}
    with log.open("a") as out:
        out.write(FAILING + FAILING)
        out.write("12:00:02.000 | ERROR   | prefect.flow_runs.worker - of a run, not of the server\n")
    ((said, times),) = faults(log, begin).items()
    assert times == 2
    assert "schedule_recent_deployments" in said
    assert "Can't evaluate bulk DML statement" in said
    with pytest.raises(GristmillError, match=r"its services fail .*bulk DML.*make install"):
        wait_for_schedules(Api("http://127.0.0.1:9/api"), log, begin)
