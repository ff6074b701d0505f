"""What of a recipe is made, what is to be made, and what it cost."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from flows.forget import warn_of_waiting
from flows.mill import STAGES, Mill
from flows.progress import duration_text, size_text
from flows.query import rows
from flows.terminal import shown
from tasks.stage import Stage
from warehouse.artifact import complete, read_manifest, valid_record
from warehouse.errors import MissingArtifact


def print_status(mill: Mill, console: Console) -> None:
    """A line for each artifact of the recipe, in the order in which they are made."""
    spent = {
        row["key"]: row
        for row in rows(mill.store, "SELECT key, sum(wall_s) AS wall FROM work WHERE part IS NOT NULL GROUP BY key")
    }
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("stage", "state", "key", "kept of in", "size", "time"):
        table.add_column(name, justify="right" if name in ("kept of in", "size", "time") else "left")
    to_make = 0
    for name in STAGES:
        try:
            stages = mill.stages(name)
        except MissingArtifact:
            table.add_row(name, "[yellow]to make[/yellow]", "[dim]after the crawl[/dim]")
            to_make += 1
            continue
        for stage in stages:
            manifest = complete(mill.store, stage.ref)
            if manifest is None:
                to_make += 1
                table.add_row(shown(stage.title), _unmade(stage), stage.ref.key[:12])
                continue
            counts = manifest.counts
            wall = spent.get(manifest.key, {}).get("wall")
            table.add_row(
                shown(stage.title),
                "[green]made[/green]",
                manifest.key[:12],
                f"{counts.kept:,} of {counts.documents_in:,}" if counts.documents_in else "",
                size_text(manifest.bytes),
                duration_text(wall) if wall is not None else "",
            )
    console.print(table)
    warn_of_waiting(mill, console)
    console.print(f"{to_make} to make: gristmill run" if to_make else "Everything is made.")


def _unmade(stage: Stage) -> str:
    """Why an artifact does not count as made."""
    if read_manifest(stage.store, stage.ref) is not None:
        return "[red]damaged: files are missing or cut short; the next run makes them anew[/red]"
    names = [name.removesuffix(".json") for name in stage.store.names(f"{stage.ref.folder}/records")]
    made = sum(valid_record(stage.store, stage.ref, name) is not None for name in names)
    return f"[yellow]begun, {made} parts made[/yellow]" if made else "[yellow]to make[/yellow]"
