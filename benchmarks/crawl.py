"""crawl: pages a second beside plain Scrapy on one site, and memory as the site grows."""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.harness import DATA, Row, measure, side_by_side, write_results

CONCURRENCY = 16
SITE = "site-postgresql-django.tar.xz"
SIZES = (500, 5_000, 20_000)
TEXT = (
    "Every page of a site on loopback, {count:,} of them, from its front page, {concurrency} requests at once, no delay. "
    "`scrapy` keeps nothing but its counters: its scheduler and its duplicates filter are in memory. `gristmill` has a "
    "durable frontier, and archives requests, responses and metadata as WARC. `limit` fetches a list of the same URLs "
    "and does nothing with them. `coverage` is the share of the site's linked pages that were fetched. The rows after "
    "them are sites of generated pages, for the crawler's memory; there the server makes each page when it is asked for."
)


def crawl_with_gristmill(root: str) -> Row:
    """A crawl into a store of its own, as a plain stage."""
    from tasks.core.stage import run_stages
    from tasks.crawl.settings import CrawlSettings
    from tasks.crawl.stage import crawl_to_use
    from warehouse.artifact import read_tables
    from warehouse.store import Store

    settings = CrawlSettings(
        seeds=(f"{root}/",),
        delay_s=0.0,
        requests_per_host=CONCURRENCY,
        concurrent_requests=CONCURRENCY,
        autothrottle=False,
        obey_robots=False,
        soft_404=False,
        private_networks=("127.0.0.0/8",),
    )
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        crawl = crawl_to_use(Store(folder), settings, "site", False)
        run_stages([crawl])
        seconds = time.perf_counter() - started
        pages = read_tables(crawl.store, crawl.ref, "pages", ["status", "body_bytes"])
    kept = [
        size for status, size in zip(*(column.to_pylist() for column in pages.columns), strict=True) if status == 200
    ]
    return {
        "version": "0.1",
        "documents": len(kept),
        "bytes": sum(kept),
        "seconds": seconds,
    }


def crawl_with_scrapy(root: str) -> Row:
    """Scrapy as its tutorial has it: follow every link of the host."""
    import scrapy
    from scrapy.crawler import CrawlerProcess
    from scrapy.linkextractors import LinkExtractor

    seen: dict[str, int] = {}
    extractor = LinkExtractor(allow=[re.escape(root)], deny_extensions=[])

    class Follow(scrapy.Spider):  # type: ignore[misc]
        name = "follow"

        async def start(self) -> Any:
            yield scrapy.Request(f"{root}/")

        def parse(self, response: Any) -> Any:
            seen[response.url] = len(response.body)
            if isinstance(response, scrapy.http.HtmlResponse):
                for link in extractor.extract_links(response):
                    yield scrapy.Request(link.url)

    started = time.perf_counter()
    process = CrawlerProcess(
        {
            "CONCURRENT_REQUESTS": CONCURRENCY,
            "CONCURRENT_REQUESTS_PER_DOMAIN": CONCURRENCY,
            "DOWNLOAD_DELAY": 0,
            "ROBOTSTXT_OBEY": False,
            "TELNETCONSOLE_ENABLED": False,
            "LOG_LEVEL": "ERROR",
        }
    )
    process.crawl(Follow)
    process.start()
    return {
        "version": scrapy.__version__,
        "documents": len(seen),
        "bytes": sum(seen.values()),
        "seconds": time.perf_counter() - started,
    }


def fetch_all(root: str, urls: list[str]) -> Row:
    """The bound: a known list, fetched and dropped."""
    import aiohttp

    async def run() -> tuple[int, int]:
        size, left = 0, list(urls)
        async with aiohttp.ClientSession() as session:

            async def work() -> None:
                nonlocal size
                while left:
                    async with session.get(root + left.pop()) as response:
                        body = await response.read()
                    size += len(body)

            await asyncio.gather(*(work() for _ in range(CONCURRENCY)))
        return len(urls), size

    started = time.perf_counter()
    documents, size = asyncio.run(run())
    return {
        "version": aiohttp.__version__,
        "documents": documents,
        "bytes": size,
        "seconds": time.perf_counter() - started,
    }


@contextmanager
def served(*arguments: str) -> Iterator[str]:
    """The site, in a process of its own, once it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with subprocess.Popen([sys.executable, "-m", "benchmarks.site", "--port", str(port), *arguments]) as server:
        try:
            for _ in range(600):
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.kill()


@contextmanager
def site_folder(data: Path) -> Iterator[Path]:
    """The folder of the site: unpacked from the archive in ``data``, or ``data`` itself."""
    archives = sorted(data.glob("site-*.tar.*"))
    chosen = next((path for path in archives if path.name == SITE), archives[0] if archives else None)
    if chosen is None:
        yield data
        return
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(chosen) as archive:
            archive.extractall(folder, filter="data")
        yield Path(folder)


def linked_pages(root: str) -> list[str]:
    """The paths of all pages that links lead to, counted by neither of the crawlers."""
    import urllib.request
    from urllib.parse import urldefrag, urljoin

    import lxml.html

    known, waiting = {f"{root}/"}, [f"{root}/"]
    found = []
    while waiting:
        url = waiting.pop()
        try:
            with urllib.request.urlopen(url) as response:
                body, kind = response.read(), response.headers.get_content_type()
        except OSError:
            continue
        found.append(url.removeprefix(root))
        if kind == "text/html" and body.strip():
            for href in lxml.html.document_fromstring(body).xpath("//a/@href | //area/@href"):
                link = urldefrag(urljoin(url, href)).url
                if link.startswith(f"{root}/") and link not in known:
                    known.add(link)
                    waiting.append(link)
    return found


def main() -> None:
    """Runs one system where asked to, else all of them side by side."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA / "html", help="folder with a site-*.tar.*, or of HTML files")
    parser.add_argument("--peers", default="scrapy,limit", help="systems beside gristmill")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        system, root = arguments.one
        run = {"gristmill": crawl_with_gristmill, "scrapy": crawl_with_scrapy}
        row = fetch_all(root, json.load(sys.stdin)) if system == "limit" else run[system](root)
        print(json.dumps(row))
        return
    compare(arguments.data, [peer for peer in arguments.peers.split(",") if peer], arguments.repeats, arguments.json)


def compare(data: Path, peers: list[str], repeats: int, json_file: Path | None) -> None:
    """All systems on the site, then ours on sites that grow."""

    def one(system: str, root: str, known: list[str]) -> Row:
        return measure(
            [sys.executable, "-m", "benchmarks.crawl", "--one", system, root],
            json.dumps(known) if system == "limit" else "",
        )

    with site_folder(data) as folder, served("--folder", str(folder)) as root:
        known = linked_pages(root)
        systems = {name: partial(one, name, root, known) for name in ("gristmill", *peers)}
        rows = side_by_side(systems, repeats)
    for row in rows:
        row["coverage"] = row["documents"] / len(known)
    for size in SIZES:
        with served("--generated", str(size)) as root:
            rows.append({"system": "gristmill", "coverage": 1.0, **one("gristmill", root, [])})
            rows[-1]["coverage"] = rows[-1]["documents"] / size
            rows[-1]["version"] = f"{size:,} generated"
    text = TEXT.format(count=len(known), concurrency=CONCURRENCY)
    write_results("crawl", "Crawl", text, rows, {"coverage": "coverage"}, json_file)


if __name__ == "__main__":
    main()
