"""Work in other processes: a pool for parts, and children that do not outlive their parent."""

from __future__ import annotations

import atexit
import json
import multiprocessing
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, TypeVar

from warehouse.errors import GristmillError

Result = TypeVar("Result")
WATCH_SECONDS = 0.5
TICK_SECONDS = 1.0  # between two looks at how far a worker is
STOP_SECONDS = 30  # that a child has to save what it has
PARENT_VARIABLE = "GRISTMILL_PARENT"


def die_with_parent(parent: int | None = None, last: Callable[[], None] = lambda: None) -> None:
    """Ends this process soon after its parent is gone: a killed run leaves no worker behind.

    ``parent`` is the process that started this one, where it could be gone before this line is reached; ``last`` is
    what is still to be done then.
    """
    parent = parent or os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(WATCH_SECONDS)
        try:
            last()
        finally:
            os._exit(1)

    threading.Thread(target=watch, daemon=True, name="parent-watch").start()


class WorkerPool:
    """A pool of spawned processes that mends itself: a worker killed from outside costs one failed call."""

    def __init__(self, workers: int) -> None:
        self._workers, self._guard = workers, threading.Lock()
        self._executor: ProcessPoolExecutor | None = None

    def run(
        self, function: Callable[..., Result], *arguments: Any, meanwhile: Callable[[], None] | None = None
    ) -> Result:
        """Calls a module-level function in a worker and waits for what it returns; ``meanwhile`` is called now and then."""
        with self._guard:
            if self._executor is None:
                context = multiprocessing.get_context("spawn")
                self._executor = ProcessPoolExecutor(
                    self._workers, mp_context=context, initializer=die_with_parent, initargs=(os.getpid(),)
                )
            executor = self._executor
            future = executor.submit(function, *arguments)
        try:
            while meanwhile is not None and not wait([future], timeout=TICK_SECONDS).done:
                meanwhile()
            return future.result()
        except BrokenProcessPool:
            with self._guard:
                if self._executor is executor:
                    self._executor = None
            raise

    def close(self) -> None:
        """Ends the workers."""
        with self._guard:
            if self._executor is not None:
                self._executor.shutdown(wait=False, cancel_futures=True)
                self._executor = None


_pools: dict[int, WorkerPool] = {}


def pool(workers: int) -> WorkerPool:
    """This process's pool of that many workers, started once and shared by stages."""
    if workers not in _pools:
        _pools[workers] = WorkerPool(workers)
        atexit.register(_pools[workers].close)
    return _pools[workers]


def usage() -> tuple[float, int]:
    """Processor seconds of this process and its finished children, and its peak resident bytes."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    unit = 1 if sys.platform == "darwin" else 1024
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime, own.ru_maxrss * unit


_GUARD = """
import os, signal, sys, time
sys.stdin.read()
for how in (signal.SIGTERM, signal.SIGKILL):
    try:
        os.kill(int(sys.argv[1]), how)
    except ProcessLookupError:
        break
    time.sleep(5)
"""
_guards: list[subprocess.Popen[bytes]] = []


def end_with_this_process(pid: int) -> None:
    """Has a child that does not watch its parent end when this process does, by SIGKILL too.

    A process in a session of its own reads a pipe that nobody writes to: it ends when this process is gone.
    """
    _guards.append(
        subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _GUARD, str(pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )
    )


def descendants(process: int) -> set[int]:
    """The processes that a process started, and theirs, but those that have ended."""
    if Path("/proc/self/stat").exists():
        found = (_proc_row(path) for path in Path("/proc").glob("[0-9]*"))
    else:  # macOS
        listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,stat="], capture_output=True, text=True, check=True)  # noqa: S607  # nosec B607
        found = ((int(pid), int(parent), state[0]) for pid, parent, state in map(str.split, listed.stdout.splitlines()))
    children: dict[int, list[int]] = {}
    for pid, parent, state in found:
        if state != "Z":
            children.setdefault(parent, []).append(pid)
    out, waiting = set[int](), [process]
    while waiting:
        below = children.get(waiting.pop(), [])
        out.update(below)
        waiting += below
    return out


def _proc_row(path: Path) -> tuple[int, int, str]:
    """(process, its parent, its state) from Linux's /proc; what is gone meanwhile has ended."""
    try:
        state, parent = (path / "stat").read_text().rpartition(")")[2].split()[:2]
    except OSError:
        return int(path.name), -1, "Z"
    return int(path.name), int(parent), state


# How torch (of a processor, of CUDA), DuckDB, C++ and the system say it.
NO_MEMORY = re.compile(r"out of memory|can.?t allocate memory|cannot allocate memory|not enough memory|bad_alloc", re.I)
_children: set[subprocess.Popen[str]] = set()
_told_to_stop = threading.Event()


def stop_children() -> None:
    """Tells every child of ``events`` to save what it has and end, and waits until they have.

    A second SIGTERM, as a supervisor passes on, does not cut that short.
    """
    _told_to_stop.set()
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    children = list(_children)
    for child in children:
        child.terminate()
    for child in children:
        try:
            child.wait(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()


def is_stopping() -> bool:
    """Whether this process was told to stop, and is to begin nothing more."""
    return _told_to_stop.is_set()


def events(
    command: list[str], log: Path, environment: dict[str, str] | None = None, for_less_memory: str = ""
) -> Iterator[dict[str, Any]]:
    """Runs a child process and yields the JSON objects that it prints a line each; the rest goes to ``log``.

    Raises GristmillError with the child's own sentence, or with the log's last line, where it fails;
    with ``for_less_memory`` where it was killed, as the system does when memory runs out.
    """
    with log.open("ab") as errors:
        child = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, PARENT_VARIABLE: str(os.getpid()), **(environment or {})},
        )
        _children.add(child)
        try:
            assert child.stdout is not None
            sentence = ""
            for line in child.stdout:
                if line.startswith("{"):
                    event = json.loads(line)
                    sentence = event.get("error", sentence)
                    yield event
            status = child.wait()
        finally:
            _children.discard(child)
            if child.poll() is None:
                child.terminate()
                try:
                    child.wait(timeout=STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    child.kill()
    if status == -signal.SIGKILL and for_less_memory:
        raise GristmillError(f"{Path(command[2]).name} was killed, perhaps for want of memory: {for_less_memory}")
    if status != 0:
        raise GristmillError(
            sentence or f"{Path(command[2]).name} ended with status {status}: {_last_line(log)} (all of it in {log})"
        )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of any library says that there was not enough memory."""
    return isinstance(error, MemoryError) or bool(NO_MEMORY.search(str(error)))


def emit(**event: Any) -> None:
    """From a child: one event to the parent."""
    print(json.dumps(event), flush=True)


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else "it printed nothing"
