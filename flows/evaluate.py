"""The flow `evaluate`: trained networks to scores beside the baselines', and the report."""

from __future__ import annotations

from pathlib import Path

from prefect import flow

from flows.orchestration.engine import make, pipeline_of, run_name, show_link, show_summary, task_runner
from flows.query import SCORES, rows
from flows.recipe.loading import DEFAULT_CONFIG
from flows.recipe.settings import Recipe
from flows.reporting import publish_report


@flow(name="evaluate", flow_run_name=run_name, task_runner=task_runner())
def evaluate(config: str = DEFAULT_CONFIG, recipe: Recipe | None = None, run_id: str = "") -> str:
    """Scores the trained networks of a recipe and writes the report; returns the report's address.

    Args:
        config: path of a recipe, or the name of one in configs/
        recipe: all settings; wins over config
        run_id: the run that the artifacts are noted under; a new one where empty

    """
    pipeline = pipeline_of(config, recipe, run_id)
    make(pipeline, "evaluate")
    make(pipeline, "questions")
    make(pipeline, "seek")
    make(pipeline, "expose")
    make(pipeline, "answer")
    scores = rows(pipeline.store, SCORES, own=pipeline.own, recipe=pipeline.recipe.name)
    show_summary(
        "scores",
        "\n".join(
            [
                "| task | metric | model | value | standard error | n | on clean text | overlap |",
                "|---|---|---|---|---|---|---|---|",
                *(
                    f"| {r['task']} | {r['metric']} | {r['model']} | {r['value']:.4g} | {r['stderr']:.2g} | {r['n']} | {_or_nothing(r['clean_value'])} "
                    f"| {_or_nothing(r['overlap'])} |"
                    for r in scores
                ),
            ]
        ),
    )
    address = publish_report(pipeline)
    show_link("report", Path(address).as_uri() if pipeline.store.is_local else address, "The report of this run")
    return address


def _or_nothing(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
