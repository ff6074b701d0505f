"""A policy over a million stored documents: the signals of real ones, tiled, and what deciding anew costs."""

from __future__ import annotations

import tempfile
import time
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.harness import Row
from tasks.core.stage import Input
from tasks.select import policy
from tasks.select.facts import SelectSettings
from tasks.select.whatif import compare
from tasks.signals.stage import SCHEMA, measure
from warehouse import schemas
from warehouse.artifact import Counts, Manifest, PartRecord, PartWriter, Ref, write_manifest
from warehouse.store import Store

DOCUMENTS, PARTS, CLUSTERED, SAMPLED = 1_000_000, 16, 100, 20
TEXT_CHARS = 200  # stored of each: deciding reads no text


def decide_a_million(texts: list[str]) -> Row:
    """Gopher's rules are in force; what would FineWeb's keep, and twenty of the documents that they would not?"""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        inputs = stored(store, texts)
        now = SelectSettings(policies={"s": policy.load("gopher")})
        then = now.model_copy(update={"policies": {"s": policy.load("fineweb")}})
        started, clock = time.perf_counter(), time.process_time()
        (found,) = compare(store, inputs, now, then)
        sample = found.sample(found.now.kept & ~found.then.kept, SAMPLED)
        seconds, cpu = time.perf_counter() - started, time.process_time() - clock
    assert len(sample) == SAMPLED
    size = int(found.bytes.sum())
    return {
        "version": "another policy",
        "documents": len(found.bytes),
        "bytes": size,
        "seconds": seconds,
        "cpu_seconds": cpu,
    }


def stored(store: Store, texts: list[str]) -> dict[str, Input]:
    """Artifacts with the documents, signals and duplicates of one source, as inputs of a selection."""
    signals = measure(pa.array(texts))
    parts: dict[str, list[PartRecord]] = {"documents": [], "signals": [], "duplicates": []}
    for number in range(PARTS):
        for table, rows in _part(number, texts, signals).items():
            writer = PartWriter(store, Ref(stage=table, key=table), f"part-{number:02d}")
            writer.table(table, rows)
            parts[table].append(writer.commit(Counts(), {}))
    nothing: dict[str, Any] = {"settings": {}, "inputs": {}, "counts": Counts(), "rows": 0, "bytes": 0}
    for table, records in parts.items():
        manifest = Manifest(stage=table, subject="s", version=1, key=table, parts=tuple(records), **nothing)
        write_manifest(store, manifest, None)
    names = {"documents": "documents/s", "signals": "signals/s", "duplicates": "duplicates"}
    return {names[table]: Input.of(Ref(stage=table, key=table)) for table in parts}


def _part(number: int, texts: list[str], signals: dict[str, Any]) -> dict[str, pa.Table]:
    rows = DOCUMENTS // PARTS
    ids = [f"{number:02d}{row:030d}" for row in range(rows)]
    take = np.arange(rows) % len(texts)
    documents = {
        "doc_id": ids,
        "url": ids,
        "text": [texts[n][:TEXT_CHARS] for n in take],
        "source": ["s"] * rows,
        "n_bytes": [len(texts[n]) for n in take],
    }
    duplicates = {
        "doc_id": ids[:CLUSTERED],
        "cluster_id": [ids[n // 2] for n in range(CLUSTERED)],
        "kind": ["near"] * CLUSTERED,
        "jaccard": [0.9] * CLUSTERED,
        "rank": [n % 2 for n in range(CLUSTERED)],
    }
    measured = {"doc_id": ids, **{name: pa.array(np.asarray(values)[take]) for name, values in signals.items()}}
    return {
        "documents": _table(documents, schemas.DOCUMENTS, rows),
        "signals": _table(measured, SCHEMA, rows),
        "duplicates": _table(duplicates, schemas.DUPLICATES, CLUSTERED),
    }


def _table(columns: dict[str, Any], schema: pa.Schema, rows: int) -> pa.Table:
    """A table with nulls in the columns that are not given."""
    return pa.table(
        {name: columns.get(name, pa.nulls(rows, schema.field(name).type)) for name in schema.names}, schema=schema
    )
