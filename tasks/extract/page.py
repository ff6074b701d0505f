"""Page to document: main text out of HTML, one verdict a page, the same whatever was read before."""

from __future__ import annotations

import contextlib
import hashlib
import signal
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field
from selectolax.lexbor import LexborHTMLParser

from tasks.extract.main_text import main_text
from tasks.extract.metadata import Metadata, metadata_of
from tasks.http import decode
from tasks.parsing import EndlessPage, parse
from tasks.stage import Made, StageSettings, operational
from tasks.urls import domain_of
from warehouse import schemas
from warehouse.artifact import Counts, PartWriter
from warehouse.removals import Removal, first_concerned

HTML_TYPES = ("text/html", "application/xhtml+xml")
DOC_ID_LENGTH = 32  # hexadecimal digits
STAGE = "extract"
FORGOTTEN = "forgotten"
RULES = (
    "not a web address",
    "status other than 200",
    "not HTML",
    "too large",
    "no text",
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
    min_chars: int = Field(1, ge=1, description="shortest text, in characters, that is a document")
    max_html_bytes: int = Field(8 << 20, ge=1, description="largest page, in bytes, that is parsed")
    part_bytes: int = Field(16 << 20, ge=1, description="bytes of pages to aim at in a part")
    page_seconds: float = operational(30.0, "seconds after which a page counts as failed", gt=0)


class Extracted(NamedTuple):
    """A document's text, and what its page says about itself."""

    text: str
    about: Metadata = Metadata()


class PageTimeout(Exception):
    """A page took longer than its limit."""


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
    """The main text of a page and its metadata, a pure function of its arguments.

    Raises PageRefused for a page that no parser would finish.
    """
    try:
        tree = parse(html)
    except EndlessPage as error:
        raise PageRefused(str(error), failed=True) from error
    about = metadata_of(tree, url)
    return Extracted(EXTRACTORS[extractor](html, tree), about)


class Documents:
    """Fills the documents and refusals of one part, and counts them."""

    def __init__(self, settings: ExtractSettings, source: str) -> None:
        self._settings, self._source = settings, source
        read_page("", "", settings.extractor)  # imports and compiles, which takes seconds, outside of any page's limit
        self._rows: list[dict[str, Any]] = []
        self._refused: list[dict[str, Any]] = []
        self._bytes = 0
        self._funnel: dict[str, list[int]] = {rule: [0, 0] for rule in RULES}

    def read_html(self, url: str, content_type: str, body: bytes, digest: str) -> None:
        """Takes a page."""
        with self._refusals(url, len(body)):
            kind = content_type.split(";", maxsplit=1)[0].strip().lower()
            if kind not in HTML_TYPES:
                raise PageRefused("not HTML", kind[:100])
            if len(body) > self._settings.max_html_bytes:
                raise PageRefused("too large", None, len(body), self._settings.max_html_bytes)
            try:
                with time_limit(self._settings.page_seconds):
                    found = read_page(decode(body, content_type), url, self._settings.extractor)
            except PageRefused:
                raise
            except PageTimeout:
                raise PageRefused("time limit", None, None, self._settings.page_seconds, failed=True) from None
            except Exception as error:
                raise PageRefused(type(error).__name__, str(error)[:200], failed=True) from error
            self._take(url, found, digest)

    def read_text(self, url: str, found: Extracted, digest: str) -> None:
        """Takes a text that needs no extraction."""
        url = well_formed(url)
        with self._refusals(url, len(found.text.encode("utf-8", "surrogatepass"))):
            self._take(url, found, digest)

    def refuse(self, url: str, size: int, refusal: PageRefused) -> None:
        """Accounts for a page that could not be read at all."""
        with self._refusals(url, size):
            raise refusal

    def _take(self, url: str, found: Extracted, digest: str) -> None:
        text = well_formed(found.text).strip()
        if len(text) < self._settings.min_chars:
            raise PageRefused("no text", None, len(text), self._settings.min_chars)
        self._rows.append(
            {
                "doc_id": doc_id_of(url, text),
                "url": url,
                "domain": domain_of(url) if "://" in url else None,
                "title": _claim(found.about.title),
                "text": text,
                "source": self._source,
                "published": _claim(found.about.published),
                "language_hint": _claim(found.about.language),
                "canonical": _claim(found.about.canonical),
                "digest": digest,
                "n_chars": len(text),
                "n_bytes": len(text.encode()),
                "n_words": len(text.split()),
            }
        )

    @contextlib.contextmanager
    def _refusals(self, url: str, size: int) -> Iterator[None]:
        """Turns a refusal in the block into a row."""
        self._bytes += size
        try:
            yield
        except PageRefused as refusal:
            rule = "failed" if refusal.failed else refusal.rule
            taken = self._funnel[rule]
            self._funnel[rule] = [taken[0] + 1, taken[1] + size]
            self._refused.append(self._row(url, doc_id_of(url, ""), refusal))

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


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raises PageTimeout in the block after so many seconds. Without effect outside of a process's main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def expire(*_: object) -> None:
        raise PageTimeout

    previous = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
