"""What a site asks of robots: robots.txt (RFC 9309), the X-Robots-Tag header and the robots meta element."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

MAX_ROBOTS_BYTES = 500 << 10  # RFC 9309, section 2.5: parse at least 500 KiB
MAX_LINE_CHARS = 16_664  # Google's parser: eight times the longest URL of browsers
FIRST_CLIENT_ERROR, FIRST_SERVER_ERROR = 400, 500
# Spellings that sites use for a rule, as Google's parser takes them.
_FIELDS = {
    "user-agent": "user-agent",
    "useragent": "user-agent",
    "user agent": "user-agent",
    "allow": "allow",
    "disallow": "disallow",
    "dissallow": "disallow",
    "dissalow": "disallow",
    "disalow": "disallow",
    "diasllow": "disallow",
    "disallaw": "disallow",
    "sitemap": "sitemap",
    "site-map": "sitemap",
    "crawl-delay": "crawl-delay",
    "crawldelay": "crawl-delay",
}
# Directives of robots tags that have a value behind a colon, as an agent's name has.
_VALUED = frozenset({"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"})
_PERCENT = re.compile(r"%([0-9a-fA-F]{2})")
_NOT_IN_A_URL = re.compile(r"[^\x21-\x7e]")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


@dataclass(frozen=True)
class Rule:
    """One allow or disallow line; the longer pattern wins, and allow wins where two are of one length."""

    allow: bool
    pattern: str

    def matches(self, target: str) -> bool:
        """Whether a path fits, ``*`` for anything and a last ``$`` for the end, in one pass whatever the pattern."""
        anchored = self.pattern.endswith("$")
        first, *rest = self.pattern.removesuffix("$").split("*")
        if not target.startswith(first):
            return False
        at = len(first)
        if not rest:
            return not anchored or at == len(target)
        *middle, last = rest
        for piece in middle:
            found = target.find(piece, at)
            if found < 0:
                return False
            at = found + len(piece)
        if anchored:
            return len(target) - len(last) >= at and target.endswith(last)
        return target.find(last, at) >= 0


@dataclass
class Robots:
    """The rules of one robots.txt for one crawler."""

    rules: list[Rule] = field(default_factory=list)
    crawl_delay: float | None = None
    sitemaps: list[str] = field(default_factory=list)
    unreadable: str | None = None  # why nothing is allowed, where that is not the site's word

    def allows(self, url: str) -> bool:
        """Whether a URL may be fetched (section 2.2.2: the most specific match, allow before disallow)."""
        parts = urlsplit(url)
        target = _comparable((parts.path or "/") + (f"?{parts.query}" if parts.query else ""))
        matching = [rule for rule in self.rules if rule.matches(target)]
        return not matching or max(matching, key=lambda rule: (len(rule.pattern), rule.allow)).allow


ALLOW_ALL = Robots()


def unreadable(reason: str) -> Robots:
    """The rules where robots.txt cannot be had: nothing is allowed (section 2.3.1.4)."""
    return Robots([Rule(False, "/")], unreadable=reason)


def parse_robots(content: bytes, product_token: str) -> Robots:
    """Reads a robots.txt for a crawler: its own groups together, or else those of ``*`` (section 2.2.1)."""
    own, general = Robots(), Robots()
    sitemaps: list[str] = []
    addressed: set[str] = set()  # whom the group under way is for
    in_rules = named = False
    for name, value in _lines(content):
        if name == "sitemap":
            sitemaps.append(value)
        elif name == "user-agent":
            if in_rules:
                addressed, in_rules = set(), False
            addressed.add(_agent(value))
            named |= product_token.lower() in addressed
        else:
            in_rules = in_rules or name != "crawl-delay"  # as for Google, only rules end the list of agents
            if product_token.lower() in addressed:
                _add(own, name, value)
            if "*" in addressed:
                _add(general, name, value)
    found = own if named else general
    found.sitemaps = sitemaps
    return found


def robots_of_response(status: int, body: bytes, product_token: str) -> Robots:
    """The rules that an answer stands for (section 2.3.1): 4xx allows everything, 5xx forbids everything."""
    if status >= FIRST_SERVER_ERROR:
        return unreadable(f"status {status}")
    if status >= FIRST_CLIENT_ERROR:
        return ALLOW_ALL
    return parse_robots(body[:MAX_ROBOTS_BYTES], product_token)


@dataclass(frozen=True)
class Tags:
    """What a page says of itself: not to be kept, not to be followed."""

    refused: str | None = None  # the directive that forbids to keep the page
    nofollow: bool = False


def tags_of(headers: Iterable[str], metas: Iterable[tuple[str, str]], product_token: str, now: datetime) -> Tags:
    """Reads X-Robots-Tag values and (name, content) of meta elements addressed to all robots or to this one.

    ``noindex``, ``noarchive``, ``none`` and ``noai`` forbid to keep the page, a passed ``unavailable_after`` too.
    """
    directives = []
    for header in headers:
        agent, colon, rest = header.partition(":")
        addressed = colon and "," not in agent and agent.strip().lower() not in _VALUED
        if not addressed:
            directives.append(header)
        elif agent.strip().lower() in ("robots", "*", product_token.lower()):
            directives.append(rest)
    directives += [content for name, content in metas if name.strip().lower() in ("robots", product_token.lower())]
    words = {word.strip().lower() for text in directives for word in text.split(",")}
    refused = next((word for word in ("noindex", "noarchive", "none", "noai") if word in words), None)
    return Tags(refused or _passed(directives, now), nofollow=bool(words & {"nofollow", "none"}))


def _passed(directives: list[str], now: datetime) -> str | None:
    for text in directives:
        found = re.search(r"unavailable_after:\s*(.+)", text, re.IGNORECASE)
        if found:
            until = _date(found.group(1))
            if until is not None and until < now:
                return "unavailable_after"
    return None


def _date(text: str) -> datetime | None:
    for parse in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            found = parse(text.strip())
        except (ValueError, TypeError, IndexError, OverflowError):
            continue
        return found if found.tzinfo else found.replace(tzinfo=UTC)
    return None


def _lines(content: bytes) -> Iterable[tuple[str, str]]:
    for mark, encoding in ((b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"), (b"\xef\xbb\xbf", "utf-8")):
        if content.startswith(mark):
            text = content[len(mark) :].decode(encoding, "replace")
            break
    else:
        text = content.decode("utf-8", "surrogateescape")
    for line in re.split(r"\r\n|\r|\n", text):
        rule = line[:MAX_LINE_CHARS].partition("#")[0]
        name, colon, value = rule.partition(":")
        if not colon and len(words := rule.split()) == 2:  # some forget the colon
            name, value = words
        known = _FIELDS.get(" ".join(name.lower().split()))
        if known:
            yield known, value.strip()


def _agent(value: str) -> str:
    """A product token: letters, underscores and hyphens (section 2.2.1); ``*`` with anything after it is everyone."""
    if value.startswith("*") and not value[1:2].strip():
        return "*"
    found = re.match(r"[A-Za-z_-]+", value)
    return found.group().lower() if found else ""


def _add(robots: Robots, name: str, value: str) -> None:
    if name == "crawl-delay":
        found = re.match(r"\d+(?:\.\d+)?|\.\d+", value)
        if found:
            robots.crawl_delay = max(float(found.group()), robots.crawl_delay or 0.0)
    elif value:
        pattern = _comparable(value)
        robots.rules.append(Rule(name == "allow", pattern))
        if name == "allow" and pattern.endswith(("/index.htm", "/index.html")):  # Google: the folder itself as well
            robots.rules.append(Rule(True, pattern[: pattern.rindex("/") + 1] + "$"))


def _comparable(text: str) -> str:
    """Section 2.2.2: octets that a URL cannot hold percent-encoded, encoded ones that need not be decoded."""

    def encode(found: re.Match[str]) -> str:
        return "".join(f"%{byte:02X}" for byte in found.group().encode("utf-8", "surrogateescape"))

    def decode(found: re.Match[str]) -> str:
        character = chr(int(found.group(1), 16))
        return character if character in _UNRESERVED else found.group().upper()

    return _PERCENT.sub(decode, _NOT_IN_A_URL.sub(encode, text))
