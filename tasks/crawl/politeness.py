"""How gently a host is asked: one place for delays, autothrottle, Crawl-delay, Retry-After and back-off."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime

from tasks.crawl.claims import Claim
from tasks.crawl.robots import Robots
from tasks.crawl.settings import CrawlSettings

TOO_MANY_REQUESTS, UNAVAILABLE = 429, 503
OVERLOADED = (TOO_MANY_REQUESTS, UNAVAILABLE)


@dataclass
class Pace:
    """When a host may be asked again. Times are seconds since the epoch, so that they outlive the process."""

    settings: CrawlSettings
    latency_delay: float = 0.0  # what autothrottle adds
    crawl_delay: float = 0.0  # what robots.txt asks for
    not_before: float = 0.0  # what a refusal asked for
    refusals: int = 0  # in a row
    refused_at: float = 0.0  # the last of them
    asked_for: float = 0.0  # seconds, by its Retry-After
    next_at: float = 0.0

    @property
    def delay(self) -> float:
        """Seconds between two requests."""
        return max(self.settings.delay_s, self.crawl_delay, self.latency_delay)

    @property
    def connections(self) -> int:
        """Requests under way at once: one where the site asks for a delay."""
        return 1 if self.crawl_delay else self.settings.requests_per_host

    def ready_at(self) -> float:
        """When the next request may leave."""
        return max(self.next_at, self.not_before)

    def sent(self, now: float) -> None:
        """A request leaves."""
        self.next_at = now + self.delay

    def answered(self, latency: float, fine: bool, sent: float = float("inf")) -> None:
        """An answer came after ``latency`` seconds. Ends the back-off; slows down or speeds up with the host.

        The rule is that of Scrapy's AutoThrottle: aim at one request in the host's hands at a time, approach it by
        halves, and never speed up on an error.
        """
        if fine and sent >= self.refused_at:  # an answer that was under way when the host refused says nothing
            self.refusals, self.not_before = 0, 0.0
        if self.settings.autothrottle:
            target = latency / self.settings.requests_per_host
            wanted = max(target, (self.latency_delay + target) / 2)
            if fine or wanted > self.latency_delay:
                self.latency_delay = min(wanted, self.settings.max_wait_s)

    def refused(self, now: float, retry_after: str | None = None) -> None:
        """The host wants to be left alone: as long as it says, else twice as long as the last time, with jitter.

        Requests that were under way when it first said so do not count again.
        """
        self.refusals += now >= self.not_before
        self.refused_at = now
        wait = seconds_of_retry_after(retry_after, now) if retry_after else None
        if wait is None:
            doubled = self.settings.backoff_s * 2.0 ** min(self.refusals - 1, 40)
            wait = min(doubled, self.settings.max_wait_s) * random.uniform(0.75, 1.25)
        else:
            self.asked_for = wait
        self.not_before = max(self.not_before, now + wait)

    def exhausted(self) -> str | None:
        """Why the host is left alone for the rest of the crawl, or None."""
        if self.refusals >= self.settings.patience:
            return f"it refused {self.refusals} times in a row"
        if self.asked_for > self.settings.max_wait_s:
            return f"it asked to wait {self.asked_for:.0f} s, more than max_wait_s"
        if self.crawl_delay > self.settings.max_wait_s:
            return f"its Crawl-delay of {self.crawl_delay:g} s is more than max_wait_s"
        return None


@dataclass(eq=False)
class Host:
    """One host of those that are asked now."""

    id: int
    name: str
    pace: Pace
    scheme: str = "http"
    claims: deque[Claim] = field(default_factory=deque)
    active: int = 0
    pages: int = 0
    bytes: int = 0
    robots: Robots | None = None
    robots_until: float = 0.0
    robots_failures: int = 0
    asking: bool = False  # for robots.txt or for a page that cannot be: nothing else meanwhile
    soft_404: int | None = None
    left_alone: str | None = None
    queued: bool = False


def seconds_of_retry_after(value: str, now: float) -> float | None:
    """The seconds to wait that a Retry-After header means (RFC 9110, section 10.2.3: seconds, or a date)."""
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(min(int(value[:12]), 10**9))
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return max(0.0, (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now)
