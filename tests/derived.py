"""What the documentation says that the code knows: ``python -m tests.derived`` writes it between its marks, a test compares.

The stages of the node table in docs/architecture.md, the views in README.md, the signals in docs/signals.md.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path

from flows.given import Given
from flows.graph import NODES
from tasks.core.graph import Node
from tasks.select.measured import SIGNALS
from tests.conftest import PROJECT
from tests.table import columns

HOW = {
    "run": "{} of its run",
    "same": "{} of the same source",
    "every": "{} of each source",
    "one": "{}",
    "optional": "{} if any",
}


def stages() -> str:
    """A row for each node, in the order of the table."""
    lines = ["| stage | module | there is | it reads | version |", "|---|---|---|---|---|"]
    return "\n".join([*lines, *map(_row, NODES)])


def _row(node: Node[Given]) -> str:
    module = Path(inspect.getfile(node.stage)).relative_to(PROJECT)
    there = (node.over.__doc__ or "").rstrip(".")
    reads = ", ".join(
        HOW["run" if read.of else read.how].format(read.node) + (" (some)" if read.where else "")
        for read in node.reads.values()
    )
    return f"| {node.name} | `{module}` | {there[0].lower()}{there[1:]} | {reads} | {node.stage.version} |"


def listed_views() -> str:
    """The names of all views, for a sentence."""
    *most, last = [f"`{name}`" for name in sorted(columns())]
    return f"{', '.join(most)} and {last}."


def signals() -> str:
    """A row for each signal, in the order of the columns."""
    lines = ["| signal | unit | definition | source | version | needs |", "|---|---|---|---|---|---|"]
    return "\n".join(
        [*lines, *(f"| `{s.name}` | {s.unit} | {s.meaning} | {s.source} | {s.version} | {s.needs} |" for s in SIGNALS)]
    )


DERIVED: dict[str, dict[str, Callable[[], str]]] = {
    "docs/architecture.md": {"stages": stages},
    "README.md": {"views": listed_views},
    "docs/signals.md": {"signals": signals},
}


def derived(file: str) -> str:
    """A page with what is derived written anew between ``<!-- NAME -->`` and ``<!-- end -->``."""
    text = (PROJECT / file).read_text()
    for name, write in DERIVED[file].items():
        text, count = re.subn(
            rf"(<!-- {name} -->\n).*?(\n<!-- end -->)", lambda mark, w=write: mark[1] + w() + mark[2], text, flags=re.S
        )
        assert count == 1, f"{file} has no place for {name}"
    return text


def main() -> int:
    """Writes all of it."""
    for file in DERIVED:
        (PROJECT / file).write_text(derived(file))
    return 0


if __name__ == "__main__":
    sys.exit(main())
