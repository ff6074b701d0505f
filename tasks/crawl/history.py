"""What one crawl leaves to the next: a row for every URL, stored as ``urls``."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.crawl.claims import PAGE_COLUMNS
from tasks.crawl.frontier import REFUSED, RESTING, WAITING, Frontier
from tasks.crawl.scope import Refusal, Scope
from tasks.web.urls import domain_of
from warehouse.artifact import Ref, archived, load, verified_path
from warehouse.schemas import HOSTS, URLS
from warehouse.store import Store

ROWS_AT_ONCE = 2_000
TIMES = ("visited_at", "changed_at", "next_visit_at")
NAMES = ("url", "verdict", "rule", "detail", "depth", "hops", "referrer", "priority")
NOT_REACHED = Refusal("not reached", "the crawl's budget of pages was used up")
# Refusals that a later crawl takes over unasked: what filled a pattern with copies would do so again.
LASTING = "trap: "


def bucket_of(url: str) -> int:
    """A number from the URL alone, by which pages are dealt to parts (63 bits)."""
    return int.from_bytes(hashlib.sha256(url.encode()).digest()[:8], "big") >> 1


def urls_table(frontier: Frontier, crawl: str) -> Iterator[pa.RecordBatch]:
    """Every URL that the crawl knows, in the order of the URLs."""
    rows: list[dict[str, Any]] = []
    query = "SELECT u.*, h.name FROM urls u JOIN hosts h ON h.id = u.host ORDER BY u.url"
    for row in frontier.rows(query):
        values = {name: row[name] for name in (*PAGE_COLUMNS, *NAMES)}
        values |= {name: _time(values[name]) for name in TIMES}
        rows.append(values | {"host": row["name"], "crawl": crawl, "bucket": bucket_of(row["url"])})
        if len(rows) == ROWS_AT_ONCE:
            yield pa.RecordBatch.from_pylist(rows, schema=URLS)
            rows = []
    if rows:
        yield pa.RecordBatch.from_pylist(rows, schema=URLS)


def hosts_table(frontier: Frontier, crawl: str) -> pa.Table:
    """Every host that was asked."""
    rows = [
        {
            "host": row["name"],
            **{name: row[name] for name in ("pages", "bytes", "robots_status", "left_alone")},
            "robots_txt": row["robots"].decode("utf-8", "replace") if row["robots"] is not None else None,
            "soft_404": None if row["soft_404"] is None else row["soft_404"] != 0,
            "crawl": crawl,
        }
        for row in frontier.rows("SELECT * FROM hosts WHERE pages > 0 OR left_alone IS NOT NULL ORDER BY name")
    ]
    return pa.Table.from_pylist(rows, schema=HOSTS)


def known_urls(store: Store, previous: Ref, scope: Scope, frontier: Frontier, now: float) -> Iterator[tuple[Any, ...]]:
    """The URLs of an earlier crawl as the frontier loads them, judged by the present scope.

    What was fetched waits if its next visit is due and rests otherwise; what was never reached waits.
    """
    is_archived = lru_cache(maxsize=None)(lambda path: archived(store, path) is not None)
    for file in load(store, previous).files("urls"):
        for batch in pq.ParquetFile(verified_path(store, previous, file)).iter_batches(ROWS_AT_ONCE):
            for stored in batch.to_pylist():
                lost = stored["warc_path"] is not None and not is_archived(stored["warc_path"])
                row = stored | dict.fromkeys(PAGE_COLUMNS) if lost else stored  # without its archive: as if never seen
                refusal = scope.refusal(row["url"], row["depth"])
                page = [row[name].timestamp() if name in TIMES and row[name] else row[name] for name in PAGE_COLUMNS]
                verdict = (row["verdict"], row["rule"], row["detail"])
                if refusal is not None:
                    state, verdict, page = REFUSED, ("removed", *refusal), [None] * len(page)
                elif (row["rule"] or "").startswith(LASTING):
                    state = REFUSED
                elif row["next_visit_at"] is not None and row["next_visit_at"].timestamp() > now:
                    state = RESTING
                else:
                    state = WAITING
                yield (
                    *(row["url"], frontier.host_id(domain_of(row["url"])), row["depth"], row["hops"], row["referrer"]),
                    *(row["priority"], state, 0.0, 0, *verdict, *page),
                )


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
