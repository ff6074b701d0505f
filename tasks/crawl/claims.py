"""What goes into the frontier and comes out of it: links and claims."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tasks.crawl.scope import Refusal

# What is known of a URL's page, in the order of the columns; the same names as in the stored table ``urls``.
PAGE_COLUMNS = {
    "final_url": "TEXT",
    "status": "INT",
    "content_type": "TEXT",
    "body_bytes": "INT",
    "decoded_bytes": "INT",
    "digest": "TEXT",
    "warc_path": "TEXT",
    "warc_offset": "INT",
    "etag": "TEXT",
    "last_modified": "TEXT",
    "visited_at": "REAL",
    "changed_at": "REAL",
    "next_visit_at": "REAL",
    "visits": "INT",
    "changes": "INT",
}
CLAIM_COLUMNS = ("id", "url", "host", "depth", "hops", "referrer", "attempts")


@dataclass(frozen=True)
class Link:
    """A URL to fetch: canonical, with its distance from a seed and where it was found."""

    url: str
    depth: int
    referrer: str | None = None
    hops: int = 0  # redirects that led here
    priority: float = 0.0  # the highest is fetched first
    changed_after: float | None = None  # when its sitemap says that it last changed, seconds since the epoch
    refusal: Refusal | None = None


@dataclass
class Claim:
    """A URL that was handed out, with what earlier visits know of it."""

    id: int
    url: str
    host: int
    depth: int
    hops: int
    referrer: str | None
    attempts: int
    known: dict[str, Any] = field(default_factory=dict)
