"""What a fetched page says to a crawler: links, robots metas, feeds. Nothing of it is run, nothing else is fetched."""

from __future__ import annotations

import codecs
import contextlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import xxhash
from lxml import etree

from tasks.web.charsets import decoded
from tasks.web.http import BodyRefused, decoded_body
from tasks.web.parsing import parse
from tasks.web.sniffing import HTML_TYPES, media_type
from tasks.web.urls import canonical_url, in_charset, without_session

MAX_LINKS = 10_000  # of one page; more are no navigation
MAX_SITEMAP_LINKS = 50_000  # sitemaps.org: URLs of one sitemap
BINARY_TYPES = frozenset(
    {"application/pdf", "application/zip", "application/javascript", "text/css", "text/javascript"}
)
FEED_TYPES = frozenset({"application/rss+xml", "application/atom+xml", "application/rdf+xml"})
_NOT_FOUND = re.compile(
    r"^\W*(?:error\W*)?404\b|\b404 (?:error|not found)|\bnot found\b|no longer (?:available|exists)|page introuvable"
    r"|nicht gefunden|no encontrad|non trovata|não encontrad|не найден|找不到|見つかりません",
    re.IGNORECASE,
)
NOT_FOUND_WORDS = 150  # a page with such a title and more words than this has something to say
MAX_REFRESH_CHARS = 4000
# An ampersand that begins no entity: many sitemaps hold addresses as they are.
_BARE_AMPERSAND = re.compile(
    rb"<!\[CDATA\[[^\]]*(?:\](?!\]>)[^\]]*)*+\]\]>|&(?!(?:[a-zA-Z][a-zA-Z0-9]*|#[0-9]+|#[xX][0-9a-fA-F]+);)"
)
# What a page repeats of its address or of the date tells two answers apart that say the same: digits and these.
_DATED = re.compile(
    r"[\d\W_]+|\b(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\b"
    r"|\b(?:mon|tues|wednes|thurs|fri|satur|sun)day\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Found:
    """A URL that a page, sitemap or feed gives, with the date of its last change where that is said."""

    url: str
    lastmod: datetime | None = None


@dataclass
class PageFacts:
    """What a page says to a crawler."""

    links: list[Found] = field(default_factory=list)
    metas: list[tuple[str, str]] = field(default_factory=list)  # name and content, of robots and the like
    not_found: bool = False  # its title and its length are those of an error page
    text: str = ""


def facts_of(body: bytes, content_type: str, url: str, feeds: bool) -> PageFacts:
    """Reads a decoded body: HTML for its links, a sitemap or feed (where wanted) for its entries."""
    kind = media_type(content_type, body)
    if kind in HTML_TYPES:
        text, encoding = decoded(body, content_type)
        return _read_html(text, url, feeds, encoding)
    if feeds and kind not in BINARY_TYPES and not kind.startswith(("image/", "video/", "audio/", "font/")):
        return PageFacts(links=list(entries_of(body, url)))
    return PageFacts()


def fingerprint(text: str, url: str) -> int:
    """A digest of a page's words without digits, dates and the page's own address (63 bits)."""
    for piece in {piece for piece in re.split(r"[/?=&.#:-]+", url) if len(piece) > 3}:
        text = text.replace(piece, " ")
    return exact_fingerprint(_DATED.sub(" ", text).lower())


def exact_fingerprint(text: str) -> int:
    """A digest of a page's words as they are (63 bits)."""
    return xxhash.xxh3_64_intdigest(text.encode("utf-8", "surrogatepass")) >> 1


def _read_html(html: str, url: str, feeds: bool, encoding: str) -> PageFacts:
    tree = parse(html)
    facts = PageFacts()
    base, hrefs = url, []
    for node in tree.css("base[href], meta[name], meta[http-equiv], link[href], a[href], area[href]"):
        attributes = node.attributes
        tag, href, rel = node.tag, attributes.get("href") or "", (attributes.get("rel") or "").lower().split()
        if tag in ("a", "area"):
            if "nofollow" not in rel:
                hrefs.append(href)
        elif tag == "meta":
            content = attributes.get("content") or ""
            if attributes.get("name"):
                facts.metas.append((attributes["name"] or "", content))
            elif (attributes.get("http-equiv") or "").lower() == "refresh":
                hrefs += _refreshed(content)
        elif tag == "base":
            base = _joined(href, url) or url
        elif "canonical" in rel or "next" in rel or (feeds and attributes.get("type") in FEED_TYPES):
            hrefs.append(href)
    facts.links = list(_resolved(((in_charset(href, encoding), None) for href in hrefs[:MAX_LINKS]), base))
    facts.text = (tree.body.text(separator=" ") if tree.body else "") or ""
    title = tree.css_first("title")
    if title is not None and _NOT_FOUND.search(title.text()):
        facts.not_found = len(facts.text.split()) < NOT_FOUND_WORDS
    return facts


def _refreshed(content: str) -> list[str]:
    """Where ``<meta http-equiv="refresh" content="5; url=…">`` leads."""
    _, mark, address = content[:MAX_REFRESH_CHARS].replace(",", ";", 1).partition(";")
    address = address.strip()
    if address[:3].lower() == "url" and address[3:].lstrip().startswith("="):
        address = address[3:].lstrip()[1:].strip()
    return [address.strip("\"'")] if mark and address else []


def entries_of(body: bytes, url: str) -> Iterator[Found]:
    """The URLs of a sitemap (sitemaps.org: index, set or lines, plain or gzip) or of an RSS, RDF or Atom feed."""
    if body[:2] == b"\x1f\x8b":
        try:
            body = decoded_body(body, "gzip", 50 << 20)  # sitemaps.org: 50 MB
        except BodyRefused:
            return
    body = body.removeprefix(b"\xef\xbb\xbf").lstrip()
    if body.startswith((b"http://", b"https://")):
        lines = body.decode("utf-8", "replace").split("\n")[:MAX_SITEMAP_LINKS]
        yield from _resolved(((line.strip(), None) for line in lines if line.startswith("http")), url)
        return
    if not body.startswith((b"<", codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return
    root = _parsed(body)
    if root is not None and _local(root) in ("urlset", "sitemapindex", "rss", "RDF", "feed"):
        yield from _resolved(_entries(root), url)


def _parsed(body: bytes) -> etree._Element | None:
    """The root of XML, or of what is nearly some: with bare ampersands in addresses, then with whatever else is wrong."""
    options = {"resolve_entities": False, "no_network": True, "load_dtd": False, "huge_tree": False}
    for content, recover in ((body, False), (_BARE_AMPERSAND.sub(_escaped, body), True)):
        with contextlib.suppress(etree.XMLSyntaxError):
            return etree.fromstring(content, etree.XMLParser(recover=recover, **options))
    return None


def _escaped(found: re.Match[bytes]) -> bytes:
    return b"&amp;" if found.group() == b"&" else found.group()


def _entries(root: etree._Element) -> Iterator[tuple[str, datetime | None]]:
    for count, entry in enumerate(element for element in root.iter() if _local(element) in _ENTRIES):
        if count >= MAX_SITEMAP_LINKS:
            return
        children = {_local(child): child for child in reversed(entry)}
        date = _date(next((children[name].text for name in _DATES if name in children), None))
        for link in _links_of(entry, children):
            address = (link.get("href") or link.text or "").strip()
            if address:
                yield address, date


def _links_of(entry: etree._Element, children: dict[str, etree._Element]) -> list[etree._Element]:
    """A sitemap's address with its versions in other languages, a feed's link; some put the address into the entry itself."""
    links = [child for child in entry if _local(child) == "link" and child.get("rel", "alternate") == "alternate"]
    if "loc" in children:
        return [children["loc"], *links]
    return links[:1] or [entry]


_ENTRIES = frozenset({"url", "sitemap", "item", "entry"})
_DATES = ("lastmod", "updated")


def _local(element: etree._Element) -> str:
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def _date(text: str | None) -> datetime | None:
    try:
        found = datetime.fromisoformat((text or "").strip())
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _joined(href: str, base: str) -> str | None:
    try:
        return without_session(canonical_url(href, base))
    except ValueError:
        return None  # mailto:, javascript: and what no parser can read


def _resolved(hrefs: Iterable[tuple[str, datetime | None]], base: str = "") -> Iterator[Found]:
    seen = set()
    for href, lastmod in hrefs:
        url = _joined(href, base)
        if url is not None and url not in seen:
            seen.add(url)
            yield Found(url, lastmod)
