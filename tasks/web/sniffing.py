"""What a body is that nobody says the type of, as browsers find it out (MIME Sniffing Standard, sections 7 and 7.1)."""

from __future__ import annotations

import re

HTML, XML, PLAIN, BINARY = "text/html", "text/xml", "text/plain", "application/octet-stream"
HTML_TYPES = (HTML, "application/xhtml+xml")
_HEADER_BYTES = 1445  # the standard's resource header
# What servers say where they know nothing.
_UNKNOWN = frozenset({"", "unknown/unknown", "application/unknown", "*/*"})
_MARKUP = re.compile(
    rb"[\t\n\x0c\r ]*<(?:(?:!doctype html|html|head|script|iframe|h1|div|font|table|a|style|title|b|body|br|p)[ >]|!--)",
    re.IGNORECASE,
)
_MARKS = re.compile(rb"\xfe\xff|\xff\xfe|\xef\xbb\xbf")
_OTHER = re.compile(
    rb"%PDF-|%!PS-Adobe-|\x89PNG\r\n\x1a\n|GIF8[79]a|\xff\xd8\xff|BM|RIFF....(?:WEBPVP|AVI |WAVE)|PK\x03\x04|\x1f\x8b\x08"
    rb"|Rar \x1a\x07|OggS\x00|ID3|MThd|\x00\x00[\x01\x02]\x00|wOF[F2]|\x00\x01\x00\x00|\x1a\x45\xdf\xa3",
    re.DOTALL,
)
# What a sitemap or feed begins with, after declarations and comments.
_FEED = re.compile(rb"<(?:\w+:)?(?:urlset|sitemapindex|rss|rdf|feed)[\s>]", re.IGNORECASE)
_BEFORE_A_FEED = ((b"<!--", b"-->"), (b"<?", b">"), (b"<!doctype", b">"))
_FEED_BYTES = 4096
_BINARY_BYTES = bytes({*range(0x20)} - {0x09, 0x0A, 0x0C, 0x0D, 0x1B})


def media_type(content_type: str, body: bytes) -> str:
    """The type in a Content-Type header, in lower case, without parameters; that of the body where it says none.

    A sitemap or feed is XML whatever it is sent as, since no browser would show it for a page.
    """
    said = content_type.split(";", maxsplit=1)[0].strip().lower()
    kind = sniffed(body) if said in _UNKNOWN or "/" not in said else said
    return XML if kind in HTML_TYPES and _is_feed(body[:_FEED_BYTES]) else kind


def _is_feed(head: bytes) -> bool:
    """Whether a body's first element is that of a sitemap or feed."""
    head = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    while not _FEED.match(head):
        ends = [end for begin, end in _BEFORE_A_FEED if head[: len(begin)].lower() == begin]
        if not ends or head[:14].lower() == b"<!doctype html" or ends[0] not in head:
            return False
        head = head.partition(ends[0])[2].lstrip()
    return True


def sniffed(body: bytes) -> str:
    """HTML, XML, plain text or none of these, by a body's beginning."""
    head = body[:_HEADER_BYTES]
    if _MARKUP.match(head.removeprefix(b"\xef\xbb\xbf")):
        return HTML
    if head.lstrip(b"\t\n\x0c\r ").startswith(b"<?xml"):
        return XML
    if _MARKS.match(head):
        return PLAIN
    return BINARY if _OTHER.match(head) or head.translate(None, _BINARY_BYTES) != head else PLAIN
