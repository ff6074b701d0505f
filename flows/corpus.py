"""The flow `corpus`: archived pages to a clean, de-duplicated corpus."""

from __future__ import annotations

from prefect import flow

from flows.orchestration.engine import make, pipeline_of, run_name, show_funnel, task_runner
from flows.query import FUNNEL, rows
from flows.recipe.loading import DEFAULT_CONFIG
from flows.recipe.settings import Recipe


@flow(name="corpus", flow_run_name=run_name, task_runner=task_runner())
def corpus(config: str = DEFAULT_CONFIG, recipe: Recipe | None = None, run_id: str = "") -> None:
    """Makes the corpus of a recipe from the newest crawls of its sources.

    Args:
        config: path of a recipe, or the name of one in configs/
        recipe: all settings; wins over config
        run_id: the run that the artifacts are noted under; a new one where empty

    """
    pipeline = pipeline_of(config, recipe, run_id)
    make(pipeline, "extract")
    make(pipeline, "quality")
    make(pipeline, "annotate")
    make(pipeline, "sign")
    make(pipeline, "band")
    make(pipeline, "match")
    make(pipeline, "tally")
    make(pipeline, "repetition")
    make(pipeline, "overlap")
    make(pipeline, "decontaminate")
    make(pipeline, "elect")
    make(pipeline, "select")
    show_funnel(pipeline, rows(pipeline.store, FUNNEL, own=pipeline.own))
