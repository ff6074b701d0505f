"""Metrics of a run that trains can be asked at any time, and none is seen twice or half."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from flows.query import rows
from warehouse import log
from warehouse.store import Store


def figures(step: int) -> list[dict[str, Any]]:
    return [{"run": "r", "step": step, "name": name, "value": step / 2, "at": log.now()} for name in ("loss", "norm")]


def test_queries_beside_a_training_see_whole_rows_each_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "METRIC_ROWS_A_CHUNK", 40)
    store, done, faults = Store(str(tmp_path)), threading.Event(), list[BaseException]()
    seen = list[int]()

    def ask() -> None:
        try:
            while not done.is_set():
                (row,) = rows(
                    store,
                    "SELECT count(*) AS n, count(DISTINCT (step, name)) AS different, max(step) AS last FROM metrics",
                )
                assert row["n"] == row["different"]
                assert row["n"] == 2 * (row["last"] or 0)
                seen.append(row["n"])
        except BaseException as error:
            faults.append(error)

    chunk = log.MetricsChunk(store, "r")
    asking = [threading.Thread(target=ask) for _ in range(2)]
    for thread in asking:
        thread.start()
    for step in range(1, 401):
        chunk.add(figures(step))
    done.set()
    for thread in asking:
        thread.join()
    assert not faults, faults
    assert len(set(seen)) > 3
    (row,) = rows(store, "SELECT count(*) AS n, sum(value) AS total FROM metrics")
    assert row == {"n": 800, "total": sum(step / 2 for step in range(1, 401)) * 2}
    assert len(list(tmp_path.rglob("*.parquet"))) == 20
    assert not list(tmp_path.rglob("*.open.parquet"))


def test_a_file_that_grows_is_never_given_to_the_database_to_read(tmp_path: Path) -> None:
    """It is replaced under its name: whoever opens it twice would see two files."""
    store = Store(str(tmp_path))
    log.MetricsChunk(store, "r").add(figures(1))
    closed, growing = log.metrics(store)
    assert closed == []
    assert growing.to_pylist()[0]["step"] == 1
    # Killed between the closed file and the end of the open one: the rows count once.
    (growing_file,) = tmp_path.rglob("*.open.parquet")
    growing_file.with_name(growing_file.name.replace(".open", "")).write_bytes(growing_file.read_bytes())
    assert rows(store, "SELECT count(*) AS n FROM metrics") == [{"n": 2}]
