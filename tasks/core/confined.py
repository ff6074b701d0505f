"""Foreign bytes are read in a process of their own, bounded in memory and in processor time, which can be ended.

No guess about markup or headers tells what a parser makes of them. What ends its process twice is passed over with the
reason, and what comes after it is read on.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import gc
import multiprocessing
import os
import resource
import signal
import struct
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Generic, TypeVar

from tasks.core.process import die_with_parent

Result = TypeVar("Result")

TRIES = 2  # the first end may be the machine's fault
BATCH, BATCH_SECONDS = 64, 0.2  # results that travel together
LOOK_SECONDS = 0.1  # between two looks at the clock of a child
WALL_FACTOR = 4.0  # where a child's processor time cannot be asked, its wall time counts by so much less
OUT_OF_MEMORY = 77  # the exit status of a child that could not get what it asked for
TIME, MEMORY, CRASH = "time limit", "memory limit", "crashed its reader"
_LINUX = sys.platform == "linux"
_MARK = struct.Struct("<qqd")


@dataclass(frozen=True)
class Limits:
    """What reading one thing may take: seconds of a processor, and bytes beyond what the process has at its start."""

    seconds: float
    memory_bytes: int


@dataclass(frozen=True)
class Thing(Generic[Result]):
    """One thing to read: ``name`` says which, and ``read`` does it."""

    name: Any
    read: Callable[[], Result]


@dataclass(frozen=True)
class Ended:
    """Stands for what ended its reader again. Without a name it was not even found: nothing behind it can be read."""

    reason: str
    name: Any = None


class _Mark:
    """What a child is at, seen by its parent: the place, whether it is read or only looked for, and since when."""

    LOOKING, READING = 0, 1

    def __init__(self, shared: Any) -> None:
        self._shared = shared
        self.put(-1, self.LOOKING)

    def put(self, place: int, what: int) -> None:
        _MARK.pack_into(self._shared, 0, place, what, time.process_time())

    def get(self) -> tuple[int, int, float]:
        place, what, since = _MARK.unpack_from(self._shared, 0)
        return place, what, since


class _Died(Exception):
    """A child ended, or was ended, before it had answered."""


class _Child:
    """A process that runs ``serve(pipe, mark, *arguments)`` within limits."""

    def __init__(self, serve: Callable[..., None], arguments: tuple[Any, ...], limits: Limits) -> None:
        # Forked, it has at once what this process has compiled and imported. Elsewhere forks are not to be trusted.
        context: Any = multiprocessing.get_context("fork" if _LINUX else "spawn")
        self.mark, self._limits = _Mark(context.RawArray("b", _MARK.size)), limits
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=_begin, args=(serve, theirs, self.mark, limits, os.getpid(), arguments), daemon=True
        )
        self._process.start()
        theirs.close()
        self._seen, self._seen_at = self.mark.get(), time.monotonic()

    def receive(self) -> Any:
        """The next message. Raises _Died with the reason."""
        while not self.pipe.poll(LOOK_SECONDS):
            if self._is_late():
                self.close()
                raise _Died(TIME)
        try:
            return self.pipe.recv()
        except (EOFError, ConnectionResetError, OSError):
            self._process.join()
            raise _Died(MEMORY if self._process.exitcode == OUT_OF_MEMORY else CRASH) from None

    def _is_late(self) -> bool:
        seen = self.mark.get()
        if seen != self._seen:
            self._seen, self._seen_at = seen, time.monotonic()
        place, _, since = seen
        if _LINUX:
            return place >= 0 and _processor_seconds(self._process.pid) - since > self._limits.seconds
        return place >= 0 and time.monotonic() - self._seen_at > self._limits.seconds * WALL_FACTOR

    def close(self) -> None:
        """Ends it."""
        self._process.kill()
        self._process.join()
        self.pipe.close()


def _begin(
    serve: Callable[..., None],
    pipe: Connection,
    mark: _Mark,
    limits: Limits,
    parent: int,
    arguments: tuple[Any, ...],
) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):  # a terminal tells the whole group: what is read is not to blame
        signal.signal(number, signal.SIG_IGN)
    die_with_parent(parent)
    gc.freeze()  # what the parent holds is not this process's to close
    faulthandler.disable()
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 2)  # the last words of a library that aborts
    limit_memory(limits.memory_bytes)
    try:
        serve(pipe, mark, *arguments)
    except MemoryError:
        os._exit(OUT_OF_MEMORY)
    except BrokenPipeError:  # nobody listens any more
        os._exit(0)


def limit_memory(beyond: int) -> None:
    """Lets this process have so many bytes more than it has, where the system counts them (Linux)."""
    if _LINUX:
        pages = int(Path("/proc/self/statm").read_text().split()[5])
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (pages * resource.getpagesize() + beyond, hard))


def _processor_seconds(process: int) -> float:
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def read_confined(
    things: Callable[..., Iterator[Thing[Result]]], *arguments: Any, limits: Limits
) -> Iterator[Result | Ended]:
    """All that ``things(*arguments)`` finds, read in another process, in order; ``Ended`` where that was ended twice.

    ``things`` finds one thing after another, the same ones each time. What it raises is raised here.
    """
    done, deaths, careful, name = 0, dict[int, int](), -1, None
    while True:
        child = _Child(_serve_stream, (things, arguments, done, careful), limits)
        try:
            while (batch := child.receive()) is not None:
                if isinstance(batch, BaseException):
                    raise batch
                if isinstance(batch, Thing):  # what ended the reader before is tried again
                    name = batch.name
                    continue
                yield from batch
                done += len(batch)
            return
        except _Died as died:
            place, what, _ = child.mark.get()
            place = careful = max(place, done)
            deaths[place] = deaths.get(place, 0) + 1
            if deaths[place] == TRIES:
                yield Ended(str(died), name if what == _Mark.READING else None)
                done = place + 1
                if what == _Mark.LOOKING:
                    return
        finally:
            child.close()


def _serve_stream(
    pipe: Connection, mark: _Mark, things: Callable[..., Any], arguments: tuple[Any, ...], done: int, careful: int
) -> None:
    """Sends what comes from the thing number ``done`` on; what comes up to number ``careful`` one by one."""
    batch: list[Any] = []
    sent = time.monotonic()
    try:
        mark.put(done, mark.LOOKING)
        for place, thing in enumerate(things(*arguments)):
            if place < done:
                continue
            if place == careful:
                pipe.send(Thing(thing.name, list))
            mark.put(place, mark.READING)
            batch.append(thing.read())
            mark.put(place + 1, mark.LOOKING)
            now = time.monotonic()
            if place <= careful or len(batch) == BATCH or now - sent > BATCH_SECONDS:
                pipe.send(batch)
                batch, sent = [], now
        pipe.send(batch)
        pipe.send(None)
    except (MemoryError, BrokenPipeError):
        raise
    except Exception as error:
        pipe.send(batch)
        pipe.send(error)


class Reader(Generic[Result]):
    """Calls one function in another process, again and again; not from two threads at once."""

    def __init__(self, function: Callable[..., Result], limits: Limits) -> None:
        self._function, self._limits = function, limits
        self._child: _Child | None = None

    def __call__(self, *arguments: Any) -> Result | Ended:
        """What the function returns, ``Ended`` where that was ended twice. What it raises is raised here."""
        reason = ""
        for _ in range(TRIES):
            if self._child is None:
                self._child = _Child(_serve_calls, (self._function,), self._limits)
            try:
                with contextlib.suppress(BrokenPipeError):
                    self._child.pipe.send(arguments)
                answer = self._child.receive()
            except _Died as died:
                reason = str(died)
                self.close()
                continue
            if isinstance(answer, BaseException):
                raise answer
            result: Result = answer[0]
            return result
        return Ended(reason)

    def close(self) -> None:
        """Ends the process."""
        if self._child is not None:
            self._child.close()
            self._child = None


def _serve_calls(pipe: Connection, mark: _Mark, function: Callable[..., Any]) -> None:
    with contextlib.suppress(EOFError):
        while True:
            mark.put(-1, mark.LOOKING)
            arguments = pipe.recv()
            mark.put(0, mark.READING)
            try:
                pipe.send((function(*arguments),))
            except (MemoryError, BrokenPipeError):
                raise
            except Exception as error:
                pipe.send(error)


class Readers:
    """Calls functions in some processes at once, from an event loop."""

    def __init__(self, count: int, limits: Limits) -> None:
        self._idle: list[Reader[Any]] = [Reader(_called, limits) for _ in range(count)]
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="reader")

    async def __call__(self, function: Callable[..., Result], *arguments: Any) -> Result | Ended:
        """What the function returns, ``Ended`` where its process was ended twice. What it raises is raised here."""
        found: Result | Ended = await asyncio.get_running_loop().run_in_executor(
            self._threads, self._call, function, arguments
        )
        return found

    def _call(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        reader = self._idle.pop()  # there are as many as threads
        try:
            return reader(function, *arguments)
        finally:
            self._idle.append(reader)

    def close(self) -> None:
        """Ends the processes, once what is under way is done."""
        self._threads.shutdown()
        for reader in self._idle:
            reader.close()


def _called(function: Callable[..., Result], *arguments: Any) -> Result:
    return function(*arguments)
