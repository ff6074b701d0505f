"""Making a part where the stage wants it: here, or in a worker process that tells how far it is."""

from __future__ import annotations

import json
import threading
import time
from contextlib import nullcontext
from pathlib import Path

from tasks.core.process import is_stopping, pool
from tasks.core.stage import Report, Stage, make_part
from warehouse.errors import GristmillError

_ALONE = threading.Lock()
SAID_SECONDS = 1.0  # between two words of a worker about its part


class Written(Report):
    """A worker's report: how far its part is, in a file that whoever waits for it reads."""

    def __init__(self, path: Path) -> None:
        self.path, self._said = path, 0.0

    def part_progress(self, stage: Stage, part: str, done: int, total: int) -> None:
        if time.monotonic() - self._said > SAID_SECONDS:
            self._said = time.monotonic()
            self.path.write_text(json.dumps([done, total]))

    def tell(self, stage: Stage, part: str, report: Report) -> None:
        """Passes on what was written last."""
        try:
            done, total = json.loads(self.path.read_text())
        except (OSError, ValueError):  # nothing yet, or just being written
            return
        report.part_progress(stage, part, done, total)


def make_part_somewhere(stage: Stage, part: str, report: Report, workers: int) -> None:
    """Makes one part where the stage wants it: in a worker process, or here."""
    if stage.in_worker and stage.is_long:
        written = Written(stage.store.scratch("progress") / f"{stage.ref.key}-{part}.json")
        try:
            pool(workers).run(make_part, stage, part, written, meanwhile=lambda: written.tell(stage, part, report))
        finally:
            written.path.unlink(missing_ok=True)
    elif stage.in_worker:
        pool(workers).run(make_part, stage, part)
    else:
        with _ALONE if stage.alone else nullcontext():
            if stage.alone and is_stopping():  # it waited for one that was told to stop, and begins nothing
                raise GristmillError(f"{stage.title} was not begun: the same command goes on from there")
            make_part(stage, part, report)
    report.part_done(stage, part)
