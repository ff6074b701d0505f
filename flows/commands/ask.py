"""Commands that ask: SQL, why, lineage, what-if, histogram, card. None of them changes an artifact."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.commands.options import DEFAULT, LATEST, AsOf, Config, ConfigOption, Overrides, RunName, console, recipe_of
from warehouse.errors import GristmillError
from warehouse.store import Store

app = typer.Typer()


@app.command()
def sql(
    query: Annotated[str, typer.Argument(help="a query; a shell without one")] = "",
    fmt: Annotated[str, typer.Option("--format", help="table, csv, json or parquet")] = "table",
    as_of: AsOf = None,
    allow_files: Annotated[bool, typer.Option("--allow-files", help="let queries read and write any file")] = False,
    config: ConfigOption = DEFAULT,
    overrides: Overrides = [],
) -> None:
    """Asks the store in SQL (DuckDB): pages, documents, signals, duplicates, decisions, corpus, metrics, and more."""
    from flows.commands.shell import answer, shell

    recipe = recipe_of(config, overrides)
    store = Store(recipe.store)
    if query:
        answer(store, query, fmt, as_of, allow_files=allow_files, recipe=recipe.name)
    else:
        shell(store, as_of, allow_files, recipe.name)


@app.command()
def why(
    url: Annotated[str, typer.Argument(help="the page's URL")],
    config: ConfigOption = DEFAULT,
    overrides: Overrides = [],
) -> None:
    """Says what became of a page: fetched, extracted, removed or kept, by which rule, and where its tokens are."""
    from flows.commands.shell import answer
    from tasks.web.urls import canonical_url

    try:
        canonical = canonical_url(url)
    except ValueError as error:
        raise GristmillError(f"{error}: give the page's whole address") from error
    literal, recipe = canonical.replace("'", "''"), recipe_of(config, overrides)
    answer(
        Store(recipe.store),
        f"SELECT stage, what, detail FROM why('{literal}')",
        "table",
        None,
        empty=f'Nothing is known of {canonical}: it was not crawled. Known domains: gristmill sql "SELECT DISTINCT domain FROM documents"',
        recipe=recipe.name,
    )


@app.command()
def lineage(
    step: Annotated[int, typer.Option(help="training step, counted from 1", min=1)],
    run: RunName = LATEST,
    config: ConfigOption = DEFAULT,
    overrides: Overrides = [],
) -> None:
    """Names the documents in a training step's batch, with their URLs and their places in the archive."""
    from flows.commands.shell import answer
    from tasks.train.runs import find_run

    recipe = recipe_of(config, overrides)
    store = Store(recipe.store)
    known = find_run(store, run, recipe.name)
    answer(
        store,
        f"SELECT slot, tokens, source, url, title, warc_path, warc_offset FROM documents_at_step('{known.key}', {step})",
        "table",
        None,
        empty=f"the run {known.key[:12]} has {known.settings.last_step:,} steps, and no step {step:,}",
        recipe=recipe.name,
    )


@app.command("what-if")
def what_if(
    policy: Annotated[str, typer.Argument(help="a policy of the recipe, of configs/policies, or a TOML file")],
    config: ConfigOption = DEFAULT,
    overrides: Annotated[
        list[str], typer.Option("--set", help="a bound of the policy, as signal.min=value, or a setting of the recipe")
    ] = [],
    source: Annotated[list[str], typer.Option(help="a source to try it on; those that have a policy by default")] = [],
) -> None:
    """Shows what another policy would keep, from the signals that are there."""
    from flows.commands import whatif
    from flows.making import Pipeline
    from tasks.select.measured import SIGNALS

    names = {signal.name for signal in SIGNALS}
    bounds = [change for change in overrides if _is_bound(change, names)]
    pipeline = Pipeline(recipe_of(config, [change for change in overrides if change not in bounds]))
    whatif.what_if(pipeline, whatif.policy_named(pipeline, policy, bounds), source, console)


def _is_bound(change: str, signals: set[str]) -> bool:
    """Whether a change is one of a policy: it ends in a rule's bound, or begins with a signal."""
    name = change.partition("=")[0].strip()
    return name.rpartition(".")[0] in signals or name.rpartition(".")[2] in ("min", "max", "pareto", "top_share")


@app.command()
def histogram(
    signal: Annotated[str, typer.Argument(help="name of a signal")],
    config: ConfigOption = DEFAULT,
    overrides: Overrides = [],
) -> None:
    """Shows how a signal is spread over each source, and which of it is kept."""
    from flows.commands.histogram import histogram as show

    recipe = recipe_of(config, overrides)
    show(Store(recipe.store), signal, console, recipe.name)


@app.command()
def card(config: Config = DEFAULT, overrides: Overrides = []) -> None:
    """Writes the corpus' data card in Hugging Face's form, and prints its address."""
    from flows.making import Pipeline
    from flows.reporting import publish_card

    console.print(f"Card: {publish_card(Pipeline(recipe_of(config, overrides)))}", soft_wrap=True)
