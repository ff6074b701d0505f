"""The flow `scaling`: a ladder of models on one corpus, every checkpoint evaluated, and the page that says how they scale."""

from __future__ import annotations

from pathlib import Path

from prefect import flow

from flows.orchestration.engine import pipeline_of, run_name, show_link, task_runner
from flows.pipeline import pipeline
from flows.recipe.settings import Recipe
from flows.reporting import publish_scaling

LADDER = "scaling"  # the recipe that is a ladder


@flow(name="scaling", flow_run_name=run_name, task_runner=task_runner())
def scaling(config: str = LADDER, recipe: Recipe | None = None) -> str:
    """Makes the ladder of a recipe, reusing whatever is there, and writes its page; returns the page's address.

    Args:
        config: path of a recipe whose runs are a ladder, or the name of one in configs/
        recipe: all settings; wins over config

    """
    pipeline(config, recipe)
    made = pipeline_of(config, recipe, "")
    address = publish_scaling(made)
    show_link(
        "scaling", Path(address).as_uri() if made.store.is_local else address, "How the models of this recipe scale"
    )
    return address
