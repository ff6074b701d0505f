"""The commit protocol as it is observed: what was written is synced before it is named, and named before it is told of."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch

from models.training import checkpoint
from tasks.core.stage import Made, Report, Stage, StageSettings, run_stages
from warehouse.artifact import Counts, PartWriter
from warehouse.store import Store

Event = tuple[str, str]


@contextmanager
def observed(monkeypatch: pytest.MonkeyPatch, root: Path) -> Iterator[list[Event]]:
    """The system calls that make files of a folder durable, in their order: (call, path below the folder)."""
    events: list[Event] = []

    def below(path: Any) -> str:
        try:
            return str(Path(path).relative_to(root))
        except (ValueError, TypeError):
            return ""

    def watched(name: str, path_of: Callable[..., Any]) -> None:
        real = getattr(os, name)

        def call(*arguments: Any, **named: Any) -> Any:
            path = path_of(*arguments)
            before = Path(path).stat().st_size if name == "fsync" and Path(path).is_file() else 0
            done = real(*arguments, **named)
            events.append((name, below(path) + (f" of {before}" if before else "")))
            return done

        monkeypatch.setattr(os, name, call)

    watched("fsync", lambda descriptor: os.readlink(f"/proc/self/fd/{descriptor}"))
    watched("replace", lambda _source, target: target)
    watched("rename", lambda _source, target: target)
    watched("link", lambda _source, target: target)
    yield events
    monkeypatch.undo()


def assert_durable(events: list[Event], root: Path, *names: str) -> None:
    """Each file: its whole content synced, then named, then its folder synced, before the next one is begun."""
    place = 0
    for name in names:
        named = next(i for i, (call, path) in enumerate(events) if call == "replace" and path == name and i >= place)
        size, folder = (root / name).stat().st_size, str(Path(name).parent)
        synced = [path for call, path in events[place:named] if call == "fsync"]
        assert any(path.endswith(f" of {size}") and Path(path).parent == Path(folder) for path in synced), (
            name,
            synced,
        )
        after = next(i for i, event in enumerate(events) if i > named and event == ("fsync", folder))
        place = after + 1


class Two(Stage):
    """Two parts of a table each."""

    name = "two"
    version = 1
    in_worker = False

    def plan(self) -> list[str]:
        return ["a", "b"]

    def make(self, part: str, writer: PartWriter, report: Report) -> Made:
        writer.table("numbers", pa.table({"n": list(range(1000))}))
        writer.bytes(f"notes/{part}.txt", b"x" * 5000)
        return Made(counts=Counts(documents_in=3, kept=2, removed=1))


linux = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="descriptors are named by Linux's /proc")


@linux
def test_files_are_durable_before_their_record_and_records_before_the_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Two(Store(str(tmp_path)), StageSettings(), {})
    with observed(monkeypatch, tmp_path) as events:
        run_stages([stage])
    folder = stage.ref.folder
    for part in ("a", "b"):
        files = (f"{folder}/numbers/{part}.parquet", f"{folder}/notes/{part}.txt", f"{folder}/records/{part}.json")
        assert_durable(events, tmp_path, *files, f"{folder}/manifest.json")


@linux
def test_a_part_that_is_taken_over_is_linked_before_its_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Reused(Two):
        def part_inputs(self, part: str) -> list[str]:
            return ["the same"]

    store = Store(str(tmp_path))
    run_stages([Reused(store, StageSettings(), {}, "first")])
    second = Reused(store, StageSettings(), {}, "second")
    monkeypatch.setattr(Reused, "part_settings", lambda self, part: {})
    run_stages([Reused(store, StageSettings(), {}, "third")])
    with observed(monkeypatch, tmp_path) as events:
        monkeypatch.setattr(Reused, "part_settings", lambda self, part: {})
        run_stages([second])
    folder = second.ref.folder
    calls = [path for call, path in events if call == "replace"]
    assert calls.index(f"{folder}/numbers/a.parquet") < calls.index(f"{folder}/records/a.json")
    linked = [i for i, (call, path) in enumerate(events) if call == "link" and f"{folder}/numbers" in path]
    assert len(linked) == 2  # nothing is written again
    for i in linked:
        assert ("fsync", f"{folder}/numbers") in events[i : i + 3]


@linux
def test_an_adopted_file_is_synced_before_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(str(tmp_path))
    local = store.scratch("crawl") / "x.warc.gz"
    local.write_bytes(b"y" * 300)
    with observed(monkeypatch, tmp_path) as events:
        store.adopt("artifacts/crawl/k/warc/x.warc.gz", local)
    assert events == [
        ("fsync", "scratch/crawl/x.warc.gz of 300"),
        ("replace", "artifacts/crawl/k/warc/x.warc.gz"),
        ("fsync", "artifacts/crawl/k/warc"),
    ]


@linux
def test_a_checkpoint_is_synced_before_its_record_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with observed(monkeypatch, tmp_path) as events:
        checkpoint.write(tmp_path, 7, "run", {"model.a": torch.arange(400.0)})
    size, record = ((tmp_path / f"step-00000007.{end}").stat().st_size for end in ("safetensors", "json"))
    assert events == [
        ("fsync", f"step-00000007.tmp of {size}"),
        ("replace", "step-00000007.safetensors"),
        ("fsync", f"step-00000007.json.tmp of {record}"),
        ("replace", "step-00000007.json"),
        ("fsync", "."),
    ]


def test_a_write_that_fails_leaves_nothing_and_what_was_there_stays(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    store.write_bytes("a/b", b"before")

    class Broken(Exception):
        pass

    with pytest.raises(Broken), store.writing("a/b") as path:
        path.write_bytes(b"half")
        raise Broken
    assert store.read_bytes("a/b") == b"before"
    assert [entry.name for entry in (tmp_path / "a").iterdir()] == ["b"]
