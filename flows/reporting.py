"""Where reports and corpus cards lie, and how they are written."""

from __future__ import annotations

from flows.mill import Mill
from flows.query import connect
from flows.recipe import Source
from tasks import card
from tasks.report import render
from warehouse.artifact import complete
from warehouse.errors import MissingArtifact


def report_path(mill: Mill) -> str:
    """The report's path below the store: a name for the recipe and the evaluation that it shows."""
    (evaluation,) = mill.stages("evaluate")
    return f"reports/{mill.recipe.name}-{evaluation.ref.key[:12]}.html"


def publish_report(mill: Mill) -> str:
    """Writes the report of what the catalog shows; returns its address."""
    with connect(mill.store, own=mill.own) as connection:
        page = render(connection, mill.recipe.name)
    path = report_path(mill)
    mill.store.write_bytes(path, page.encode())
    return mill.store.address(path)


def publish_card(mill: Mill) -> str:
    """Writes the data card of the recipe's corpus; returns its address. Raises MissingArtifact where there is none."""
    (select,) = mill.stages("select")
    if complete(mill.store, select.ref) is None:
        raise MissingArtifact(f"the recipe {mill.recipe.name} has no corpus yet: run gristmill corpus first")
    sources = [
        card.CardSource(name, _origin(source), source.license, source.policy, mill.recipe.policy_of(source))
        for name, source in mill.recipe.sources.items()
    ]
    with connect(mill.store, own=mill.own) as connection:
        text = card.render(connection, mill.recipe.name, str(select.ref), sources)
    path = f"cards/{mill.recipe.name}-{select.ref.key[:12]}.md"
    mill.store.write_bytes(path, text.encode())
    return mill.store.address(path)


def _origin(source: Source) -> str:
    """Where a source's texts come from, in a few words."""
    if source.crawl is not None:
        return f"a crawl from {', '.join(source.crawl.seeds[:3])}"
    for name in ("warc", "parquet", "jsonl", "text"):
        settings = getattr(source, name)
        if settings is not None:
            return f"{name} files {', '.join(map(str, settings.files[:3]))}"
    return "nowhere"
