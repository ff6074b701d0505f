"""Forgetting and purging, killed at random moments: each ends as if nobody had killed it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import PROJECT, Run
from tests.hostile.test_damage import bytes_of
from tests.test_pipeline import kill_in

KILLS = int(os.environ.get("GRISTMILL_KILLS", "1"))  # of each kind; 6 were run by hand
STAGES = ("extract", "match", "select", "pack")  # that have something to make anew


def forgetting(run: Run) -> list[str]:
    """The command that forgets some documents and purges the archive of them."""
    query = "SELECT id AS doc_id FROM corpus ORDER BY url LIMIT 3"
    sets = [word for one in run.overrides for word in ("--set", one)]
    return [sys.executable, "-m", "flows.commands.cli", "forget", "demo-tiny", "--query", query, "--purge", *sets]


@pytest.mark.timeout(500)
def test_forgetting_and_purging_killed_at_random_moments_ends_in_the_same_bytes(
    finished: Run, copied: Run, tmp_path: Path
) -> None:
    draw = random.Random(20261126)
    killed = Run(tmp_path / "killed", finished.ports)
    subprocess.run(["cp", "-a", copied.store, killed.store], check=True)
    before, started = bytes_of(killed.store), time.monotonic()
    subprocess.run(forgetting(copied), cwd=PROJECT, capture_output=True, check=True)
    seconds = time.monotonic() - started
    copied.drive(until="pack")

    moments = [draw.uniform(0.4, 1.0) * seconds for _ in range(4 * KILLS)]
    for moment in moments:
        with subprocess.Popen(
            forgetting(killed), cwd=PROJECT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as process:  # fmt: skip
            time.sleep(moment)
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    subprocess.run(forgetting(killed), cwd=PROJECT, capture_output=True, check=True)
    for _ in range(KILLS):
        for stage in STAGES:
            kill_in(stage, killed.command(until="pack"), draw, killed.store)
    killed.drive(until="pack")
    assert (after := bytes_of(killed.store)) == bytes_of(copied.store)
    assert any(after[path] != content for path, content in before.items() if "/warc/" in path)  # it was purged
    assert len(list((killed.store / "removals").iterdir())) == 1
