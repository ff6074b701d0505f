"""The flow `finetune`: trained networks to tasks with labels, beside what knows nothing of text, and the page that says what it was worth."""

from __future__ import annotations

from pathlib import Path

from prefect import flow

from flows.corpus import corpus
from flows.crawl import crawl
from flows.orchestration.engine import make, pipeline_of, run_name, show_link, show_summary, task_runner
from flows.pretrain import pretrain
from flows.query import rows
from flows.recipe.loading import load_recipe
from flows.recipe.settings import Recipe
from flows.reporting import publish_finetuned
from flows.tokenizer import tokenizer
from warehouse.errors import SettingError
from warehouse.log import new_run
from warehouse.store import Store

RECIPE = "finetune"  # the demo's networks, and the tasks that come with it
SUMMARY = """
    SELECT task, set, name, metric, median(value) AS median, min(value) AS lowest, max(value) AS highest, max(n) AS n
    FROM finetuned WHERE main GROUP BY ALL ORDER BY task, set, median DESC"""


@flow(name="finetune", flow_run_name=run_name, task_runner=task_runner())
def finetune(config: str = RECIPE, recipe: Recipe | None = None, run_id: str = "") -> str:
    """Fine-tunes the networks of a recipe to its tasks with labels, once a seed, and writes their page; returns its address.

    Args:
        config: path of a recipe with sections [finetune.NAME], or the name of one in configs/
        recipe: all settings; wins over config
        run_id: the run that trained the networks; empty: all that they are made from is made first

    """
    chosen = recipe or load_recipe(config)
    if not chosen.finetune:
        raise SettingError(
            f"the recipe {chosen.name} fine-tunes nothing: give it a section [finetune.NAME], as configs/finetune.toml has"
        )
    if not run_id:
        run_id = new_run(Store(chosen.store), chosen.name).id
        crawl(config, chosen, fresh=False, run_id=run_id)
        corpus(config, chosen, run_id=run_id)
        tokenizer(config, chosen, run_id=run_id)
        pretrain(config, chosen, run_id=run_id)
    pipeline = pipeline_of(config, chosen, run_id)
    make(pipeline, "label")
    make(pipeline, "finetune")
    found = rows(pipeline.store, SUMMARY, own=pipeline.own, recipe=chosen.name)
    lines = [
        f"| {r['task']} | {r['set']} | {r['name']} | {r['metric']} | {r['median']:.3f} | {r['lowest']:.3f} to {r['highest']:.3f} | {r['n']} |"
        for r in found
    ]
    header = ["| task | set | fine-tuning | metric | median of seeds | seeds | n |", "|---|---|---|---|---|---|---|"]
    show_summary("fine-tuning", "\n".join([*header, *lines]))
    address = publish_finetuned(pipeline)
    show_link(
        "fine-tuning",
        Path(address).as_uri() if pipeline.store.is_local else address,
        "What the networks learnt of labels",
    )
    return address
