"""What of a recipe is made, what is to be made, and what it cost."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from flows.commands.forget import warn_of_waiting
from flows.graph import STAGES
from flows.making import Pipeline
from flows.orchestration.progress import duration_text, size_text
from flows.query import rows
from flows.terminal import shown
from warehouse.artifact import Ref, complete, read_manifest, valid_record
from warehouse.errors import MissingArtifact
from warehouse.store import Store


def print_status(pipeline: Pipeline, console: Console) -> None:
    """A line for each artifact of the recipe, in the order in which they are made."""
    spent = {
        row["key"]: row
        for row in rows(pipeline.store, "SELECT key, sum(wall_s) AS wall FROM work WHERE part IS NOT NULL GROUP BY key")
    }
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("stage", "state", "key", "kept of in", "size", "time"):
        table.add_column(name, justify="right" if name in ("kept of in", "size", "time") else "left")
    to_make, plan = 0, pipeline.plan
    for node in STAGES:
        if node not in plan.artifacts and isinstance(plan.unknown, MissingArtifact):
            table.add_row(node, "[yellow]to make[/yellow]", "[dim]after the crawl[/dim]")
            to_make += 1
            continue
        for artifact in plan[node]:
            manifest = complete(pipeline.store, artifact.ref)
            if manifest is None:
                to_make += 1
                table.add_row(shown(artifact.title), _unmade(pipeline.store, artifact.ref), artifact.ref.key[:12])
                continue
            counts = manifest.counts
            wall = spent.get(manifest.key, {}).get("wall")
            table.add_row(
                shown(artifact.title),
                "[green]made[/green]",
                manifest.key[:12],
                f"{counts.kept:,} of {counts.documents_in:,}" if counts.documents_in else "",
                size_text(manifest.bytes),
                duration_text(wall) if wall is not None else "",
            )
    console.print(table)
    warn_of_waiting(pipeline, console)
    console.print(f"{to_make} to make: gristmill run" if to_make else "Everything is made.")


def _unmade(store: Store, ref: Ref) -> str:
    """Why an artifact does not count as made."""
    if read_manifest(store, ref) is not None:
        return "[red]damaged: files are missing or cut short; the next run makes them anew[/red]"
    names = [name.removesuffix(".json") for name in store.names(f"{ref.folder}/records")]
    made = sum(valid_record(store, ref, name) is not None for name in names)
    return f"[yellow]begun, {made} parts made[/yellow]" if made else "[yellow]to make[/yellow]"
