"""A local Prefect server with every deployment and a worker for each pool."""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import httpx
from rich.console import Console
from rich.markup import escape

from flows.orchestration.gate import OPEN, origins
from flows.orchestration.health import Api, faults, settle_dead_runs, wait_for_schedules
from flows.orchestration.secret import CLIENT, HOST, SERVER, basic, new_secret, secret_for, told
from tasks.core.process import descendants, end_with_this_process
from warehouse.errors import GristmillError

POOLS = ("data", "gpu")
START_SECONDS, STARTS = 90, 3
STOP_SECONDS = 45  # a training that is told to stop saves first
WATCH_SECONDS = 5.0
STARTS_AGAIN = 5  # times that a temporary server is replaced when something ends it
# Slots of concurrency limits that outlive the server's process: else a slot that was taken then is taken for ever.
LEASES = "prefect.server.concurrency.lease_storage.filesystem"
WITH_WORKER = "GRISTMILL_WITH_WORKER"  # in the environment of a run: it ends with the worker that began it


def server_environment(project: Path, port: int, secret: str = "") -> dict[str, str]:
    """The environment of server, workers and clients: they must agree on the address and on the secret."""
    quiet = {
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": LEASES,
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",  # what is older than Prefect keeps goes
    }
    secret = secret or os.environ.get(SERVER) or new_secret()
    return {
        **os.environ,
        **quiet,
        CLIENT: secret,
        SERVER: secret,
        "PREFECT_API_URL": f"http://{HOST}:{port}/api",
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": ",".join(origins(port)),
        "PREFECT_UI_API_URL": "/api",
        "PROJECT_DIR": str(project),
        "PREFECT_LOGGING_LEVEL": "INFO",
    }


def prefect(*arguments: str) -> list[str]:
    """A Prefect command of this environment."""
    return [sys.executable, "-m", "prefect", "--no-prompt", *arguments]


def start_server(environment: dict[str, str], port: int, log: Path) -> subprocess.Popen[bytes]:
    """Starts the server and waits until it is healthy. Raises GristmillError.

    One starts at a time of those that share a database, which the first of them makes and others migrate.
    """
    with socket.socket() as probe:
        if probe.connect_ex((HOST, port)) == 0:
            raise GristmillError(f"port {port} is in use: end what listens there, or choose another with --port")
    home = Path(environment.get("PREFECT_HOME") or Path.home() / ".prefect")
    home.mkdir(parents=True, exist_ok=True)
    with (home / "gristmill-start.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for _ in range(STARTS):
            server = _started(environment, port, log)
            if server is not None:
                return server
    raise GristmillError(f"the Prefect server did not start: see {log}")


def _started(environment: dict[str, str], port: int, log: Path) -> subprocess.Popen[bytes] | None:
    """A healthy server, or None where it ended or took too long."""
    with log.open("ab") as out:
        server = subprocess.Popen(
            [sys.executable, "-m", "flows.orchestration.gate", str(port)],
            env=environment,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    end_with_this_process(server.pid)
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            if httpx.get(f"http://{HOST}:{port}/api/health", timeout=2, trust_env=False).is_success:
                return server
        except httpx.TransportError:
            pass
        time.sleep(0.3)
    stop([server])
    return None


class TemporaryServer:
    """Prefect's server for one run, with a secret of its own: it ends with this process, and is replaced where it ends before.

    Prefect in this process asks it from here on. Raises GristmillError where it does not start.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        from prefect.context import refresh_global_settings_context

        self._say, self._stopping = say, False
        self._port, self._log = _free_port(), Path(tempfile.mkdtemp(prefix="gristmill-prefect-")) / "server.log"
        self._environment = server_environment(Path.cwd(), self._port, new_secret()) | {
            "PREFECT_UI_ENABLED": "0",
            "PREFECT__SERVER_EPHEMERAL": "1",  # without schedules and what else only a lasting server has to do
            "PREFECT_LOGGING_LEVEL": os.environ.get("PREFECT_LOGGING_SERVER_LEVEL", "WARNING"),
        }
        self._server = start_server(self._environment, self._port, self._log)
        atexit.register(self.stop)
        ours = {name: self._environment[name] for name in ("PREFECT_API_URL", CLIENT)}
        before = {name: os.environ.get(name) for name in ours}
        os.environ.update(ours)
        refresh_global_settings_context()  # what this process starts is not told: it has nothing to ask there
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        threading.Thread(target=self._replace, daemon=True, name="server-watch").start()

    def _replace(self) -> None:
        for _ in range(STARTS_AGAIN):
            self._server.wait()
            if self._stopping:
                return
            self._say("the Prefect server of this run was ended from outside: another takes its place")
            try:
                self._server = start_server(self._environment, self._port, self._log)
            except GristmillError as error:
                self._say(str(error))
                break
        self._server.wait()
        if not self._stopping:
            self._say("without a Prefect server the run cannot go on: run the same command again")
            os._exit(1)

    def stop(self) -> None:
        """Ends it."""
        self._stopping = True
        stop([self._server])
        shutil.rmtree(self._log.parent, ignore_errors=True)


def server_of_settings() -> bool:
    """Whether the user's settings name a server; where it is the one of ``gristmill ui`` here, its secret is found."""
    from prefect.context import refresh_global_settings_context
    from prefect.settings import get_current_settings

    api = get_current_settings().api
    if api.url is not None and api.auth_string is None and (secret := secret_for(api.url)):
        os.environ[CLIENT] = secret
        refresh_global_settings_context()
    return api.url is not None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def deploy(environment: dict[str, str], project: Path) -> None:
    """Creates the work pools and deploys everything in prefect.yaml. Raises GristmillError."""
    api = Api(environment["PREFECT_API_URL"], environment[CLIENT])
    for pool in POOLS:
        api.create("/work_pools/", {"name": pool, "type": "process"})
        # Its worker fills in what jobs may say; what somebody left there is not taken over.
        api.ask("PATCH", f"/work_pools/{pool}", {"base_job_template": {}})
    done = subprocess.run(
        prefect("deploy", "--all"), env=environment, cwd=project, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise GristmillError(f"the deployments were not accepted: {(done.stderr or done.stdout).strip()[-500:]}")


def start_workers(environment: dict[str, str], log: Path) -> list[subprocess.Popen[bytes]]:
    """One process worker a pool, each the head of a process group with all that it starts."""
    with log.open("ab") as out:
        workers = [
            subprocess.Popen(
                [sys.executable, "-m", "flows.orchestration.worker", pool],
                env=environment | {WITH_WORKER: "1"},
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
            for pool in POOLS
        ]
    for worker in workers:
        end_with_this_process(worker.pid)
    return workers


def stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Ends processes, and all of their groups: SIGTERM first, and SIGKILL for what stays."""
    for how, seconds in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, 5)):
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, how)
        deadline = time.monotonic() + seconds
        while any(_group_is_there(process) for process in processes) and time.monotonic() < deadline:
            time.sleep(0.1)


def stop_workers(workers: Sequence[subprocess.Popen[bytes]]) -> None:
    """Tells what workers run to save and end, and waits for that; then ends the workers, which would not wait."""
    told, deadline = set[int](), time.monotonic() + STOP_SECONDS
    while running := {number for worker in workers for number in descendants(worker.pid)}:
        late = time.monotonic() > deadline
        for number in running if late else running - told:
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL if late else signal.SIGTERM)
        told |= running
        time.sleep(0.1)
    stop(workers)


def _group_is_there(leader: subprocess.Popen[bytes]) -> bool:
    leader.poll()  # one that has ended and was not waited for would count
    try:
        os.killpg(leader.pid, 0)
    except ProcessLookupError:
        return False
    return True


def serve_ui(project: Path, port: int, console: Console) -> None:
    """Server, deployments and workers, until the user interrupts or SIGTERM comes."""
    if not (project / "prefect.yaml").exists():
        raise GristmillError("there is no prefect.yaml here: run gristmill ui in the project's folder")
    log = project / "build" / "ui.log"
    log.parent.mkdir(exist_ok=True)
    begin = log.stat().st_size if log.exists() else 0
    environment = server_environment(project, port)
    signal.signal(signal.SIGTERM, _told_to_stop)
    server = start_server(environment, port, log)
    secret, workers = environment[CLIENT], list[subprocess.Popen[bytes]]()
    api = Api(environment["PREFECT_API_URL"], secret)
    try:
        for name in settle_dead_runs(api, POOLS):
            console.print(
                f"The run {name} was cut off when the server ended last: it is marked Crashed.", soft_wrap=True
            )
        deploy(environment, project)
        workers = start_workers(environment, log)
        wait_for_schedules(api, log, begin)
        with told(port, secret):
            console.print(
                f"Prefect UI: http://{HOST}:{port}{OPEN}#{basic(secret)}\n"
                f"The link lets a browser in: it is yours alone. (log: {log}; end with Ctrl-C)\n"
                f"Runs from another terminal show there after: export PREFECT_API_URL=http://{HOST}:{port}/api",
                soft_wrap=True,
            )
            _watch(server, log, begin, console)
    except KeyboardInterrupt:
        console.print("Stopping.")
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough
        stop_workers(workers)
        stop([server])


def _told_to_stop(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _watch(server: subprocess.Popen[bytes], log: Path, begin: int, console: Console) -> None:
    """Until the server ends; says once what its services complain of. Raises GristmillError where it ends by itself."""
    said: set[str] = set()
    while server.poll() is None:
        found, begin = faults(log, begin), log.stat().st_size
        for fault in found:
            if fault not in said:
                said.add(fault)
                console.print(f"[yellow]! the Prefect server complains: {escape(fault)}[/yellow]", soft_wrap=True)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(WATCH_SECONDS)
    raise GristmillError(f"the Prefect server ended with status {server.returncode}: see {log}")
