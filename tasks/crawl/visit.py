"""What an answer means: kept, removed or failed, by which rule, with which links, and when to look again."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tasks.crawl.archive import IDENTICAL_DIGEST, SERVER_NOT_MODIFIED, Exchange
from tasks.crawl.claims import PAGE_COLUMNS, Claim, Link
from tasks.crawl.links import Found, PageFacts, exact_fingerprint, facts_of, fingerprint
from tasks.crawl.politeness import OVERLOADED
from tasks.crawl.robots import Tags, tags_of
from tasks.crawl.scope import Refusal, is_generated
from tasks.crawl.settings import CrawlSettings
from tasks.web.http import BodyRefused, decoded_body
from tasks.web.urls import canonical_url

OK, NOT_MODIFIED, REQUEST_TIMEOUT, FIRST_SERVER_ERROR = 200, 304, 408, 500
REDIRECTS = frozenset({301, 302, 303, 307, 308})
GONE = frozenset({404, 410})
UNCHANGED_FACTOR, CHANGED_FACTOR = 2.0, 0.5  # of the time since the last visit, until the next
ROBOTS_RULE = "robots.txt"
# Rules that say no more than the status does.
_BY_STATUS = frozenset({"redirect", "not found", "vanished", "status other than 200", "server error"})
_END_OF_HTML = b"</html>"


@dataclass
class Visit:
    """What one fetch came to."""

    verdict: str
    refusal: Refusal | None
    page: dict[str, Any]  # what the frontier then knows of the URL: PAGE_COLUMNS, but for the place in the archive
    links: list[Found] = field(default_factory=list)
    link_hops: int = 0  # of the links: redirects that led to them
    revisits: str | None = None  # the WARC profile, where the body was the same as the last time
    archived: bool = True
    retry: str | None = None  # why another try may mend it
    content: int | None = None  # digest of what the page said, where it is to be compared with others
    still_known: bool = False  # nothing new was learned: the page is what it was

    @property
    def error(self) -> str | None:
        """What the row in ``pages`` says beside the status: why there is no answer, or why it is not kept."""
        if self.refusal is None or self.refusal.rule in _BY_STATUS:
            return None
        return self.refusal.detail if self.refusal.rule == ROBOTS_RULE else ": ".join(filter(None, self.refusal))


def visit_of(claim: Claim, answer: Exchange, settings: CrawlSettings, soft_404: int) -> Visit:
    """Judges an answer. ``soft_404`` is the digest of what the host says of pages that cannot be, 0 for an honest one."""
    try:
        visit = _judged(claim, answer, settings, soft_404)
    except MemoryError:
        raise
    except Exception as error:  # of a page that no reader foresaw: one page's fault must not end a crawl
        refusal = Refusal("page", f"{type(error).__name__}: {str(error)[:200]}")
        visit = _failed(claim, answer, refusal, {"status": answer.status})
    if visit.still_known:
        return visit
    known, at = claim.known, answer.fetched_at.timestamp()
    unchanged = visit.page.get("digest") == known.get("digest") and visit.page["status"] == known.get("status")
    visit.page |= {"visited_at": at, "visits": (known.get("visits") or 0) + 1}
    visit.page["changes"] = (known.get("changes") or 0) + int(bool(known) and not unchanged)
    visit.page["changed_at"] = known["changed_at"] if known and unchanged else at
    visit.page["next_visit_at"] = at + _interval(known, at, unchanged, settings)
    return visit


def unanswered(claim: Claim, rule: str, reason: str, now: float) -> Visit:
    """A request that had no usable answer: what is known stays, and is looked at again in the next crawl."""
    return _still_known(claim, reason, now) or Visit("failed", Refusal(rule, reason), {"next_visit_at": now})


def forbidden(rule: str, detail: str) -> Visit:
    """A URL that may not be asked any more: what was known of it leaves the corpus."""
    return Visit("removed", Refusal(rule, detail), dict.fromkeys(PAGE_COLUMNS), archived=False)


def _judged(claim: Claim, answer: Exchange, settings: CrawlSettings, soft_404: int) -> Visit:
    status, headers = answer.status, _lower(answer)
    page = {
        "final_url": answer.url,
        "status": status,
        "content_type": headers.get("content-type"),
        "body_bytes": len(answer.body),
        "decoded_bytes": None,
        "digest": None,
        "etag": headers.get("etag"),
        "last_modified": headers.get("last-modified"),
    }
    if status == OK:
        return _judged_page(claim, answer, headers, page, settings, soft_404)
    if status == NOT_MODIFIED and claim.known.get("digest"):
        kept = {name: claim.known[name] for name in page if name not in ("etag", "last_modified")}
        validators = {name: page[name] or claim.known[name] for name in ("etag", "last_modified")}
        return Visit("kept", None, kept | validators, revisits=SERVER_NOT_MODIFIED)
    if status in REDIRECTS and "location" in headers:
        return _redirect(claim, answer, headers["location"], page, settings)
    if status in OVERLOADED or status >= FIRST_SERVER_ERROR or status == REQUEST_TIMEOUT:
        still = _still_known(claim, f"status {status}", answer.fetched_at.timestamp())
        visit = still or Visit("failed", Refusal("server error", f"status {status}"), page)
        visit.retry = f"status {status}"
        return visit
    if status in GONE and claim.known.get("digest"):
        return Visit("removed", Refusal("vanished", f"status {status}"), page)
    return Visit(
        "removed", Refusal("not found" if status in GONE else "status other than 200", f"status {status}"), page
    )


def _judged_page(
    claim: Claim,
    answer: Exchange,
    headers: Mapping[str, str],
    page: dict[str, Any],
    settings: CrawlSettings,
    soft_404: int,
) -> Visit:
    try:
        body = decoded_body(answer.body, headers.get("content-encoding", ""), settings.max_decoded_bytes)
    except BodyRefused as error:
        cut = "cut off" if answer.truncated else None
        return _failed(claim, answer, Refusal("body", str(error)), page, retry=cut)
    if answer.truncated and not body.rstrip().lower().endswith(_END_OF_HTML):
        refusal = Refusal("body", f"cut off after {len(answer.body)} bytes")
        return _failed(claim, answer, refusal, page, retry="cut off")
    facts = facts_of(body, headers.get("content-type", ""), answer.url, settings.sitemaps)
    tags = _tags(answer, facts, settings)
    links = [] if tags.nofollow else facts.links
    if tags.refused:
        return Visit("removed", Refusal("robots tag", tags.refused), page, links, archived=False)
    content = None
    if facts.text:
        content = fingerprint(facts.text, answer.url) if is_generated(answer.url) else exact_fingerprint(facts.text)
    if (
        settings.soft_404
        and claim.depth
        and (facts.not_found or (soft_404 and fingerprint(facts.text, answer.url) == soft_404))
    ):
        return Visit("removed", Refusal("soft 404"), page, content=content)
    page |= {"digest": hashlib.sha256(body).hexdigest(), "decoded_bytes": len(body)}
    same = page["digest"] == claim.known.get("digest")
    return Visit("kept", None, page, links, revisits=IDENTICAL_DIGEST if same else None, content=content)


def _redirect(claim: Claim, answer: Exchange, location: str, page: dict[str, Any], settings: CrawlSettings) -> Visit:
    with contextlib.suppress(UnicodeError):
        location = location.encode("latin-1").decode()  # headers are bytes, and some servers send UTF-8 in them
    try:
        target = canonical_url(location, answer.url)
    except ValueError:
        return Visit("removed", Refusal("redirect", f"to {location[:200]}, which is no web address"), page)
    if claim.hops >= settings.max_redirects:
        return Visit("removed", Refusal("redirects without end", f"{claim.hops + 1} of them"), page)
    page["final_url"] = target
    return Visit("removed", Refusal("redirect", target), page, [Found(target)], link_hops=claim.hops + 1)


def _still_known(claim: Claim, reason: str, now: float) -> Visit | None:
    """A page that cannot be had today is still what it was."""
    if not claim.known.get("digest"):
        return None
    page = {name: claim.known[name] for name in PAGE_COLUMNS if name not in ("warc_path", "warc_offset")}
    refusal = Refusal("not answered this time", reason)
    return Visit("kept", refusal, page | {"next_visit_at": now}, archived=False, still_known=True)


def _failed(claim: Claim, answer: Exchange, refusal: Refusal, page: dict[str, Any], retry: str | None = None) -> Visit:
    """An answer that cannot be used and is not archived: a page that is known stays what it was."""
    still = _still_known(claim, refusal.detail, answer.fetched_at.timestamp())
    visit = still or Visit("failed", refusal, page, archived=False)
    visit.retry = retry
    return visit


def _tags(answer: Exchange, facts: PageFacts, settings: CrawlSettings) -> Tags:
    if not settings.obey_robots_tags:
        return Tags()
    values = [value for name, value in answer.response_headers if name.lower() == "x-robots-tag"]
    return tags_of(values, facts.metas, settings.product_token, datetime.datetime.now(datetime.UTC))


def _interval(known: Mapping[str, Any], at: float, unchanged: bool, settings: CrawlSettings) -> float:
    """Seconds until the next visit: twice as long as the last time for what has not changed, half as long for what has.

    A page that was seen once is looked at in the next crawl, whenever that is.
    """
    since = at - known["visited_at"] if known else 0.0
    wanted = since * (UNCHANGED_FACTOR if unchanged else CHANGED_FACTOR)
    return max(settings.revisit_min_s, min(wanted, settings.revisit_max_s))


def _lower(answer: Exchange) -> dict[str, str]:
    return {name.lower(): value for name, value in reversed(answer.response_headers)}


def soft_404_of(answer: Exchange, settings: CrawlSettings) -> int:
    """The digest of what a host says of a page that cannot be, 0 where it says so by its status."""
    if answer.status != OK:
        return 0
    headers = _lower(answer)
    try:
        body = decoded_body(answer.body, headers.get("content-encoding", ""), settings.max_decoded_bytes)
        text = facts_of(body, headers.get("content-type", ""), answer.url, feeds=False).text
    except (BodyRefused, ValueError, RuntimeError):
        return 0
    return fingerprint(text, answer.url) if text else 0


def robots_body(answer: Exchange, settings: CrawlSettings) -> bytes:
    """The decoded body of a robots.txt. Raises BodyRefused."""
    return decoded_body(answer.body, _lower(answer).get("content-encoding", ""), settings.max_page_bytes)


def links_from(claim: Claim, visit: Visit) -> list[Link]:
    """The visit's links as the frontier takes them, not yet judged."""
    depth = claim.depth if visit.link_hops else claim.depth + 1
    return [
        Link(
            found.url,
            depth,
            claim.url,
            visit.link_hops,
            changed_after=found.lastmod.timestamp() if found.lastmod else None,
        )
        for found in visit.links
    ]
