"""The requests that leave: conditional where the page is known, with nothing of Scrapy's own on the way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scrapy.http import Request

from tasks.web.http import ACCEPTED_CODINGS
from tasks.web.urls import canonical_url

ROBOTS_REDIRECTS = 5  # RFC 9309, section 2.3.1.2: at least so many
VALIDATORS = (("If-None-Match", "etag"), ("If-Modified-Since", "last_modified"))


def request_for(url: str, known: Mapping[str, Any], spider: Any, meta: dict[str, Any]) -> Request:
    """The request for a URL as it is written; ``known`` is what an earlier visit left, or empty."""
    headers = {"Accept-Encoding": ACCEPTED_CODINGS}
    if known.get("digest"):
        headers |= {name: known[column] for name, column in VALIDATORS if known[column]}
    return Request(
        url, callback=spider.parse, errback=spider.failed, headers=headers, meta={**meta, "verbatim_url": True}
    )


def moved_robots(request: Request, location: str) -> Request | None:
    """The request for a robots.txt that has moved, None where it has moved too often or to no web address."""
    hops = request.meta.get("hops", 0) + 1
    try:
        url = canonical_url(location, request.url)
    except ValueError:
        return None
    return request.replace(url=url, meta={**request.meta, "hops": hops}) if hops <= ROBOTS_REDIRECTS else None
