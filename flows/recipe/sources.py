"""Kinds of sources: the only place that tells them apart. Another kind is its reader, and a line in each table here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tasks.crawl.settings import CrawlSettings
from tasks.extract.archive import ExtractArchive, WarcSettings
from tasks.extract.extraction import Extraction
from tasks.extract.page import ExtractSettings
from tasks.extract.table import ExtractTable, TableSettings, TextSettings
from warehouse.store import Store

CRAWL = "crawl"  # the one kind that is fetched, and not there already
# Kind of files -> (store, extraction's settings, the source's own, its name) -> how its documents are read.
READERS: Mapping[str, Callable[[Store, ExtractSettings, Any, str], Extraction]] = {
    "warc": ExtractArchive,
    "parquet": partial(ExtractTable.of, "parquet"),
    "jsonl": partial(ExtractTable.of, "jsonl"),
    "text": partial(ExtractTable.of, "text"),
}
KINDS = (CRAWL, *READERS)


class Source(BaseModel):
    """Where text comes from, what is kept of it, and how much of the mixture it is."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    crawl: CrawlSettings | None = Field(None, description="a crawl: where it starts and how it behaves")
    warc: WarcSettings | None = Field(None, description="or archives that somebody else made: WARC, WET, ARC")
    parquet: TableSettings | None = Field(None, description="or Parquet tables of texts")
    jsonl: TableSettings | None = Field(None, description="or JSON lines of texts")
    text: TextSettings | None = Field(None, description="or plain text files")
    policy: str = Field(
        "",
        description="the policy that its documents must pass: one of this recipe, or of configs/policies; empty for none",
    )
    license: str = Field("", description="licence of its texts, as an SPDX name or in words, for the corpus card")
    weight: float = Field(1.0, ge=0, description="share of the training mixture, any scale; 0 keeps it out of training")
    priority: int = Field(0, description="which source's copy survives among duplicates: the highest")
    group: str = Field(
        "",
        description="which documents belong together, and are held out together: those of one host, of one folder of "
        "URLs, or with the same match of this regular expression, of its first group where it has one; empty for none",
    )
    demo_site: Literal["", "works", "reference"] = Field(
        "", description="built-in site to serve on loopback, at the seed's port, during the crawl"
    )
    demo_limit: int | None = Field(None, ge=1, description="serve only so many works or modules of the built-in site")

    @model_validator(mode="after")
    def _one_kind(self) -> Source:
        given = [name for name in KINDS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"a source has one of {', '.join(KINDS)}, this one has {' and '.join(given) or 'none'}")
        return self

    @property
    def kind(self) -> str:
        """Which of the kinds it is."""
        return next(name for name in KINDS if getattr(self, name) is not None)

    @property
    def origin(self) -> str:
        """Where its texts come from, in a few words."""
        if self.crawl is not None:
            return f"a crawl from {', '.join(self.crawl.seeds[:3])}"
        return f"{self.kind} files {', '.join(map(str, getattr(self, self.kind).files[:3]))}"

    def reader(self, store: Store, settings: ExtractSettings, name: str) -> Extraction:
        """How the documents of files are read."""
        return READERS[self.kind](store, settings, getattr(self, self.kind), name)
