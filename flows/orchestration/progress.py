"""What a person sees while the mill turns: a bar for each running stage, a line for each finished one."""

from __future__ import annotations

import threading
import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column

from flows.terminal import plain, shown
from tasks.core.stage import Report, Stage
from warehouse.artifact import Manifest

QUIET_SECONDS = 15.0  # without a terminal: between two lines of a long part
UNITS = ("B", "KB", "MB", "GB", "TB")


def size_text(size: float) -> str:
    """Bytes as a person reads them."""
    for unit in UNITS:
        if size < 1000 or unit == UNITS[-1]:
            return f"{size:,.0f} {unit}" if unit == "B" else f"{size:,.1f} {unit}"
        size /= 1000
    raise AssertionError


def duration_text(seconds: float) -> str:
    """Seconds as a person reads them."""
    return f"{seconds:.1f} s" if seconds < 60 else f"{int(seconds) // 60} min {int(seconds) % 60:02d} s"


class Terminal(Report):
    """Progress on the terminal; plain lines where it is none. Used as a context manager."""

    def __init__(self) -> None:
        self.console = Console(highlight=False)
        self._bars = Progress(
            TextColumn("{task.fields[title]}", table_column=Column(width=20)),
            BarColumn(bar_width=24),
            TextColumn("{task.description}", table_column=Column(ratio=1, no_wrap=True)),
            TimeElapsedColumn(),
            console=self.console,
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}
        self._said: dict[str, float] = {}
        self._began: dict[tuple[str, str], float] = {}
        self._long = set[str]()  # stages that have said how far they are, and so say that they are at their end
        self._guard = threading.Lock()

    def __enter__(self) -> Terminal:
        if self.console.is_terminal:
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Takes the bars off the terminal."""
        self._bars.stop()

    def stage_starts(self, stage: Stage, parts: int, reused: int) -> None:
        with self._guard:
            found = f", {reused} there already" if reused else ""
            self._tasks[stage.title] = self._bars.add_task(
                f"{parts} part{'s' * (parts != 1)}{found}", total=parts, completed=reused, title=stage.title
            )
            self._said[stage.title] = time.monotonic()

    def part_done(self, stage: Stage, part: str) -> None:
        with self._guard:
            self._bars.update(self._tasks[stage.title], advance=1)

    def progress(self, stage: Stage, done: float, total: float, message: str) -> None:
        with self._guard:
            self._bars.update(self._tasks[stage.title], completed=done, total=total, description=message)
            ends = done >= total and stage.title in self._long
            due = ends or time.monotonic() - self._said[stage.title] > QUIET_SECONDS
            if due and not self.console.is_terminal:
                self._long.add(stage.title)
                self._said[stage.title] = time.monotonic()
                self.console.print(plain(f"  {stage.title}: {message}"))

    def part_progress(self, stage: Stage, part: str, done: int, total: int) -> None:
        with self._guard:
            began = self._began.setdefault((stage.title, part), time.monotonic())
            spent = time.monotonic() - began
            left = (
                f", {duration_text(spent / done * (total - done))} left" if done and spent > 1 and done < total else ""
            )
            message = f"{part}: {done:,} of {total:,}{left}"
            if stage.title in self._tasks:
                self._bars.update(self._tasks[stage.title], description=message)
            if not self.console.is_terminal and time.monotonic() - self._said.get(stage.title, began) > QUIET_SECONDS:
                self._said[stage.title] = time.monotonic()
                self.console.print(plain(f"  {stage.title}: {message}"))

    def note(self, stage: Stage, message: str) -> None:
        self.say(f"{stage.title}: {message}")

    def say(self, message: str) -> None:
        """A line for whoever watches."""
        with self._guard:
            self.console.print("[yellow]![/yellow]", plain(message), soft_wrap=True)

    def stage_ends(self, stage: Stage, manifest: Manifest, seconds: float, reused: bool) -> None:
        with self._guard:
            if stage.title in self._tasks:
                self._bars.remove_task(self._tasks.pop(stage.title))
            counts = manifest.counts
            documents = f"{counts.kept:,} of {counts.documents_in:,} kept" if counts.documents_in else ""
            documents += f", {counts.removed:,} removed" if counts.removed else ""
            documents += f", {counts.failed:,} failed" if counts.failed else ""
            what = "[dim]there already[/dim]" if reused else duration_text(seconds)
            mark = "[dim]=[/dim]" if reused else "[green]✓[/green]"
            self.console.print(
                f"{mark} {shown(f'{stage.title:<21}')} {documents:<38} {size_text(manifest.bytes):>8}  {what}",
                soft_wrap=True,
            )
