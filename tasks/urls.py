"""Canonical URLs: one spelling for each page, used for the frontier, doc_id and URL duplicates."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import ada_url
from w3lib.url import canonicalize_url

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
DEFAULT_PORTS = {"http": 80, "https": 443}


def canonical_url(url: str) -> str:
    """The WHATWG-normal form with sorted parameters, no fragment, credentials or tracking parameters.

    Raises ValueError for what is no http or https URL.
    """
    normal = str(ada_url.normalize_url(url.strip()))
    parts = urlsplit(normal)
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
        raise ValueError(f"not an http or https URL: {url}")
    query = parts.query
    if any(name in query for name in TRACKING_PARAMETERS):
        query = urlencode([(k, v) for k, v in parse_qsl(query, keep_blank_values=True) if k not in TRACKING_PARAMETERS])
    without_user = parts.netloc.rpartition("@")[2]
    return str(canonicalize_url(urlunsplit((parts.scheme, without_user, parts.path, query, ""))))


def domain_of(url: str) -> str:
    """The host of a canonical URL, with its port where it is not the scheme's own."""
    return urlsplit(url).netloc
