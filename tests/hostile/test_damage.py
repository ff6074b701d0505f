"""Damage to every kind of file of a store: every command answers or says one sentence, verify names it, the next run heals."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from flows.making import Pipeline
from flows.query import rows
from flows.recipe.loading import load_recipe
from tests.conftest import Run, locked
from tests.test_which_run import said
from warehouse import log
from warehouse.artifact import Ref, complete, load
from warehouse.removals import Removal, record
from warehouse.store import Store

ASKED = (
    ("status", "demo-tiny"),
    ("sql", "SELECT count(*) AS n FROM corpus", "--config", "demo-tiny"),
    ("sql", "SELECT count(*) AS n FROM work", "--config", "demo-tiny"),
    ("sql", "SELECT count(*) AS n FROM metrics", "--config", "demo-tiny"),
    ("card", "demo-tiny"),
)
HOW = ("empty", "cut", "bit", "other version", "gone")
# Of what is made again: everything of an artifact. The rest is history, or a hint.
HEALED = re.compile(r"artifacts/")


def kinds(store: Path) -> dict[str, Path]:
    """A file of each kind: its path without keys, numbers and names."""
    found: dict[str, Path] = {}
    for path in sorted(store.rglob("*")):
        relative = path.relative_to(store).as_posix()
        if path.is_file() and not relative.startswith(("scratch/", "reports/", "cards/")):
            kind = re.sub(r"[0-9a-f]{32}|[0-9a-f]{8,}|\d+|works|reference", "*", relative)
            kind = re.sub(r"/[^/]*(\.\w+)$", r"/*\1", kind) if not kind.endswith("manifest.json") else kind
            found.setdefault(kind, path)
    return found


def damage(path: Path, how: str) -> None:
    content = path.read_bytes()
    if how == "gone":
        path.unlink()
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif how == "bit" and not content:  # an array of no tokens: a bit too many
        path.write_bytes(b"\x10")
    elif how == "bit":
        place = len(content) // 2
        path.write_bytes(content[:place] + bytes([content[place] ^ 16]) + content[place + 1 :])
    elif path.suffix == ".json":
        values = json.loads(content)
        path.write_text(json.dumps({**values, "of_a_newer_version": 1} if isinstance(values, dict) else [values]))
    else:
        path.write_bytes(b"GRIST9" + content)


def bytes_of(store: Path) -> dict[str, bytes]:
    """All files of all artifacts."""
    return {
        path.relative_to(store).as_posix(): path.read_bytes()
        for path in (store / "artifacts").rglob("*")
        if path.is_file() and not path.name.endswith(".corrupt")
    }


@pytest.fixture(scope="module")
def whole(finished: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Path], dict[str, bytes]]:
    """The finished store with a removal of nothing and a purge note of nothing, each of its kinds, and its bytes."""
    store = tmp_path_factory.mktemp("whole") / "store"
    shutil.copytree(finished.store, store)
    wish = Removal(
        at="2026-01-01T00:00:00+00:00", kind="url", value="http://no.example/", reason="x", urls=("http://no.example/",)
    )
    record(Store(str(store)), wish)
    return store, kinds(store), bytes_of(store)


def test_the_store_has_files_of_every_kind_that_is_damaged_here(
    whole: tuple[Path, dict[str, Path], dict[str, bytes]],
) -> None:
    names = " ".join(whole[1])
    tables = "manifest.json records/ warc/ urls/ pages/ documents/ signals/ train/ checkpoint/ tokenizer"
    for part in (*tables.split(), "log/runs", "log/work", "log/metrics", "reuse/", "removals/"):
        assert part in names, part
    assert len(whole[1]) > 40


@pytest.mark.timeout(900)
@pytest.mark.parametrize("how", HOW)
def test_asking_a_store_with_damage_of_every_kind(
    finished: Run, whole: tuple[Path, dict[str, Path], dict[str, bytes]], tmp_path: Path, how: str
) -> None:
    """One file of each kind, all at once: each command answers or says one sentence, and verify names each file."""
    store, found, _ = whole
    shutil.copytree(store, tmp_path / "store")
    run = Run(tmp_path / "store", finished.ports)
    for path in found.values():
        damage(tmp_path / "store" / path.relative_to(store), how)
    for words in ASKED:
        done = run.here(*words)
        assert "Traceback" not in done.stderr + done.stdout
        assert done.returncode in (0, 1)
    verified = run.here("status", "demo-tiny", "--verify")
    assert "Traceback" not in verified.stderr
    if how != "gone":
        named = verified.stdout.replace("\n", "")
        missing = [kind for kind, path in found.items() if path.name not in named]
        if how in ("bit", "other version"):  # where nothing has a checksum, another letter is another letter
            missing = [kind for kind in missing if not kind.startswith(("log/", "reuse/", "removals/"))]
        of_unreadable = {path.parent for path in found.values() if path.name == "manifest.json"}
        # What a manifest that cannot be read names is not known to verify; the next run asks the part records.
        assert [kind for kind in missing if not any(folder in found[kind].parents for folder in of_unreadable)] == []
        assert verified.returncode == 1


KINDS_TO_HEAL = (
    "manifest.json",
    "records/",
    "urls/",
    "pages/",
    "warc/",
    "documents/",
    "signals/",
    "duplicates/",
    "corpus/",
    "train/",
    "token_spans/",
    "checkpoint/",
    "evaluations/",
)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("turn", [0, 2])
def test_the_next_run_heals_to_the_same_bytes(
    finished: Run,
    whole: tuple[Path, dict[str, Path], dict[str, bytes]],
    tmp_path: Path,
    shared_folder: Path,
    turn: int,
) -> None:
    """Each kind damaged in one of the ways, another one in the other turn, which has the slow ones: crawl and training."""
    store, found, before = whole
    shutil.copytree(store, tmp_path / "store")
    run = Run(tmp_path / "store", finished.ports)
    shutil.rmtree(run.store / "removals")  # else there would be something new to make
    healed = [
        (kind, path)
        for kind, path in found.items()
        if HEALED.search(kind)
        and (turn == 2 or ("/crawl/" not in kind and "/pretrain/" not in kind))
        and any(one in kind for one in KINDS_TO_HEAL)
    ]
    for number, (_, path) in enumerate(healed):
        damage(tmp_path / "store" / path.relative_to(store), HOW[(number + turn) % len(HOW)])
    run.here("status", "demo-tiny", "--verify")
    with locked(shared_folder / "ports.lock"):
        for _ in range(4):  # what a run finds damaged it sets aside, and says to run the same command again
            done = run.drive(check=False)
            if done.returncode == 0:
                break
            assert "run the same command again" in done.stderr
    assert done.returncode == 0, done.stderr[-2000:]
    after = bytes_of(tmp_path / "store")
    changed = [path for path, content in before.items() if after.get(path) != content]
    changed = [path for path in changed if "/crawl/" not in path]  # which holds times
    # A record that another program wrote otherwise may say the same: only what files hold must be equal.
    assert [path for path in changed if not path.endswith(".json")] == []


def test_a_lost_archive_costs_its_own_pages_and_the_next_crawl_fetches_them(finished: Run, tmp_path: Path) -> None:
    shutil.copytree(finished.store, tmp_path / "store")
    run = Run(tmp_path / "store", finished.ports)
    store = Store(str(run.store))
    (crawl,) = [ref for ref in log.current(store)["crawl"] if load(store, ref).subject == "works"]
    (archive,) = (run.store / crawl.folder / "warc").iterdir()
    for how in ("cut", "bit"):
        content = archive.read_bytes()
        damage(archive, how)
        checked = run.here("status", "demo-tiny", "--verify")
        assert archive.name in checked.stdout.replace("\n", "")
        assert "the next crawl" in checked.stdout
        assert complete(store, crawl) is not None  # the crawl is what it was
        if archive.exists():
            archive.unlink()
        archive.with_name(f"{archive.name}.corrupt").unlink(missing_ok=True)
        archive.write_bytes(content)
    archive.unlink()
    shutil.rmtree(run.store / "artifacts" / "extract")
    shutil.rmtree(run.store / "reuse")
    pipeline = Pipeline(load_recipe("demo-tiny", run.overrides))
    found = {manifest.subject: manifest for manifest in pipeline.make("extract")}
    assert found["works"].counts.failed == found["works"].counts.documents_in == load(store, crawl).counts.kept
    assert found["reference"].counts.failed == 0
    ref = found["works"].ref
    archive.write_bytes(content)  # back again: what was made without it does not stand for what is made with it
    again = {manifest.subject: manifest for manifest in Pipeline(pipeline.recipe).make("extract")}
    assert again["works"].ref != ref
    assert again["works"].counts.failed == 0


def test_what_the_manifest_knows_is_enough_where_a_part_record_is_damaged(copied: Run) -> None:
    for path in (copied.store / "artifacts" / "extract").rglob("records/*.json"):
        path.write_bytes(path.read_bytes()[:30])
    shutil.rmtree(copied.store / "artifacts" / "annotate")
    shutil.rmtree(copied.store / "reuse")
    pipeline = Pipeline(load_recipe("demo-tiny", copied.overrides))
    assert pipeline.make("annotate")


def test_what_dead_processes_left_half_written_in_the_log_goes(copied: Run) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait()
    left = copied.store / "log" / "work" / f".tmp-{socket.gethostname()}~{ended.pid}~0a1b2c3d~x.json"
    under_way = left.with_name(f".tmp-{socket.gethostname()}~{os.getpid()}~0a1b2c3d~x.json")
    left.write_bytes(b"{")
    under_way.write_bytes(b"{")
    said(copied, "tokenizer", "demo-tiny")
    assert not left.exists()
    assert under_way.exists()


def test_a_removal_that_cannot_be_read_stops_what_would_bring_documents_back(copied: Run) -> None:
    said(copied, "forget", "demo-tiny", "--url", "http://none.example/")
    (path,) = (copied.store / "removals").iterdir()
    path.write_bytes(b"")
    assert copied.here("sql", "FROM removals", "--config", "demo-tiny").returncode == 0
    done = copied.drive("pretrain.steps=2", check=False)
    assert "says what is to be forgotten and cannot be read" in done.stderr
    said(copied, "forget", "demo-tiny", "--url", "http://none.example/")  # can be recorded again
    path.unlink()


def test_views_are_those_of_their_recipe_whatever_another_makes_and_whatever_its_clock_says(copied: Run) -> None:
    store = Store(str(copied.store))
    own = log.current(store, recipe="demo-tiny")["pretrain"]
    ahead = log.RunRecord(
        id="29990101T000000.000000-other",
        recipe="other",
        started_at="2999-01-01T00:00:00+00:00",
        stages={"pretrain": ["0" * 32]},
    )
    store.write_bytes(f"{log.RUNS}/{ahead.id}.json", ahead.model_dump_json().encode())
    assert log.current(store)["pretrain"] == [Ref(stage="pretrain", key="0" * 32)]
    assert log.current(store, recipe="demo-tiny")["pretrain"] == own
    shown = json.loads(
        said(
            copied,
            "sql",
            "SELECT key FROM artifacts WHERE stage = 'pretrain'",
            "--format",
            "json",
            "--config",
            "demo-tiny",
        )
    )
    assert [row["key"] for row in shown] == [own[0].key]
    # A run of another recipe in the meantime changes nothing of the report's figures, and later runs are the newest.
    copied.drive("name=other", "pretrain.steps=2", "pack.validation_share=0.2", until="pretrain")
    (other,) = log.current(store, recipe="other")["pretrain"]
    assert log.current(store)["pretrain"] == [other]
    pipeline = Pipeline(load_recipe("demo-tiny", copied.overrides))
    (row,) = rows(store, "SELECT key FROM artifacts WHERE stage = 'pretrain'", own=pipeline.own)
    assert row["key"] == own[0].key
