"""Whether a local Prefect server does its work: services that fail, schedules that fire, runs whose process is gone."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from warehouse.errors import GristmillError

BUSY, TRIES = 503, 10  # SQLite behind the server answers so for moments
PAGE = 200  # rows that the server gives at most
SCHEDULED_WITHIN_S = 60
STARTED = ("RUNNING", "PENDING", "CANCELLING")
# A line of the server's log in which a service failed: what is not asked for by a request is heard of nowhere else.
FAULT = re.compile(r"\| (?:ERROR|CRITICAL) +\| (?:docket|prefect\.server)[\w.]* - (?P<said>.*)")
CAUSE = re.compile(r"^(?P<error>[A-Za-z_][\w.]*(?:Error|Exception)\b.*)$")


class Api:
    """The REST interface of a Prefect server."""

    def __init__(self, address: str, secret: str = "") -> None:
        user, _, password = secret.partition(":")
        credentials = (user, password) if secret else None
        self._client = httpx.Client(base_url=address, timeout=20, trust_env=False, auth=credentials)

    def post(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """What the server answers. Raises GristmillError where it stays busy."""
        return self.ask("POST", path, body or {})

    def get(self, path: str) -> Any:
        """What the server answers. Raises GristmillError where it stays busy."""
        return self.ask("GET", path)

    def all(self, path: str, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Every row of a filter."""
        for offset in range(0, 1 << 30, PAGE):
            found = self.post(path, body | {"limit": PAGE, "offset": offset})
            yield from found
            if len(found) < PAGE:
                return

    def create(self, path: str, body: dict[str, Any]) -> None:
        """Makes something, unless it is there already. Raises GristmillError where the server stays busy."""
        try:
            self.ask("POST", path, body)
        except httpx.HTTPStatusError as error:
            if error.response.status_code != httpx.codes.CONFLICT:
                raise

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """What the server answers to any method. Raises GristmillError where it stays busy."""
        for _ in range(TRIES):
            answer = self._client.request(method, path, json=body)
            if answer.status_code != BUSY:
                answer.raise_for_status()
                return answer.json() if answer.content else None
            time.sleep(1)
        raise GristmillError(f"the Prefect server stays busy: {path} was not answered")


def faults(log: Path, start: int = 0) -> dict[str, int]:
    """What the server's services complained of in its log from a byte on, and how often."""
    found: dict[str, int] = {}
    with log.open(errors="replace") as lines:
        lines.seek(start)
        open_fault = ""
        for line in lines:
            if match := FAULT.search(line):
                open_fault = re.sub(r"\[.*?\]|\W*↩\W*", "", match["said"]).strip()
                found[open_fault] = found.get(open_fault, 0) + 1
            elif open_fault and (cause := CAUSE.match(line)):
                found[open_fault] -= 1
                said = f"{open_fault}: {cause['error'].strip()}"
                found[said] = found.get(said, 0) + 1
                open_fault = ""
    return {said: times for said, times in found.items() if times}


def wait_for_schedules(api: Api, log: Path, start: int) -> None:
    """Until every deployment with an active schedule has a run ahead of it.

    Raises GristmillError where a service of the server fails again and again, or no run comes. One complaint is none yet:
    SQLite is busy for moments.
    """
    deadline = time.monotonic() + SCHEDULED_WITHIN_S
    while True:
        again = [said for said, times in faults(log, start).items() if times > 1]
        if again:
            raise GristmillError(
                f"the Prefect server answers, but its services fail ({again[0]}): install what requirements.lock names "
                f"(make install); all of it is in {log}"
            )
        scheduled = [
            deployment
            for deployment in api.all("/deployments/filter", {})
            if not deployment["paused"] and any(schedule["active"] for schedule in deployment["schedules"])
        ]
        ahead = {"state": {"type": {"any_": ["SCHEDULED"]}}}
        due = {run["deployment_id"] for run in api.all("/flow_runs/filter", {"flow_runs": ahead})}
        waiting = [deployment["name"] for deployment in scheduled if deployment["id"] not in due]
        if not waiting:
            return
        if time.monotonic() > deadline:
            raise GristmillError(f"the Prefect server schedules no run of {', '.join(waiting)}: see {log}")
        time.sleep(1)


def settle_dead_runs(api: Api, pools: tuple[str, ...]) -> list[str]:
    """Marks runs Crashed that a worker of this machine began and whose process is gone; returns their names.

    They would stay Running for ever, and keep their deployment's only slot.
    """
    begun = {"state": {"type": {"any_": list(STARTED)}}}
    runs = list(api.all("/flow_runs/filter", {"flow_runs": begun, "work_pools": {"name": {"any_": list(pools)}}}))
    dead = [run for run in runs if not _is_alive(run.get("infrastructure_pid") or "")]
    for run in dead:
        _crash(api, run["id"])
    return [run["name"] for run in dead]


def _crash(api: Api, run: str) -> None:
    """A flow run, the flow runs below it, and their tasks."""
    begun = {"state": {"type": {"any_": list(STARTED)}}}
    for below in list(api.all("/flow_runs/filter", {"flow_runs": begun | {"parent_flow_run_id": {"any_": [run]}}})):
        _crash(api, below["id"])
    state = {"type": "CRASHED", "name": "Crashed", "message": "its process was gone when the server started"}
    of_run = {"task_runs": begun, "flow_runs": {"id": {"any_": [run]}}}
    for task in list(api.all("/task_runs/filter", of_run)):
        api.post(f"/task_runs/{task['id']}/set_state", {"state": state, "force": True})
    api.post(f"/flow_runs/{run}/set_state", {"state": state, "force": True})


def _is_alive(infrastructure: str) -> bool:
    """Whether the process that a worker named, ``HOST:PID``, is there; one of another machine is taken to be."""
    host, _, number = infrastructure.rpartition(":")
    if host != socket.gethostname() or not number.isdigit():
        return bool(host)
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
