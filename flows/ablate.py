"""The flow `ablate`: recipes or policies in, a verdict out, and how sure it is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect import flow

from flows.crawl import crawl
from flows.graph import made_from
from flows.judging import Judged, judge_file, judged
from flows.making import Pipeline
from flows.orchestration.engine import make, pipeline_of, run_name, show_link, show_summary, task_runner, watching
from flows.query import rows
from flows.recipe.arms import Study, arm_recipe, arms_of, pair_recipe, short_names, trained_by
from flows.recipe.loading import DEFAULT_CONFIG, load_recipe
from flows.recipe.settings import Recipe
from flows.reporting import publish_study
from tasks.report.study import beforehand
from tasks.suite.own import TEXTS, TEXTS_ENDINGS, has_endings
from warehouse.artifact import Ref

CORPUS = made_from("tokenizer", "split", beside=("crawl",))
TRAINED = made_from("answer", beside=("crawl", *CORPUS))


@flow(name="ablate", flow_run_name=run_name, task_runner=task_runner())
def ablate(
    arms: list[str],
    config: str = DEFAULT_CONFIG,
    recipe: Recipe | None = None,
    seeds: int = 4,
    subset: float = 0.8,
    rates: tuple[float, ...] = (1.0, 0.5),
    tasks: tuple[str, ...] = (),
    judge: str = "",
) -> str:
    """Trains the same network on each arm's corpus, in pairs, and says which is better; returns the page's address.

    Args:
        arms: policies of the recipe or of configs/policies, or recipes
        config: path of the recipe whose network, training and store are used, or the name of one in configs/
        recipe: all of its settings; wins over config
        seeds: pairs: each has its own initialisation, order and draw of documents
        subset: share of a corpus that a pair draws
        rates: learning rates, as shares of the recipe's
        tasks: suites and tasks that are asked beside the judge's text
        judge: a file of text from none of the corpora; what all arms hold out where none is given

    """
    base, study = recipe or load_recipe(config), Study(seeds, subset, rates, tasks)
    found, called = arms_of(arms, base), short_names(arms)
    trained_by(base)
    corpora, tokenizer = _corpora(base, found)
    path = judge or judge_file(corpora)
    files = {TEXTS: path} | ({TEXTS_ENDINGS: path} if has_endings(Path(path)) else {})
    answers: dict[str, list[Judged]] = {name: [] for name in found}
    epochs: dict[str, float] = {}
    for name, arm in found.items():
        for seed in range(1, study.seeds + 1):
            member = pipeline_of(
                config, pair_recipe(base, arm, called[name], seed, study, files), "", pins={"tokenizer": tokenizer}
            )
            for node in TRAINED:
                make(member, node)
            answers[name].append(judged(member))
            epochs[name] = max(row["epochs"] or 0.0 for row in rows(member.store, "FROM mixture", own=member.own))
        if len(epochs) == 1:  # what can be seen is said before any other arm is trained
            told = beforehand(name, [one.by_rate for one in answers[name]])
            watching.report.note(corpora[0].plan["select"][0].stage, told)
    address, words = publish_study(corpora[0].store, base.name, answers, study, epochs)
    show_summary("verdict", words)
    show_link(
        "study", Path(address).as_uri() if corpora[0].store.is_local else address, "Which corpus gives the better model"
    )
    return json.dumps({"page": address, "verdict": words})


def _corpora(base: Recipe, arms: Mapping[str, Recipe]) -> tuple[Sequence[Pipeline], Ref]:
    """Each arm's corpus with what it holds out, and the tokenizer of the first, which all arms share."""
    made: list[Pipeline] = []
    pins: dict[str, Any] = {}
    called = short_names(list(arms))
    for name, arm in arms.items():
        whole = arm_recipe(base, arm, called[name])
        crawl(recipe=whole, fresh=False)
        corpus = pipeline_of("", whole, "", pins=pins)
        for node in CORPUS:
            make(corpus, node)
        pins = pins or {"tokenizer": corpus.plan["tokenizer"][0].ref}
        made.append(corpus)
    return made, pins["tokenizer"]
