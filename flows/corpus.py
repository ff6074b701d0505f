"""The flow `corpus`: archived pages to a clean, de-duplicated corpus."""

from __future__ import annotations

from prefect import flow

from flows.engine import make, mill_of, run_name, show_funnel, task_runner
from flows.query import FUNNEL, rows
from flows.recipe import DEFAULT_CONFIG, Recipe


@flow(name="corpus", flow_run_name=run_name, task_runner=task_runner())
def corpus(config: str = DEFAULT_CONFIG, recipe: Recipe | None = None, run_id: str = "") -> None:
    """Makes the corpus of a recipe from the newest crawls of its sources.

    Args:
        config: path of a recipe, or the name of one in configs/
        recipe: all settings; wins over config
        run_id: the run that the artifacts are noted under; a new one where empty

    """
    mill = mill_of(config, recipe, run_id)
    make(mill, "extract")
    make(mill, "quality")
    make(mill, "annotate")
    make(mill, "sign")
    make(mill, "band")
    make(mill, "match")
    make(mill, "tally")
    make(mill, "repetition")
    make(mill, "overlap")
    make(mill, "decontaminate")
    make(mill, "elect")
    make(mill, "select")
    show_funnel(mill, rows(mill.store, FUNNEL, own=mill.own))
