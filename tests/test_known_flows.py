"""What commands and flows print and settle, against figures that are worked out beside them."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys

import pytest

from flows.commands.cli import main
from flows.orchestration.health import _is_alive
from flows.orchestration.progress import duration_text
from flows.query import connect, rows
from tests.conftest import Run
from tests.test_which_run import said
from warehouse import log
from warehouse.store import Store


def test_a_run_is_dead_where_its_process_was_of_this_machine_and_is_gone() -> None:
    here = socket.gethostname()
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    assert _is_alive(f"{here}:{os.getpid()}")
    assert not _is_alive(f"{here}:{ended.pid}")
    assert _is_alive(f"another-machine:{ended.pid}")  # nobody here can know
    assert not _is_alive("")


def test_the_plans_table_has_the_figures_of_the_plan(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["plan", "gpt3-1.3b", "--gpus", "8", "--gpu", "h100", "--price", "2"]
    for options in (["--format", "json"], []):
        with pytest.raises(SystemExit):
            main([*words, *options])
    printed = capsys.readouterr().out
    end = printed.index("\n}\n") + 2
    plan, table = json.loads(printed[:end]), printed[end:]
    days, cost = (re.search(rf"^\W*{name}\D*?([\d,.]+)", table, re.M) for name in ("days", "cost"))
    assert days is not None
    assert cost is not None
    assert float(days.group(1).replace(",", "")) == pytest.approx(plan["days"], abs=0.06)
    assert float(cost.group(1).replace(",", "")) == pytest.approx(plan["cost"], rel=0.01)
    assert plan["cost"] == pytest.approx(plan["days"] * 24 * 8 * 2)


def test_status_tells_the_time_that_the_parts_took(finished: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    spent = rows(
        Store(str(finished.store)),
        "SELECT left(key, 12) AS key, sum(wall_s) FILTER (part IS NOT NULL) AS parts, sum(wall_s) AS whole FROM work GROUP BY ALL",
    )
    lines = said(finished, "status", "demo-tiny").splitlines()
    told = 0
    for row in spent:
        for line in (line for line in lines if row["key"] in line and row["parts"] is not None):
            assert line.rstrip().endswith(duration_text(row["parts"]))
            told += duration_text(row["parts"]) != duration_text(row["whole"])
    assert told > 3


def test_run_makes_what_is_missing_and_crawls_nothing_anew(copied: Run) -> None:
    store = Store(str(copied.store))
    first = log.runs(store)[-1].id
    with connect(store) as connection:
        before = connection.sql("SELECT count(*) FROM documents_at_step('latest', 40)").fetchall()
    done = copied.gristmill("run", "demo-tiny", overrides=("pretrain.steps=3",))
    assert done.returncode == 0, done.stderr[-2000:]
    assert {row["crawl"] for row in rows(store, "SELECT DISTINCT crawl FROM urls")} == {"works-0001", "reference-0001"}
    # As the store was before, its newest run is the one of then.
    assert rows(store, "SELECT count(*) AS n FROM documents_at_step('latest', 40)") == [{"n": 0}]
    with connect(store, first) as connection:
        assert connection.sql("SELECT count(*) FROM documents_at_step('latest', 40)").fetchall() == before
