"""Canonical URLs: one spelling for each page, used for the frontier, doc_id and URL duplicates."""

from __future__ import annotations

import re
from urllib.parse import quote_from_bytes

import ada_url

from tasks.web.charsets import python_name

# Parameters that say where a click came from and never what is shown.
TRACKING_PARAMETERS = frozenset(
    {
        "fbclid",
        "gclid",
        "dclid",
        "gbraid",
        "wbraid",
        "msclkid",
        "yclid",
        "igshid",
        "mc_cid",
        "mc_eid",
        "_ga",
        "_gl",
        "utm_source",
        "utm_medium",
        "utm_campaign",
        "utm_term",
        "utm_content",
        "utm_id",
        "utm_name",
        "ref_src",
    }
)
# Parameters and path pieces that name a visit and never a page; those in the second set only with a long value.
SESSION_PARAMETERS = frozenset(
    {"jsessionid", "phpsessid", "sessionid", "session_id", "oscsid", "zenid", "cfid", "cftoken"}
)
SESSION_IF_LONG = frozenset({"sid", "s", "session", "token"})
_SESSION_PATH = re.compile(r";jsessionid=[^/?;]*|/\([SFX]\([^)/]*\)\)", re.IGNORECASE)
_LONG_VALUE = re.compile(r"[0-9A-Za-z,_-]{20,}\Z")
_QUERY_SAFE = "!$&'()*+,-./:;=?@[]^_`{|}~%"  # what stands for itself in a query
_SCHEMES = ("http://", "https://")


def canonical_url(url: str, base: str = "") -> str:
    """The WHATWG-normal form with parameters sorted by name, no fragment, credentials or tracking parameters.

    Host and path stay exactly as the WHATWG parser gives them. ``base`` resolves a relative reference.
    Raises ValueError for what is no http or https URL.
    """
    normal = str(ada_url.join_url(base, url) if base else ada_url.normalize_url(url))
    if not normal.startswith(_SCHEMES):
        raise ValueError(f"not an http or https URL: {url}")
    address, _, query = normal.partition("#")[0].partition("?")
    start = address.index("//") + 2
    end = address.index("/", start)
    user = address.rfind("@", start, end)
    if user >= 0:
        address = address[:start] + address[user + 1 :]
    pieces = [piece for piece in query.split("&") if piece and _name(piece) not in TRACKING_PARAMETERS]
    return f"{address}?{'&'.join(sorted(pieces, key=_name))}" if pieces else address


def in_charset(url: str, encoding: str) -> str:
    """A reference in a page with its query in the page's own encoding, as browsers ask for it (URL Standard, 4.4)."""
    address, mark, query = url.partition("?")
    if query.isascii() or encoding.startswith("utf"):
        return url
    query, hash_mark, fragment = query.partition("#")
    said = query.encode(python_name(encoding), "xmlcharrefreplace")
    return f"{address}{mark}{quote_from_bytes(said, safe=_QUERY_SAFE)}{hash_mark}{fragment}"


def without_session(url: str) -> str:
    """A canonical URL without what names the visitor's session."""
    address, mark, query = url.partition("?")
    address = _SESSION_PATH.sub("", address)
    pieces = [piece for piece in query.split("&") if not _names_session(piece)]
    return f"{address}?{'&'.join(pieces)}" if mark and pieces else address


def domain_of(url: str) -> str:
    """The host of a canonical URL, with its port where it is not the scheme's own."""
    start = url.index("//") + 2
    end = url.find("/", start)
    return url[start:end] if end >= 0 else url[start:]


def host_name(domain: str) -> str:
    """A domain without its port."""
    return domain if domain.endswith("]") else re.sub(r":\d+\Z", "", domain)


def _name(piece: str) -> str:
    return piece.partition("=")[0]


def _names_session(piece: str) -> bool:
    name, _, value = piece.partition("=")
    name = name.lower()
    return (
        name in SESSION_PARAMETERS
        or name.startswith("aspsessionid")
        or (name in SESSION_IF_LONG and _LONG_VALUE.match(value) is not None)
    )
