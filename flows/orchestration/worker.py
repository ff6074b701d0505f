"""The workers of ``gristmill ui``: ``python -m flows.orchestration.worker POOL``.

Prefect's process worker runs whatever command, environment and folder the job variables of a run or a deployment name, and
a deployment's pull steps may run any shell. These run the flows of this project's prefect.yaml, as it stands there, and nothing else.
"""

from __future__ import annotations

import asyncio
import os
import sys
from abc import ABC
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from prefect.workers.process import ProcessJobConfiguration, ProcessWorker

from warehouse.errors import GristmillError

DEPLOYMENTS = "prefect.yaml"
PULL = "prefect.deployments.steps.set_working_directory"


@cache
def entrypoints(project: Path) -> frozenset[str]:
    """The flows that a project deploys."""
    content = yaml.safe_load((project / DEPLOYMENTS).read_text())
    return frozenset(deployment["entrypoint"] for deployment in content["deployments"])


def check(deployment: Any, project: Path) -> None:
    """Raises GristmillError where a run's deployment is none of the project's."""
    known = entrypoints(project)
    if deployment is None or deployment.entrypoint not in known:
        named = deployment.entrypoint if deployment is not None else "nothing"
        raise GristmillError(
            f"this run is of {named}, which {DEPLOYMENTS} does not deploy: add it there, and start gristmill ui again"
        )
    steps: list[Mapping[str, Any]] = deployment.pull_steps or []
    if steps and steps != [{PULL: {"directory": str(project)}}]:
        raise GristmillError(
            f"the deployment {deployment.name} has other pull steps than {DEPLOYMENTS}: start gristmill ui again"
        )


class Configuration(ProcessJobConfiguration):
    """A run's own code in this worker's own environment, whatever the job variables say."""

    def prepare_for_flow_run(self, flow_run: Any, deployment: Any = None, *others: Any, **named: Any) -> None:
        """Refuses what is none of the project's flows, and forgets what job variables asked for. Raises GristmillError."""
        project = Path(os.environ["PROJECT_DIR"])
        check(deployment, project)
        self.command, self.env, self.working_dir = None, {}, None
        super().prepare_for_flow_run(flow_run, deployment, *others, **named)


class Worker(ProcessWorker, ABC):  # abstract to Prefect's registry of workers, which has one of this type
    """A process worker that takes no command from anybody."""

    job_configuration = Configuration


def main() -> None:
    """Serves one work pool until it is told to end."""
    pool = sys.argv[1]
    asyncio.run(Worker(work_pool_name=pool, name=f"gristmill-{pool}").start())


if __name__ == "__main__":
    main()
