"""The flow `pretrain`: token arrays to a checkpoint."""

from __future__ import annotations

from prefect import flow

from flows.orchestration.engine import make, pipeline_of, run_name, show_summary, task_runner
from flows.query import rows
from flows.recipe.loading import DEFAULT_CONFIG
from flows.recipe.settings import Recipe


@flow(name="pretrain", flow_run_name=run_name, task_runner=task_runner())
def pretrain(config: str = DEFAULT_CONFIG, recipe: Recipe | None = None, run_id: str = "") -> None:
    """Trains the model of a recipe on its newest token arrays, in a process of its own.

    Args:
        config: path of a recipe, or the name of one in configs/
        recipe: all settings; wins over config
        run_id: the run that the artifacts are noted under; a new one where empty

    """
    pipeline = pipeline_of(config, recipe, run_id)
    make(pipeline, "pretrain")
    (run,) = pipeline.plan["pretrain"]
    found = rows(
        pipeline.store,
        "SELECT step, max(value) FILTER (WHERE name = 'loss') AS loss, max(value) FILTER (WHERE name = 'validation_loss') AS held_out "
        "FROM metrics WHERE run = ? GROUP BY step HAVING held_out IS NOT NULL ORDER BY step",
        [run.ref.key],
        own=pipeline.own,
    )
    show_summary(
        "training",
        "\n".join(
            [
                "| step | loss | held out |",
                "|---|---|---|",
                *(f"| {r['step']:,} | {r['loss']:.3f} | {r['held_out']:.3f} |" for r in found),
            ]
        ),
    )
