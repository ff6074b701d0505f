"""extract: pages to documents. Archived HTML to main text, one verdict a page."""

from __future__ import annotations

import contextlib
import hashlib
import math
import signal
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from fastwarc.warc import ArchiveIterator, WarcRecordType
from pydantic import Field
from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.encoding import bytes_to_str, detect_encoding
from resiliparse.parse.html import HTMLTree

from tasks.stage import Made, Report, Stage, StageSettings, operational
from tasks.urls import canonical_url, domain_of
from warehouse import schemas
from warehouse.artifact import Counts, PartWriter, load, part_name, read_tables, verified_path

OK = 200
HTML_TYPES = ("text/html", "application/xhtml+xml")
DOC_ID_LENGTH = 32  # hexadecimal digits
LATEST_DATE = "2100-01-01"  # htmldate's own bound is today, which would make its answer depend on the clock


class ExtractSettings(StageSettings):
    """How main text is taken out of a page."""

    extractor: Literal["trafilatura", "resiliparse"] = Field(
        "trafilatura",
        description="trafilatura (best text, about 60 pages a second and core) or resiliparse (10 times as fast)",
    )
    min_chars: int = Field(1, ge=1, description="shortest text, in characters, that is a document")
    max_html_bytes: int = Field(8 << 20, ge=1, description="largest page, in bytes, that is parsed")
    part_bytes: int = Field(16 << 20, ge=1, description="bytes of HTML to aim at in a part")
    page_seconds: float = operational(30.0, "seconds after which a page counts as failed", gt=0)


class Extracted(NamedTuple):
    """What an extractor found in a page."""

    title: str | None
    text: str
    published: str | None


@dataclass(frozen=True)
class Page:
    """One archived response that is to be read."""

    url: str
    content_type: str
    body_bytes: int
    digest: str
    warc_path: str
    warc_offset: int
    requested: str  # the URL asked for, which redirects can differ from
    again: bool  # another request ended at the same URL and stands for it

    @property
    def bucket(self) -> int:
        """A number from the URL alone, by which pages are dealt to parts."""
        return int(hashlib.sha256(self.url.encode()).hexdigest()[:16], 16)


class PageTimeout(Exception):
    """A page took longer than its limit."""


def doc_id_of(url: str, text: str) -> str:
    """A document's name: a digest of its canonical URL and its text, the same on every machine."""
    return hashlib.sha256(f"{url}\n{text}".encode()).hexdigest()[:DOC_ID_LENGTH]


def decode(body: bytes, content_type: str) -> str:
    """The page as text: charset from HTTP, else from meta tags or detection (resiliparse)."""
    declared = next(
        (
            p.split("=", 1)[1].strip(" \"'")
            for p in content_type.split(";")[1:]
            if p.strip().lower().startswith("charset=")
        ),
        "",
    )
    with contextlib.suppress(LookupError):
        if declared:
            return str(bytes_to_str(body, declared))
    return str(bytes_to_str(body, detect_encoding(body, html5_compatible=True) or "utf-8"))


def by_trafilatura(html: str, url: str) -> Extracted:
    """Main text by trafilatura's fast mode, without its process-wide duplicate memory."""
    from trafilatura import bare_extraction

    found = bare_extraction(
        html,
        url=url,
        fast=True,
        deduplicate=False,
        include_comments=False,
        with_metadata=True,
        date_extraction_params={"extensive_search": False, "original_date": True, "max_date": LATEST_DATE},
    )
    if found is None or isinstance(found, dict):
        return Extracted(None, "", None)
    return Extracted(found.title, found.text or "", found.date)


def by_resiliparse(html: str, url: str) -> Extracted:
    """Main text by resiliparse's main-content heuristics, without comments."""
    tree = HTMLTree.parse(html)
    return Extracted(
        tree.title or None, extract_plain_text(tree, main_content=True, comments=False, alt_texts=False), None
    )


EXTRACTORS = {"trafilatura": by_trafilatura, "resiliparse": by_resiliparse}


class Extract(Stage):
    """Documents of one source, from one crawl's pages."""

    name = "extract"
    version = 1
    settings: ExtractSettings

    def plan(self) -> Sequence[str]:
        pages = self._pages()
        total = sum(page.body_bytes for page in pages)
        return [part_name(self.subject, n) for n in range(max(1, math.ceil(total / self.settings.part_bytes)))]

    def documents_expected(self) -> int:
        return len(self._pages())

    def make(self, part: str, writer: PartWriter, report: Report) -> Made:
        """Reads the part's pages in the order of the archive; writes documents and refusals in the order of doc_id."""
        parts = self.plan()
        mine = [page for page in self._pages() if page.bucket % len(parts) == parts.index(part)]
        documents: list[dict[str, Any]] = []
        refused: list[dict[str, Any]] = []
        funnel: dict[str, list[int]] = {
            "same final URL": [0, 0],
            "not HTML": [0, 0],
            "too large": [0, 0],
            "no text": [0, 0],
            "failed": [0, 0],
        }
        for page, body in self._bodies(mine):
            document, refusal = self._read(page, body)
            if document is not None:
                documents.append(document)
            if refusal is not None:
                refused.append(refusal)
                rule = refusal["rule"] if refusal["verdict"] == "removed" else "failed"
                funnel[rule] = [funnel[rule][0] + 1, funnel[rule][1] + page.body_bytes]
        for name, rows, schema in (
            ("documents", documents, schemas.DOCUMENTS),
            ("decisions", refused, schemas.DECISIONS),
        ):
            writer.table(name, pa.Table.from_pylist(sorted(rows, key=lambda row: str(row["doc_id"])), schema=schema))
        failed = sum(row["verdict"] == "failed" for row in refused)
        counts = Counts(documents_in=len(mine), kept=len(documents), removed=len(refused) - failed, failed=failed)
        return Made(counts=counts, statistics={"funnel": funnel, "bytes_in": sum(page.body_bytes for page in mine)})

    def _pages(self) -> list[Page]:
        """The successful responses of the crawl; of several that ended at one URL all but the first are marked."""
        columns = ["url", "final_url", "status", "content_type", "body_bytes", "digest", "warc_path", "warc_offset"]
        table = read_tables(self.store, self.inputs["pages"].ref, "pages", columns)
        table = table.filter(pc.fill_null(pc.equal(table["status"], OK), False))
        pages, seen = [], set()
        for row in sorted(
            table.to_pylist(), key=lambda row: (row["final_url"], row["url"] != row["final_url"], row["url"])
        ):
            again = row["final_url"] in seen
            seen.add(row["final_url"])
            pages.append(
                Page(
                    url=row["final_url"],
                    content_type=row["content_type"] or "",
                    body_bytes=row["body_bytes"],
                    digest=row["digest"],
                    warc_path=row["warc_path"],
                    warc_offset=row["warc_offset"],
                    requested=row["url"],
                    again=again,
                )
            )
        return pages

    def _bodies(self, pages: list[Page]) -> Iterator[tuple[Page, bytes]]:
        """The archived bodies, file by file, in the order of their offsets."""
        ref = self.inputs["pages"].ref
        files = {f"{ref.folder}/{file.path}": file for file in load(self.store, ref).files("warc")}
        for path in sorted({page.warc_path for page in pages}):
            with verified_path(self.store, ref, files[path]).open("rb") as stream:
                for page in sorted(
                    (page for page in pages if page.warc_path == path), key=lambda page: page.warc_offset
                ):
                    stream.seek(page.warc_offset)
                    record = next(iter(ArchiveIterator(stream, record_types=WarcRecordType.response)))
                    yield page, record.reader.read()

    def _read(self, page: Page, body: bytes) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
        """One page's document, or the row that says why there is none."""
        if page.again:
            return None, self._refusal(page, "removed", "same final URL", url=page.requested, detail=page.url)
        kind = page.content_type.split(";")[0].strip().lower()
        if kind not in HTML_TYPES:
            return None, self._refusal(page, "removed", "not HTML", detail=kind)
        if len(body) > self.settings.max_html_bytes:
            return None, self._refusal(page, "removed", "too large", len(body), self.settings.max_html_bytes)
        try:
            with time_limit(self.settings.page_seconds):
                found = EXTRACTORS[self.settings.extractor](decode(body, page.content_type), page.url)
        except PageTimeout:
            return None, self._refusal(page, "failed", "time limit", None, self.settings.page_seconds)
        except Exception as error:
            return None, self._refusal(page, "failed", type(error).__name__, detail=str(error)[:200])
        text = found.text.strip()
        if len(text) < self.settings.min_chars:
            return None, self._refusal(page, "removed", "no text", len(text), self.settings.min_chars)
        url = canonical_url(page.url)
        return {
            "doc_id": doc_id_of(url, text),
            "url": url,
            "domain": domain_of(url),
            "title": found.title,
            "text": text,
            "source": self.subject,
            "published": found.published,
            "digest": page.digest,
            "n_chars": len(text),
            "n_words": len(text.split()),
        }, None

    def _refusal(
        self,
        page: Page,
        verdict: str,
        rule: str,
        value: float | None = None,
        threshold: float | None = None,
        detail: str | None = None,
        url: str | None = None,
    ) -> dict[str, Any]:
        return {
            "doc_id": doc_id_of(url or page.url, ""),
            "verdict": verdict,
            "stage": self.name,
            "rule": rule,
            "value": value,
            "threshold": threshold,
            "url": url or page.url,
            "source": self.subject,
            "detail": detail,
        }


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
