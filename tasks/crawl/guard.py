"""Where requests may go, and how much may come back before a body.

Every address is judged after its name was resolved, for redirects as for first requests.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from typing import Any, ClassVar

from scrapy.resolver import CachingThreadedResolver
from twisted.internet.defer import Deferred
from twisted.web._newclient import HTTPClientParser, ParseError

from tasks.crawl.settings import CrawlSettings

HEADERS_END = re.compile(rb"\r?\n\r?\n")
REFUSALS_KEPT = 10_000
SETTINGS_KEY = "GRISTMILL_CRAWL"  # of Scrapy's settings: the crawl's own, as JSON


class AddressRefused(Exception):
    """The address behind a name is not one that this crawl may ask."""


class AddressGuard:
    """Refuses what is not public (loopback, private, link-local, cloud metadata, multicast) unless it is allowed."""

    def __init__(self, settings: CrawlSettings) -> None:
        self._allowed = [ipaddress.ip_network(network) for network in settings.private_networks]
        self._contact = settings.contact

    def check(self, name: str, address: str) -> str:
        """The address itself. Raises AddressRefused."""
        found = ipaddress.ip_address(address)
        inner = getattr(found, "ipv4_mapped", None) or getattr(found, "sixtofour", None) or found
        if any(inner in network for network in self._allowed):
            return address
        if not inner.is_global or inner.is_multicast:
            raise AddressRefused(f"{name} is at {address}, which is not public and not among private_networks")
        if not self._contact:
            raise AddressRefused(f"{name} is public, and no contact is set")
        return address


class GuardedResolver(CachingThreadedResolver):  # type: ignore[misc] # Scrapy is not typed here
    """Scrapy's resolver behind the guard. The address that it gives is the one that is connected to."""

    guard: AddressGuard
    refused: ClassVar[dict[str, str]] = {}  # name -> why; Twisted says no more than that nothing was found

    @classmethod
    def from_crawler(cls, crawler: Any, reactor: Any) -> GuardedResolver:
        """Scrapy's constructor."""
        resolver: GuardedResolver = super().from_crawler(crawler, reactor=reactor)
        resolver.guard = AddressGuard(CrawlSettings.model_validate_json(crawler.settings[SETTINGS_KEY]))
        return resolver

    def getHostByName(self, name: str, timeout: Sequence[int] = ()) -> Deferred[str]:  # noqa: N802 (Twisted's name)
        """The judged IPv4 address of a name or of a literal."""
        resolved: Deferred[str] = super().getHostByName(name, timeout)
        return resolved.addCallback(self._judge, name)

    def _judge(self, address: str, name: str) -> str:
        try:
            return self.guard.check(name, address)
        except AddressRefused as error:
            if len(self.refused) > REFUSALS_KEPT:
                self.refused.clear()
            self.refused[name] = str(error)
            raise


def limit_headers(limit: int) -> None:
    """Ends the connection of an answer whose headers are longer than so many bytes; Twisted reads on without end."""
    received = HTTPClientParser.dataReceived

    def counted(parser: Any, data: bytes) -> None:
        if parser.line_mode:  # still headers; they may end within these bytes
            before = getattr(parser, "last_header_bytes", b"")
            end = HEADERS_END.search(before + data)
            size = len(data) if end is None else end.end() - len(before)
            parser.header_bytes = getattr(parser, "header_bytes", 0) + size
            parser.last_header_bytes = (before + data)[-3:]
            if parser.header_bytes > limit:
                raise ParseError(f"the headers have more than {limit} bytes", data[:100])
        received(parser, data)

    HTTPClientParser.dataReceived = counted
