"""Which tests look at which setting, view, column, command and option: ``python -m tests.table`` writes docs/tested.md.

Nothing is listed by hand: settings are read from the recipe's models, columns from the views of an empty store, options
from the command line; what a test looks at is read from its source. A setting counts as looked at where a test names it
with its section (``pack.validation_share``, a line below ``[pack]``, or an argument of the section's class); a column
where a test that asks the view names it; an option where a test that runs the command gives it.
"""

from __future__ import annotations

import ast
import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import typer
from pydantic import BaseModel

PROJECT = Path(__file__).resolve().parents[1]
PAGE = PROJECT / "docs" / "tested.md"
SHOWN = 3
WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass
class Sight:
    """What one test, with the helpers and constants of its file that it uses, says."""

    name: str
    strings: list[str] = field(default_factory=list)
    arguments: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)

    @property
    def text(self) -> str:
        return "\n".join(self.strings)


def settings() -> dict[str, set[str]]:
    """Path of each setting of a recipe -> the classes that own it; ``NAME`` stands for a name that a recipe chooses."""
    from flows.recipe.settings import Recipe

    found: dict[str, set[str]] = {}
    sections = {_model_in(entry.annotation)[0] for entry in Recipe.model_fields.values()}

    def visit(model: type[BaseModel], path: str) -> None:
        for name, entry in model.model_fields.items():
            inner, many = _model_in(entry.annotation)
            place = f"{path}{name}"
            if inner is None or sections.intersection(inner.__mro__[1:]):  # what extends a section has its settings
                found.setdefault(place, set()).update(
                    {model.__name__, *(kind.__name__ for kind in model.__subclasses__())}
                )
            else:
                visit(inner, f"{place}.NAME." if many else f"{place}.")

    visit(Recipe, "")
    return found


def _model_in(kind: Any) -> tuple[type[BaseModel] | None, bool]:
    """The model of a section, and whether the setting holds several of them by name or number."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind, False
    for argument in get_args(kind):
        inner, _ = _model_in(argument)
        if inner is not None:
            return inner, type(None) not in get_args(kind)
    return None, False


def columns() -> dict[str, set[str]]:
    """View -> its columns."""
    from flows.query import connect
    from warehouse.store import Store

    with tempfile.TemporaryDirectory() as folder, connect(Store(folder)) as connection:
        rows = connection.sql(
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'main'"
        ).fetchall()
    found: dict[str, set[str]] = {}
    for view, column in rows:
        found.setdefault(view, set()).add(column)
    return found


def options() -> dict[str, set[str]]:
    """Command -> its options, as they are typed."""
    from flows.commands.cli import app

    group: Any = typer.main.get_command(app)
    return {
        name: {max(option.opts, key=len) for option in command.params if option.opts[0].startswith("-")}
        for name, command in group.commands.items()
    }


def sights() -> list[Sight]:
    """Every test of the suite."""
    return [sight for path in sorted((PROJECT / "tests").rglob("test_*.py")) for sight in _sights_of(path)]


def _sights_of(path: Path) -> Iterator[Sight]:
    tree = ast.parse(path.read_text())
    parts = _imported(tree) | {_name(node): node for node in tree.body if _name(node)}
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    for name, node in parts.items():
        if not name.startswith("test_") or not isinstance(node, ast.FunctionDef):
            continue
        sight, waiting, seen = Sight(f"{path.stem}::{name}"), [name], set[str]()
        while waiting:
            here = waiting.pop()
            if here in seen or here not in parts:
                continue
            seen.add(here)
            said = _said(parts[here])
            sight.strings += said.strings
            sight.arguments |= said.arguments
            sight.names |= said.names
            waiting += said.names
        sight.names |= {alias.name for one in imports for alias in one.names if alias.name in sight.names}
        yield sight


def _imported(tree: ast.Module) -> dict[str, ast.stmt]:
    """Helpers and constants that a file takes from another one of the tests."""
    found: dict[str, ast.stmt] = {}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("tests."):
            other = ast.parse((PROJECT / (node.module.replace(".", "/") + ".py")).read_text())
            parts = {_name(part): part for part in other.body if _name(part)}
            found |= {name: part for name, part in parts.items() if not name.startswith("test_")}
    return found


def _name(node: ast.stmt) -> str:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return node.name
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id
    return node.target.id if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) else ""


def _said(node: ast.AST) -> Sight:
    said = Sight("")
    for inner in ast.walk(node):
        if isinstance(inner, ast.Constant) and isinstance(inner.value, str):
            said.strings.append(inner.value)
        elif isinstance(inner, ast.keyword) and inner.arg:
            said.arguments.add(inner.arg)
        elif isinstance(inner, ast.Attribute):
            said.arguments.add(inner.attr)
            said.names.add(inner.attr)
        elif isinstance(inner, ast.Name):
            said.names.add(inner.id)
        elif isinstance(inner, ast.arg):  # a fixture
            said.names.add(inner.arg)
        elif isinstance(inner, ast.Dict):
            said.arguments |= {
                key.value for key in inner.keys if isinstance(key, ast.Constant) and isinstance(key.value, str)
            }
    return said


def looks_at_setting(sight: Sight, path: str, owners: set[str]) -> bool:
    """Whether a test names a setting with its section."""
    *sections, leaf = path.split(".")
    if not owners.isdisjoint(sight.names) and leaf in sight.arguments:
        return True
    text = sight.text
    if re.search(
        r"\.".join(r"[\w-]+" if step == "NAME" else re.escape(step) for step in [*sections, leaf]) + r"\b", text
    ):
        return True
    section = [step for step in sections if step != "NAME"]
    for block in re.split(r"^\s*(?=\[)", text, flags=re.M):
        head = re.match(r"\[+([^\]]*)\]", block)
        steps = [step for step in re.split(r"[.\s]", head[1]) if step] if head else []
        if set(section) <= set(steps) and re.search(rf"(^|[{{,\s]){re.escape(leaf)}\s*=", block, re.M):
            return True
        if (
            section
            and set(section[:-1]) <= set(steps)
            and re.search(rf"{section[-1]}\s*=\s*[\[{{].*{re.escape(leaf)}\s*=", block)
        ):
            return True
    return not section and bool(
        re.search(rf"^\s*{re.escape(leaf)}\s*=", text, re.M) or re.search(rf"^{re.escape(leaf)}=", text, re.M)
    )


def looks_at_column(sight: Sight, view: str, column: str) -> bool:
    """Whether a test asks a view, in SQL or by the table's name, and names a column."""
    text = sight.text
    asks = re.search(rf"(?i)(from|join)\s+(\w+\.)?{view}\b|^{view}$", text, re.M)
    return bool(asks) and (column in sight.arguments or column in set(WORD.findall(text)))


def looks_at_option(sight: Sight, command: str, option: str) -> bool:
    """Whether a test runs a command, and gives an option."""
    words = set(sight.strings) | {word for text in sight.strings for word in text.split()}
    positive = option.split("/", maxsplit=1)[0]
    return command in words and (option in words or positive in words or positive.replace("--", "--no-") in words)


def rows() -> dict[str, dict[str, list[str]]]:
    """Chapter -> what is looked at -> the tests that do."""
    found = sights()
    return {
        "Settings": {
            path: [sight.name for sight in found if looks_at_setting(sight, path, owners)]
            for path, owners in sorted(settings().items())
        },
        "Columns": {
            f"{view}.{column}": [sight.name for sight in found if looks_at_column(sight, view, column)]
            for view, names in sorted(columns().items())
            for column in sorted(names)
        },
        "Commands and options": {
            f"{command} {option}".strip(): [
                sight.name for sight in found if looks_at_option(sight, command, option or command)
            ]
            for command, names in sorted(options().items())
            for option in ("", *sorted(names - {"--help"}))
        },
    }


def page(found: dict[str, dict[str, list[str]]]) -> str:
    """The table as a page."""
    lines = [
        "# What is tested where",
        "",
        "Written by `python -m tests.table`; a test holds it against the code, and that nothing is missing. It says which tests name a "
        "thing with its place; that they fail where it is ignored is what [testing.md](testing.md) measures.",
    ]
    for chapter, entries in found.items():
        lines += ["", f"## {chapter}", "", "| | tests | for example |", "|---|---|---|"]
        for name, tests in entries.items():
            shown = ", ".join(f"`{test}`" for test in tests[:SHOWN])
            lines.append(f"| `{name}` | {len(tests)} | {shown} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Writes the page; 1 where something is looked at by no test."""
    found = rows()
    PAGE.write_text(page(found))
    missing = [
        f"{chapter}: {name}" for chapter, entries in found.items() for name, tests in entries.items() if not tests
    ]
    print("\n".join(missing) or "Everything is looked at by a test.")
    return int(bool(missing))


if __name__ == "__main__":
    sys.exit(main())
