"""What differs from run to run: which artifacts a run used, what the work cost, the metrics of training.

Nothing here decides what is made; losing it loses history, never data.
"""

from __future__ import annotations

import datetime
import json
import uuid
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from warehouse import schemas
from warehouse.artifact import Ref
from warehouse.errors import StoreError
from warehouse.store import Store

RUNS, WORK, METRICS = "log/runs", "log/work", "log/metrics"
METRIC_ROWS_A_CHUNK = 2000
OPEN = ".open"  # in the name of a file of metrics that still grows
READ_TRIES = 20


class RunRecord(BaseModel):
    """Which artifacts one run of a flow made or reused, stage by stage, each stage whole."""

    model_config = ConfigDict(extra="forbid")
    id: str
    recipe: str
    started_at: str
    stages: dict[str, list[str]] = {}


def now() -> datetime.datetime:
    """The time in UTC."""
    return datetime.datetime.now(datetime.UTC)


def new_run(recipe: str) -> RunRecord:
    """A run that starts now; its id sorts by time."""
    started = now()
    return RunRecord(
        id=f"{started:%Y%m%dT%H%M%S.%f}-{recipe}", recipe=recipe, started_at=started.isoformat(timespec="seconds")
    )


def resume_run(store: Store, run_id: str) -> RunRecord:
    """A run by its id: its record so far, or an empty one."""
    try:
        return RunRecord.model_validate_json(store.read_bytes(f"{RUNS}/{run_id}.json"))
    except FileNotFoundError:
        started, _, recipe = run_id.partition("-")
        at = datetime.datetime.strptime(started, "%Y%m%dT%H%M%S.%f").replace(tzinfo=datetime.UTC)
        return RunRecord(id=run_id, recipe=recipe, started_at=at.isoformat(timespec="seconds"))


def runs(store: Store, as_of: str | None = None) -> list[RunRecord]:
    """All run records, oldest first; with ``as_of`` those up to the newest run whose id begins so."""
    found = [RunRecord.model_validate_json(store.read_bytes(f"{RUNS}/{name}")) for name in store.names(RUNS)]
    found.sort(key=lambda record: record.id)
    if as_of is None:
        return found
    last = max((i for i, record in enumerate(found) if record.id.startswith(as_of)), default=None)
    return [] if last is None else found[: last + 1]


def current(store: Store, as_of: str | None = None) -> dict[str, list[Ref]]:
    """The newest complete artifacts of each stage."""
    stages: dict[str, list[Ref]] = {}
    for record in runs(store, as_of):
        stages |= {stage: [Ref(stage=stage, key=key) for key in keys] for stage, keys in record.stages.items()}
    return stages


def note_stage(store: Store, record: RunRecord, refs: list[Ref]) -> None:
    """Adds a finished stage to the run's record, unless it is what the store shows already."""
    stage = refs[0].stage
    record.stages[stage] = [ref.key for ref in refs]
    shown = {name: [ref.key for ref in known] for name, known in current(store).items()}
    if any(shown.get(name) != keys for name, keys in record.stages.items()):
        store.write_bytes(f"{RUNS}/{record.id}.json", record.model_dump_json(indent=1).encode())


def note_work(
    store: Store,
    ref: Ref,
    part: str | None,
    started_at: datetime.datetime,
    wall_s: float,
    cpu_s: float,
    peak_rss_bytes: int,
    reused: bool = False,
) -> None:
    """Logs one part made, or one stage run (``part`` None)."""
    row: dict[str, Any] = {
        "stage": ref.stage,
        "key": ref.key,
        "part": part,
        "started_at": started_at.isoformat(),
        "wall_s": round(wall_s, 4),
        "cpu_s": round(cpu_s, 4),
        "peak_rss_bytes": peak_rss_bytes,
        "reused": reused,
    }
    store.write_bytes(f"{WORK}/{started_at:%Y%m%dT%H%M%S.%f}-{uuid.uuid4().hex[:8]}.json", json.dumps(row).encode())


class MetricsChunk:
    """Metrics that grow while a run trains: a small file that is replaced as rows come, closed under another name when full.

    A file that is replaced must be read whole or not at all (``metrics``); the closed ones never change.
    """

    def __init__(self, store: Store, run: str) -> None:
        self._store, self._folder = store, f"{METRICS}/{run}"
        self._started = f"{now():%Y%m%dT%H%M%S.%f}-{uuid.uuid4().hex[:8]}"
        self._number, self._rows = 0, list[dict[str, Any]]()

    def add(self, rows: list[dict[str, Any]]) -> None:
        """Makes rows visible to queries."""
        self._rows += rows
        full = len(self._rows) >= METRIC_ROWS_A_CHUNK
        name = f"{self._folder}/{self._started}-{self._number:06d}"
        with self._store.writing(f"{name}{'' if full else OPEN}.parquet") as path:
            pq.write_table(pa.Table.from_pylist(self._rows, schema=schemas.METRICS), path)
        if full:  # a reader that finds both takes the closed one
            self._store.delete(f"{name}{OPEN}.parquet")
            self._number, self._rows = self._number + 1, []


def metrics(store: Store) -> tuple[list[str], pa.Table]:
    """The closed files of all runs' metrics, for a query to read, and the rows of those that still grow."""
    for _ in range(READ_TRIES):
        names = {f"{METRICS}/{run}/{name}" for run in store.names(METRICS) for name in store.names(f"{METRICS}/{run}")}
        closed = sorted(name for name in names if f"{OPEN}." not in name)
        growing = sorted(names - set(closed) - {name.replace(".parquet", f"{OPEN}.parquet") for name in closed})
        try:
            tables = [pq.read_table(pa.BufferReader(store.read_bytes(name))) for name in growing]
        except FileNotFoundError:  # closed since it was listed
            continue
        return closed, pa.concat_tables([schemas.METRICS.empty_table(), *tables])
    raise StoreError(f"the metrics of the store {store.url} change faster than they can be read: ask again")
