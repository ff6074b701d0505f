"""The flow `pipeline`: from web pages to an evaluated language model."""

from __future__ import annotations

from prefect import flow

from flows.align import align
from flows.corpus import corpus
from flows.crawl import crawl
from flows.evaluate import evaluate
from flows.finetune import finetune
from flows.orchestration.engine import run_name, task_runner
from flows.pretrain import pretrain
from flows.recipe.loading import DEFAULT_CONFIG, load_recipe
from flows.recipe.settings import Recipe
from flows.tokenizer import tokenizer
from warehouse.log import new_run
from warehouse.store import Store


@flow(name="pipeline", flow_run_name=run_name, task_runner=task_runner())
def pipeline(config: str = DEFAULT_CONFIG, recipe: Recipe | None = None, fresh_crawl: bool = False) -> str:
    """Runs the whole recipe, reusing whatever is there; returns the report's address.

    Args:
        config: path of a recipe, or the name of one in configs/
        recipe: all settings; wins over config
        fresh_crawl: crawl again even where an earlier crawl of the same settings is complete

    """
    chosen = recipe or load_recipe(config)
    run_id = new_run(Store(chosen.store), chosen.name).id
    crawl(config, chosen, fresh=fresh_crawl, run_id=run_id)
    corpus(config, chosen, run_id=run_id)
    tokenizer(config, chosen, run_id=run_id)
    pretrain(config, chosen, run_id=run_id)
    if chosen.finetune:
        finetune(config, chosen, run_id=run_id)
    if chosen.align:
        align(config, chosen, run_id=run_id)
    return evaluate(config, chosen, run_id=run_id)
