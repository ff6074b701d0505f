"""The frontier: every URL that a crawl knows and what became of it, durable in SQLite (WAL).

A fetch, its out-links and the state of its URL and host are one transaction, made after the fetch's WARC record was
written. So a page is done only when both are stored, and what was claimed by a killed crawler waits again.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tasks.crawl.claims import CLAIM_COLUMNS, PAGE_COLUMNS, Claim, Link
from tasks.crawl.patterns import Patterns
from tasks.crawl.scope import Refusal, pattern_of
from tasks.web.urls import domain_of

WAITING, CLAIMED, DONE, REFUSED, RESTING = range(5)
CACHED_URLS = 100_000
CHECKPOINT_SECONDS = 5.0
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS hosts (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, waiting INT NOT NULL DEFAULT 0, pages INT NOT NULL DEFAULT 0,
    bytes INT NOT NULL DEFAULT 0, not_before REAL NOT NULL DEFAULT 0, refusals INT NOT NULL DEFAULT 0,
    robots BLOB, robots_status INT, robots_at REAL, soft_404 INT, left_alone TEXT);
CREATE INDEX IF NOT EXISTS hosts_waiting ON hosts (not_before, id) WHERE waiting > 0;
CREATE TABLE IF NOT EXISTS urls (
    id INTEGER PRIMARY KEY, url TEXT NOT NULL UNIQUE, host INT NOT NULL, depth INT NOT NULL, hops INT NOT NULL,
    referrer TEXT, priority REAL NOT NULL, state INT NOT NULL, not_before REAL NOT NULL DEFAULT 0,
    attempts INT NOT NULL DEFAULT 0, verdict TEXT, rule TEXT, detail TEXT,
    {", ".join(f"{name} {kind}" for name, kind in PAGE_COLUMNS.items())});
CREATE INDEX IF NOT EXISTS waiting ON urls (host, priority DESC, visits IS NOT NULL, depth, id) WHERE state = {WAITING};
CREATE TABLE IF NOT EXISTS fetches (id INTEGER PRIMARY KEY, segment INT NOT NULL, url INT, row TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value INT NOT NULL);
"""
_UNKNOWN = ", ".join(f"{name} = NULL" for name in PAGE_COLUMNS)
# What was known of a page before this crawl and is not asked anew stays in the corpus.
_STILL_KEPT = "verdict = CASE WHEN digest IS NULL THEN 'removed' ELSE 'kept' END"


class Frontier:
    """One crawl's URLs and hosts. Not shared between processes."""

    def __init__(self, path: Path, urls_per_pattern: int = 1 << 60) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")  # a killed process loses nothing; a lost power is mended
        self._db.executescript(_SCHEMA)
        self._patterns = Patterns(self._db, urls_per_pattern)
        self._seen: dict[str, None] = {}
        self._hosts: dict[str, int] = {}
        self._checkpointed = time.monotonic()
        with self.transaction():
            self._db.execute("UPDATE urls SET state = ? WHERE state = ?", (WAITING, CLAIMED))
            self._count_waiting()
        self.waiting: int = self._one("SELECT coalesce(sum(waiting), 0) FROM hosts")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Makes what is done in the block durable at its end, all or nothing."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")
        if time.monotonic() - self._checkpointed > CHECKPOINT_SECONDS:
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)")
            self._checkpointed = time.monotonic()

    def fact(self, name: str, default: int = 0) -> int:
        """A number that the crawl remembers."""
        return int(self._one("SELECT coalesce((SELECT value FROM facts WHERE name = ?), ?)", name, default))

    def remember(self, **facts: int) -> None:
        """Keeps numbers; call within a transaction."""
        self._db.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?)", list(facts.items()))

    def add(self, links: Iterable[Link]) -> None:
        """Takes links that are not known yet; a resting page that changed meanwhile waits again. Within a transaction."""
        for link in links:
            if link.url in self._seen and link.changed_after is None:
                continue
            self._seen[link.url] = None
            if len(self._seen) > CACHED_URLS:
                self._seen.pop(next(iter(self._seen)))
            known = self._db.execute(
                "SELECT id, host, state, visited_at FROM urls WHERE url = ?", (link.url,)
            ).fetchone()
            if known is None:
                self._insert(link)
            elif known["state"] == RESTING and (link.changed_after or 0) > known["visited_at"]:
                self._db.execute("UPDATE urls SET state = ? WHERE id = ?", (WAITING, known["id"]))
                self._wait(known["host"], 1)

    def _insert(self, link: Link) -> None:
        refusal = link.refusal
        host = self.host_id(domain_of(link.url))
        if refusal is None:
            refusal = self._left_alone(host) or self._patterns.found(host, link.url)
        self._db.execute(
            "INSERT INTO urls (url, host, depth, hops, referrer, priority, state, verdict, rule, detail) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(link.url, host, link.depth, link.hops, link.referrer, link.priority),
                *((WAITING, None, None, None) if refusal is None else (REFUSED, "removed", *refusal)),
            ),
        )
        if refusal is None:
            self._wait(host, 1)

    def host_id(self, name: str) -> int:
        """The number of a host, new or known."""
        if name not in self._hosts:
            self._db.execute("INSERT OR IGNORE INTO hosts (name) VALUES (?)", (name,))
            if len(self._hosts) > CACHED_URLS:
                self._hosts.clear()
            self._hosts[name] = self._one("SELECT id FROM hosts WHERE name = ?", name)
        return self._hosts[name]

    def _left_alone(self, host: int) -> Refusal | None:
        reason = self._one("SELECT left_alone FROM hosts WHERE id = ?", host)
        return Refusal("host left alone", reason) if reason else None

    def note_content(self, claim: Claim, content: int) -> None:
        """Tells of what a page said; a pattern of copies loses its waiting URLs. Within a transaction."""
        refusal = self._patterns.fetched(claim.host, claim.url, content)
        if refusal is not None:
            pattern = pattern_of(claim.url)
            waiting = self._db.execute("SELECT id, url FROM urls WHERE host = ? AND state = ?", (claim.host, WAITING))
            trapped = [row["id"] for row in waiting.fetchall() if pattern_of(row["url"]) == pattern]
            self._db.executemany(
                f"UPDATE urls SET state = ?, {_STILL_KEPT}, rule = ?, detail = ? WHERE id = ?",
                [(REFUSED, *refusal, url) for url in trapped],
            )
            self._wait(claim.host, -len(trapped))

    def claim(self, host: int, limit: int) -> list[Claim]:
        """Takes a host's waiting URLs, best and unseen ones first; they stay claimed until recorded, put back, or a restart."""
        columns = ", ".join((*CLAIM_COLUMNS, *PAGE_COLUMNS))
        rows = self._db.execute(
            f"SELECT {columns} FROM urls "
            "WHERE host = ? AND state = ? AND not_before <= ? ORDER BY priority DESC, visits IS NOT NULL, depth, id LIMIT ?",
            (host, WAITING, time.time(), limit),
        ).fetchall()
        with self.transaction():
            self._db.executemany("UPDATE urls SET state = ? WHERE id = ?", [(CLAIMED, row["id"]) for row in rows])
            self._wait(host, -len(rows))
        return [
            Claim(
                **{name: row[name] for name in CLAIM_COLUMNS},
                known={name: row[name] for name in PAGE_COLUMNS} if row["visits"] else {},
            )
            for row in rows
        ]

    def put_back(self, claim: Claim, attempts: int, not_before: float = 0.0) -> None:
        """Lets a claimed URL wait again, after so many attempts, until a time. Within a transaction."""
        self._db.execute(
            "UPDATE urls SET state = ?, attempts = ?, not_before = ? WHERE id = ?",
            (WAITING, attempts, not_before, claim.id),
        )
        self._wait(claim.host, 1)

    def next_at(self, host: int) -> float | None:
        """When the first waiting URL of a host may be fetched, None where none waits."""
        found: float | None = self._one("SELECT min(not_before) FROM urls WHERE host = ? AND state = ?", host, WAITING)
        return found

    def settle(self, claim: Claim, verdict: str, refusal: Refusal | None, page: Mapping[str, Any]) -> None:
        """Writes what became of a claimed URL. Within a transaction."""
        values = {"state": DONE, "verdict": verdict, "rule": None, "detail": None, **page}
        if refusal is not None:
            values |= {"rule": refusal.rule, "detail": refusal.detail}
        names = ", ".join(f"{name} = ?" for name in values)
        self._db.execute(f"UPDATE urls SET {names} WHERE id = ?", (*values.values(), claim.id))

    def log(self, segment: int, claim: Claim, row: Mapping[str, Any]) -> None:
        """Keeps a row of ``pages`` until its segment of the archive is finished. Within a transaction."""
        self._db.execute(
            "INSERT INTO fetches (segment, url, row) VALUES (?, ?, ?)", (segment, claim.id, json.dumps(row))
        )

    def count_page(self, host: int, transferred: int) -> None:
        """Counts a fetch against its host's budgets. Within a transaction."""
        self._db.execute("UPDATE hosts SET pages = pages + 1, bytes = bytes + ? WHERE id = ?", (transferred, host))

    def logged(self, segment: int) -> Iterator[dict[str, Any]]:
        """The rows of ``pages`` of a segment."""
        for (row,) in self._db.execute("SELECT row FROM fetches WHERE segment = ? ORDER BY id", (segment,)):
            yield json.loads(row)

    def forget_segment(self, segment: int) -> None:
        """Drops the rows of a segment that is finished. Within a transaction."""
        self._db.execute("DELETE FROM fetches WHERE segment = ?", (segment,))

    def lose(self, segment: int, beyond: int) -> None:
        """Lets the URLs wait again whose records in a segment a lost power took, from an offset on. In a transaction."""
        for row in self._db.execute("SELECT id, url, row FROM fetches WHERE segment = ?", (segment,)).fetchall():
            offset = json.loads(row["row"])["warc_offset"]
            if offset is not None and offset >= beyond:
                self._db.execute(f"UPDATE urls SET state = ?, {_UNKNOWN} WHERE id = ?", (WAITING, row["url"]))
                self._db.execute("DELETE FROM fetches WHERE id = ?", (row["id"],))
        self._count_waiting()
        self.waiting = self._one("SELECT coalesce(sum(waiting), 0) FROM hosts")

    def refuse_waiting(self, host: int, refusal: Refusal) -> None:
        """Refuses all that waits of a host. Within a transaction."""
        refused = self._db.execute(
            f"UPDATE urls SET state = ?, {_STILL_KEPT}, rule = ?, detail = ? WHERE host = ? AND state = ?",
            (REFUSED, *refusal, host, WAITING),
        ).rowcount
        self._wait(host, -refused)

    def end(self, refusal: Refusal) -> None:
        """Says of all that still waits why it was not fetched."""
        with self.transaction():
            self._db.execute(
                f"UPDATE urls SET {_STILL_KEPT}, rule = ?, detail = ? WHERE state IN (?, ?)",
                (*refusal, WAITING, CLAIMED),
            )

    def withdraw(self, ids: Iterable[int], refusal: Refusal) -> None:
        """Takes URLs that are done back out of the corpus, with all that is known of them. Within a transaction."""
        self._db.executemany(
            f"UPDATE urls SET verdict = 'removed', rule = ?, detail = ?, {_UNKNOWN} WHERE id = ?",
            [(*refusal, url) for url in ids],
        )

    def update_host(self, host: int, **values: Any) -> None:
        """Keeps what is known of a host. Within a transaction."""
        names = ", ".join(f"{name} = ?" for name in values)
        self._db.execute(f"UPDATE hosts SET {names} WHERE id = ?", (*values.values(), host))

    def host(self, host: int) -> sqlite3.Row:
        """What is known of a host."""
        row: sqlite3.Row = self._db.execute("SELECT * FROM hosts WHERE id = ?", (host,)).fetchone()
        return row

    def hosts_waiting(self, but: Iterable[int], until: float, limit: int) -> list[int]:
        """Hosts with URLs that wait until then at most, the soonest first, without those in ``but``."""
        left_out = json.dumps(list(but))
        rows = self._db.execute(
            "SELECT id FROM hosts WHERE waiting > 0 AND not_before <= ? "
            "AND id NOT IN (SELECT value FROM json_each(?)) ORDER BY not_before, id LIMIT ?",
            (until, left_out, limit),
        )
        return [row["id"] for row in rows]

    def rows(self, query: str, *values: Any) -> Iterator[sqlite3.Row]:
        """Reads, row by row."""
        yield from self._db.execute(query, values)

    def first(self, query: str) -> sqlite3.Row | None:
        """Reads one row."""
        row: sqlite3.Row | None = self._db.execute(query).fetchone()
        return row

    def load(self, rows: Iterable[tuple[Any, ...]]) -> None:
        """Brings in URLs that an earlier crawl knew: the columns of ``urls`` but id. Within a transaction."""
        marks = ", ".join("?" * (len(PAGE_COLUMNS) + 12))
        names = f"url, host, depth, hops, referrer, priority, state, not_before, attempts, verdict, rule, detail, {', '.join(PAGE_COLUMNS)}"
        self._db.executemany(f"INSERT OR IGNORE INTO urls ({names}) VALUES ({marks})", rows)
        self._count_waiting()
        self.waiting = self._one("SELECT coalesce(sum(waiting), 0) FROM hosts")

    def counts(self) -> tuple[int, int]:
        """URLs settled, and URLs that are or were to be fetched."""
        done, waiting = self.fact("fetched"), self.waiting
        return done, done + waiting

    def close(self) -> None:
        """Closes the database."""
        self._db.close()

    def _wait(self, host: int, more: int) -> None:
        if more:
            self._db.execute("UPDATE hosts SET waiting = waiting + ? WHERE id = ?", (more, host))
            self.waiting += more

    def _count_waiting(self) -> None:
        self._db.execute(
            "UPDATE hosts SET waiting = (SELECT count(*) FROM urls WHERE host = hosts.id AND state = ?)", (WAITING,)
        )

    def _one(self, query: str, *values: Any) -> Any:
        return self._db.execute(query, values).fetchone()[0]
