"""A local Prefect server with every deployment and a worker for each pool."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from rich.console import Console

from tasks.process import end_with_this_process
from warehouse.errors import GristmillError

POOLS = ("data", "gpu")
HOST = "127.0.0.1"
START_SECONDS = 90
STOP_SECONDS = 15


def server_environment(project: Path, port: int) -> dict[str, str]:
    """The environment of server, workers and clients: they must agree on the address."""
    quiet = {
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    }
    return {
        **os.environ,
        **quiet,
        "PREFECT_API_URL": f"http://{HOST}:{port}/api",
        "PROJECT_DIR": str(project),
        "PREFECT_LOGGING_LEVEL": "INFO",
    }


def prefect(*arguments: str) -> list[str]:
    """A Prefect command of this environment."""
    return [sys.executable, "-m", "prefect", "--no-prompt", *arguments]


def start_server(environment: dict[str, str], port: int, log: Path) -> subprocess.Popen[bytes]:
    """Starts the server and waits until it is healthy. Raises GristmillError."""
    with socket.socket() as probe:
        if probe.connect_ex((HOST, port)) == 0:
            raise GristmillError(f"port {port} is in use: end what listens there, or choose another with --port")
    with log.open("ab") as out:
        server = subprocess.Popen(
            prefect("server", "start", "--host", HOST, "--port", str(port)), env=environment, stdout=out, stderr=out
        )
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(f"http://{HOST}:{port}/api/health", timeout=2):
                return server
        except (urllib.error.URLError, OSError):
            time.sleep(0.3)
    server.kill()
    raise GristmillError(f"the Prefect server did not start: see {log}")


def start_temporary_server() -> bool:
    """Prefect's own server for this run, unless the user's settings name one; it ends with this process, however that ends.

    Returns whether there is one. Raises GristmillError.
    """
    from prefect.server.api.server import SubprocessASGIServer
    from prefect.settings import get_current_settings

    if get_current_settings().api.url is not None:
        return False
    server = SubprocessASGIServer()
    if server.running:
        return True
    try:
        server.start()
    except Exception as error:
        raise GristmillError(f"Prefect's temporary server did not start: {error}") from error
    assert server.server_process is not None
    end_with_this_process(server.server_process.pid)
    return True


def deploy(environment: dict[str, str], project: Path) -> None:
    """Creates the work pools and deploys everything in prefect.yaml. Raises GristmillError."""
    creating = [
        subprocess.Popen(
            prefect("work-pool", "create", pool, "--type", "process", "--overwrite"),
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for pool in POOLS
    ]
    for process in creating:
        process.wait()
    done = subprocess.run(
        prefect("deploy", "--all"), env=environment, cwd=project, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise GristmillError(f"the deployments were not accepted: {(done.stderr or done.stdout).strip()[-500:]}")


def start_workers(environment: dict[str, str], log: Path) -> list[subprocess.Popen[bytes]]:
    """One process worker a pool."""
    with log.open("ab") as out:
        return [
            subprocess.Popen(
                prefect("worker", "start", "--pool", pool, "--name", f"gristmill-{pool}"),
                env=environment,
                stdout=out,
                stderr=out,
            )
            for pool in POOLS
        ]


def stop(processes: list[subprocess.Popen[bytes]]) -> None:
    """Ends processes in order, workers before their server."""
    for process in processes:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()


def serve_ui(project: Path, port: int, console: Console) -> None:
    """Server, deployments and workers, until the user interrupts."""
    if not (project / "prefect.yaml").exists():
        raise GristmillError("there is no prefect.yaml here: run gristmill ui in the project's folder")
    log = project / "build" / "ui.log"
    log.parent.mkdir(exist_ok=True)
    environment = server_environment(project, port)
    server = start_server(environment, port, log)
    workers: list[subprocess.Popen[bytes]] = []
    try:
        deploy(environment, project)
        workers = start_workers(environment, log)
        console.print(
            f"Prefect UI: http://{HOST}:{port}   (log: {log}; end with Ctrl-C)\n"
            f"Runs from another terminal show there after: export PREFECT_API_URL=http://{HOST}:{port}/api",
            soft_wrap=True,
        )
        server.wait()
    except KeyboardInterrupt:
        console.print("Stopping.")
    finally:
        stop([*workers, server])
