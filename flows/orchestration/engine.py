"""The thin layer of Prefect: parts as task runs, reused artifacts as named states, facts on the run's page.

Prefect schedules, retries, shows and remembers; the part records in the store are the truth. So tasks cache
nothing, persist nothing and return nothing: after a crash the same flow asks the store what is there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from prefect import State, runtime, task
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext
from prefect.futures import PrefectFuture, wait
from prefect.logging import get_run_logger
from prefect.states import Completed
from prefect.task_runners import ThreadPoolTaskRunner

from flows.making import Pipeline
from flows.orchestration.credentials import fill_from_blocks
from flows.orchestration.progress import duration_text, size_text
from flows.orchestration.server import WITH_WORKER
from flows.recipe.loading import load_recipe
from flows.recipe.settings import Recipe
from tasks.core.process import die_with_parent, stop_children
from tasks.core.somewhere import make_part_somewhere
from tasks.core.stage import Report, Stage
from warehouse import log
from warehouse.artifact import Manifest, Ref, complete
from warehouse.store import Store

THREADS = 8  # parts under way in a flow; the worker processes behind them are recipe.workers
RETRY_SECONDS = [2.0, 5.0, 10.0]
PASSING_FAULTS = (OSError, BrokenProcessPool)  # what another try can mend; a GristmillError wants the user


class Announcing(Report):
    """Reports to the flow run's log."""

    def stage_ends(self, stage: Stage, manifest: Manifest, seconds: float, reused: bool) -> None:
        what = "reused" if reused else f"made in {duration_text(seconds)}"
        get_run_logger().info(
            "%s %s: %s documents kept of %s, %s",
            stage.title,
            what,
            manifest.counts.kept,
            manifest.counts.documents_in,
            size_text(manifest.bytes),
        )


@dataclass
class _Watching:
    """Who is told of progress and of Ctrl-C: the command line where there is one, else the run's log and Prefect alone."""

    report: Report = field(default_factory=Announcing)
    interrupted: Callable[[], None] = lambda: None


watching = _Watching()


def task_runner() -> Any:
    """Threads that wait for worker processes."""
    return ThreadPoolTaskRunner(max_workers=THREADS)


def _can_retry(_task: Any, _run: Any, state: State[Any]) -> bool:
    try:
        state.result()
    except PASSING_FAULTS:
        return True
    except BaseException:
        return False
    return False


@task(
    name="part",
    task_run_name="{title} · {part}",
    retries=len(RETRY_SECONDS),
    retry_delay_seconds=RETRY_SECONDS,
    retry_jitter_factor=0.3,
    retry_condition_fn=_can_retry,
    cache_policy=NO_CACHE,
    persist_result=False,
)
def part_task(title: str, part: str, stage: Stage, workers: int) -> None:
    """Makes and commits one part."""
    make_part_somewhere(stage, part, watching.report, workers)


@task(name="reused", task_run_name="{title} · there already", cache_policy=NO_CACHE, persist_result=False)
def reused_task(title: str, key: str) -> State[None]:
    """Shows an artifact that did not have to be made."""
    return Completed(name="Reused", message=f"{title} {key} was there already")


class PrefectParts:
    """tasks.core.stage.MakeParts by Prefect: every part a task run."""

    def __init__(self, workers: int) -> None:
        self._workers = workers

    def __call__(self, parts: Sequence[tuple[Stage, str]], report: Report) -> None:
        futures: list[PrefectFuture[Any]] = [
            part_task.submit(stage.title, part, stage, self._workers) for stage, part in parts
        ]
        try:
            wait(futures)
        except BaseException as told:  # to stop: threads that wait for children would wait for their end
            stop_children()
            if isinstance(told, KeyboardInterrupt):
                watching.interrupted()
            raise
        for future in futures:
            future.result()


def pipeline_of(
    config: str,
    recipe: Recipe | None,
    run_id: str,
    fresh_crawl: bool = False,
    pins: Mapping[str, Ref] | None = None,
) -> Pipeline:
    """The pipeline of a flow run: ``recipe`` wins over the file that ``config`` names; ``pins`` stand in for what nodes would make."""
    if os.environ.get(WITH_WORKER):
        end_with_worker()
    chosen = recipe or load_recipe(config)
    fill_from_blocks(chosen)
    log.tidy(Store(chosen.store))
    return Pipeline(chosen, PrefectParts(chosen.workers), watching.report, fresh_crawl, run_id, pins)


@cache
def end_with_worker() -> None:
    """A run that a worker began is nobody's when the worker is gone: it saves and ends, and is marked Crashed."""
    die_with_parent(last=stop_children)


def make(pipeline: Pipeline, node: str) -> None:
    """Makes or reuses one node of the recipe, showing what was reused as task runs of its own."""
    for artifact in pipeline.plan[node]:
        if complete(pipeline.store, artifact.ref) is not None:
            reused_task.submit(artifact.title, artifact.ref.key[:12]).wait()
    pipeline.make(node)


def run_name() -> str:
    """A flow run's name for people: flow, recipe, time."""
    context = FlowRunContext.get()
    flow_name = runtime.flow_run.flow_name or (context.flow.name if context and context.flow else "flow")
    parameters = runtime.flow_run.parameters
    recipe = parameters.get("recipe")
    name = (
        recipe["name"]
        if isinstance(recipe, dict)
        else getattr(recipe, "name", None) or os.path.basename(parameters.get("config", ""))
    )
    started = runtime.flow_run.scheduled_start_time
    return f"{flow_name} {name} {started:%Y-%m-%d %H:%M}"


def show_funnel(pipeline: Pipeline, rows: list[dict[str, Any]]) -> None:
    """Puts the corpus' funnel on the flow run's page."""
    create_table_artifact(
        key="funnel", table=rows, description=f"What each rule left of the corpus of {pipeline.recipe.name}"
    )


def show_summary(key: str, markdown: str) -> None:
    """Puts a text on the flow run's page."""
    create_markdown_artifact(key=key, markdown=markdown)


def show_link(key: str, link: str, text: str) -> None:
    """Puts a link on the flow run's page."""
    create_link_artifact(key=key, link=link, link_text=text)
