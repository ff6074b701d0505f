"""What many runs noted is bundled, says the same, and survives what happens to files."""

from __future__ import annotations

import datetime
import json
import shutil
from pathlib import Path

from rich.console import Console

from flows.commands.verify import verify
from flows.query import rows
from warehouse import log
from warehouse.artifact import Ref
from warehouse.log import RUNS, WORK, RunRecord
from warehouse.store import Store
from warehouse.stored import LEFT_LOOSE, MANY, bundle, stored

BEGIN = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def many(folder: Path, count: int) -> Store:
    """A store in which so many runs noted a stage, and work, each; written without the care that durability takes."""
    store = Store(str(folder))
    log.note_work(store, Ref(stage="crawl", key="k0"), "all", BEGIN, wall_s=1.0, cpu_s=0.5, peak_rss_bytes=0)
    (noted,) = (folder / WORK).iterdir()
    (folder / RUNS).mkdir()
    for number in range(count):
        at = BEGIN + datetime.timedelta(minutes=number)
        run_id, recipe = f"{at:%Y%m%dT%H%M%S.%f}-r", ("one", "other")[number % 2]
        record = RunRecord(id=run_id, recipe=recipe, started_at=at.isoformat(), stages={"crawl": [f"k{number}"]})
        (folder / RUNS / f"{run_id}.json").write_text(record.model_dump_json(indent=1))
        if number:
            row = json.loads(noted.read_bytes()) | {"key": f"k{number}", "peak_rss_bytes": number}
            (folder / WORK / f"{run_id}.json").write_text(json.dumps(row | {"started_at": at.isoformat()}))
    return store


def seen(store: Store) -> tuple[object, ...]:
    asked = (
        "SELECT count(*) AS n, sum(wall_s) AS wall, max(peak_rss_bytes) AS most, count(DISTINCT key) AS keys FROM work"
    )
    early = log.runs(store, as_of="20260101T0010")
    return log.runs(store), log.current(store, recipe="other"), early, rows(store, asked)


def test_bundled_records_say_the_same_in_a_few_files(tmp_path: Path) -> None:
    store = many(tmp_path, MANY + 50)
    before = seen(store)
    assert before[3] == [{"n": MANY + 50, "wall": MANY + 50, "most": MANY + 49, "keys": MANY + 50}]
    log.tidy(store)
    assert seen(store) == before
    for folder in (RUNS, WORK):
        assert len(list((tmp_path / folder).iterdir())) == LEFT_LOOSE + 1
    log.tidy(store)
    assert seen(store) == before


def test_few_records_are_left_as_they_are(tmp_path: Path) -> None:
    store = many(tmp_path, 20)
    log.tidy(store)
    assert len(list((tmp_path / RUNS).iterdir())) == 20


def test_a_second_bundle_holds_the_first_and_a_record_that_was_written_again_is_the_later_one(tmp_path: Path) -> None:
    store = many(tmp_path, MANY + 10)
    log.tidy(store)
    first = log.runs(store)[0]
    changed = first.model_copy(update={"stages": {"crawl": ["changed"]}})
    store.write_bytes(f"{RUNS}/{first.id}.json", changed.model_dump_json().encode())
    assert log.runs(store)[0] == changed
    for number in range(MANY):
        run_id = f"{BEGIN + datetime.timedelta(days=2, minutes=number):%Y%m%dT%H%M%S.%f}-r"
        record = RunRecord(id=run_id, recipe="one", started_at=BEGIN.isoformat(), stages={})
        (tmp_path / RUNS / f"{run_id}.json").write_text(record.model_dump_json())
    bundle(store, RUNS)
    assert len(list((tmp_path / RUNS).glob("*.bundle"))) == 1
    assert len(log.runs(store)) == 2 * MANY + 10
    assert log.runs(store)[0] == changed


def test_killed_before_the_bundled_records_are_deleted_nothing_counts_twice(tmp_path: Path) -> None:
    store = many(tmp_path / "a", MANY)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    before = seen(store)
    log.tidy(store)
    for folder in (RUNS, WORK):
        for path in (tmp_path / "a" / folder).glob("*.bundle"):
            shutil.copy(path, tmp_path / "b" / folder)
    assert seen(Store(str(tmp_path / "b"))) == before


def test_a_damaged_line_costs_its_record_and_is_named(tmp_path: Path) -> None:
    store = many(tmp_path, MANY)
    log.tidy(store)
    (path,) = (tmp_path / RUNS).glob("*.bundle")
    path.write_bytes(path.read_bytes().replace(b"\t", b" ", 1))
    assert len(log.runs(store)) == MANY - 1
    with (tmp_path / "said").open("w") as said:
        assert not verify(store, Console(file=said, width=300))
    assert path.name in (tmp_path / "said").read_text()


def test_a_damaged_record_is_left_for_verify_to_name(tmp_path: Path) -> None:
    store = many(tmp_path, MANY)
    path = next(iter(sorted((tmp_path / RUNS).iterdir())))
    path.write_bytes(b"{")
    log.tidy(store)
    assert path.exists()
    assert len(list(stored(store, RUNS, RunRecord.model_validate_json))) == MANY - 1
