"""What differs from run to run: which artifacts a run used, what the work cost, the metrics of training.

Nothing here decides what is made; losing it loses history, never data.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import uuid
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from warehouse import schemas
from warehouse.artifact import Name, Ref
from warehouse.errors import StoreError
from warehouse.store import Store
from warehouse.stored import bundle, name_once, stored

RUNS, WORK, METRICS = "log/runs", "log/work", "log/metrics"
METRIC_ROWS_A_CHUNK = 2000
_ID_TIME = "20260102T030405.000006"
OPEN = ".open"  # in the name of a file of metrics that still grows
READ_TRIES = 20
_PARQUET = b"PAR1"  # at the end of each such file


class RunRecord(BaseModel):
    """Which artifacts one run of a flow made or reused, stage by stage, each stage whole, and what its recipe calls them."""

    model_config = ConfigDict(extra="forbid")
    id: str
    recipe: str
    started_at: str
    stages: dict[Name, list[Name]] = {}
    trained: dict[str, Name] = {}  # training run -> key
    mixture: dict[str, float] = {}  # source -> share of the training text


def now() -> datetime.datetime:
    """The time in UTC."""
    return datetime.datetime.now(datetime.UTC)


def new_run(store: Store, recipe: str) -> RunRecord:
    """A run that starts now; its id sorts by time, and behind every run that is known, whatever clock that one had."""
    started = now()
    newest = max((name[: len(_ID_TIME)] for name in store.names(RUNS)), default="")
    at = f"{started:%Y%m%dT%H%M%S.%f}"
    if at <= newest:
        with contextlib.suppress(ValueError, OverflowError):  # of a name that is no time
            at = f"{_time_of(newest) + datetime.timedelta(microseconds=1):%Y%m%dT%H%M%S.%f}"
    return RunRecord(id=f"{at}-{recipe}", recipe=recipe, started_at=started.isoformat(timespec="seconds"))


def resume_run(store: Store, run_id: str) -> RunRecord:
    """A run by its id: its record so far, or an empty one."""
    for record in runs(store):
        if record.id == run_id:
            return record
    started, _, recipe = run_id.partition("-")
    return RunRecord(id=run_id, recipe=recipe, started_at=_time_of(started).isoformat(timespec="seconds"))


def _time_of(text: str) -> datetime.datetime:
    return datetime.datetime.strptime(text, "%Y%m%dT%H%M%S.%f").replace(tzinfo=datetime.UTC)


def runs(store: Store, as_of: str | None = None, recipe: str = "") -> list[RunRecord]:
    """All run records, of one recipe where it is named, oldest first; with ``as_of`` those up to the newest run whose id begins so.

    Records that cannot be read are passed over: they are history.
    """
    found = [record for _, record in stored(store, RUNS, RunRecord.model_validate_json)]
    found.sort(key=lambda record: record.id)
    if as_of is not None:
        last = max((i for i, record in enumerate(found) if record.id.startswith(as_of)), default=None)
        found = [] if last is None else found[: last + 1]
    return [record for record in found if recipe in ("", record.recipe)]


def current(store: Store, as_of: str | None = None, recipe: str = "") -> dict[str, list[Ref]]:
    """The newest artifacts of each stage, of one recipe where it is named."""
    return newest(runs(store, as_of), recipe)


def newest(records: list[RunRecord], recipe: str = "") -> dict[str, list[Ref]]:
    """The newest artifacts of each stage in some records, of one recipe where it is named."""
    stages = merged(records, recipe).stages
    return {stage: [Ref(stage=stage, key=key) for key in keys] for stage, keys in stages.items()}


def merged(records: list[RunRecord], recipe: str = "") -> RunRecord:
    """The newest of all that records say, of one recipe where it is named."""
    found = RunRecord(id="", recipe=recipe, started_at="")
    for record in records:
        if recipe in ("", record.recipe):
            found.stages |= record.stages
            found.trained = record.trained or found.trained
            found.mixture = record.mixture or found.mixture
    return found


def tidy(store: Store) -> None:
    """Bundles what earlier runs noted: a question then reads a few files, however many runs there were."""
    for folder in (RUNS, WORK):
        bundle(store, folder)


def note_stage(store: Store, record: RunRecord, refs: list[Ref]) -> None:
    """Adds a finished stage to the run's record, unless it is what the store shows of the recipe already."""
    record.stages[refs[0].stage] = [ref.key for ref in refs]
    note(store, record)


def note(store: Store, record: RunRecord) -> None:
    """Makes a run's record durable, unless the store shows all of it of the recipe already."""
    shown = merged(runs(store), record.recipe)
    changed = any(shown.stages.get(name) != keys for name, keys in record.stages.items())
    renamed = bool(record.trained) and record.trained != shown.trained
    if changed or renamed or (record.stages and record.mixture != shown.mixture):
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


def work_row(content: bytes) -> dict[str, Any]:
    """A row of ``work`` as it was noted. Raises ValueError for what is none."""
    row = json.loads(content)
    if not isinstance(row, dict) or not {"stage", "key", "started_at"} <= set(row):
        raise ValueError("no work was noted in it")
    started = datetime.datetime.fromisoformat(row["started_at"])
    return {name: row.get(name) for name in schemas.WORK.names} | {"started_at": started.isoformat()}


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
            tables = [table for name in growing if (table := _growing(store, name)) is not None]
        except FileNotFoundError:  # closed since it was listed
            continue
        return [name for name in closed if _is_whole(store, name)], pa.concat_tables(
            [schemas.METRICS.empty_table(), *tables]
        )
    raise StoreError(f"the metrics of the store {store.url} change faster than they can be read: ask again")


def _growing(store: Store, name: str) -> pa.Table | None:
    try:
        return pq.read_table(pa.BufferReader(store.read_bytes(name))).cast(schemas.METRICS)
    except FileNotFoundError:
        raise
    except (pa.ArrowException, ValueError, OSError) as error:
        name_once(store, name, error)
        return None


def _is_whole(store: Store, name: str) -> bool:
    """Whether a Parquet file has its end; one that has not is named and passed over."""
    if not store.is_local:
        return True
    with open(store.address(name), "rb") as stream:
        size = stream.seek(0, 2)
        stream.seek(max(0, size - len(_PARQUET)))
        whole = stream.read() == _PARQUET and size > len(_PARQUET)
    if not whole:
        name_once(store, name, ValueError("a Parquet file without its end"))
    return whole
