"""Which links a crawl takes. A refusal is a rule and a detail, and becomes a row."""

from __future__ import annotations

import datetime
import re
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from tasks.crawl.settings import CrawlSettings
from tasks.web.urls import domain_of, host_name

MAX_SEGMENTS = 30  # folders of a path
MAX_REPEATS = 3  # times that one folder may stand in a path
MAX_PARAMETERS = 12
CALENDAR_YEARS_AHEAD = 2  # of today, as far as a calendar is followed
# A year and a month of it; with a word and a dash before, as in iso-2768-1, it is a number of something.
_DATE = re.compile(
    r"(?<!\d)(?<![a-z][_-])((?:19|20|21)\d\d)[/_-](?:0?[1-9]|1[0-2])(?!\d)|[?&](?:year|y|yr)=(\d{4})(?!\d)",
    re.IGNORECASE,
)
_VARIABLE = re.compile(r"\d+|(?<![0-9a-f])[0-9a-f]{16,}(?![0-9a-f])")


class Refusal(NamedTuple):
    """Why a URL is not fetched."""

    rule: str
    detail: str = ""


class Scope:
    """The crawl's bounds, judged from a URL and its depth alone."""

    def __init__(self, settings: CrawlSettings, starts: Iterable[str]) -> None:
        self._settings = settings
        self._hosts = {domain_of(start) for start in starts}
        self._skip = frozenset(settings.skip)
        self._exclude = [re.compile(pattern) for pattern in settings.exclude]

    def refusal(self, url: str, depth: int) -> Refusal | None:
        """Why a link is not taken, or None."""
        settings, domain = self._settings, domain_of(url)
        if not self._holds(domain):
            return Refusal("another host", domain)
        if settings.prefixes and not url.startswith(settings.prefixes):
            return Refusal("outside the prefixes")
        excluded = next((pattern.pattern for pattern in self._exclude if pattern.search(url)), None)
        if excluded is not None:
            return Refusal("excluded", excluded)
        ending = _ending(url)
        if ending in self._skip:
            return Refusal("no text", ending)
        if depth > settings.max_depth:
            return Refusal("too deep", f"depth {depth}, max_depth {settings.max_depth}")
        if len(url) > settings.max_url_chars:
            return Refusal("URL too long", f"{len(url)} characters")
        return _trap(url)

    def _holds(self, domain: str) -> bool:
        if not self._settings.domains:
            return domain in self._hosts
        name = host_name(domain)
        return any(wanted in (domain, name) or name.endswith(f".{wanted}") for wanted in self._settings.domains)


def _ending(url: str) -> str:
    """The ending of the last folder of a path, without the dot; packed sitemaps count as what is packed."""
    name = url.partition("?")[0][8:].rpartition("/")[2].lower()
    stem = name.removesuffix(".gz")
    return "xml" if stem.endswith((".xml", ".txt")) else name.rpartition(".")[2] if "." in name else ""


def _trap(url: str) -> Refusal | None:
    """What no site means to be read: paths that grow in circles, calendars without end, heaps of parameters."""
    address, _, query = url.partition("?")
    segments = [segment for segment in address.split("/")[3:] if segment]
    if len(segments) > MAX_SEGMENTS:
        return Refusal("trap: path without end", f"{len(segments)} folders")
    if segments:
        segment, times = Counter(segments).most_common(1)[0]
        if times > MAX_REPEATS:
            return Refusal("trap: path in circles", f"{segment} {times} times")
    if query.count("&") >= MAX_PARAMETERS:
        return Refusal("trap: too many parameters", f"{query.count('&') + 1} of them")
    last = datetime.datetime.now(datetime.UTC).year + CALENDAR_YEARS_AHEAD
    for found in _DATE.finditer(url):
        if int(found.group(1) or found.group(2)) > last:
            return Refusal("trap: calendar without end", f"year {found.group(1) or found.group(2)}")
    return None


def is_generated(url: str) -> bool:
    """Whether a program makes pages without end at such addresses: by parameters, or for every date."""
    return "?" in url or _DATE.search(url) is not None


def pattern_of(url: str) -> str | None:
    """The URL with its digits and parameter values left out, or None where it has none to leave out."""
    address, mark, query = url.partition("?")
    start = address.index("/", 8)
    path = _VARIABLE.sub("#", address[start:])
    if not mark and path == address[start:]:
        return None
    names = sorted({piece.partition("=")[0] for piece in query.split("&")}) if mark else []
    return f"{path}?{'&'.join(names)}" if mark else path
