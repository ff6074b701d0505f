"""The state of a running crawl: scope, frontier and archive, changed together."""

from __future__ import annotations

import datetime
import hashlib
import itertools
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel

from tasks.core.process import emit
from tasks.crawl.archive import Archive, Exchange
from tasks.crawl.claims import PAGE_COLUMNS, Claim, Link
from tasks.crawl.curation import curated
from tasks.crawl.frontier import Frontier
from tasks.crawl.history import known_urls
from tasks.crawl.robots import Robots
from tasks.crawl.scope import Refusal, Scope
from tasks.crawl.settings import CrawlSettings
from tasks.crawl.visit import ROBOTS_RULE, Visit, forbidden, links_from
from tasks.web.urls import canonical_url
from warehouse.artifact import Ref
from warehouse.store import Store

PROGRESS_SECONDS = 0.5
MOST_REFUSED = 1_000  # links of a page that are kept, with the reason, though they are not followed
REFUSED_URL_CHARS = 500
DIGEST_DIGITS = 16


class Job(BaseModel):
    """What the crawler's process needs to know."""

    store: str
    ref: Ref
    crawl: str
    settings: CrawlSettings
    scratch: Path
    previous: Ref | None = None  # the crawl before this one, whose pages are looked at again

    @property
    def frontier(self) -> Path:
        """The frontier's database."""
        return self.scratch / "frontier.sqlite"


def shortened(url: str) -> str:
    """A URL that nobody will ask, at a length that cannot fill a disk: its beginning, and a digest of the whole."""
    if len(url) <= REFUSED_URL_CHARS:
        return url
    return f"{url[:REFUSED_URL_CHARS]}…{hashlib.sha256(url.encode()).hexdigest()[:DIGEST_DIGITS]}"


class LiveCrawl:
    """What a fetch changes: its record is archived, then its URL is settled and its links are added, at once."""

    def __init__(self, job: Job) -> None:
        self.job, self.settings, store = job, job.settings, Store(job.store)
        self.frontier = Frontier(job.frontier, self.settings.urls_per_pattern)
        starts = (link.url for link in self._curated() if link.refusal is None)
        self.scope = Scope(self.settings, itertools.chain(self.settings.seeds, starts))
        if not self.frontier.fact("begun"):
            self._begin(store)
        self.archive = Archive(store, job.ref, job.crawl, self.settings.full_user_agent, job.scratch, self.frontier)
        self.fetched = self.frontier.fact("fetched")
        self._last_progress = 0.0

    def _curated(self) -> Iterable[Link]:
        return curated(self.settings.links) if self.settings.links else ()

    def _begin(self, store: Store) -> None:
        """Seeds, curated links and what the crawl before knew, all at once."""
        with self.frontier.transaction():
            if self.job.previous is not None:
                self.frontier.load(known_urls(store, self.job.previous, self.scope, self.frontier, time.time()))
            self.frontier.add(self._judged(Link(seed, 0) for seed in self.settings.seeds))
            self.frontier.add(self._judged(self._curated()))
            self.frontier.remember(begun=1)

    def record(self, claim: Claim, exchange: Exchange | None, visit: Visit) -> None:
        """Makes a visit durable: first its archive records, then everything else in one transaction."""
        offset = None
        if exchange is not None and visit.archived:
            exchange.metadata |= {
                "hopsFromSeed": str(claim.depth),
                **({"via": claim.referrer} if claim.referrer else {}),
            }
            if visit.revisits is not None:
                first = datetime.datetime.fromtimestamp(claim.known["changed_at"], datetime.UTC)
                exchange.revisits = (visit.revisits, first)
            offset = self.archive.append(exchange)
        unchanged = exchange is None or visit.revisits is not None or not visit.archived
        place = ("warc_path", "warc_offset")
        if unchanged and visit.page.get("digest"):  # the body is where it was
            visit.page |= {name: claim.known[name] for name in place}
        else:
            visit.page |= dict(
                zip(place, (self.archive.warc_path, offset) if offset is not None else (None, None), strict=True)
            )
        with self.frontier.transaction():
            self.frontier.settle(claim, visit.verdict, visit.refusal, dict.fromkeys(PAGE_COLUMNS) | visit.page)
            self.frontier.add(self._judged(links_from(claim, visit), MOST_REFUSED))
            if visit.content is not None:
                self.frontier.note_content(claim, visit.content)
            row = self._row(claim, exchange, visit, offset)
            self.frontier.log(self.archive.segment, claim, row)
            self.frontier.count_page(claim.host, len(exchange.body) if exchange else 0)
            self.fetched += 1
            self.frontier.remember(fetched=self.fetched, warc_bytes=self.archive.size)
        self.archive.finish_if_full(self.settings.warc_bytes)
        self._progress()

    def forbid(self, claim: Claim, robots: Robots) -> None:
        """Settles a URL that robots.txt forbids; where it only could not be read, known pages stay known."""
        if robots.unreadable and claim.known.get("digest"):
            visit = Visit(
                "kept",
                Refusal("not asked this time", f"robots.txt: {robots.unreadable}"),
                {"next_visit_at": time.time()},
            )
        else:
            detail = (
                f"robots.txt could not be read: {robots.unreadable}" if robots.unreadable else "robots.txt forbids it"
            )
            visit = forbidden(ROBOTS_RULE, detail)
        with self.frontier.transaction():
            self.frontier.settle(claim, visit.verdict, visit.refusal, visit.page)
            self.frontier.log(self.archive.segment, claim, self._row(claim, None, visit, None))
        self._progress()

    def withdraw(self, host: int, robots: Robots) -> None:
        """Takes pages that a changed robots.txt forbids out of the corpus. Within a transaction."""
        known = self.frontier.rows("SELECT id, url FROM urls WHERE host = ? AND digest IS NOT NULL", host)
        ids = [row["id"] for row in known if not robots.allows(row["url"])]
        self.frontier.withdraw(ids, Refusal(ROBOTS_RULE, "robots.txt forbids it since"))

    def take_sitemaps(self, urls: Iterable[str], found_at: str) -> None:
        """Adds what robots.txt names. Within a transaction."""
        links = []
        for url in urls:
            try:
                links.append(Link(canonical_url(url, found_at), 0, found_at))
            except ValueError:
                continue
        self.frontier.add(self._judged(links))

    def _judged(self, links: Iterable[Link], most_refused: int | None = None) -> Iterator[Link]:
        """Links with the reason why one is not followed; of those so many at most, and cut short where they are long."""
        refused = 0
        for link in links:
            refusal = link.refusal or self.scope.refusal(link.url, link.depth)
            if refusal is None:
                yield link
            elif most_refused is None or refused < most_refused:
                refused += 1
                yield replace(link, refusal=refusal, url=shortened(link.url))

    def _row(self, claim: Claim, exchange: Exchange | None, visit: Visit, offset: int | None) -> dict[str, object]:
        """The fetch as a row of ``pages``."""
        page = visit.page
        return {
            "url": claim.url,
            "final_url": page.get("final_url"),
            "status": exchange.status if exchange else None,
            "fetched_at": exchange.fetched_at.timestamp() if exchange else time.time(),
            "content_type": page.get("content_type"),
            "body_bytes": len(exchange.body) if exchange else 0,
            "depth": claim.depth,
            "referrer": claim.referrer,
            "crawl": self.job.crawl,
            "warc_path": self.archive.warc_path if offset is not None else None,
            "warc_offset": offset,
            "digest": page.get("digest"),
            "error": visit.error,
            "record": None if offset is None else "revisit" if visit.revisits else "response",
            "etag": page.get("etag"),
            "last_modified": page.get("last_modified"),
            "seconds": exchange.seconds if exchange else None,
        }

    def _progress(self) -> None:
        now = time.monotonic()
        if now - self._last_progress > PROGRESS_SECONDS:
            self._last_progress = now
            done, known = self.frontier.counts()
            emit(done=done, known=known)
