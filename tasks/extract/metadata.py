"""What a page says about itself: title, date, language and address."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import date
from email.utils import parsedate
from typing import Any, NamedTuple

from selectolax.lexbor import LexborHTMLParser

from tasks.urls import canonical_url

EARLIEST_YEAR, LATEST_YEAR = 1990, 2100  # a bound by the clock would make the answer depend on when it is asked
# Where pages state when they were published, best first; JSON-LD comes after the first.
_DATES = (
    'meta[property="article:published_time"], meta[itemprop="datePublished"]',
    '[itemprop="datePublished"]',
    'meta[name="parsely-pub-date"], meta[name="sailthru.date"], meta[name="pubdate"], meta[name="publishdate"]',
    'meta[name="date" i], meta[name="dc.date" i], meta[name="dc.date.issued" i], meta[name="dcterms.created" i]',
    'meta[property="og:published_time"], meta[name="article:published_time"], meta[name="publication_date"]',
    "time[pubdate]",
    "article time[datetime]",
    "time[datetime]",
)
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
    return Metadata(_title(tree), _published(tree, url), _language(tree), _canonical(tree, url))


def _attribute(tree: LexborHTMLParser, selector: str, name: str) -> str:
    found = tree.css_first(selector)
    return (found.attributes.get(name) or "").strip() if found is not None else ""


def _title(tree: LexborHTMLParser) -> str | None:
    """The title that is meant for readers: without the site's name, where the page says it alone somewhere."""
    whole = tree.css_first("head title")
    title = " ".join(whole.text().split()) if whole is not None else ""
    candidates = [_attribute(tree, 'meta[property="og:title"]', "content")]
    candidates += [" ".join(heading.text().split()) for heading in tree.css("h1")[:3]]
    candidates = [candidate for candidate in candidates if candidate]
    within = [candidate for candidate in candidates if candidate in title and 2 * len(candidate) >= len(title)]
    return max(within, key=len, default=None) or title or next(iter(candidates), None)


def _published(tree: LexborHTMLParser, url: str) -> str | None:
    in_address = _ADDRESS_DATE.search(url)
    claims = [*_claimed_dates(tree), "-".join(in_address.groups()) if in_address else ""]
    return next(filter(None, map(iso_date, claims)), None)


def _claimed_dates(tree: LexborHTMLParser) -> Iterator[str]:
    for selector in _DATES[:1]:
        yield from _dates_at(tree, selector)
    for script in tree.css('script[type^="application/ld+json"]'):
        try:
            yield from _stated(json.loads(script.text() or ""))
        except (ValueError, RecursionError):
            continue
    for selector in _DATES[1:]:
        yield from _dates_at(tree, selector)


def _dates_at(tree: LexborHTMLParser, selector: str) -> Iterator[str]:
    for found in tree.css(selector):
        for attribute in ("content", "datetime"):
            yield (found.attributes.get(attribute) or "").strip()


def _stated(data: Any) -> Iterator[str]:
    """The datePublished of a page's own things in JSON-LD, not of what belongs to them, such as comments."""
    for thing in data if isinstance(data, list) else [data]:
        if isinstance(thing, dict):
            date_stated = thing.get("datePublished")
            if isinstance(date_stated, str):
                yield date_stated
            yield from _stated(thing.get("@graph", []))


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


def _language(tree: LexborHTMLParser) -> str | None:
    claims = (
        _attribute(tree, "html", "lang"),
        _attribute(tree, "html", "xml:lang"),
        _attribute(tree, 'meta[http-equiv="content-language" i]', "content"),
        _attribute(tree, 'meta[property="og:locale"]', "content"),
    )
    found = next(filter(None, map(_LANGUAGE.match, claims)), None)
    return found.group(1).lower() if found else None


def _canonical(tree: LexborHTMLParser, url: str) -> str | None:
    claim = _attribute(tree, 'link[rel="canonical" i]', "href")
    try:
        return canonical_url(claim, url) if claim else None
    except ValueError:
        return None
