"""The crawler's process: Scrapy with the durable frontier as its scheduler.

Run as ``python -m tasks.crawl.spider JOB.json``; prints one JSON object of progress a line.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import scrapy
from pydantic import BaseModel
from scrapy.core.scheduler import BaseScheduler
from scrapy.crawler import Crawler, CrawlerProcess
from scrapy.downloadermiddlewares.robotstxt import RobotsTxtMiddleware
from scrapy.exceptions import CloseSpider, IgnoreRequest
from scrapy.http import HtmlResponse, Request, Response

from tasks.crawl.archive import Archive, Fetch
from tasks.crawl.frontier import Frontier, Link
from tasks.crawl.politeness import RobotsMiddleware
from tasks.crawl.settings import CrawlSettings
from tasks.process import PARENT_VARIABLE, die_with_parent, emit
from tasks.urls import canonical_url, domain_of
from warehouse.artifact import Ref
from warehouse.store import Store

CLAIM_AT_ONCE = 64
PROGRESS_SECONDS = 0.5


class Job(BaseModel):
    """What the crawler's process needs to know."""

    store: str
    ref: Ref
    crawl: str
    settings: CrawlSettings
    frontier: Path


class Crawl:
    """The state that scheduler and spider share: the frontier, the archive, and the batch being filled."""

    def __init__(self, job: Job) -> None:
        self.job, self.settings = job, job.settings
        self.frontier = Frontier(job.frontier)
        self.archive = Archive(Store(job.store), job.ref, job.crawl, job.settings.user_agent)
        self._recover()
        self.hosts = {domain_of(seed) for seed in self.settings.seeds}
        self.frontier.add(Link(seed, 0, None) for seed in self.settings.seeds)
        self._last_commit = self._last_progress = time.monotonic()
        self.done, self.known = self.frontier.counts()
        self.fault: Exception | None = None

    def _recover(self) -> None:
        """Tells the frontier of batches that were committed just before a kill."""
        for batch in self.archive.committed():
            if batch not in self.frontier.batches():
                self.frontier.complete(batch, self.archive.urls(batch))

    def record(self, fetch: Fetch, links: list[Link]) -> None:
        """Keeps a fetch and its out-links; commits the batch when it is full."""
        self.frontier.add(links)  # durable before the batch can be: a page that is done has its links stored
        self.archive.add(fetch)
        now = time.monotonic()
        full = len(self.archive.fetches) >= self.settings.batch_pages or self.archive.bytes >= self.settings.batch_bytes
        if full or now - self._last_commit > self.settings.batch_seconds:
            self.commit()
        if now - self._last_progress > PROGRESS_SECONDS:
            self._progress()

    def commit(self) -> None:
        """Makes the batch durable, then its URLs done."""
        if self.archive.fetches:
            self.frontier.complete(*self.archive.commit())
        self._last_commit = time.monotonic()
        self._progress()

    def _progress(self) -> None:
        self._last_progress = time.monotonic()
        self.done, self.known = self.frontier.counts()
        emit(done=self.done + len(self.archive.fetches), known=self.known)

    def allows(self, url: str, depth: int) -> bool:
        """Whether a link is within the crawl's scope."""
        return domain_of(url) in self.hosts and depth <= self.settings.max_depth


def _crawl_of(crawler: Crawler) -> Crawl:
    assert isinstance(crawler.spider, SiteSpider)
    return crawler.spider.crawl


class FrontierScheduler(BaseScheduler):  # type: ignore[misc] # Scrapy is not typed here
    """Scrapy's scheduler interface over the frontier; redirects and retries wait in memory."""

    def __init__(self, crawl: Crawl) -> None:
        self._crawl = crawl
        self._claimed: deque[Link] = deque()
        self._again: deque[Request] = deque()
        self._handed_out, _ = crawl.frontier.counts()

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> FrontierScheduler:
        """Scrapy's constructor."""
        return cls(_crawl_of(crawler))

    def open(self, spider: Any) -> None:
        """Remembers whose methods answer the requests."""
        self._spider = spider

    def has_pending_requests(self) -> bool:
        """Whether any URL is left within the page budget."""
        return bool(self._again or self._fill())

    def enqueue_request(self, request: Request) -> bool:
        """Takes a redirect or a retry of a request under way."""
        self._again.append(request)
        return True

    def next_request(self) -> Request | None:
        """The next request, or None where nothing is ready."""
        if self._again:
            return self._again.popleft()
        if not self._fill():
            return None
        link = self._claimed.popleft()
        self._handed_out += 1
        return Request(link.url, callback=self._spider.parse, errback=self._spider.failed, meta={"link": link})

    def _fill(self) -> bool:
        room = self._crawl.settings.max_pages - self._handed_out - len(self._claimed)
        if not self._claimed and room > 0:
            self._claimed.extend(self._crawl.frontier.claim(min(CLAIM_AT_ONCE, room)))
        return bool(self._claimed)


class ScopeMiddleware:
    """Refuses a redirect that leaves the crawl's hosts."""

    def __init__(self, crawl: Crawl) -> None:
        self._crawl = crawl

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> ScopeMiddleware:
        """Scrapy's constructor."""
        return cls(_crawl_of(crawler))

    def process_request(self, request: Request) -> None:
        """Raises IgnoreRequest outside of the scope."""
        if "link" in request.meta and not self._crawl.allows(canonical_url(request.url), 0):
            raise IgnoreRequest("redirect out of scope")


class SiteSpider(scrapy.Spider):  # type: ignore[misc]
    """Archives every page that it is handed and gives its links to the frontier."""

    name = "gristmill"
    custom_settings: dict[str, Any] = {}  # noqa: RUF012 (Scrapy's own declaration)

    def __init__(self, crawl: Crawl) -> None:
        super().__init__()
        self.crawl = crawl

    async def start(self) -> Any:
        """The frontier holds the seeds: nothing to start here."""
        return
        yield

    def parse(self, response: Response, **_: Any) -> None:
        """Keeps an answer of any status."""
        assert response.request is not None
        link: Link = response.meta["link"]
        fetch = Fetch(
            link.url,
            link.depth,
            link.referrer,
            final_url=canonical_url(response.url),
            status=response.status,
            request_headers=_headers(response.request.headers),
            response_headers=_headers(response.headers),
            body=response.body,
        )
        links = _links(response, link.depth + 1, self.crawl) if isinstance(response, HtmlResponse) else []
        self._keep(fetch, links)

    def _keep(self, fetch: Fetch, links: list[Link]) -> None:
        """Records a fetch; a fault of the store ends the crawl, since Scrapy would log it and go on."""
        try:
            self.crawl.record(fetch, links)
        except Exception as error:
            self.crawl.fault = self.crawl.fault or error
            raise CloseSpider("the store failed") from error

    def failed(self, failure: Any) -> None:
        """Keeps a request that had no answer, with the reason."""
        link: Link = failure.request.meta["link"]
        if failure.check(IgnoreRequest):
            reason = str(failure.value)
            error = "robots.txt forbids it" if "robots" in reason.lower() else reason or "refused"
        else:
            error = f"{failure.type.__name__}: {str(failure.value).strip() or failure.type.__doc__}"
        self._keep(Fetch(link.url, link.depth, link.referrer, error=" ".join(error.split())[:500]), [])

    def closed(self, reason: str) -> None:
        """Commits the last batch."""
        try:
            self.crawl.commit()
        except Exception as error:
            self.crawl.fault = self.crawl.fault or error


def _headers(headers: Any) -> list[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, values in headers.items() for value in values]


def _links(response: HtmlResponse, depth: int, crawl: Crawl) -> list[Link]:
    """The page's links within scope, in canonical form, once each."""
    try:
        base = urljoin(response.url, response.xpath("//base/@href").get(default=""))
    except ValueError:
        base = response.url
    found: dict[str, Link] = {}
    for href in response.xpath("//a[not(contains(concat(' ', @rel, ' '), ' nofollow '))]/@href").getall():
        try:
            url = canonical_url(urljoin(base, href.strip()))
        except ValueError:
            continue  # mailto:, javascript: and what no parser can read
        if url not in found and crawl.allows(url, depth):
            found[url] = Link(url, depth, canonical_url(response.url))
    return list(found.values())


def scrapy_settings(settings: CrawlSettings) -> dict[str, Any]:
    """Our settings in Scrapy's words."""
    return {
        "SCHEDULER": FrontierScheduler,
        "DUPEFILTER_CLASS": "scrapy.dupefilters.BaseDupeFilter",
        "DOWNLOADER_MIDDLEWARES": {ScopeMiddleware: 50, RobotsMiddleware: 100, RobotsTxtMiddleware: None},
        "USER_AGENT": settings.user_agent,
        "ROBOTSTXT_OBEY": settings.obey_robots,
        "DOWNLOAD_DELAY": settings.delay_s,
        "CONCURRENT_REQUESTS": max(16, settings.requests_per_host),
        "CONCURRENT_REQUESTS_PER_DOMAIN": settings.requests_per_host,
        "AUTOTHROTTLE_ENABLED": settings.autothrottle,
        "AUTOTHROTTLE_START_DELAY": settings.delay_s,
        "DOWNLOAD_TIMEOUT": settings.timeout_s,
        "RETRY_TIMES": settings.retries,
        "DOWNLOAD_MAXSIZE": settings.max_page_bytes,
        "COOKIES_ENABLED": False,
        "TELNETCONSOLE_ENABLED": False,
        "COMPRESSION_ENABLED": False,  # the archive keeps the bytes that the server sent
        "HTTPERROR_ALLOW_ALL": True,
        "LOG_LEVEL": "WARNING",
        "LOGSTATS_INTERVAL": 0,
    }


def main() -> int:
    """Crawls until the frontier is empty."""
    parser = argparse.ArgumentParser()
    parser.add_argument("job", type=Path)
    job = Job.model_validate_json(parser.parse_args().job.read_text())
    die_with_parent(int(os.environ[PARENT_VARIABLE]) if PARENT_VARIABLE in os.environ else None)
    crawl = Crawl(job)
    process = CrawlerProcess(scrapy_settings(job.settings))
    process.crawl(SiteSpider, crawl)
    process.start()
    crawl.frontier.close()
    if crawl.fault is not None:
        emit(error=f"the crawl stopped: {crawl.fault}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
