"""Runs the tiny recipe as plain functions, without Prefect: ``python -m tests.drive UNTIL [RECIPE.toml] [section.key=value ...]``.

Prints ``begin STAGE`` and ``end STAGE`` lines for tests that kill it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from flows.graph import STAGES
from flows.making import Pipeline
from flows.recipe.loading import load_recipe
from tasks.core.somewhere import make_part_somewhere
from tasks.core.stage import Report, Stage


class Threads:
    """Parts on threads over worker processes, as a scheduler would run them."""

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def __call__(self, parts: Sequence[tuple[Stage, str]], report: Report) -> None:
        with ThreadPoolExecutor(self.workers) as threads:
            for future in [
                threads.submit(make_part_somewhere, stage, part, report, self.workers) for stage, part in parts
            ]:
                future.result()


def main() -> None:
    until, *overrides = sys.argv[1:]
    config = overrides.pop(0) if overrides and overrides[0].endswith(".toml") else "demo-tiny"
    recipe = load_recipe(config, tuple(overrides))
    pipeline = Pipeline(recipe, Threads(recipe.workers))
    for name in STAGES[: STAGES.index(until) + 1]:
        print(f"begin {name}", flush=True)
        pipeline.make(name)
        print(f"end {name}", flush=True)


if __name__ == "__main__":
    main()
