"""The catalog: every stored fact as a DuckDB view over Parquet, in a database that lives in memory.

Nothing is locked and nothing is copied: a query reads committed files, so it never blocks a run and a run
never blocks it. A view shows the newest complete artifacts of its stage; ``history.<view>`` shows all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import duckdb
import pyarrow as pa

from warehouse import log, schemas
from warehouse.artifact import Manifest, Ref, complete, read_manifest
from warehouse.errors import MissingArtifact
from warehouse.lineage import MACROS
from warehouse.manifest_rows import artifact_row, funnel_rows, mixture_rows, model_rows, part_rows
from warehouse.removals import removals
from warehouse.store import Store
from warehouse.stored import stored
from warehouse.views import ARCHIVED, JOINED_VIEWS, MIXTURE, MODEL_NAMES

SIGNALS_EMPTY = pa.schema([("doc_id", pa.string()), ("language", pa.string()), ("language_score", pa.float64())])


class TrainingOrder(Protocol):
    """What the catalog asks about the order of training data, a pure function kept above the warehouse."""

    def documents(self, name: str, step: int) -> list[dict[str, Any]]:
        """The stretches of documents in a step's batch: run, slot, doc_id, source, shard, start, length."""

    def steps(self, name: str, doc_id: str) -> list[dict[str, Any]]:
        """The steps of a run that saw any token of a document: shard, start, length of it, and step."""


@contextmanager
def connect(
    store: Store,
    as_of: str | None = None,
    order: TrainingOrder | None = None,
    recipe: str = "",
    own: Mapping[str, Sequence[Ref]] | None = None,
    history: bool = True,
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB connection with every view and macro, closed at the end of the block.

    ``as_of`` shows the store as the run whose id begins so left it; ``order`` makes the macros that ask
    for training steps work. What is shown is the newest of ``recipe``, or of the store where that has made nothing in it;
    ``own``, a stage's name -> its artifacts, is shown whatever the newest is. Without ``history`` there are no views of
    earlier artifacts, which cost the more the more there are (``add_history``).
    """
    connection = duckdb.connect(config={"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"})
    try:
        if not store.is_local:
            connection.register_filesystem(store.filesystem)
        connection.execute("SET TimeZone = 'UTC'")
        _create_views(connection, store, as_of, recipe, own or {})
        _create_macros(connection, needs_order=False)
        if history:
            add_history(connection, store, order)
        yield connection
    finally:
        connection.close()


def all_manifests(store: Store) -> list[Manifest]:
    """Every artifact of the store."""
    found = [
        read_manifest(store, Ref(stage=stage, key=key))
        for stage in store.names("artifacts")
        for key in store.names(f"artifacts/{stage}")
    ]
    return [manifest for manifest in found if manifest is not None]


def _create_views(
    connection: duckdb.DuckDBPyConnection,
    store: Store,
    as_of: str | None,
    recipe: str,
    own: Mapping[str, Sequence[Ref]],
) -> None:
    records = log.runs(store, as_of)
    if as_of is not None and not records:
        raise MissingArtifact(f"no run begins with {as_of}: see SELECT DISTINCT run FROM runs")
    named = log.merged(records, recipe)
    if not named.stages:
        named = log.merged(records)
    newest = {stage: [Ref(stage=stage, key=key) for key in keys] for stage, keys in named.stages.items()}
    shown_refs = {ref for refs in {**newest, **own}.values() for ref in refs}
    shown = _whole(store, sorted(shown_refs, key=lambda ref: (ref.stage, ref.key)))
    connection.execute("CREATE SCHEMA stored; CREATE SCHEMA empty")
    for name, schema in {**schemas.STORED, "signals": SIGNALS_EMPTY}.items():
        place = "stored" if name in JOINED_VIEWS else "main"
        found = _with_earlier_crawls(store, shown) if name == "pages" else shown
        _create_view(connection, f"{place}.{name}", _files(store, found, name), schema)
    closed, growing = log.metrics(store)
    _create_view(connection, "stored.metrics", [store.address(path) for path in closed], schemas.METRICS)
    connection.register("_incoming", growing)
    connection.execute("CREATE TABLE stored.growing_metrics AS FROM _incoming")
    connection.unregister("_incoming")
    connection.execute(
        "CREATE VIEW stored.all_metrics AS FROM stored.metrics UNION ALL BY NAME FROM stored.growing_metrics"
    )
    _create_tables_of_artifacts(connection, "main", shown)
    _create_models(connection, shown, named)
    run_rows = [
        {"run": r.id, "recipe": r.recipe, "started_at": r.started_at, "stage": stage, "key": key}
        for r in records
        for stage, keys in r.stages.items()
        for key in keys
    ]
    _register(connection, "main.runs", run_rows, schemas.RUNS)
    _create_work(connection, store)
    _create_removals(connection, store)
    connection.execute(ARCHIVED.format(place="stored", pages="main.pages"))
    for name, query in JOINED_VIEWS.items():
        connection.execute(f"CREATE VIEW main.{name} AS {query}")
    connection.execute(f"CREATE VIEW main.mixture AS {MIXTURE}")


def add_history(connection: duckdb.DuckDBPyConnection, store: Store, order: TrainingOrder | None) -> None:
    """Adds ``history.<view>``, the same tables of every artifact of the store, with their keys, and the macros that ask them."""
    everything = [manifest for manifest in all_manifests(store) if _has_all_files(store, manifest)]
    connection.execute("CREATE SCHEMA history")
    for name, schema in {**schemas.STORED, "signals": SIGNALS_EMPTY}.items():
        _create_view(connection, f"history.{name}", _files(store, everything, name), schema, with_key=True)
    _create_tables_of_artifacts(connection, "history", everything)
    connection.execute(ARCHIVED.format(place="history", pages="history.pages"))
    if order is not None:
        span = "shard VARCHAR, start BIGINT, length BIGINT"
        documents = f"STRUCT(run VARCHAR, slot BIGINT, doc_id VARCHAR, source VARCHAR, {span})[]"
        connection.create_function("training_documents", order.documents, ["VARCHAR", "BIGINT"], documents)
        connection.create_function(
            "training_steps", order.steps, ["VARCHAR", "VARCHAR"], f"STRUCT({span}, step BIGINT)[]"
        )
        _create_macros(connection, needs_order=True)


def _create_tables_of_artifacts(
    connection: duckdb.DuckDBPyConnection, place: str, manifests: Sequence[Manifest]
) -> None:
    _register(connection, f"{place}.artifacts", [artifact_row(manifest) for manifest in manifests], schemas.ARTIFACTS)
    _register(connection, f"{place}.parts", [row for m in manifests for row in part_rows(m)], schemas.PARTS)
    _register(connection, f"{place}.funnel", [row for m in manifests for row in funnel_rows(m)], schemas.FUNNEL)


def _create_models(connection: duckdb.DuckDBPyConnection, shown: list[Manifest], named: log.RunRecord) -> None:
    """The trained networks with what the recipe calls them, and what each of its runs draws from which source."""
    names: dict[str, list[str]] = {}
    for run, key in named.trained.items():
        names.setdefault(key, []).append(run)
    names |= {manifest.key: [manifest.settings["content"]] for manifest in shown if manifest.stage == "import"}
    rows = [row for manifest in shown for row in model_rows(manifest, names)]
    _register(connection, "main.models", rows, schemas.MODELS)
    connection.execute(MODEL_NAMES)
    one_name = [{"run": key, "model": min(called)} for key, called in names.items()]
    _register(connection, "stored.run_names", one_name, pa.schema([("run", pa.string()), ("model", pa.string())]))
    mixtures = [row for manifest in shown for row in mixture_rows(manifest)]
    _register(connection, "stored.run_mixtures", mixtures, schemas.RUN_MIXTURES)
    shares = [{"source": source, "weight": share} for source, share in named.mixture.items()]
    _register(connection, "stored.shares", shares, pa.schema([("source", pa.string()), ("weight", pa.float64())]))


def _whole(store: Store, refs: Sequence[Ref]) -> list[Manifest]:
    """The manifests of those artifacts whose files are all there."""
    found = [read_manifest(store, ref) for ref in refs]
    return [manifest for manifest in found if manifest is not None and _has_all_files(store, manifest)]


def _with_earlier_crawls(store: Store, shown: list[Manifest]) -> list[Manifest]:
    """The artifacts with the crawls that they continue: ``pages`` is the history of every URL."""
    found = {manifest.key: manifest for manifest in shown}
    waiting = list(shown)
    while waiting:
        key = waiting.pop().inputs.get("previous", "")
        earlier = _whole(store, [Ref(stage="crawl", key=key)]) if key and key not in found else []
        found |= {manifest.key: manifest for manifest in earlier}
        waiting += earlier
    return list(found.values())


def _has_all_files(store: Store, manifest: Manifest) -> bool:
    """Whether no file of an artifact is missing or cut short; of a store that is far away one listing a table tells what is there."""
    if store.is_local:
        return complete(store, manifest.ref) is not None
    files = [file.path for part in manifest.parts for file in part.files]
    present = {
        f"{table}/{name}"
        for table in {path.rsplit("/", 1)[0] for path in files}
        for name in store.names(f"{manifest.ref.folder}/{table}")
    }
    return present.issuperset(files)


def _files(store: Store, manifests: list[Manifest], table: str) -> list[str]:
    return [
        store.address(f"{manifest.ref.folder}/{file.path}") for manifest in manifests for file in manifest.files(table)
    ]


def quoted(values: list[str]) -> str:
    """Texts as SQL writes them, one after another."""
    return ", ".join("'" + value.replace("'", "''") + "'" for value in values)


def _create_view(
    connection: duckdb.DuckDBPyConnection, name: str, files: list[str], schema: pa.Schema, with_key: bool = False
) -> None:
    key = r", regexp_extract(filename, 'artifacts/[^/]+/([^/]+)/', 1) AS key" if with_key else ""
    if files:
        columns = "* EXCLUDE (filename)" if with_key else "*"
        options = "union_by_name = true" + (", filename = true" if with_key else "")
        # Files of an earlier version may lack columns that the views above these ask for.
        nothing = f'empty."{name}"'
        _register(connection, nothing, [], schema)
        connection.execute(
            f"CREATE VIEW {name} AS SELECT {columns}{key} FROM read_parquet([{quoted(files)}], {options}) "
            f"UNION ALL BY NAME FROM {nothing}"
        )
    else:
        _register(connection, name, [], schema.append(pa.field("key", pa.string())) if with_key else schema)


def _register(connection: duckdb.DuckDBPyConnection, name: str, rows: list[dict[str, Any]], schema: pa.Schema) -> None:
    """Small facts become a table of the in-memory database."""
    connection.register("_incoming", pa.Table.from_pylist(rows, schema=schema))
    connection.execute(f"CREATE TABLE {name} AS FROM _incoming")
    connection.unregister("_incoming")


def _create_work(connection: duckdb.DuckDBPyConnection, store: Store) -> None:
    """A view whose files are read only where somebody asks for it."""
    types = {
        "started_at": "VARCHAR",
        "wall_s": "DOUBLE",
        "cpu_s": "DOUBLE",
        "peak_rss_bytes": "BIGINT",
        "reused": "BOOLEAN",
    }
    columns = ", ".join(f"{name} {types.get(name, 'VARCHAR')}" for name in schemas.WORK.names)

    def noted(_: int) -> list[dict[str, Any]]:
        return [row for _, row in stored(store, log.WORK, log.work_row)]

    connection.create_function("noted_work", noted, ["BIGINT"], f"STRUCT({columns})[]")
    connection.execute(
        "CREATE VIEW main.work AS SELECT * REPLACE (started_at::TIMESTAMPTZ AS started_at) "
        "FROM (SELECT unnest(noted_work(0), recursive := true))"
    )


def _create_removals(connection: duckdb.DuckDBPyConnection, store: Store) -> None:
    wishes = removals(store)
    rows = [{name: getattr(wish, name) for name in schemas.REMOVALS.names} for wish in wishes]
    _register(connection, "main.removals", rows, schemas.REMOVALS)
    effects = [{"identity": wish.identity, **effect.model_dump()} for wish in wishes for effect in wish.effects]
    _register(connection, "main.affected", effects, schemas.AFFECTED)


def _create_macros(connection: duckdb.DuckDBPyConnection, needs_order: bool) -> None:
    for macro in MACROS:
        if macro.needs_order == needs_order:
            connection.execute(macro.sql)
