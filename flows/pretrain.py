"""The flow `pretrain`: token arrays to trained networks, one a run of the recipe."""

from __future__ import annotations

from prefect import flow

from flows.orchestration.engine import make, pipeline_of, run_name, show_summary, task_runner
from flows.query import rows
from flows.recipe.loading import DEFAULT_CONFIG
from flows.recipe.settings import Recipe


@flow(name="pretrain", flow_run_name=run_name, task_runner=task_runner())
def pretrain(config: str = DEFAULT_CONFIG, recipe: Recipe | None = None, run_id: str = "") -> None:
    """Trains the runs of a recipe on its newest token arrays, each in a process of its own.

    Args:
        config: path of a recipe, or the name of one in configs/
        recipe: all settings; wins over config
        run_id: the run that the artifacts are noted under; a new one where empty

    """
    pipeline = pipeline_of(config, recipe, run_id)
    make(pipeline, "pretrain")
    found = rows(
        pipeline.store,
        "SELECT model, step, max(value) FILTER (WHERE name = 'loss') AS loss, max(value) FILTER (WHERE name = 'validation_loss') AS held_out "
        "FROM metrics WHERE run IN (SELECT run FROM models) GROUP BY ALL HAVING held_out IS NOT NULL ORDER BY model, step",
        own=pipeline.own,
        recipe=pipeline.recipe.name,
    )
    show_summary(
        "training",
        "\n".join(
            [
                "| run | step | loss | held out |",
                "|---|---|---|---|",
                *(f"| {r['model']} | {r['step']:,} | {r['loss']:.3f} | {r['held_out']:.3f} |" for r in found),
            ]
        ),
    )
