"""Forgetting: which documents a wish means, where they have been, and what the next run will do about them."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.table import Table

from flows.graph import TRAINED, plan_of
from flows.making import Pipeline
from flows.query import confine
from flows.terminal import shown
from tasks.crawl.purge import purge
from tasks.train.order import DataOrder
from tasks.train.settings import PretrainSettings
from tasks.web.urls import canonical_url, domain_of
from warehouse import log
from warehouse.artifact import Manifest, Ref, load, read_manifest, read_tables
from warehouse.catalog import all_manifests, connect
from warehouse.errors import GristmillError
from warehouse.removals import COLUMNS, Effect, Kind, Removal, record, removals
from warehouse.store import Store


def forget(pipeline: Pipeline, kind: Kind, value: str, reason: str, retrain: bool) -> Removal:
    """Records a removal, with all that it affects now, or returns the same one that was recorded before.

    Raises GristmillError where it names documents that are not known.
    """
    wish = Removal(at=log.now().isoformat(timespec="microseconds"), kind=kind, value=value, reason=reason)
    wish = wish.model_copy(update=_meaning(pipeline.store, kind, value))
    doc_ids = _known_documents(pipeline.store, wish)
    if not len(doc_ids) and kind in ("doc_id", "query"):
        raise GristmillError(f'no document is known for {kind} {value}: see gristmill sql "FROM documents"')
    for known in removals(pipeline.store):
        if known.identity == wish.identity:
            return known
    kept = {} if retrain else _kept(pipeline)
    effects = tuple(_effects(pipeline.store, doc_ids))
    wish = wish.model_copy(update={"documents": len(doc_ids), "effects": effects, "kept": kept})
    record(pipeline.store, wish)
    return wish


def _meaning(store: Store, kind: Kind, value: str) -> dict[str, Any]:
    """What a removal compares documents with."""
    if kind == "domain":
        address = value.strip() if "://" in value else f"http://{value.strip()}"
        try:
            return {"domain": domain_of(canonical_url(address))}
        except ValueError as error:
            raise GristmillError(f"{value} is no domain: {error}") from error
    if kind == "doc_id":
        return {"doc_ids": (value,)}
    with connect(store) as connection:
        if kind == "url":
            try:
                url = canonical_url(value)
            except ValueError:
                url = value
            led = connection.sql(
                "SELECT DISTINCT final_url FROM pages WHERE url = $url", params={"url": url}
            ).fetchall()
            return {"urls": tuple(sorted({url, *(row[0] for row in led if row[0])}))}
        confine(connection, store)
        statements = connection.extract_statements(value)
        if [statement.type for statement in statements] != [duckdb.StatementType.SELECT]:
            raise GristmillError("the query of a removal must be one SELECT")
        found = connection.sql(value).to_arrow_table()
    for column, name in (("doc_id", "doc_ids"), ("id", "doc_ids"), ("url", "urls")):
        if column in found.column_names:
            return {name: tuple(sorted({str(cell) for cell in found[column].to_pylist() if cell is not None}))}
    raise GristmillError("the query of a removal must give a column doc_id or url")


def _known_documents(store: Store, wish: Removal) -> pa.Array:
    """The doc_ids of all stored documents that a removal means, of earlier artifacts too."""
    found: set[str] = set()
    for manifest in all_manifests(store):
        if manifest.stage == "extract":
            table = read_tables(store, manifest.ref, "documents", COLUMNS)
            found.update(table["doc_id"].filter(pa.array(wish.concerns(table))).to_pylist())
    return pa.array(sorted(found), pa.string())


def _effects(store: Store, doc_ids: pa.Array) -> Iterator[Effect]:
    """The newest corpus' and tokens' parts with these documents, and every training run that saw them."""
    current = log.current(store)
    for what, stage, table, column in (
        ("corpus part", "select", "corpus", "id"),
        ("token shard", "pack", "token_spans", "doc_id"),
    ):
        for ref in current.get(stage, []):
            for part in load(store, ref).parts:
                columns = [column, "length"] if table == "token_spans" else [column]
                rows = read_tables(store, ref, table, columns, [part.part])
                rows = rows.filter(pc.is_in(rows[column], value_set=doc_ids))
                if len(rows):
                    tokens = pc.sum(rows["length"]).as_py() if table == "token_spans" else None
                    yield Effect(
                        what=what,
                        stage=stage,
                        key=ref.key,
                        part=part.part,
                        documents=len(rows[column].unique()),
                        tokens=tokens,
                    )
    yield from _runs(store, doc_ids)


def _runs(store: Store, doc_ids: pa.Array) -> Iterator[Effect]:
    """The training runs that saw these documents, and those that go on from one that did, at step 0."""
    runs = [manifest for manifest in all_manifests(store) if manifest.stage == "pretrain"]
    seen = {run.key: effect for run in runs if (effect := _seen(store, run, doc_ids)) is not None}
    waiting = list(seen)
    while waiting:
        parent = waiting.pop()
        for run in runs:
            if run.inputs.get("initial") == parent and (run.key not in seen or seen[run.key].first_step):
                own = seen.get(run.key) or seen[parent].model_copy(update={"key": run.key, "tokens": None, "steps": 0})
                seen[run.key] = own.model_copy(update={"first_step": 0})
                waiting.append(run.key)
    yield from seen.values()


def _seen(store: Store, run: Manifest, doc_ids: pa.Array) -> Effect | None:
    """The steps of a training run whose batches hold tokens of these documents."""
    tokens = Ref(stage="pack", key=run.inputs["tokens"])
    if read_manifest(store, tokens) is None:
        return None
    spans = read_tables(store, tokens, "token_spans", ["doc_id", "shard", "start", "length", "split"])
    spans = spans.filter(pc.and_(pc.is_in(spans["doc_id"], value_set=doc_ids), pc.equal(spans["split"], "train")))
    settings = PretrainSettings.model_validate(run.settings)
    order, steps, seen = DataOrder(store, tokens, settings), set[int](), list[dict[str, Any]]()
    for span in spans.to_pylist():
        if at := order.steps_of(span["shard"], span["start"], span["length"], settings.last_step):
            steps.update(at)
            seen.append(span)
    if not steps:
        return None
    return Effect(
        what="checkpoint",
        stage="pretrain",
        key=run.key,
        part="final",
        documents=len({span["doc_id"] for span in seen}),
        tokens=sum(span["length"] for span in seen),
        first_step=min(steps),
        steps=len(steps),
    )


def _kept(pipeline: Pipeline) -> dict[str, str]:
    """Models that were learnt from the corpus as it is, by what would be made of it if nothing were forgotten."""
    unforgotten, now = plan_of(replace(pipeline.given, removals=())), pipeline.plan
    return {
        before.ref.key: after.ref.key
        for name in TRAINED
        if name in now.artifacts  # a source was not crawled yet: nothing was learnt from this corpus
        for before, after in zip(unforgotten[name], now[name], strict=True)
        if read_manifest(pipeline.store, after.ref)
    }


def print_removal(wish: Removal, console: Console) -> None:
    """What was recorded, and what it affects."""
    console.print(
        f"{wish.documents:,} documents will be forgotten ({shown(_name(wish))}): gristmill run makes the corpus without them."
    )
    if not wish.documents:
        console.print("[yellow]No document is known that this means; those to come will be left out.[/yellow]")
        return
    if not wish.effects:
        console.print("Nothing that was made from the corpus holds them.")
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("affected", "artifact", "part", "documents", "tokens", "first step", "steps"):
        table.add_column(name, justify="left" if name in ("affected", "artifact", "part") else "right", overflow="fold")
    for effect in wish.effects:
        numbers = (effect.documents, effect.tokens, effect.first_step, effect.steps)
        cells = ["" if number is None else f"{number:,}" for number in numbers]
        table.add_row(effect.what, f"{effect.stage}/{effect.key[:12]}", shown(effect.part), *cells)
    console.print(table)


def waiting(pipeline: Pipeline) -> list[Removal]:
    """Removals that the newest documents of the recipe do not heed yet."""
    heeded: set[str] = set()
    for ref in log.current(pipeline.store, recipe=pipeline.recipe.name).get("extract", []):
        manifest = read_manifest(pipeline.store, ref)
        heeded.update(manifest.settings.get("removals", []) if manifest is not None else [])
    return [wish for wish in pipeline.removals if wish.identity not in heeded]


def warn_of_waiting(pipeline: Pipeline, console: Console) -> None:
    """A line for each removal that waits for a run."""
    for wish in waiting(pipeline):
        console.print(
            f"[yellow]{wish.documents:,} documents are to be forgotten ({shown(_name(wish))}, since {wish.at[:16]}) "
            "and still in what is shown: gristmill run[/yellow]",
            soft_wrap=True,
        )


def print_heeded(pipeline: Pipeline, wishes: list[Removal], since: datetime.datetime, console: Console) -> None:
    """What a run that began then did about removals that waited for it."""
    with connect(pipeline.store) as connection:
        ((made, reused),) = connection.sql(
            "SELECT count(*) FILTER (NOT reused), count(*) FILTER (reused) FROM work WHERE part IS NOT NULL AND started_at >= $since",
            params={"since": since},
        ).fetchall()
    for wish in wishes:
        console.print(f"Forgotten: {wish.documents:,} documents ({shown(_name(wish))}).", soft_wrap=True)
        for run in (effect for effect in wish.effects if effect.what == "checkpoint"):
            how = (
                f"saw them from step {run.first_step:,} on, in {run.steps:,} steps"
                if run.first_step
                else "starts from weights that saw them"
            )
            console.print(
                f"  The training run {run.stage}/{run.key[:12]} {how}: its checkpoints are affected.", soft_wrap=True
            )
    console.print(f"{made:,} parts were made, {reused:,} taken over as they were.")


def purge_archives(store: Store, wish: Removal) -> str:
    """Takes the responses of what is forgotten out of the archives of crawls; says how many."""
    with connect(store) as connection:
        pages = connection.sql(
            "SELECT p.final_url AS url, p.warc_path, p.warc_offset, d.doc_id, regexp_extract(p.final_url, '^[a-z]+://([^/]+)', 1) AS domain "
            "FROM history.pages p LEFT JOIN history.documents d ON d.digest = p.digest AND d.url = p.final_url "
            "WHERE p.record = 'response' AND starts_with(p.warc_path, 'artifacts/')"
        ).to_arrow_table()
    pages = pages.filter(pa.array(wish.concerns(pages)))
    places = zip(pages["warc_path"].to_pylist(), pages["warc_offset"].to_pylist(), strict=True)
    return f"{purge(store, places, wish.reason):,} responses were purged from the archives."


def _name(wish: Removal) -> str:
    return f"{wish.kind.replace('_', '-')} {wish.value}"
