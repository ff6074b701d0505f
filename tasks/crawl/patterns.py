"""Traps that only experience shows: patterns of URLs without number, and patterns whose pages all say the same."""

from __future__ import annotations

import sqlite3

from tasks.crawl.scope import Refusal, pattern_of

# A pattern that has shown hardly anything but copies is a trap: after so many pages, with so small a share of new ones.
TRIALS, NEW_SHARE = 200, 0.05
SCHEMA = """
CREATE TABLE IF NOT EXISTS patterns (
    host INT NOT NULL, pattern TEXT NOT NULL, urls INT NOT NULL DEFAULT 0, fetched INT NOT NULL DEFAULT 0,
    new INT NOT NULL DEFAULT 0, PRIMARY KEY (host, pattern)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS contents (host INT NOT NULL, content INT NOT NULL, PRIMARY KEY (host, content)) WITHOUT ROWID;
"""


class Patterns:
    """Counts, by host and pattern, URLs that were found, pages that were fetched, and how many said something new."""

    def __init__(self, db: sqlite3.Connection, urls_per_pattern: int) -> None:
        self._db, self._limit = db, urls_per_pattern
        db.executescript(SCHEMA)

    def found(self, host: int, url: str) -> Refusal | None:
        """Counts a new URL; a refusal where its pattern holds too many, or has been a trap so far."""
        pattern = pattern_of(url)
        if pattern is None:
            return None
        row = self._db.execute(
            "INSERT INTO patterns (host, pattern, urls) VALUES (?, ?, 1) "
            "ON CONFLICT DO UPDATE SET urls = urls + 1 RETURNING urls, fetched, new",
            (host, pattern),
        ).fetchone()
        if row["urls"] > self._limit:
            return Refusal("trap: too many URLs of a pattern", pattern)
        return _trap(pattern, row)

    def fetched(self, host: int, url: str, content: int) -> Refusal | None:
        """Counts a page by the digest of what it said; a refusal when its pattern turns out to be a trap."""
        pattern = pattern_of(url)
        if pattern is None:
            return None
        fresh = self._db.execute("INSERT OR IGNORE INTO contents VALUES (?, ?)", (host, content)).rowcount
        row = self._db.execute(
            "INSERT INTO patterns (host, pattern, fetched, new) VALUES (?, ?, 1, ?) "
            "ON CONFLICT DO UPDATE SET fetched = fetched + 1, new = new + excluded.new RETURNING fetched, new",
            (host, pattern, fresh),
        ).fetchone()
        return _trap(pattern, row) if row["fetched"] % TRIALS == 0 else None


def _trap(pattern: str, counted: sqlite3.Row) -> Refusal | None:
    fetched, new = counted["fetched"], counted["new"]
    if fetched >= TRIALS and new < NEW_SHARE * fetched:
        return Refusal("trap: pages that say the same", f"{pattern}: {new} new of {fetched}")
    return None
