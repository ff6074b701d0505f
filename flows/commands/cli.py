"""The command line: ``gristmill COMMAND``. Errors a user can cause are one sentence and exit status 1."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from flows.commands import ablate, ask, chat, compare, further, networks
from flows.commands.options import DEFAULT, INTERRUPTED, STOPPED, Config, Overrides, Verbose, console, recipe_of
from flows.commands.running import prepare_prefect, run_recipe
from flows.terminal import plain
from tasks.core.process import is_out_of_memory
from warehouse.errors import GristmillError, SettingError
from warehouse.store import Store

NO_MEMORY = (
    "there is not enough memory: make one part at a time with --set workers=1, and give duplicates less with "
    "--set match.memory_mb=256"
)

app = typer.Typer(
    help="Gristmill: web pages in, a language model out, and every grain accounted for.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(ask.app)
app.add_typer(networks.app)
app.add_typer(compare.app)
app.add_typer(ablate.app)
app.add_typer(further.app)
app.add_typer(chat.app)


@app.command()
def run(
    config: Config = DEFAULT,
    overrides: Overrides = [],
    fresh: Annotated[bool, typer.Option(help="crawl again")] = False,
    verbose: Verbose = False,
) -> None:
    """The whole pipeline: crawl, corpus, tokenizer, pretraining, evaluation, report."""
    from flows.graph import STAGES
    from flows.reporting import publish_report, report_path

    clock = time.monotonic()
    pipeline = run_recipe("pipeline", config, overrides, verbose, STAGES, fresh_crawl=fresh)
    pipeline = type(pipeline)(pipeline.recipe)  # asks the store again: the crawl is there now
    path = report_path(pipeline)
    address = pipeline.store.address(path) if pipeline.store.exists(path) else publish_report(pipeline)
    console.print(
        f"Report: {address}   [dim]({time.monotonic() - clock:.0f} s; ask further: gristmill sql)[/dim]", soft_wrap=True
    )


@app.command()
def crawl(
    config: Config = DEFAULT,
    overrides: Overrides = [],
    reuse: Annotated[bool, typer.Option(help="do nothing where a crawl with these settings is complete")] = False,
    verbose: Verbose = False,
) -> None:
    """Crawls every source: the next crawl in number, or the rest of one that was stopped."""
    run_recipe("crawl", config, overrides, verbose, ("crawl",), fresh=not reuse)


@app.command()
def corpus(config: Config = DEFAULT, overrides: Overrides = [], verbose: Verbose = False) -> None:
    """Makes the corpus from the newest crawls: every stage from extract to select."""
    from flows.graph import made_from

    run_recipe("corpus", config, overrides, verbose, made_from("select", beside=("crawl",)))


@app.command()
def tokenizer(config: Config = DEFAULT, overrides: Overrides = [], verbose: Verbose = False) -> None:
    """Trains the tokenizer on the newest corpus, holds documents out, and packs the corpus into token arrays."""
    from flows.graph import made_from

    run_recipe("tokenizer", config, overrides, verbose, made_from("pack", beside=made_from("select")))


@app.command()
def pretrain(config: Config = DEFAULT, overrides: Overrides = [], verbose: Verbose = False) -> None:
    """Trains the runs of the recipe, each from its newest checkpoint on."""
    run_recipe("pretrain", config, overrides, verbose, ("pretrain",))


@app.command()
def evaluate(
    config: Config = DEFAULT,
    overrides: Overrides = [],
    suite: Annotated[
        list[str], typer.Option(help="suite or task to ask: core, gpt2, gpt3, hellaswag, …; may be repeated")
    ] = [],
    shots: Annotated[list[str], typer.Option(help="demonstrations before a question, or few; may be repeated")] = [],
    limit: Annotated[
        int, typer.Option(help="questions of a task at most, 0 for all that suite.max_questions allows", min=0)
    ] = 0,
    verbose: Verbose = False,
) -> None:
    """Scores the trained models beside the baselines, asks them the tasks of a suite, and writes the report."""
    asked = [f"suite.tasks={json.dumps(suite)}"] if suite else []
    asked += [f"suite.shots={json.dumps([int(one) if one.isdecimal() else one for one in shots])}"] if shots else []
    asked += [f"suite.max_questions={limit}"] if limit else []
    settings = recipe_of(config, [*overrides, *asked]).suite
    if settings.left_out:
        wanting = ", ".join(settings.left_out)
        console.print(f"Not asked, since they want a file of yours (suite.files.NAME=PATH): {wanting}", soft_wrap=True)
    if licences := settings.licences():
        said = "; ".join(f"{licence}: {', '.join(names)}" for licence, names in licences.items())
        console.print(f"Licences of what is asked: {said}", soft_wrap=True)
    run_recipe("evaluate", config, [*overrides, *asked], verbose, ("evaluate", "answer"))


@app.command()
def status(
    config: Config = DEFAULT,
    overrides: Overrides = [],
    verify: Annotated[bool, typer.Option(help="read every file of the store and compare its SHA-256")] = False,
) -> None:
    """Shows which artifacts of a recipe are made, which are to be made, and what they cost."""
    from flows.commands.status import print_status
    from flows.commands.verify import verify as verify_store
    from flows.making import Pipeline

    recipe = recipe_of(config, overrides)
    whole = verify_store(Store(recipe.store), console) if verify else True
    print_status(Pipeline(recipe), console)
    if not whole:
        raise typer.Exit(1)


@app.command()
def forget(
    config: Config = DEFAULT,
    overrides: Overrides = [],
    url: Annotated[str, typer.Option(help="the documents of this URL, those to come included")] = "",
    domain: Annotated[
        str, typer.Option(help="those of this domain and of the ones below it, those to come included")
    ] = "",
    doc_id: Annotated[str, typer.Option(help="one document")] = "",
    query: Annotated[str, typer.Option(help="what a query finds now: it gives a column doc_id or url")] = "",
    reason: Annotated[str, typer.Option(help="why, for the record that each of them leaves")] = "requested",
    retrain: Annotated[bool, typer.Option(help="learn tokenizer and quality classifier anew, too")] = False,
    purge: Annotated[bool, typer.Option(help="take them out of the archives of crawls, for good")] = False,
) -> None:
    """Leaves documents out from the next run on, and tells which artifacts and checkpoints hold them."""
    from flows.commands.forget import forget as record_removal
    from flows.commands.forget import print_removal, purge_archives
    from flows.making import Pipeline
    from tasks.crawl.purge import finish_purges

    given = [
        (kind, value)
        for kind, value in (("url", url), ("domain", domain), ("doc_id", doc_id), ("query", query))
        if value
    ]
    if len(given) != 1:
        raise SettingError("forget takes one of --url, --domain, --doc-id and --query")
    pipeline = Pipeline(recipe_of(config, overrides))
    finish_purges(pipeline.store)
    wish = record_removal(pipeline, *given[0], reason, retrain)  # type: ignore[arg-type]
    print_removal(wish, console)
    if purge:
        console.print(purge_archives(pipeline.store, wish))


@app.command()
def report(config: Config = DEFAULT, overrides: Overrides = []) -> None:
    """Writes the report of what the store holds, and prints its address."""
    from flows.making import Pipeline
    from flows.reporting import publish_report
    from warehouse.errors import MissingArtifact

    pipeline = Pipeline(recipe_of(config, overrides))
    if not pipeline.is_made("evaluate"):
        raise MissingArtifact(
            f"the recipe {pipeline.recipe.name} has no evaluated model yet: gristmill run makes one, gristmill status says what is missing"
        )
    console.print(f"Report: {publish_report(pipeline)}", soft_wrap=True)


@app.command()
def ui(port: Annotated[int, typer.Option(help="port of the Prefect server on loopback")] = 4200) -> None:
    """Runs a local Prefect server with every deployment and the workers, until interrupted."""
    prepare_prefect(verbose=False)
    from flows.orchestration.server import serve_ui

    serve_ui(Path.cwd(), port, console)


def main(argv: list[str] | None = None) -> None:
    """The entry point: runs a command, prints a user's error as one sentence, exits with its status."""
    sys.exit(_guarded(lambda: app(args=argv, standalone_mode=False)))


def _guarded(command: Callable[[], Any]) -> int:
    try:
        return int(command() or 0)
    except GristmillError as error:
        message = str(error)
    except BrokenProcessPool:
        message = (
            "a worker process died, perhaps of too little memory: run the same command again, or with --set workers=1"
        )
    except KeyboardInterrupt:
        sys.stderr.write(f"gristmill: {STOPPED}\n")
        return INTERRUPTED
    except typer.Exit as error:
        if error.exit_code == INTERRUPTED:  # typer's word for Ctrl-C
            sys.stderr.write(f"gristmill: {STOPPED}\n")
        return error.exit_code
    except Exception as error:
        import duckdb

        if is_out_of_memory(error):
            message = NO_MEMORY
        elif isinstance(error, duckdb.Error):
            said = str(error).partition("\n")[0]
            message = f"a query of the store failed: {said} (gristmill status --verify looks for damaged files)"
        elif says := getattr(error, "format_message", None):  # a usage error, of whichever click typer brings along
            message = says()
        else:
            raise
    Console(stderr=True, highlight=False).print("[red]gristmill:[/red]", plain(message), soft_wrap=True)
    return 1


if __name__ == "__main__":
    main()
