"""Where reports and corpus cards lie, and how they are written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

from flows.graph import STAGES
from flows.judging import Judged
from flows.making import Pipeline
from flows.query import connect
from flows.recipe.arms import Study
from tasks.evaluate.declared import main_metrics
from tasks.report import aligned, card, comparison, finetuned, scaling, study
from tasks.report.page import render
from tasks.suite.compare import Comparison
from tasks.suite.declared import TASKS
from tasks.suite.published import beside
from warehouse.artifact import complete
from warehouse.errors import GristmillError, MissingArtifact
from warehouse.store import Store


def report_path(pipeline: Pipeline) -> str:
    """The report's path below the store: a name for the recipe and the evaluations that it shows."""
    plan = pipeline.plan
    keys = [evaluation.ref.key for node in ("evaluate", "answer") for evaluation in plan[node]]
    named = keys[0] if len(keys) == 1 else hashlib.sha256("".join(keys).encode()).hexdigest()
    return f"reports/{pipeline.recipe.name}-{named[:12]}.html"


def publish_report(pipeline: Pipeline) -> str:
    """Writes the report of what the catalog shows; returns its address."""
    with connect(pipeline.store, recipe=pipeline.recipe.name, own=pipeline.own, history=False) as connection:
        suite = {task.name: task.main for task in TASKS.values()}
        page = render(connection, pipeline.recipe.name, STAGES, main_metrics(), suite, beside)
    path = report_path(pipeline)
    pipeline.store.write_bytes(path, page.encode())
    return pipeline.store.address(path)


def scaling_path(pipeline: Pipeline) -> str:
    """The path of the page on a ladder, below the store."""
    return report_path(pipeline).replace("reports/", "reports/scaling-")


def publish_scaling(pipeline: Pipeline) -> str:
    """Writes the page on a recipe's ladder of models; returns its address."""
    mains = main_metrics() | {task.name: task.main for task in TASKS.values()}
    with connect(pipeline.store, recipe=pipeline.recipe.name, own=pipeline.own, history=False) as connection:
        page = scaling.render(connection, pipeline.recipe.name, mains)
    path = scaling_path(pipeline)
    pipeline.store.write_bytes(path, page.encode())
    return pipeline.store.address(path)


def finetuned_path(pipeline: Pipeline) -> str:
    """The path of the page on fine-tuned networks, below the store."""
    keys = "".join(one.ref.key for one in pipeline.plan["finetune"])
    return f"reports/finetuned-{pipeline.recipe.name}-{hashlib.sha256(keys.encode()).hexdigest()[:12]}.html"


def publish_finetuned(pipeline: Pipeline) -> str:
    """Writes the page on a recipe's fine-tuned networks; returns its address."""
    with connect(pipeline.store, recipe=pipeline.recipe.name, own=pipeline.own, history=False) as connection:
        page = finetuned.render(connection, pipeline.recipe.name)
    path = finetuned_path(pipeline)
    pipeline.store.write_bytes(path, page.encode())
    return pipeline.store.address(path)


def aligned_path(pipeline: Pipeline) -> str:
    """The path of the page on alignments, below the store."""
    keys = "".join(one.ref.key for one in pipeline.plan["align"])
    return f"reports/aligned-{pipeline.recipe.name}-{hashlib.sha256(keys.encode()).hexdigest()[:12]}.html"


def publish_aligned(pipeline: Pipeline) -> str:
    """Writes the page on a recipe's alignments; returns its address."""
    with connect(pipeline.store, recipe=pipeline.recipe.name, own=pipeline.own, history=False) as connection:
        page = aligned.render(connection, pipeline.recipe.name)
    path = aligned_path(pipeline)
    pipeline.store.write_bytes(path, page.encode())
    return pipeline.store.address(path)


def publish_comparison(store: Store, names: Sequence[str], found: Mapping[str, Sequence[Comparison]]) -> str:
    """Writes the page on models beside the first one; returns its address."""
    path = f"reports/compare-{hashlib.sha256(' '.join(names).encode()).hexdigest()[:12]}.html"
    store.write_bytes(path, comparison.render(names[0], found, beside).encode())
    return store.address(path)


def publish_study(
    store: Store, recipe: str, answers: Mapping[str, Sequence[Judged]], how: Study, epochs: Mapping[str, float]
) -> tuple[str, str]:
    """Writes the page on a study of corpora and its figures as JSON; returns the page's address and the verdicts in words."""
    found = study.measured(TASKS, {name: [one.by_rate for one in seeds] for name, seeds in answers.items()})
    if not found:
        raise GristmillError(
            "the arms answered no question in common that none was trained on: give another file with --judge"
        )
    named = hashlib.sha256(f"{recipe} {list(answers)} {how}".encode()).hexdigest()[:12]
    path = f"reports/study-{named}.html"
    store.write_bytes(path, study.render(recipe, found, how, epochs).encode())
    figures = [
        {"task": one.task, "arms": one.names, "better": one.verdict.better, "words": study.words_of(one)}
        for one in found
    ]
    store.write_bytes(path.replace(".html", ".json"), json.dumps(figures, indent=1).encode())
    return store.address(path), "\n".join(study.words_of(one) for one in found)


def publish_card(pipeline: Pipeline) -> str:
    """Writes the data card of the recipe's corpus; returns its address. Raises MissingArtifact where there is none."""
    (select,) = pipeline.plan["select"]
    if complete(pipeline.store, select.ref) is None:
        raise MissingArtifact(f"the recipe {pipeline.recipe.name} has no corpus yet: run gristmill corpus first")
    sources = [
        card.CardSource(name, source.origin, source.license, source.policy, pipeline.recipe.policy_of(source))
        for name, source in pipeline.recipe.sources.items()
    ]
    with connect(pipeline.store, recipe=pipeline.recipe.name, own=pipeline.own, history=False) as connection:
        text = card.render(connection, pipeline.recipe.name, str(select.ref), sources)
    path = f"cards/{pipeline.recipe.name}-{select.ref.key[:12]}.md"
    pipeline.store.write_bytes(path, text.encode())
    return pipeline.store.address(path)
