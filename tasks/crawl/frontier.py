"""The frontier: which URLs are known, which are done, durable in SQLite (WAL).

A URL is done only when the archive batch that holds it is committed; what was claimed by a killed crawler
is pending again when the next one opens the frontier.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

PENDING, CLAIMED, DONE = 0, 1, 2

_SCHEMA = """
CREATE TABLE IF NOT EXISTS urls (
    id INTEGER PRIMARY KEY, url TEXT NOT NULL UNIQUE, depth INTEGER NOT NULL, referrer TEXT, state INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS by_state ON urls (state, depth, id);
CREATE TABLE IF NOT EXISTS batches (name TEXT PRIMARY KEY);
"""


@dataclass(frozen=True)
class Link:
    """A URL to fetch: canonical, with its distance from a seed and where it was found."""

    url: str
    depth: int
    referrer: str | None


class Frontier:
    """One crawl's URLs. Not shared between processes."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.executescript(_SCHEMA)
        self._db.execute("UPDATE urls SET state = ? WHERE state = ?", (PENDING, CLAIMED))

    def add(self, links: Iterable[Link]) -> None:
        """Adds links that are not known yet, durably."""
        with self._transaction():
            self._db.executemany(
                "INSERT OR IGNORE INTO urls (url, depth, referrer) VALUES (?, ?, ?)",
                [(link.url, link.depth, link.referrer) for link in links],
            )

    def claim(self, limit: int) -> list[Link]:
        """Takes pending URLs, nearest to the seeds first; they stay claimed until done or until a restart."""
        rows = self._db.execute(
            "SELECT id, url, depth, referrer FROM urls WHERE state = ? ORDER BY depth, id LIMIT ?", (PENDING, limit)
        ).fetchall()
        with self._transaction():
            self._db.executemany("UPDATE urls SET state = ? WHERE id = ?", [(CLAIMED, row[0]) for row in rows])
        return [Link(*row[1:]) for row in rows]

    def complete(self, batch: str, urls: Iterable[str]) -> None:
        """Notes that a batch is committed and its URLs are done."""
        with self._transaction():
            self._db.executemany("UPDATE urls SET state = ? WHERE url = ?", [(DONE, url) for url in urls])
            self._db.execute("INSERT OR IGNORE INTO batches (name) VALUES (?)", (batch,))

    def batches(self) -> set[str]:
        """The batches known to be committed."""
        return {name for (name,) in self._db.execute("SELECT name FROM batches")}

    def counts(self) -> tuple[int, int]:
        """URLs done, and URLs known."""
        done, known = self._db.execute(
            "SELECT count(*) FILTER (WHERE state = ?), count(*) FROM urls", (DONE,)
        ).fetchone()
        return done, known

    def close(self) -> None:
        """Closes the database."""
        self._db.close()

    def _transaction(self) -> _Transaction:
        return _Transaction(self._db)


class _Transaction:
    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def __enter__(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, *_: object) -> None:
        self._db.execute("COMMIT" if kind is None else "ROLLBACK")
