"""What runs things: children that die, what is tried again, what is measured and shown of it, and runs that are noted."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, ClassVar

import pytest

from flows.making import Pipeline
from flows.orchestration.health import _is_alive
from flows.orchestration.progress import Terminal, duration_text, size_text
from flows.query import rows
from flows.recipe.loading import load_recipe
from tasks.core.process import descendants, events, usage
from tasks.core.somewhere import make_part_somewhere
from tasks.core.stage import Made, Report, Stage, StageSettings
from tests.conftest import Run
from tests.known import pipeline_over
from tests.test_politeness import Told, page, told
from warehouse import log
from warehouse.artifact import Counts, PartWriter, Ref
from warehouse.errors import GristmillError
from warehouse.removals import Removal, record, removals
from warehouse.scan import scan
from warehouse.store import Store

__all__ = ["told"]


def child(script: str, tmp_path: Path) -> list[dict[str, Any]]:
    return list(events([sys.executable, "-c", script], tmp_path / "log"))


def test_a_child_says_what_it_did_and_one_that_fails_is_an_error_whoever_killed_it(tmp_path: Path) -> None:
    assert child("print('{\"step\": 1}'); print('noise'); print('{\"step\": 2}')", tmp_path) == [
        {"step": 1},
        {"step": 2},
    ]
    with pytest.raises(GristmillError, match="its own sentence"):
        child('print(\'{"error": "its own sentence"}\'); raise SystemExit(1)', tmp_path)
    with pytest.raises(GristmillError, match="ended with status 3: the last line"):
        child(
            "import sys; print('first', file=sys.stderr); print('the last line', file=sys.stderr); sys.exit(3)",
            tmp_path,
        )
    with pytest.raises(GristmillError, match=f"ended with status -{int(signal.SIGKILL)}"):
        child("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", tmp_path)


def test_memory_is_measured_in_bytes() -> None:
    _, before = usage()
    script = "x = bytearray(200_000_000); x[::4096] = b'1' * len(x[::4096]); from tasks.core.process import usage; print(usage()[1])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert 200e6 < int(done.stdout) < 20e9  # a child begins with the peak of its parent
    assert 20e6 < before < 20e9


def test_descendants_are_those_that_run(tmp_path: Path) -> None:
    script = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); print('up', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        family = descendants(process.pid)
        assert len(family) == 1
        assert process.pid in descendants(os.getpid())
        for number in family:
            os.kill(number, signal.SIGKILL)
        process.kill()
    assert descendants(process.pid) == set()


def test_a_run_is_dead_where_its_process_of_this_machine_is_gone() -> None:
    here = socket.gethostname()
    with subprocess.Popen([sys.executable, "-c", "pass"]) as gone:
        gone.wait()
    assert _is_alive(f"{here}:{os.getpid()}")
    assert not _is_alive(f"{here}:{gone.pid}")
    assert _is_alive(f"another-machine:{gone.pid}")  # who knows
    assert not _is_alive("")


def test_only_what_passes_is_tried_again() -> None:
    from concurrent.futures.process import BrokenProcessPool

    from prefect.states import Failed

    from flows.orchestration.engine import _can_retry

    for error, again in (
        (OSError("disk"), True),
        (BrokenProcessPool("gone"), True),
        (GristmillError("yours"), False),
        (ValueError("defect"), False),
    ):
        assert _can_retry(None, None, Failed(data=error)) is again, error


def test_sizes_and_times_as_people_read_them() -> None:
    assert [size_text(n) for n in (0, 999, 1000, 1_250_000, 3.2e9, 5e15)] == [
        "0 B",
        "999 B",
        "1.0 KB",
        "1.2 MB",
        "3.2 GB",
        "5,000.0 TB",
    ]
    assert [duration_text(s) for s in (0.04, 59.94, 60, 125.9)] == ["0.0 s", "59.9 s", "1 min 00 s", "2 min 05 s"]


def test_status_tells_time_of_the_parts_and_counts(finished: Run) -> None:
    store = Store(str(finished.store))
    shown = {line.split()[0]: line for line in finished.here("status", "demo-tiny").stdout.splitlines() if line.strip()}
    for stage in ("select", "pack", "pretrain"):
        (row,) = rows(
            store,
            "SELECT sum(wall_s) AS wall, any_value(kept) AS kept, any_value(documents_in) AS n, any_value(a.bytes) AS size "
            f"FROM work w JOIN artifacts a USING (key) WHERE part IS NOT NULL AND a.stage = '{stage}'",
        )
        assert shown[stage].rstrip().endswith(duration_text(row["wall"]))
        assert size_text(row["size"]) in shown[stage]
        if row["n"]:
            assert f"{row['kept']:,} of {row['n']:,}" in shown[stage]


def test_an_artifact_with_a_file_cut_short_is_not_taken_for_made(copied: Run) -> None:
    pipeline = Pipeline(load_recipe("demo-tiny", copied.overrides))
    assert pipeline.is_made("annotate")
    victim = next((copied.store / "artifacts" / "annotate").rglob("signals/*.parquet"))
    victim.write_bytes(victim.read_bytes()[:-1])
    assert not Pipeline(pipeline.recipe).is_made("annotate")
    assert pipeline.is_made("sign")


def test_a_run_that_goes_on_keeps_the_stages_that_it_noted(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    run = log.new_run(store, "first")
    log.note_stage(store, run, [Ref(stage="crawl", key="a"), Ref(stage="crawl", key="b")])
    again = log.resume_run(store, run.id)
    assert again == run
    log.note_stage(store, again, [Ref(stage="extract", key="c")])
    (stored,) = log.runs(store)
    assert stored.stages == {"crawl": ["a", "b"], "extract": ["c"]}
    fresh = log.resume_run(store, "20260102T030405.000006-name")
    assert (fresh.recipe, fresh.started_at, fresh.stages) == ("name", "2026-01-02T03:04:05+00:00", {})


def test_the_newest_run_is_the_newest_by_time_whatever_its_recipe_is_called(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    for recipe, key in (("zebra", "old"), ("ape", "new")):
        log.note_stage(store, log.new_run(store, recipe), [Ref(stage="pretrain", key=key)])
    assert log.current(store) == {"pretrain": [Ref(stage="pretrain", key="new")]}
    assert [run.recipe for run in log.runs(store)] == ["zebra", "ape"]


def test_removals_are_in_the_order_in_which_they_were_made(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    made = [
        Removal(at=f"2026-01-0{n}T00:00:00.000000+00:00", kind="url", value=f"http://x/{n}", reason="r")
        for n in range(1, 8)
    ]
    for removal in reversed(made):
        record(store, removal)
    assert [removal.value for removal in removals(store)] == [removal.value for removal in made]


def test_a_scan_gives_artifacts_in_the_order_that_was_asked_for(tmp_path: Path) -> None:
    import pyarrow as pa

    from warehouse.artifact import Manifest, write_manifest

    store = Store(str(tmp_path))
    for key, values in (("zz", [1, 2]), ("aa", [3])):
        ref = Ref(stage="s", key=key)
        writer = PartWriter(store, ref, "p")
        writer.table("t", pa.table({"n": values}))
        part = writer.commit(Counts(), {})
        write_manifest(
            store,
            Manifest(
                stage="s",
                subject="",
                version=1,
                key=key,
                settings={},
                inputs={},
                counts=Counts(),
                rows=1,
                bytes=1,
                parts=(part,),
            ),
            None,
        )
    refs = [Ref(stage="s", key=key) for key in ("zz", "aa")]
    assert [n for table in scan(store, refs, "t", ["n"]) for n in table["n"].to_pylist()] == [1, 2, 3]
    assert [n for table in scan(store, refs[::-1], "t", ["n"]) for n in table["n"].to_pylist()] == [3, 1, 2]


def test_pages_are_the_history_of_all_crawls_that_one_continues(told: type[Told], tmp_path: Path) -> None:
    site = told({"/": page(text="the front page")})
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        f'name = "r"\nstore = "{tmp_path}/store"\n[sources.site.crawl]\nseeds = ["{site.root}/"]\ndelay_s = 0.0\nautothrottle = false\n'
        'retries = 0\nrevisit_max_s = 0.0\nprivate_networks = ["127.0.0.0/8"]\n'
    )
    for n in (1, 2, 3):
        site.answers["/"] = page(text=f"the front page, {n}")
        Pipeline(load_recipe(str(recipe)), fresh_crawl=True).make("crawl")
    found = rows(Store(str(tmp_path / "store")), "SELECT crawl, digest FROM pages ORDER BY crawl")
    assert [row["crawl"] for row in found] == ["site-0001", "site-0002", "site-0003"]
    assert len({row["digest"] for row in found}) == 3
    (url,) = rows(Store(str(tmp_path / "store")), "FROM urls")
    assert (url["visits"], url["changes"]) == (3, 2)


def test_counts_of_an_artifact_are_those_of_all_of_its_parts(tmp_path: Path) -> None:
    texts = [f"text {n} " + "word " * 30 for n in range(40)]  # one word again and again makes no relative
    pipeline = pipeline_over(
        tmp_path,
        {"s": texts},
        sections="\n[extract]\npart_bytes = 1000\n[pack]\nvalidation_share = 0.2\n[tokenizer]\nvocabulary = 270",
        until="pack",
    )
    for stage in ("extract", "annotate", "select", "pack"):
        parts = rows(pipeline.store, f"SELECT count(DISTINCT part) AS n FROM parts WHERE stage = '{stage}'")[0]["n"]
        assert parts > 3
        (row,) = rows(pipeline.store, f"SELECT documents_in, kept FROM artifacts WHERE stage = '{stage}'")
        assert row == {"documents_in": 40, "kept": 40}


class Counting(Stage):
    """A part that says three times how far it is."""

    name = "counting"
    version = 1
    is_long = True

    def plan(self) -> list[str]:
        return ["only"]

    def make(self, part: str, writer: PartWriter, report: Report) -> Made:
        for done in (10, 20, 30):
            report.part_progress(self, part, done, 40)
            time.sleep(1.2)
        writer.bytes("made/file", b"x")
        return Made()


def test_a_part_in_a_worker_tells_how_far_it_is(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []

    class Heard(Report):
        def part_progress(self, stage: Stage, part: str, done: int, total: int) -> None:
            told.append((part, done, total))

    stage = Counting(Store(str(tmp_path)), StageSettings(), {})
    make_part_somewhere(stage, "only", Heard(), 1)
    assert {done for _, done, _ in told} >= {10, 20}
    assert {(part, total) for part, _, total in told} == {("only", 40)}
    assert not list(stage.store.scratch("progress").iterdir())  # and nothing of it stays


def test_the_terminal_says_how_much_time_is_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 0.0, 0.0, 20.0, 20.0, 20.0, 20.0])
    monkeypatch.setattr("flows.orchestration.progress.time.monotonic", lambda: next(clock))
    stage = Counting(Store("unused"), StageSettings(), {})
    terminal = Terminal()
    terminal.part_progress(stage, "hellaswag-0-shot", 0, 400)
    terminal.part_progress(stage, "hellaswag-0-shot", 100, 400)
    assert "counting: hellaswag-0-shot: 100 of 400, 1 min 00 s left" in capsys.readouterr().out


class Hungry(Stage):
    """A part that wants the machine for itself."""

    name = "hungry"
    version = 1
    in_worker = False
    alone = True
    under_way: ClassVar[list[int]] = []

    def plan(self) -> list[str]:
        return ["only"]

    def make(self, part: str, writer: PartWriter, report: Report) -> Made:
        self.under_way.append(1)
        assert len(self.under_way) == 1
        time.sleep(0.3)
        self.under_way.pop()
        writer.bytes("made/file", b"x")
        return Made()


def test_trainings_are_made_one_after_the_other_and_none_begins_once_told_to_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from tasks.train.stage import Pretrain

    assert Pretrain.alone
    stages = [Hungry(Store(str(tmp_path)), StageSettings(), {}, subject) for subject in "abc"]
    with ThreadPoolExecutor(3) as threads:
        for done in [threads.submit(make_part_somewhere, stage, "only", Report(), 1) for stage in stages]:
            done.result()
    monkeypatch.setattr("tasks.core.somewhere.is_stopping", lambda: True)
    other = Hungry(Store(str(tmp_path)), StageSettings(), {}, "d")
    with pytest.raises(GristmillError, match="was not begun: the same command goes on from there"):
        make_part_somewhere(other, "only", Report(), 1)
