"""What a page says about itself: title, date, language and address."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import date
from email.utils import parsedate
from typing import Any, NamedTuple

from selectolax.lexbor import LexborHTMLParser

from tasks.web.urls import canonical_url

EARLIEST_YEAR, LATEST_YEAR = 1990, 2100  # a bound by the clock would make the answer depend on when it is asked
# Names under which pages state in their heads when they were published, best first; JSON-LD comes after the first two.
_DATES = (
    "article:published_time", "datepublished", "og:published_time", "parsely-pub-date", "sailthru.date", "pubdate", "publishdate", "date", "dc.date",
    "dc.date.issued", "dcterms.created", "publication_date",
)  # fmt: skip
_ADDRESS_DATE = re.compile(r"/((?:19|20)\d\d)[/-](\d\d)[/-](\d\d)(?=[/-]|$)")
_ISO_DATE = re.compile(r"\s*(\d{4})[-/]?(\d\d)[-/]?(\d\d)(?!\d)")
_LANGUAGE = re.compile(r"\s*([A-Za-z]{2,3})(?:[-_]|\s*$)")


class Metadata(NamedTuple):
    """A page's own claims; None where it makes none that can be read."""

    title: str | None = None
    published: str | None = None  # ISO 8601 date
    language: str | None = None  # ISO 639 code
    canonical: str | None = None


def metadata_of(tree: LexborHTMLParser, url: str) -> Metadata:
    """Reads a parsed page that was fetched from ``url``."""
    if tree.head is None:
        return Metadata()
    stated: dict[str, list[str]] = {}
    for meta in tree.head.css("meta[content]"):
        attributes = meta.attributes
        for kind in ("property", "name", "itemprop", "http-equiv"):
            name = attributes.get(kind)
            if name:
                stated.setdefault(name.lower(), []).append((attributes["content"] or "").strip())
    return Metadata(_title(tree, stated), _published(tree, stated, url), _language(tree, stated), _canonical(tree, url))


def _first(stated: dict[str, list[str]], name: str) -> str:
    return next(filter(None, stated.get(name, ())), "")


def _title(tree: LexborHTMLParser, stated: dict[str, list[str]]) -> str | None:
    """The title that is meant for readers: without the site's name, where the page says it alone somewhere."""
    whole = tree.head.css_first("title") if tree.head is not None else None
    title = " ".join(whole.text().split()) if whole is not None else ""
    candidates = [_first(stated, "og:title"), *(" ".join(heading.text().split()) for heading in tree.css("h1")[:3])]
    candidates = [candidate for candidate in candidates if candidate]
    within = [candidate for candidate in candidates if candidate in title and 2 * len(candidate) >= len(title)]
    return max(within, key=len, default=None) or title or next(iter(candidates), None)


def _published(tree: LexborHTMLParser, stated: dict[str, list[str]], url: str) -> str | None:
    return next(filter(None, map(iso_date, _claimed_dates(tree, stated, url))), None)


def _claimed_dates(tree: LexborHTMLParser, stated: dict[str, list[str]], url: str) -> Iterator[str]:
    for name in _DATES[:2]:
        yield from stated.get(name, ())
    for script in tree.css('script[type^="application/ld+json"]'):
        try:
            yield from _stated_in(json.loads(script.text() or ""))
        except (ValueError, RecursionError):
            continue
    for name in _DATES[2:]:
        yield from stated.get(name, ())
    for found in tree.css('[itemprop="datePublished"], time[datetime]'):
        yield from filter(None, (found.attributes.get("content"), found.attributes.get("datetime")))
    in_address = _ADDRESS_DATE.search(url)
    if in_address:
        yield "-".join(in_address.groups())


def _stated_in(data: Any) -> Iterator[str]:
    """The datePublished of a page's own things in JSON-LD, not of what belongs to them, such as comments."""
    for thing in data if isinstance(data, list) else [data]:
        if isinstance(thing, dict):
            day = thing.get("datePublished")
            if isinstance(day, str):
                yield day
            yield from _stated_in(thing.get("@graph", []))


def iso_date(claim: str) -> str | None:
    """The day that a date in ISO 8601 or RFC 5322 names, None for anything else."""
    found = _ISO_DATE.match(claim)
    if found:
        year, month, day = map(int, found.groups())
    else:
        parsed = parsedate(claim) if claim else None
        if parsed is None:
            return None
        year, month, day = parsed[:3]
    try:
        return date(year, month, day).isoformat() if EARLIEST_YEAR <= year <= LATEST_YEAR else None
    except (ValueError, OverflowError):
        return None


def _language(tree: LexborHTMLParser, stated: dict[str, list[str]]) -> str | None:
    root = tree.root.attributes if tree.root is not None else {}
    claims = (root.get("lang"), root.get("xml:lang"), _first(stated, "content-language"), _first(stated, "og:locale"))
    found = next(filter(None, (_LANGUAGE.match(claim or "") for claim in claims)), None)
    return found.group(1).lower() if found else None


def _canonical(tree: LexborHTMLParser, url: str) -> str | None:
    link = tree.head.css_first('link[rel="canonical" i]') if tree.head is not None else None
    claim = (link.attributes.get("href") or "").strip() if link is not None else ""
    try:
        return canonical_url(claim, url) if claim else None
    except ValueError:
        return None
