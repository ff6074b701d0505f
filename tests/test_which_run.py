"""Which model answers: the run that a recipe trained last, or the one that is named, whatever else is in the store."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flows.query import rows
from tasks.train.published import load_run
from tasks.train.runs import find_run
from tests.conftest import PROJECT, Run
from warehouse import log
from warehouse.errors import MissingArtifact
from warehouse.store import Store


def said(run: Run, *words: str, overrides: tuple[str, ...] = ()) -> str:
    done = run.here(*words, overrides=overrides)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def trained(finished: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, list[str]]:
    """One store: the finished run, a later one of the same recipe, and one of another recipe, later still."""
    folder = tmp_path_factory.mktemp("which")
    shutil.copytree(finished.store, folder / "store")
    run = Run(folder / "store", finished.ports)
    store = Store(str(run.store))
    keys = [log.current(store)["pretrain"][0].key]
    for changes in (("pretrain.steps=20",), ("pretrain.steps=10", "name=other", "pack.validation_share=0.2")):
        run.drive(*changes, until="pretrain")
        keys.append(log.current(store)["pretrain"][0].key)
    assert len(set(keys)) == 3
    return run, keys


def test_latest_is_the_newest_by_time_of_its_recipe(trained: tuple[Run, list[str]]) -> None:
    run, (first, second, other) = trained
    store = Store(str(run.store))
    assert find_run(store).key == other
    assert find_run(store, recipe="demo-tiny").key == second
    assert find_run(store, recipe="other").key == other
    assert find_run(store, first[:8]).key == first
    with pytest.raises(MissingArtifact, match="recipe nobody has no trained model yet: run gristmill run"):
        find_run(store, recipe="nobody")
    with pytest.raises(MissingArtifact, match="there is no training run zz"):
        find_run(store, "zz")
    (latest,) = rows(store, "SELECT max(slot) AS slot FROM documents_at_step('latest', 10)")
    assert latest["slot"] == 39
    assert rows(store, "FROM documents_at_step('latest', 11)") == []
    as_of = log.runs(store)[-2].id
    assert find_run(store, as_of=as_of).key == second


def test_a_name_that_begins_several_runs_is_an_error(trained: tuple[Run, list[str]], tmp_path: Path) -> None:
    run, (first, *_) = trained
    for name in (f"{first[:4]}aaaa", f"{first[:4]}bbbb"):
        folder = run.store / "scratch" / "pretrain" / name
        folder.mkdir(parents=True)
        (folder / "job.json").write_text("{}")
    try:
        with pytest.raises(MissingArtifact, match="3 training runs begin with"):
            find_run(Store(str(run.store)), first[:4])
    finally:
        for path in (run.store / "scratch" / "pretrain").iterdir():
            (path / "job.json").unlink()


def test_commands_ask_the_run_of_their_recipe_or_the_one_that_is_named(
    trained: tuple[Run, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    run, (first, second, _) = trained
    # Settings that were not trained yet: the recipe's last run answers all the same.
    changed = ("pretrain.steps=77",)
    texts = {
        name: said(run, "generate", "demo-tiny", "--prompt", "The ", "--tokens", "30", *words, overrides=changed)
        for name, words in {"latest": (), "second": ("--run", second[:9]), "first": ("--run", first)}.items()
    }
    assert texts["latest"] == texts["second"] != texts["first"]
    refused = run.here("lineage", "--step", "21", "-c", "demo-tiny")
    assert f"the run {second[:12]} has 20 steps, and no step 21" in refused.stderr
    store = Store(str(run.store))
    found = rows(store, f"SELECT DISTINCT url FROM documents_at_step('{first[:9]}', 40)")
    listed = said(run, "lineage", "--step", "40", "--run", first[:9], "-c", "demo-tiny")
    assert found
    assert all(row["url"] in listed for row in found)


def test_what_the_model_card_tells_people_to_type_works(trained: tuple[Run, list[str]], tmp_path: Path) -> None:
    run, (first, second, _) = trained
    for key, words in ((second, ()), (first, ("--run", first[:7]))):
        folder = tmp_path / key
        said(run, "export", str(folder), "-c", "demo-tiny", *words)
        card = (folder / "README.md").read_text()
        assert f"run {key[:12]}" in card
        steps = 40 if key == first else 20
        assert f"| trained on | {steps * 4 * 64:,} tokens |" in card
        (command,) = re.findall(r"^gristmill (.*)$", card, re.M)
        done = subprocess.run(
            [sys.executable, "-m", "flows.commands.cli", *shlex.split(command)],
            cwd=PROJECT,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "COLUMNS": "300"},
        )
        assert done.returncode == 0, done.stderr
        assert "http://127.0.0.1" in done.stdout


def test_a_run_under_way_can_be_asked_by_its_name(finished: Run, tmp_path: Path) -> None:
    shutil.copytree(finished.store, tmp_path / "store")
    run = Run(tmp_path / "store", finished.ports)
    command = run.command(
        "pretrain.steps=1000000", "pretrain.save_every=25", "pretrain.keep_checkpoints=50", until="pretrain"
    )
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.DEVNULL, start_new_session=True) as process:
        deadline = time.monotonic() + 100
        while not list((run.store / "scratch").glob("pretrain/*/checkpoints/*.json")) and time.monotonic() < deadline:
            time.sleep(0.1)
        process.send_signal(signal.SIGSTOP)
        process.kill()
    time.sleep(1.5)  # the trainer ends with it
    (job,) = (run.store / "scratch" / "pretrain").glob("*/job.json")
    key = job.parent.name
    store = Store(str(run.store))
    known = find_run(store, key[:8])
    assert known.job is not None
    assert json.loads(job.read_text())["run"]["key"] == key
    _, step = load_run(store, known)
    assert step % 25 == 0
    assert step > 0
    assert said(run, "generate", "demo-tiny", "--run", key[:8], "--prompt", "The ", "--tokens", "4").startswith("The ")
    assert rows(store, f"FROM documents_at_step('{key[:8]}', {step})")
    said(run, "export", str(tmp_path / "exported"), "-c", "demo-tiny", "--run", key[:8])
    assert f"(step {step:,} of 1,000,000)" in (tmp_path / "exported" / "README.md").read_text()
    # Without a name the run that is finished answers.
    assert find_run(store, recipe="demo-tiny").key == log.current(store)["pretrain"][0].key
