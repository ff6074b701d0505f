"""Page to document: main text out of HTML, one verdict a page, the same whatever was read before."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field
from selectolax.lexbor import LexborHTMLParser

from tasks.core.confined import MEMORY, TIME, Ended, Limits
from tasks.core.stage import Made, StageSettings, operational
from tasks.extract.main_text import main_text
from tasks.extract.metadata import Metadata, metadata_of
from tasks.text.normal import normal
from tasks.web.charsets import decode
from tasks.web.http import BodyRefused, decoded_body
from tasks.web.parsing import parse
from tasks.web.sniffing import HTML_TYPES, media_type
from tasks.web.urls import domain_of
from warehouse import schemas
from warehouse.artifact import Counts, PartWriter
from warehouse.removals import Removal, first_concerned

# Of what was never text, packed or encrypted bytes say, a tenth are control characters whatever they are decoded as.
CONTROLS = bytes({*range(32), 127} - set(b"\t\n\v\f\r"))
REPLACEMENT, MOST_NOISE = "\ufffd", 0.05
# A page on which all of an extractor is called once.
WARMING = (
    "<html><head><title>A title</title></head><body><nav><a href='/'>home</a></nav><article><h1>A title</h1>"
    + "<p>Some words of prose, of which there are enough to be a text, and <a href='/'>a link</a>.</p>" * 3
    + "<table><tr><td>a</td><td>b</td></tr></table></article><aside class='related'><h2>Related</h2></aside></body></html>"
)
PLAIN_TYPES = ("text/plain", "text/markdown")
GZIP = b"\x1f\x8b\x08"
DOC_ID_LENGTH = 32  # hexadecimal digits
STAGE = "extract"
FORGOTTEN = "forgotten"
RULES = (
    "not a web address",
    "status other than 200",
    "not HTML",
    "too large",
    "no text",
    "not text",
    "same URL and text",
    "failed",
    FORGOTTEN,
)


class ExtractSettings(StageSettings):
    """How main text is taken out of a page."""

    extractor: Literal["gristmill", "trafilatura", "resiliparse"] = Field(
        "gristmill",
        description="gristmill (its own: the best text, fast), trafilatura (slow) or resiliparse (fast, more boilerplate)",
    )
    normal_form: bool = Field(
        True, description="write texts in Unicode's normal form C: what can be written in two ways is written in one"
    )
    min_chars: int = Field(1, ge=1, description="shortest text, in characters, that is a document")
    max_html_bytes: int = Field(8 << 20, ge=1, description="largest page, in bytes, that is parsed")
    max_part_bytes: int = Field(
        4 << 30, ge=1, description="bytes of text that one part may hold: small files can be packed from endless ones"
    )
    part_bytes: int = Field(16 << 20, ge=1, description="bytes of pages to aim at in a part")
    page_seconds: float = operational(10.0, "seconds of a processor after which a page counts as failed", gt=0)
    page_memory_bytes: int = operational(
        2 << 30, "bytes of memory with which a page counts as failed, where the system counts them (Linux)", ge=1 << 20
    )

    @property
    def limits(self) -> Limits:
        """What reading one page may take."""
        return Limits(self.page_seconds, self.page_memory_bytes)


class Extracted(NamedTuple):
    """A document's text, and what its page says about itself."""

    text: str
    about: Metadata = Metadata()


class PageRefused(Exception):
    """A page gives no document."""

    def __init__(
        self,
        rule: str,
        detail: str | None = None,
        value: float | None = None,
        threshold: float | None = None,
        failed: bool = False,
    ) -> None:
        super().__init__(rule)
        self.rule, self.detail, self.value, self.threshold, self.failed = rule, detail, value, threshold, failed


def well_formed(text: str) -> str:
    """The text with a mark for what has no UTF-8: lone surrogates, which JSON and some parsers let pass."""
    return text.encode("utf-8", "replace").decode()


def _claim(value: str | None) -> str | None:
    return well_formed(value) if value else None


def doc_id_of(url: str, text: str) -> str:
    """A document's name: a digest of its canonical URL and its text, the same on every machine."""
    return hashlib.sha256(f"{url}\n{text}".encode("utf-8", "surrogatepass")).hexdigest()[:DOC_ID_LENGTH]


def by_gristmill(html: str, tree: LexborHTMLParser) -> str:
    """Main text by this project's own extractor, out of the tree."""
    return main_text(tree)


def by_trafilatura(html: str, tree: LexborHTMLParser) -> str:
    """Main text by trafilatura's fast mode, without its process-wide duplicate memory."""
    from trafilatura import extract

    return extract(html, fast=True, deduplicate=False, include_comments=False) or ""


def by_resiliparse(html: str, tree: LexborHTMLParser) -> str:
    """Main text by resiliparse's main-content heuristics, without comments."""
    from resiliparse.extract.html2text import extract_plain_text

    return str(extract_plain_text(html, main_content=True, comments=False, alt_texts=False))


EXTRACTORS = {"gristmill": by_gristmill, "trafilatura": by_trafilatura, "resiliparse": by_resiliparse}


def read_page(html: str, url: str, extractor: str = "gristmill") -> Extracted:
    """The main text of a page and its metadata, a pure function of its arguments."""
    tree = parse(html)
    about = metadata_of(tree, url)
    return Extracted(EXTRACTORS[extractor](html, tree), about)


class Read(NamedTuple):
    """What reading one page or text came to. ``size`` is in bytes, ``row`` its row of ``pages`` where it has one."""

    url: str
    size: int
    digest: str = ""
    found: Extracted | PageRefused | None = None
    row: dict[str, Any] | None = None


def read_html(read: Read, content_type: str, body: bytes, settings: ExtractSettings) -> Read:
    """A page with the main text of its body, or the plain text that it is, or why it gives none."""
    if len(body) > settings.max_html_bytes:
        return read._replace(found=PageRefused("too large", None, len(body), settings.max_html_bytes))
    kind = media_type(content_type, body)
    try:
        if kind in HTML_TYPES + PLAIN_TYPES and body.startswith(GZIP):  # packed, and nobody says so
            body = decoded_body(body, "gzip", settings.max_html_bytes)
        if kind in PLAIN_TYPES:
            return read._replace(found=_plain(decode(body, content_type), kind))
        if kind not in HTML_TYPES:
            return read._replace(found=PageRefused("not HTML", kind[:100]))
        return read._replace(found=read_page(decode(body, content_type), read.url, settings.extractor))
    except BodyRefused as error:
        return read._replace(found=PageRefused("body", str(error), failed=True))
    except MemoryError:
        return read._replace(found=PageRefused(MEMORY, None, None, settings.page_memory_bytes, failed=True))
    except Exception as error:  # of a page that no reader foresaw: one page's fault is one page's
        return read._replace(found=PageRefused(type(error).__name__, str(error)[:200], failed=True))


def _plain(text: str, kind: str) -> Extracted | PageRefused:
    """A page of plain text is its text; a list of addresses is a sitemap."""
    text = text.replace("\r\n", "\n")
    if all(line.startswith(("http://", "https://")) for line in text.split("\n") if line.strip()):
        return PageRefused("not HTML", f"{kind}: a list of addresses") if text.strip() else Extracted("")
    return Extracted(text)


def refusal_of(ended: Ended, settings: ExtractSettings) -> PageRefused:
    """The refusal of what ended its reader."""
    thresholds = {TIME: settings.page_seconds, MEMORY: float(settings.page_memory_bytes)}
    return PageRefused(ended.reason, None, None, thresholds.get(ended.reason), failed=True)


class Documents:
    """Fills the documents and refusals of one part, and counts them."""

    def __init__(self, settings: ExtractSettings, source: str) -> None:
        self._settings, self._source = settings, source
        read_page(
            WARMING, "", settings.extractor
        )  # imports and compiles, which takes seconds, outside of any page's limit
        self._rows: list[dict[str, Any]] = []
        self._refused: list[dict[str, Any]] = []
        self._bytes = self._held = 0
        self._funnel: dict[str, list[int]] = {rule: [0, 0] for rule in RULES}

    def add(self, read: Read) -> None:
        """Takes what was read."""
        self._bytes += read.size
        found = read.found
        if isinstance(found, Extracted):
            about = found.about
            text = well_formed(found.text).strip()
            text = normal(text) if self._settings.normal_form else text
            found = self._refusal(text)
            if found is None:
                self._rows.append(self._document(read.url, text, about, read.digest))
                return
        assert found is not None
        rule = "failed" if found.failed else found.rule
        taken = self._funnel[rule]
        self._funnel[rule] = [taken[0] + 1, taken[1] + read.size]
        self._refused.append(self._row(read.url, doc_id_of(read.url, ""), found))

    def _refusal(self, text: str) -> PageRefused | None:
        if len(text) < self._settings.min_chars:
            return PageRefused("no text", None, len(text), self._settings.min_chars)
        content = text.encode()
        noise = (len(content) - len(content.translate(None, CONTROLS)) + text.count(REPLACEMENT)) / len(text)
        if noise > MOST_NOISE:
            return PageRefused("not text", "control and replacement characters", noise, MOST_NOISE)
        self._held += len(content)
        if self._held > self._settings.max_part_bytes:
            return PageRefused("too large", "more text than a part may hold", self._held, self._settings.max_part_bytes)
        return None

    def _document(self, url: str, text: str, about: Metadata, digest: str) -> dict[str, Any]:
        url = well_formed(url)
        return {
            "doc_id": doc_id_of(url, text),
            "url": url,
            "domain": domain_of(url) if "://" in url else None,
            "title": _claim(about.title),
            "text": text,
            "source": self._source,
            "published": _claim(about.published),
            "language_hint": _claim(about.language),
            "canonical": _claim(about.canonical),
            "digest": digest,
            "n_chars": len(text),
            "n_bytes": len(text.encode()),
            "n_words": len(text.split()),
        }

    def _row(self, url: str, doc_id: str, refusal: PageRefused) -> dict[str, Any]:
        return {
            "doc_id": doc_id,
            "verdict": "failed" if refusal.failed else "removed",
            "stage": STAGE,
            "rule": refusal.rule,
            "value": refusal.value,
            "threshold": refusal.threshold,
            "url": well_formed(url),
            "source": self._source,
            "detail": well_formed(refusal.detail) if refusal.detail else None,
        }

    def write(self, writer: PartWriter, removals: Sequence[Removal] = ()) -> Made:
        """Commits the tables in the order of doc_id; of rows with one doc_id, which are equal, one is a document."""
        rows: dict[str, dict[str, Any]] = {}
        for row in self._rows:
            if rows.setdefault(row["doc_id"], row) is not row:
                self._refused.append(self._row(row["url"], row["doc_id"], PageRefused("same URL and text")))
                taken = self._funnel["same URL and text"]
                self._funnel["same URL and text"] = [taken[0] + 1, taken[1] + len(row["text"].encode())]
        failed = sum(row["verdict"] == "failed" for row in self._refused)
        total = len(rows) + len(self._refused)
        counts = Counts(documents_in=total, kept=len(rows), removed=len(self._refused) - failed, failed=failed)
        documents = pa.Table.from_pylist([rows[doc_id] for doc_id in sorted(rows)], schema=schemas.DOCUMENTS)
        refused = pa.Table.from_pylist(self._refused, schema=schemas.DECISIONS)
        counts, self._funnel[FORGOTTEN] = committed_documents(writer, documents, refused, removals, counts)
        return Made(counts=counts, statistics={"funnel": self._funnel, "bytes_in": self._bytes})


def committed_documents(
    writer: PartWriter, documents: pa.Table, decisions: pa.Table, removals: Sequence[Removal], counts: Counts
) -> tuple[Counts, list[int]]:
    """Writes documents and decisions, those that are to be forgotten among the latter.

    Returns the counts with them as removed, and their number and bytes.
    """
    first = first_concerned(documents, removals)
    gone = documents.filter(pa.array(first >= 0))
    columns = {
        "doc_id": gone["doc_id"],
        "verdict": ["removed"] * len(gone),
        "stage": [STAGE] * len(gone),
        "rule": [FORGOTTEN] * len(gone),
        "url": gone["url"],
        "source": gone["source"],
        "detail": [removals[number].reason for number in first[first >= 0].tolist()],
    }
    forgotten = pa.table(
        {n: columns.get(n, pa.nulls(len(gone), schemas.DECISIONS.field(n).type)) for n in schemas.DECISIONS.names},
        schema=schemas.DECISIONS,
    )
    decisions = pa.concat_tables([decisions.cast(schemas.DECISIONS), forgotten])
    order = [("doc_id", "ascending"), ("rule", "ascending"), ("url", "ascending"), ("detail", "ascending")]
    writer.table("documents", documents.cast(schemas.DOCUMENTS).filter(pa.array(first < 0)).combine_chunks())
    writer.table("decisions", decisions.sort_by(order).combine_chunks())
    update = {"kept": counts.kept - len(gone), "removed": counts.removed + len(gone)}
    return counts.model_copy(update=update), [len(gone), int(pc.sum(gone["n_bytes"]).as_py() or 0)]
