"""The flow `align`: a trained language model to one that answers, and the page that shows it before and after."""

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
from flows.reporting import publish_aligned
from flows.tokenizer import tokenizer
from warehouse.errors import SettingError
from warehouse.log import new_run
from warehouse.store import Store

RECIPE = "chat"  # the demo's network, aligned by its own plays


@flow(name="align", flow_run_name=run_name, task_runner=task_runner())
def align(config: str = RECIPE, recipe: Recipe | None = None, run_id: str = "") -> str:
    """Aligns the networks of a recipe, each behind what it starts from, and writes their page; returns its address.

    Args:
        config: path of a recipe with sections [align.NAME], or the name of one in configs/
        recipe: all settings; wins over config
        run_id: the run that trained the networks; empty: all that they are made from is made first

    """
    chosen = recipe or load_recipe(config)
    if not chosen.align:
        raise SettingError(
            f"the recipe {chosen.name} aligns nothing: give it a section [align.NAME], as configs/chat.toml has"
        )
    if not run_id:
        run_id = new_run(Store(chosen.store), chosen.name).id
        crawl(config, chosen, fresh=False, run_id=run_id)
        corpus(config, chosen, run_id=run_id)
        tokenizer(config, chosen, run_id=run_id)
        pretrain(config, chosen, run_id=run_id)
    pipeline = pipeline_of(config, chosen, run_id)
    make(pipeline, "dialogue")
    make(pipeline, "align")
    found = rows(pipeline.store, "FROM aligned ORDER BY name, metric", own=pipeline.own, recipe=chosen.name)
    lines = [
        f"| {r['name']} | {r['method']} | {r['metric']} | {_or_nothing(r['before'])} | {r['after']:.3f} ± {r['stderr']:.3f} | {r['n']} |"
        for r in found
    ]
    header = ["| alignment | method | held out | before | after | n |", "|---|---|---|---|---|---|"]
    show_summary("alignment", "\n".join([*header, *lines]))
    address = publish_aligned(pipeline)
    show_link(
        "alignment", Path(address).as_uri() if pipeline.store.is_local else address, "What the alignments changed"
    )
    return address


def _or_nothing(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
