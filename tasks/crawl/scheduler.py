"""Scrapy's scheduler interface over the frontier: which request leaves next, and not before when.

Every wait is decided here, host by host; Scrapy's downloader then sends at once whatever it is given.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections import deque
from typing import Any

import xxhash
from scrapy.core.scheduler import BaseScheduler
from scrapy.crawler import Crawler
from scrapy.http import Request

from tasks.crawl.claims import Claim
from tasks.crawl.live import LiveCrawl
from tasks.crawl.politeness import Host, Pace
from tasks.crawl.requests import request_for
from tasks.crawl.robots import ALLOW_ALL, Robots, robots_of_response, unreadable
from tasks.crawl.scope import Refusal

CLAIM_AT_ONCE = 32
MAX_HOSTS = 256  # that are dealt with at once
LOOK_AGAIN_SECONDS = 5.0
LONG_SLEEP_SECONDS = 60.0  # a host that sleeps longer gives its place to another
PAGE, ROBOTS, PROBE = "page", "robots", "probe"


class FrontierScheduler(BaseScheduler):  # type: ignore[misc] # Scrapy is not typed here
    """Hands out the URLs of the hosts that may be asked now."""

    def __init__(self, crawler: Crawler, crawl: LiveCrawl) -> None:
        self._crawler, self._crawl, self._frontier, self._settings = crawler, crawl, crawl.frontier, crawl.settings
        self._hosts: dict[int, Host] = {}
        self._queue: list[tuple[float, int, Host]] = []
        self._order = itertools.count()
        self._moved_robots: deque[Request] = deque()
        self._active_pages = 0
        self._looked_at, self._waiting_then = 0.0, -1
        self._alarm: asyncio.TimerHandle | None = None

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> FrontierScheduler:
        """Scrapy's constructor."""
        scheduler = cls(crawler, crawler.spider.crawl)
        crawler.spider.scheduler = scheduler
        return scheduler

    def open(self, spider: Any) -> None:
        """Remembers whose methods answer the requests."""
        self._spider = spider

    def has_pending_requests(self) -> bool:
        """Whether any URL is left within the page budget."""
        return bool(self._moved_robots) or (
            self._room() > 0 and (self._frontier.waiting > 0 or any(host.claims for host in self._hosts.values()))
        )

    def enqueue_request(self, request: Request) -> bool:
        """Takes the request for a robots.txt that has moved; every other one is made here."""
        self._moved_robots.append(request)
        return True

    def next_request(self) -> Request | None:
        """The next request, or None where no host may be asked now."""
        request: Request | None = self._spider.guarded(self._next)
        return request

    def _next(self) -> Request | None:
        if self._moved_robots:
            return self._moved_robots.popleft()
        now = time.time()
        self._wake_hosts(now)
        if not self._queue:  # a budget that was used up may have room again
            for host in self._hosts.values():
                self._queue_again(host)
        while self._queue and self._queue[0][0] <= now:
            host = heapq.heappop(self._queue)[2]
            host.queued = False
            if host.pace.ready_at() > now:  # it has asked for patience since it was queued
                self._queue_again(host)
                continue
            request = self._request(host, now)
            if request is None:
                self._let_go(host)
            else:
                host.active += 1
                host.pace.sent(now)
                self._queue_again(host)
                return request
        self._set_alarm(now)
        return None

    def _let_go(self, host: Host) -> None:
        """Makes room for another host where this one has nothing to ask for now."""
        if not (host.active or host.claims or host.queued):
            self._hosts.pop(host.id, None)
            self._looked_at = 0.0

    def finished(self, host: Host, kind: str) -> None:
        """A request of a host has been dealt with."""
        host.active -= 1
        self._active_pages -= kind == PAGE
        if kind != PAGE:
            host.asking = False
        self._queue_again(host)

    def refused(self, host: Host, retry_after: str | None) -> None:
        """A host wants to be left alone for a while, or has wanted it too often."""
        host.pace.refused(time.time(), retry_after)
        self._store_pace(host)
        reason = host.pace.exhausted()
        if reason:
            self._leave_alone(host, reason)

    def answered(self, host: Host, sent: float, latency: float, fine: bool) -> None:
        """A host has answered; a good answer ends its back-off."""
        refusals = host.pace.refusals
        host.pace.answered(latency, fine, sent)
        if refusals and not host.pace.refusals:
            self._store_pace(host)

    def _store_pace(self, host: Host) -> None:
        with self._frontier.transaction():
            self._frontier.update_host(host.id, not_before=host.pace.ready_at(), refusals=host.pace.refusals)

    def robots_known(self, host: Host, status: int, body: bytes, url: str) -> None:
        """Takes the rules of a host, and the sitemaps that they name. Rules that changed are for known pages as well."""
        robots, host.robots_failures = self._take_robots(host, status, body, time.time()), 0
        row = self._frontier.host(host.id)
        with self._frontier.transaction():
            self._frontier.update_host(host.id, robots=body, robots_status=status, robots_at=time.time())
            self._frontier.remember(warc_bytes=self._crawl.archive.size)
            if (row["robots_status"], row["robots"]) != (status, body):
                self._crawl.withdraw(host.id, robots)
            if self._settings.sitemaps:
                self._crawl.take_sitemaps(robots.sitemaps, url)

    def robots_failed(self, host: Host, reason: str, retry_after: str | None = None, final: bool = False) -> None:
        """A robots.txt could not be had: another try later, and after some nothing is allowed."""
        host.robots_failures += 1
        if final or host.robots_failures > self._settings.retries:
            host.robots = host.robots or unreadable(reason)  # section 2.3.1.4: rules that were read before may be kept
            host.robots_until = time.time() + self._settings.robots_lifetime_s
        else:
            self.refused(host, retry_after)

    def probed(self, host: Host, content: int) -> None:
        """Remembers what a host says of pages that cannot be."""
        host.soft_404 = content
        with self._frontier.transaction():
            self._frontier.update_host(host.id, soft_404=content)

    def _take_robots(self, host: Host, status: int, body: bytes, at: float) -> Robots:
        host.robots = robots_of_response(status, body, self._settings.product_token)
        host.robots_until = at + self._settings.robots_lifetime_s
        host.pace.crawl_delay = host.robots.crawl_delay or 0.0
        reason = host.pace.exhausted()
        if reason:
            self._leave_alone(host, reason)
        return host.robots

    def _request(self, host: Host, now: float) -> Request | None:
        """The next request to a host: its robots.txt, a page that cannot be, or a page."""
        if host.asking or host.active >= host.pace.connections or not self._fill(host):
            return None
        host.scheme = host.claims[0].url.partition(":")[0]
        if host.robots is None or host.robots_until < now:
            if self._settings.obey_robots:
                host.asking = True
                return self._ask(f"{self._robots_scheme(host)}://{host.name}/robots.txt", host, ROBOTS)
            host.robots, host.robots_until = ALLOW_ALL, float("inf")
        if host.soft_404 is None and self._settings.soft_404:
            url = f"{host.scheme}://{host.name}/gristmill-{xxhash.xxh64_hexdigest(host.name.encode())}"
            if host.robots.allows(url):
                host.asking = True
                return self._ask(url, host, PROBE)
            host.soft_404 = 0
        return self._page_request(host)

    def _robots_scheme(self, host: Host) -> str:
        """The scheme of the first page, or at every second try the other one, where both have their usual port."""
        other = "https" if host.scheme == "http" else "http"
        return other if host.robots_failures % 2 and ":" not in host.name else host.scheme

    def _page_request(self, host: Host) -> Request | None:
        while self._fill(host) and self._room() > 0:
            claim = host.claims.popleft()
            assert host.robots is not None
            if host.robots.allows(claim.url):
                self._active_pages += 1
                host.pages += 1
                return self._ask(claim.url, host, PAGE, claim)
            self._crawl.forbid(claim, host.robots)
        return None

    def _ask(self, url: str, host: Host, kind: str, claim: Claim | None = None) -> Request:
        meta = {"claim": claim, "host": host, "kind": kind, "sent": time.time()}
        return request_for(url, claim.known if claim else {}, self._spider, meta)

    def _fill(self, host: Host) -> bool:
        """Whether the host has a URL to ask for, within its budgets."""
        spent = None
        if host.left_alone:
            spent = Refusal("host left alone", host.left_alone)
        elif host.pages >= self._settings.pages_per_host:
            spent = Refusal("page budget of the host", f"{self._settings.pages_per_host} pages")
        elif host.bytes >= self._settings.bytes_per_host:
            spent = Refusal("byte budget of the host", f"{self._settings.bytes_per_host} bytes")
        if spent:
            self._refuse_rest(host, spent)
        elif not host.claims and self._frontier.waiting:
            host.claims.extend(self._frontier.claim(host.id, CLAIM_AT_ONCE))
            if not host.claims:  # what waits, waits for its time
                host.pace.next_at = max(host.pace.next_at, self._frontier.next_at(host.id) or 0.0)
                if self._frontier.host(host.id)["waiting"]:
                    self._queue_again(host)
        return bool(host.claims)

    def _leave_alone(self, host: Host, reason: str) -> None:
        host.left_alone = reason
        with self._frontier.transaction():
            self._frontier.update_host(host.id, left_alone=reason)
        self._refuse_rest(host, Refusal("host left alone", reason))

    def _refuse_rest(self, host: Host, refusal: Refusal) -> None:
        with self._frontier.transaction():
            for claim in host.claims:
                self._frontier.put_back(claim, claim.attempts)
            host.claims.clear()
            self._frontier.refuse_waiting(host.id, refusal)

    def _room(self) -> int:
        return self._settings.max_pages - self._crawl.fetched - self._active_pages

    def _queue_again(self, host: Host) -> None:
        if not host.queued and host.id in self._hosts:
            host.queued = True
            heapq.heappush(self._queue, (host.pace.ready_at(), next(self._order), host))

    def _wake_hosts(self, now: float) -> None:
        """Takes up hosts whose time has come, in place of those that sleep for long."""
        if now - self._looked_at < LOOK_AGAIN_SECONDS and self._frontier.waiting <= self._waiting_then:
            return
        self._looked_at, self._waiting_then = now, self._frontier.waiting
        if len(self._hosts) >= MAX_HOSTS:
            self._put_sleepers_away(now)
        for number in self._frontier.hosts_waiting(self._hosts, now + LONG_SLEEP_SECONDS, MAX_HOSTS - len(self._hosts)):
            row = self._frontier.host(number)
            pace = Pace(self._settings, not_before=row["not_before"], refusals=row["refusals"])
            host = Host(
                number,
                row["name"],
                pace,
                pages=row["pages"],
                bytes=row["bytes"],
                soft_404=row["soft_404"],
                left_alone=row["left_alone"],
            )
            self._hosts[number] = host
            if (
                row["robots_status"] is not None
                and not host.left_alone
                and now - row["robots_at"] < self._settings.robots_lifetime_s
            ):
                self._take_robots(host, row["robots_status"], row["robots"], row["robots_at"])
            self._queue_again(host)

    def _put_sleepers_away(self, now: float) -> None:
        for host in [host for host in self._hosts.values() if host.pace.ready_at() > now + LONG_SLEEP_SECONDS]:
            if not host.active:
                self._store_pace(host)
                with self._frontier.transaction():
                    for claim in host.claims:
                        self._frontier.put_back(claim, claim.attempts)
                del self._hosts[host.id]
        self._queue = [entry for entry in self._queue if entry[2].id in self._hosts]
        heapq.heapify(self._queue)

    def _set_alarm(self, now: float) -> None:
        """Wakes the engine when the next host may be asked; its own heartbeat comes every five seconds only."""
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if self._queue and self._crawler.engine is not None and self._crawler.engine._slot is not None:
            wait = max(0.001, self._queue[0][0] - now)
            wake = self._crawler.engine._slot.nextcall.schedule  # Scrapy has no public name for it
            self._alarm = asyncio.get_running_loop().call_later(wait, wake)
