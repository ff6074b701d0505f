"""Puts realistic mistakes into a copy of the code, one at a time, and says which of them the tests notice.

``python -m tests.mutate [ROOM ...]``. The mistakes of a room stand in ``tests/mistakes/ROOM.toml``; ``watch.toml`` beside them
says which tests look at which files, the fastest first. A mistake is noticed where one of those fails. So the share that
is printed is a lower bound: the whole suite may notice more.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import FINISHED, PROJECT, make_finished

MISTAKES = PROJECT / "tests" / "mistakes"
WATCH = "watch"
SECONDS = 400  # that the tests may take with a mistake; one that hangs them is noticed
LEAST = 0.9
DRIVE_AND_ASK = ("flows/", "warehouse/")


@dataclass(frozen=True)
class Mistake:
    """One change to one file, and what it means."""

    room: str
    what: str
    file: str
    old: str
    new: str

    def put_into(self, tree: Path) -> str:
        """Changes the file; returns what it was. Raises ValueError where the text is not there exactly once."""
        path = tree / self.file
        text = path.read_text()
        if text.count(self.old) != 1 or self.old == self.new:
            raise ValueError(f"{self.room}: «{self.what}» fits {self.file} {text.count(self.old)} times: write it anew")
        path.write_text(text.replace(self.old, self.new))
        return text


@dataclass(frozen=True)
class Verdict:
    """What became of a mistake."""

    mistake: Mistake
    noticed: bool
    by: str
    seconds: float


def mistakes(rooms: Sequence[str] = ()) -> list[Mistake]:
    """All of the lists, or of those of some rooms."""
    found = []
    for path in sorted(MISTAKES.glob("*.toml")):
        if path.stem != WATCH and (not rooms or path.stem in rooms):
            for entry in tomllib.loads(path.read_text())["mistake"]:
                found.append(Mistake(room=path.stem, **entry))
    return found


def watchers(file: str) -> list[str]:
    """The tests that look at a file: those of the longest name in watch.toml that begins its path."""
    table: dict[str, list[str]] = tomllib.loads((MISTAKES / f"{WATCH}.toml").read_text())["watch"]
    return table[max((name for name in table if file.startswith(name)), key=len)]


def copy_of_the_tree(to: Path) -> Path:
    """The project's files as they are now, with the shared data beside them where there are any."""
    tree = to / PROJECT.name
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=PROJECT, capture_output=True, text=True, check=True).stdout.splitlines()
    for name in names:
        if (PROJECT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(PROJECT / name, tree / name)
    shared = PROJECT.parent / "shared"
    if shared.exists():
        (to / "shared").symlink_to(shared)
    return tree


def judged(mistake: Mistake, tree: Path, finished: Path) -> Verdict:
    """Runs the tests that look at a file with a mistake in it, until one fails.

    A mistake in what only drives and asks is tried on a finished run of the code without it: the share stays a lower bound.
    """
    before, clock = mistake.put_into(tree), time.monotonic()
    base = tempfile.mkdtemp(prefix="gristmill-mutate-")
    variables = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}  # no bytecode outlives the mistake
    if mistake.file.startswith(DRIVE_AND_ASK):
        variables[FINISHED] = str(finished)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-x",
        "-q",
        "-p",
        "no:xdist",
        "-p",
        "no:randomly",
        "--basetemp",
        f"{base}/t",
    ]
    try:
        done = subprocess.run(
            [*command, *watchers(mistake.file)],
            cwd=tree,
            env=variables,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        lines = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
        by = lines[0].split(" - ")[0] if lines else f"status {done.returncode}"
        return Verdict(mistake, done.returncode != 0, by, time.monotonic() - clock)
    except subprocess.TimeoutExpired:
        return Verdict(mistake, True, f"no end within {SECONDS} s", time.monotonic() - clock)
    finally:
        (tree / mistake.file).write_text(before)
        shutil.rmtree(base, ignore_errors=True)


def judge_all(asked: Sequence[Mistake], jobs: int, said: Path | None) -> list[Verdict]:
    """Judges mistakes side by side, each process over a copy of the tree of its own."""
    waiting: queue.SimpleQueue[Mistake] = queue.SimpleQueue()
    for mistake in asked:
        waiting.put(mistake)
    verdicts: list[Verdict] = []
    guard = threading.Lock()

    finished = Path(tempfile.mkdtemp(prefix="gristmill-mutate-"))
    if any(mistake.file.startswith(DRIVE_AND_ASK) for mistake in asked):
        make_finished(finished)

    def work(folder: Path) -> None:
        tree = copy_of_the_tree(folder)
        while True:
            try:
                mistake = waiting.get_nowait()
            except queue.Empty:
                return
            verdict = judged(mistake, tree, finished)
            with guard:
                verdicts.append(verdict)
                mark = "noticed " if verdict.noticed else "SURVIVED"
                print(
                    f"{len(verdicts)}/{len(asked)} {mark} {verdict.seconds:4.0f} s  {mistake.room}: {mistake.what}  ({verdict.by})",
                    flush=True,
                )
                if said is not None:
                    said.write_text(json.dumps([_row(one) for one in verdicts], indent=1))

    with tempfile.TemporaryDirectory(prefix="gristmill-mutate-") as folder:
        workers = [threading.Thread(target=work, args=(Path(folder) / str(number),)) for number in range(jobs)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    shutil.rmtree(finished, ignore_errors=True)
    return verdicts


def _row(verdict: Verdict) -> dict[str, object]:
    mistake = verdict.mistake
    return {
        "room": mistake.room,
        "file": mistake.file,
        "what": mistake.what,
        "noticed": verdict.noticed,
        "by": verdict.by,
    }


def shares(verdicts: Iterable[Verdict]) -> dict[str, tuple[int, int]]:
    """Room -> mistakes that were noticed, and all."""
    found: dict[str, tuple[int, int]] = {}
    for verdict in verdicts:
        noticed, total = found.get(verdict.mistake.room, (0, 0))
        found[verdict.mistake.room] = (noticed + verdict.noticed, total + 1)
    return dict(sorted(found.items()))


def main() -> int:
    """Judges the mistakes and prints the share that is noticed, by room; 1 where one has less than 90 %."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("rooms", nargs="*", help="lists in tests/mistakes, all where none is named")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="mistakes judged at once")
    parser.add_argument("--json", type=Path, help="file for the verdicts")
    parser.add_argument("--only", default="", help="mistakes of files or with words that contain this")
    parser.add_argument(
        "--again", type=Path, help="verdicts of an earlier run: those that it noticed are taken from it"
    )
    arguments = parser.parse_args()
    asked = [one for one in mistakes(arguments.rooms) if arguments.only in one.file or arguments.only in one.what]
    known = (
        {row["what"]: row["by"] for row in json.loads(arguments.again.read_text()) if row["noticed"]}
        if arguments.again
        else {}
    )
    earlier = [Verdict(one, True, known[one.what], 0.0) for one in asked if one.what in known]
    asked = [one for one in asked if one.what not in known]
    verdicts = [*earlier, *judge_all(asked, arguments.jobs, arguments.json)]
    if arguments.json:
        arguments.json.write_text(json.dumps([_row(one) for one in verdicts], indent=1))
    found = shares(verdicts)
    for room, (noticed, total) in found.items():
        print(f"{room:<12} {noticed:>4} of {total:>4}  {noticed / total:.0%}")
    noticed, total = (sum(column) for column in zip(*found.values(), strict=True))
    print(f"{'all':<12} {noticed:>4} of {total:>4}  {noticed / total:.0%}")
    return int(any(noticed < LEAST * total for noticed, total in found.values()))


if __name__ == "__main__":
    sys.exit(main())
