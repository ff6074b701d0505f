"""Running a flow from the command line: in Prefect, without a server or an account unless the user's environment names one."""

from __future__ import annotations

import os
import signal
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

from flows.commands.options import INTERRUPTED, STOPPED, console, recipe_of
from flows.terminal import shown

if TYPE_CHECKING:
    from flows.orchestration.progress import Terminal
    from flows.orchestration.server import TemporaryServer


def run_flow(flow_name: str, recipe: Any, verbose: bool, **parameters: Any) -> Any:
    """Runs one flow of this package with progress on the terminal; returns what it returns."""
    prepare_prefect(verbose)
    from importlib import import_module

    from flows.orchestration.engine import watching
    from flows.orchestration.progress import Terminal
    from flows.orchestration.server import TemporaryServer, server_of_settings

    signal.signal(signal.SIGTERM, _end)
    flow = getattr(import_module(f"flows.{flow_name}"), flow_name)
    with Terminal() as terminal:
        watching.report = terminal
        if not server_of_settings():
            server = TemporaryServer(terminal.say)
            watching.interrupted = partial(_leave, terminal, server)
        return flow(recipe=recipe, **parameters)


def _leave(terminal: Terminal, server: TemporaryServer) -> None:
    """Ctrl-C: ends the process with Prefect's temporary server, which may be gone: telling it would take minutes."""
    terminal.close()
    server.stop()
    sys.stderr.write(f"gristmill: {STOPPED}\n")
    sys.stderr.flush()
    os._exit(INTERRUPTED)


def _end(number: int, _frame: object) -> None:
    """SIGTERM, once Prefect has seen to it: an orderly exit, with which its temporary server ends too."""
    sys.stderr.write(f"gristmill: {STOPPED}\n")
    sys.exit(128 + number)


def prepare_prefect(verbose: bool) -> None:
    """Prefect without a server, account or telemetry, unless the user's environment names a server."""
    defaults = {
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }
    if not verbose:
        defaults |= {
            "PREFECT_LOGGING_LEVEL": "CRITICAL",
            "PREFECT_LOGGING_SERVER_LEVEL": "CRITICAL",
            "PREFECT_LOGGING_INTERNAL_LEVEL": "CRITICAL",
        }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


def run_recipe(
    flow_name: str, config: str, overrides: list[str], verbose: bool, targets: tuple[str, ...], **parameters: Any
) -> Any:
    """Runs one flow of this package in Prefect, with progress on the terminal, unless all of its artifacts are there."""
    recipe = recipe_of(config, overrides)
    from flows.making import Pipeline

    pipeline = Pipeline(recipe)
    pipeline.store.check_writable()
    pipeline.store.sweep("log")
    if not parameters.get("fresh") and not parameters.get("fresh_crawl") and pipeline.is_made(*targets):
        console.print(f"Everything of the recipe {shown(recipe.name)} is made; nothing was done.")
        return pipeline
    prepare_prefect(verbose)
    from flows.commands.forget import print_heeded, waiting
    from tasks.crawl.purge import finish_purges
    from warehouse.log import now

    finish_purges(pipeline.store)
    wishes, started = waiting(pipeline), now()
    run_flow(flow_name, recipe, verbose, **parameters)
    if wishes and "extract" in targets:
        print_heeded(pipeline, wishes, started, console)
    return pipeline
