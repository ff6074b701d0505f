"""The house: imports run downward only, and the project names no path of a machine."""

from __future__ import annotations

import ast
import re
import subprocess
import sys

from flows.graph import NODES
from tests.conftest import PROJECT

ALLOWED = {
    "flows": {"flows", "tasks", "models", "warehouse"},
    "tasks": {"tasks", "models", "warehouse"},
    "models": {"models"},
    "warehouse": {"warehouse"},
    "demo": {"demo", "tasks"},
}
FORBIDDEN_LIBRARIES = {
    "models": {"prefect", "pyarrow", "duckdb"},
    "warehouse": {"prefect", "torch"},
    "tasks": {"prefect"},
}


def _imports(text: str) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


def test_rooms_import_only_downward() -> None:
    uphill = []
    for room, allowed in ALLOWED.items():
        for path in (PROJECT / room).rglob("*.py"):
            found = _imports(path.read_text())
            uphill += [f"{path.relative_to(PROJECT)} imports {name}" for name in found & set(ALLOWED) - allowed]
            uphill += [
                f"{path.relative_to(PROJECT)} imports {name}" for name in found & FORBIDDEN_LIBRARIES.get(room, set())
            ]
    assert not uphill


def test_stages_do_not_import_one_another_except_for_their_data_and_settings() -> None:
    """What stages share is a table; a later one may know an earlier one's settings, reader or codec, never its stage class."""
    classes = {node.stage.__name__ for node in NODES}
    found = [
        f"{path.relative_to(PROJECT)} imports {alias.name}"
        for path in (PROJECT / "tasks").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.name in classes
    ]
    assert found == []
    assert len(classes) == len(NODES)


def test_stages_are_wired_in_one_place() -> None:
    """Nobody but the table makes a stage of the graph."""
    classes = {node.stage.__name__ for node in NODES}
    wired = {
        str(path.relative_to(PROJECT))
        for path in (PROJECT / "flows").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and classes & {alias.name for alias in node.names}
    }
    assert wired == {"flows/graph.py"}


def test_no_file_names_a_path_of_this_machine() -> None:
    tracked = subprocess.run(
        ["git", "grep", "-lIE", f"{re.escape(str(PROJECT.parent))}/|/root/\\."],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert not tracked.stdout.split()


def test_what_only_looks_does_not_wait_for_what_only_computes() -> None:
    """A question to the store, or the state of a recipe, is answered before torch alone would have been imported."""
    slow = {"torch", "transformers", "datasketch", "scipy.stats", "sklearn", "twisted", "matplotlib", "prefect"}
    script = "import sys, flows.cli, flows.making, flows.query, flows.shell, flows.forget\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert slow & set(done.stdout.split()) == set()
