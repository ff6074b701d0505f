"""The tiny twins of fine-tuning and alignment: one command each, from web pages to a page."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from flows.recipe.loading import load_recipe
from tasks.finetune.plays import BUILTIN
from tests.conftest import PROJECT


def test_the_tiny_twins_have_their_pages_from_one_command_each(tmp_path: Path) -> None:
    wanted = {
        "finetune": [f"<h2>{task}</h2>" for task in BUILTIN],
        "align": ["<h2>sft</h2>", "<h2>ppo</h2>", "<h2>dpo</h2>"],
    }
    for command, config in (("finetune", "finetune-tiny"), ("align", "chat-tiny")):
        words = [sys.executable, "-m", "flows.commands.cli", command, config, "--set", f"store={tmp_path}/store"]
        done = subprocess.run(
            words, cwd=PROJECT, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "200"}
        )
        assert done.returncode == 0, done.stderr
        page = Path(re.search(r"Page: (\S+)", done.stdout)[1]).read_text()  # type: ignore[index]
        assert all(part in page for part in wanted[command])
    for flow in ("finetune", "align"):
        config = {"finetune": "finetune-tiny", "align": "chat-tiny"}[flow]
        words = [
            sys.executable,
            "-m",
            "flows.commands.cli",
            flow,
            config,
            "--verbose",
            "--set",
            f"store={tmp_path}/store",
        ]
        assert (
            "nothing was done" in subprocess.run(words, cwd=PROJECT, capture_output=True, text=True, check=False).stdout
        )


def test_every_recipe_that_comes_with_the_project_can_be_read() -> None:
    names = sorted(path.stem for path in (PROJECT / "configs").glob("*.toml"))
    assert {"chat", "chat-tiny", "finetune", "finetune-tiny", "transfer"} <= set(names)
    for name in names:
        assert load_recipe(name).name == name


def test_align_and_finetune_say_what_they_need(tmp_path: Path) -> None:
    for words in (["align", "demo-tiny"], ["finetune", "demo-tiny"]):
        command = [sys.executable, "-m", "flows.commands.cli", *words, "--set", f"store={tmp_path}"]
        done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert "give it a section" in done.stderr
