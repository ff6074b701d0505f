"""Tables of a crawl."""

from __future__ import annotations

import pyarrow as pa

from warehouse.schemas.field import INT, REAL, TEXT, TIME, field

PAGES = pa.schema(
    [
        field("url", TEXT, "the URL asked for", nullable=False),
        field("final_url", TEXT, "the same, or for a redirect where it leads"),
        field("status", pa.int32(), "HTTP status, null where nothing answered"),
        field("fetched_at", TIME, "when the answer arrived"),
        field("content_type", TEXT, "the Content-Type header"),
        field("body_bytes", INT, "bytes of the body as transferred"),
        field("depth", pa.int32(), "links from a seed"),
        field("referrer", TEXT, "the page whose link was followed"),
        field("crawl", TEXT, "the crawl's name and sequence number"),
        field("warc_path", TEXT, "the archive file, below the store"),
        field("warc_offset", INT, "byte offset of the response or revisit record in it"),
        field("digest", TEXT, "SHA-256 of the body without its content coding; of a page that is kept"),
        field("error", TEXT, "why there is no answer, or why it is not kept: a network error, or a rule"),
        field("record", TEXT, "response, or revisit where the page was the same as the last time"),
        field("etag", TEXT, "the ETag header"),
        field("last_modified", TEXT, "the Last-Modified header"),
        field("seconds", REAL, "from the request to the end of the answer"),
    ]
)

URLS = pa.schema(
    [
        field("url", TEXT, "a URL that the crawl knows, in canonical form", nullable=False),
        field("host", TEXT, "its host, with the port where it is not the scheme's"),
        field("verdict", TEXT, "kept, removed or failed", nullable=False),
        field("rule", TEXT, "what removed it, or why it failed, or why it was not asked anew"),
        field("detail", TEXT, "more about that"),
        field("depth", pa.int32(), "links from a seed"),
        field("hops", pa.int32(), "redirects that led to it"),
        field("referrer", TEXT, "the page whose link was followed"),
        field("priority", REAL, "the highest is fetched first"),
        field("final_url", TEXT, "the same, or for a redirect where it leads"),
        field("status", pa.int32(), "HTTP status of the last answer"),
        field("content_type", TEXT, "the Content-Type header"),
        field("body_bytes", INT, "bytes of the body as transferred"),
        field("decoded_bytes", INT, "bytes of the body without its content coding"),
        field("digest", TEXT, "SHA-256 of the body without its content coding"),
        field("warc_path", TEXT, "the archive file that holds the body, maybe of an earlier crawl"),
        field("warc_offset", INT, "byte offset of the response record in it"),
        field("etag", TEXT, "the ETag header"),
        field("last_modified", TEXT, "the Last-Modified header"),
        field("visited_at", TIME, "when it was last asked for"),
        field("changed_at", TIME, "when it was first seen as it is"),
        field("next_visit_at", TIME, "from when on a crawl looks at it again"),
        field("visits", pa.int32(), "how often it was asked for"),
        field("changes", pa.int32(), "how often it had changed"),
        field("crawl", TEXT, "the crawl's name and sequence number"),
        field("bucket", INT, "a number from the URL alone, by which pages are dealt to parts"),
    ]
)

HOSTS = pa.schema(
    [
        field("host", TEXT, "a host that was asked", nullable=False),
        field("pages", INT, "fetches from it"),
        field("bytes", INT, "bytes of their bodies"),
        field("robots_status", pa.int32(), "HTTP status of its robots.txt, null where there was none to be had"),
        field("robots_txt", TEXT, "its robots.txt as last read"),
        field("soft_404", pa.bool_(), "it answers pages that cannot be as if they were"),
        field("left_alone", TEXT, "why it was not asked any more"),
        field("crawl", TEXT, "the crawl's name and sequence number"),
    ]
)

TABLES: dict[str, pa.Schema] = {
    "pages": PAGES,
    "urls": URLS,
    "hosts": HOSTS,
}
