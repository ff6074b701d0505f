"""Where the report lies, and when it has to be written again."""

from __future__ import annotations

from flows.mill import Mill
from flows.query import connect
from tasks.report import render


def report_path(mill: Mill) -> str:
    """The report's path below the store: a name for the recipe and the evaluation that it shows."""
    (evaluation,) = mill.stages("evaluate")
    return f"reports/{mill.recipe.name}-{evaluation.ref.key[:12]}.html"


def publish_report(mill: Mill) -> str:
    """Writes the report of what the catalog shows; returns its address."""
    with connect(mill.store) as connection:
        page = render(connection, mill.recipe.name)
    path = report_path(mill)
    mill.store.write_bytes(path, page.encode())
    return mill.store.address(path)
