"""What the crawler may do: robots.txt as RFC 9309 reads it."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from scrapy.downloadermiddlewares.robotstxt import RobotsTxtMiddleware
from scrapy.http import Request, Response
from scrapy.utils.misc import build_from_crawler

FIRST_CLIENT_ERROR, FIRST_SERVER_ERROR = 400, 500
FORBID_ALL = b"User-agent: *\nDisallow: /\n"


class RobotsMiddleware(RobotsTxtMiddleware):  # type: ignore[misc]
    """robots.txt by RFC 9309, section 2.3.1: 4xx allows everything, 5xx and silence forbid everything.

    Scrapy's own reads rules out of error pages, takes silence for leave, and where several requests wait for one
    robots.txt gives its rules to the first of them only.
    """

    async def robot_parser(self, request: Request) -> Any:
        await super().robot_parser(request)
        return self._parsers[urlsplit(request.url).netloc]

    async def _parse_robots(self, response: Response, netloc: str, request: Request) -> None:
        if response.status >= FIRST_SERVER_ERROR:
            response = response.replace(body=FORBID_ALL)
        elif response.status >= FIRST_CLIENT_ERROR:
            response = response.replace(body=b"")
        await super()._parse_robots(response, netloc, request)

    def _robots_error(self, exc: Exception, netloc: str) -> None:
        waiting = self._parsers[netloc]
        self._parsers[netloc] = build_from_crawler(self._parserimpl, self.crawler, FORBID_ALL)
        waiting.callback(self._parsers[netloc])
