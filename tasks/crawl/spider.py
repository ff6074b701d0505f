"""The crawler's process: Scrapy as the engine, the durable frontier as its scheduler.

Run as ``python -m tasks.crawl.spider JOB.json``; prints one JSON object of progress a line.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import fcntl
import logging
import os
import sys
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import scrapy
from scrapy.crawler import CrawlerProcess
from scrapy.exceptions import (
    CannotResolveHostError,
    DownloadCancelledError,
    DownloadConnectionRefusedError,
    DownloadTimeoutError,
)
from scrapy.http import Request, Response

from tasks.core.confined import Ended, Limits, Readers
from tasks.core.process import PARENT_VARIABLE, die_with_parent, emit
from tasks.crawl.archive import Exchange, Headers
from tasks.crawl.claims import Claim
from tasks.crawl.guard import SETTINGS_KEY, GuardedResolver, limit_headers
from tasks.crawl.live import Job, LiveCrawl
from tasks.crawl.politeness import OVERLOADED, Host
from tasks.crawl.requests import moved_robots
from tasks.crawl.scheduler import PROBE, ROBOTS, FrontierScheduler
from tasks.crawl.settings import CrawlSettings
from tasks.crawl.visit import (
    FIRST_SERVER_ERROR,
    REDIRECTS,
    Visit,
    forbidden,
    robots_body,
    soft_404_of,
    unanswered,
    visit_of,
)
from tasks.web.http import BodyRefused
from tasks.web.urls import canonical_url, host_name

FINISHED = "finished"
READERS = 2  # processes that read answers: one that is kept busy by a page holds up no other host for long
log = logging.getLogger("gristmill.crawl")
SILENCE = (CannotResolveHostError, DownloadConnectionRefusedError, DownloadTimeoutError)


class SiteSpider(scrapy.Spider):  # type: ignore[misc] # Scrapy is not typed here
    """Gives every answer to the crawl."""

    name = "gristmill"
    custom_settings: dict[str, Any] = {}  # noqa: RUF012 (Scrapy's own declaration)
    scheduler: FrontierScheduler

    def __init__(self, crawl: LiveCrawl, readers: Readers) -> None:
        super().__init__()
        self.crawl, self._read = crawl, readers
        self.fault: Exception | None = None
        self.reason = ""

    async def start(self) -> Any:
        """The frontier holds the seeds: nothing to start here."""
        return
        yield

    async def parse(self, response: Response, **_: Any) -> Any:
        """Takes an answer of any status."""
        again = await self._dealing(response.request, self._answered(response))
        if again is not None:
            yield again

    def failed(self, failure: Any) -> None:
        """Takes a request that had no answer."""
        self.guarded(lambda: self._unanswered(failure))
        self._let_go_on(failure.request)

    def closed(self, reason: str) -> None:
        """Commits the archive's last file where all is done."""
        self.reason = reason
        if reason == FINISHED and self.fault is None:
            self.guarded(self.crawl.archive.finish)

    async def _dealing(self, request: Request, deal: Coroutine[Any, Any, Request | None]) -> Request | None:
        """Deals with the end of a request, then lets its host go on; a fault of the store ends the crawl."""
        again = None
        try:
            again = await deal
        except Exception as error:
            self._stop(error)
        if again is None:
            self._let_go_on(request)
        return again

    def _let_go_on(self, request: Request) -> None:
        self.guarded(lambda: self.scheduler.finished(request.meta["host"], request.meta["kind"]))

    def guarded(self, work: Any) -> Any:
        """Scrapy would log an error and go on; here it stops the crawl, which goes on when it is run again."""
        if self.fault is not None:
            return None
        try:
            return work()
        except Exception as error:
            self._stop(error)
            return None

    def _stop(self, error: Exception) -> None:
        if self.fault is None:
            self.fault = error
            log.error("the crawl stops", exc_info=error)
            asyncio.get_running_loop().create_task(self.crawler.engine.close_spider_async(reason="fault"))

    async def _answered(self, response: Response) -> Request | None:
        if self.fault is not None:
            return None
        request = response.request
        assert request is not None
        host: Host = request.meta["host"]
        exchange = _exchange(response)
        overloaded = exchange.status in OVERLOADED
        self.scheduler.answered(host, request.meta["sent"], exchange.seconds, not overloaded and exchange.status < 500)
        retry_after = response.headers.get("Retry-After", b"").decode("latin-1")
        host.bytes += len(exchange.body)
        if request.meta["kind"] == ROBOTS:
            return await self._robots(exchange, host, request, retry_after)
        if overloaded:
            self.scheduler.refused(host, retry_after)
        if request.meta["kind"] == PROBE:
            if not overloaded or host.left_alone:
                said = await self._read(soft_404_of, exchange, self.crawl.settings)
                self.scheduler.probed(host, 0 if isinstance(said, Ended) else said)
            return None
        claim: Claim = request.meta["claim"]
        if host.robots is not None and not host.robots.allows(claim.url):  # the rules changed while it was under way
            self.crawl.forbid(claim, host.robots)
            return None
        visit = await self._read(visit_of, claim, exchange, self.crawl.settings, host.soft_404 or 0)
        if isinstance(visit, Ended):
            visit = unanswered(claim, "page", visit.reason, exchange.fetched_at.timestamp())
        if self.fault is None:
            self._settle(host, claim, exchange, visit, overloaded)
        return None

    async def _robots(self, exchange: Exchange, host: Host, request: Request, retry_after: str) -> Request | None:
        headers = {name.lower(): value for name, value in exchange.response_headers}
        if exchange.status in REDIRECTS and "location" in headers:
            again = moved_robots(request, headers["location"])
            if again is not None:
                return again
        self.crawl.archive.append(exchange)
        if exchange.status >= FIRST_SERVER_ERROR or exchange.status in OVERLOADED or exchange.truncated:
            reason = "cut off" if exchange.truncated else f"status {exchange.status}"
            self.scheduler.robots_failed(host, reason, retry_after)
            return None
        try:
            body = await self._read(robots_body, exchange, self.crawl.settings)
        except BodyRefused as error:
            self.scheduler.robots_failed(host, str(error))
        else:
            if isinstance(body, Ended):
                self.scheduler.robots_failed(host, body.reason)
            else:
                self.scheduler.robots_known(host, exchange.status, body, exchange.url)
        return None

    def _unanswered(self, failure: Any) -> None:
        request: Request = failure.request
        host: Host = request.meta["host"]
        refused = GuardedResolver.refused.get(host_name(host.name)) if failure.check(CannotResolveHostError) else None
        reason = refused or f"{failure.type.__name__}: {str(failure.value).strip() or failure.type.__doc__}"
        reason = " ".join(reason.split())[:300]
        if request.meta["kind"] == ROBOTS:
            self.scheduler.robots_failed(host, reason, final=refused is not None)
        elif request.meta["kind"] == PROBE:
            if failure.check(*SILENCE):
                self.scheduler.refused(host, None)
            self.scheduler.probed(host, 0)
        elif refused is not None:
            self.crawl.record(request.meta["claim"], None, forbidden("address refused", reason))
        else:
            if failure.check(*SILENCE):
                self.scheduler.refused(host, None)
            too_large = failure.check(DownloadCancelledError)
            visit = unanswered(request.meta["claim"], "body" if too_large else "no answer", reason, time.time())
            visit.retry = None if too_large else reason
            self._settle(host, request.meta["claim"], None, visit)

    def _settle(
        self, host: Host, claim: Claim, exchange: Exchange | None, visit: Visit, overloaded: bool = False
    ) -> None:
        """Records a visit, or lets its URL wait for another try."""
        tries = self.crawl.settings.patience if overloaded else self.crawl.settings.retries
        if visit.retry is not None and claim.attempts < tries and not host.left_alone:
            wait = self.crawl.settings.backoff_s * 2.0 ** min(claim.attempts, 20)
            host.pages -= 1  # a page is counted once, however often it is tried
            with self.crawl.frontier.transaction():
                self.crawl.frontier.put_back(
                    claim, claim.attempts + 1, time.time() + min(wait, self.crawl.settings.max_wait_s)
                )
        else:
            self.crawl.record(claim, exchange, visit)


def _exchange(response: Response) -> Exchange:
    assert response.request is not None
    return Exchange(
        url=canonical_url(response.url),
        status=response.status,
        reason="",
        request_headers=_headers(response.request.headers),
        response_headers=_headers(response.headers),
        body=response.body,
        fetched_at=datetime.datetime.now(datetime.UTC),
        seconds=time.time() - response.meta["sent"],
        truncated="dataloss" in response.flags,
    )


def _headers(headers: Any) -> Headers:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, values in headers.items() for value in values]


def scrapy_settings(settings: CrawlSettings) -> dict[str, Any]:
    """Our settings in Scrapy's words. None of its middlewares: scope, robots, redirects and retries are the crawl's own."""
    return {
        "SCHEDULER": FrontierScheduler,
        "DUPEFILTER_CLASS": "scrapy.dupefilters.BaseDupeFilter",
        "TWISTED_DNS_RESOLVER": GuardedResolver,
        SETTINGS_KEY: settings.model_dump_json(),
        "DOWNLOADER_MIDDLEWARES_BASE": {"scrapy.downloadermiddlewares.useragent.UserAgentMiddleware": 500},
        "SPIDER_MIDDLEWARES_BASE": {},
        "EXTENSIONS_BASE": {},
        "DOWNLOAD_HANDLERS": dict.fromkeys(("data", "file", "ftp", "s3")),
        "USER_AGENT": settings.full_user_agent,
        "CONCURRENT_ITEMS": 1,  # Scrapy starts so many tasks for every answer, and there are no items
        "DOWNLOAD_DELAY": 0,
        "CONCURRENT_REQUESTS": settings.concurrent_requests,
        "CONCURRENT_REQUESTS_PER_DOMAIN": settings.concurrent_requests,
        "DOWNLOAD_TIMEOUT": settings.timeout_s,
        "DOWNLOAD_MAXSIZE": settings.max_page_bytes,
        "DOWNLOAD_WARNSIZE": 0,
        "DOWNLOAD_FAIL_ON_DATALOSS": False,
        "REDIRECT_ENABLED": False,
        "COOKIES_ENABLED": False,
        "TELNETCONSOLE_ENABLED": False,
        "COMPRESSION_ENABLED": False,  # the archive keeps the bytes that the server sent
        "LOG_LEVEL": "WARNING",
    }


def main() -> int:
    """Crawls until the frontier is empty."""
    parser = argparse.ArgumentParser()
    parser.add_argument("job", type=Path)
    job = Job.model_validate_json(parser.parse_args().job.read_text())
    die_with_parent(int(os.environ[PARENT_VARIABLE]) if PARENT_VARIABLE in os.environ else None)
    limit_headers(job.settings.max_header_bytes)
    lock = (job.scratch / "crawler.lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)  # of a killed run the crawler may live for a moment longer
    crawl = LiveCrawl(job)
    process = CrawlerProcess(scrapy_settings(job.settings))
    crawler = process.create_crawler(SiteSpider)
    readers = Readers(READERS, Limits(job.settings.page_seconds, job.settings.page_memory_bytes))
    process.crawl(crawler, crawl, readers)
    process.start()
    readers.close()
    crawl.frontier.close()
    spider: SiteSpider = crawler.spider
    if spider.fault is not None:
        emit(error=f"the crawl stopped: {spider.fault}")
        return 1
    if spider.reason != FINISHED:
        emit(error="the crawl was stopped: run the same command again and it goes on where it was")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
