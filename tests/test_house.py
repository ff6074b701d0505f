"""The house: imports run downward only, and the project names no path of a machine."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

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


def modules() -> dict[str, Path]:
    """Dotted name -> file, of all four rooms."""
    return {
        ".".join(path.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__"): path
        for room in ("flows", "tasks", "models", "warehouse")
        for path in (PROJECT / room).rglob("*.py")
    }


def imported(known: dict[str, Path], path: Path) -> set[str]:
    """The modules of the project that a file imports, wherever in it, lines that go on included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name in known}
        elif isinstance(node, ast.ImportFrom) and node.module in known:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= names & set(known) or {node.module}
    return found


def circles(arrows: dict[str, set[str]]) -> list[list[str]]:
    """The names that can be reached from themselves."""

    def reached(start: str) -> set[str]:
        seen, waiting = set[str](), list(arrows[start])
        while waiting:
            if (name := waiting.pop()) not in seen:
                seen.add(name)
                waiting += arrows.get(name, ())
        return seen

    return [[name, *sorted(reached(name))] for name in arrows if name in reached(name)]


def test_no_two_files_and_no_two_folders_import_in_a_circle() -> None:
    known = modules()
    arrows = {name: imported(known, path) - {name} for name, path in known.items()}
    assert sum(map(len, arrows.values())) > 600
    assert circles(arrows) == []
    rooms = {name: path.parent.relative_to(PROJECT).as_posix() for name, path in known.items()}
    folder = {name: room if room.startswith(("flows", "tasks")) else room.split("/")[0] for name, room in rooms.items()}
    between: dict[str, set[str]] = {}
    for name, others in arrows.items():
        # What lies beside the folders of flows/ (the flows themselves, table, queries) is no folder of its own.
        between.setdefault(folder[name], set()).update(folder[other] for other in others)
    assert circles({name: others - {name, "flows"} for name, others in between.items() if name != "flows"}) == []


def test_what_a_family_of_networks_is_trained_for_is_chosen_in_one_place() -> None:
    """Elsewhere the objective is asked for, by its name or its traits."""
    found = {
        path.relative_to(PROJECT).as_posix()
        for path in modules().values()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Compare) and "family" in ast.unparse(node.left)
    }
    assert found == {"models/objectives/traits.py"}


def test_nothing_beside_a_flow_is_called_like_an_installed_package() -> None:
    """Prefect puts the folder of a flow's file in front of the import path of the run, and so do the run's workers."""
    beside = {path.stem for path in (PROJECT / "flows").iterdir()} - {"__init__", "__pycache__"}
    assert beside & ({*packages_distributions(), *sys.stdlib_module_names} - {"flows"}) == set()
    assert "prefect" in packages_distributions()


def test_a_circle_is_seen() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}})
    assert not circles({"a": {"b"}, "b": {"c"}, "c": set()})


def test_tasks_are_in_rooms() -> None:
    loose = {path.name for path in (PROJECT / "tasks").glob("*.py")} - {"__init__.py"}
    assert loose == set()


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
    """Nobody but the table, and what it says of stages that ask for more than settings, makes a stage of the graph."""
    classes = {node.stage.__name__ for node in NODES}
    wired = {
        str(path.relative_to(PROJECT))
        for path in (PROJECT / "flows").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and classes & {alias.name for alias in node.names}
    }
    assert wired == {"flows/graph.py", "flows/special.py"}


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
    script = "import sys, flows.commands.cli, flows.making, flows.query, flows.commands.shell, flows.commands.forget\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert slow & set(done.stdout.split()) == set()
