"""tally and repetition: what recurs in a source, and how much of each document that is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from tasks.core.stage import Made, PerPart, Report, Stage, StageSettings, operational
from tasks.dedup.digest import digests
from tasks.repetition.recur import (
    KINDS,
    LINE,
    PARAGRAPH,
    Recurring,
    Repeated,
    Stretches,
    Texts,
    stretches,
    tally,
)
from tasks.signals.definition import Signal
from tasks.text.buffers import buffers
from warehouse import schemas
from warehouse.artifact import Counts, PartWriter, load, read_tables

PART = "tally"
BYTES_PER_WORD = 80  # of names, keys and places, twice while parts are put together; with a word a line it comes near
SIGNALS = (
    Signal("recurring_line_char_share", "share", "characters in lines that many documents of the source have", "Raffel et al. 2020, by count"),
    Signal("recurring_paragraph_char_share", "share", "characters in paragraphs that several documents of the source have", "Wenzek et al. 2020, by count", 2),
    Signal("repeated_span_char_share", "share", "characters in runs of 50 words or more that stand elsewhere in the source first", "Lee et al. 2022, section 4.1"),
    Signal("recurring_edge_char_share", "share", "characters in lines of the head and the end that several documents have there", "by count"),
)  # fmt: skip


class RepetitionSettings(StageSettings):
    """What counts as recurring within a source. Of a cluster of duplicates only the preferred document counts."""

    line_documents: int = Field(10, ge=2, description="documents that have a line that is boilerplate, at least")
    edge_documents: int = Field(
        5,
        ge=2,
        description="documents that have a line that is boilerplate where it stands at the head or the end, at least",
    )
    paragraph_documents: int = Field(3, ge=2, description="documents that have a paragraph that is, at least")
    span_words: int = Field(50, ge=2, description="words of a run that counts as repeated (Lee et al.: 50 tokens)")
    memory_mb: int = operational(1024, "memory for names; what does not fit is read again, a range at a time", ge=1)


class Tally(Stage):
    """What recurs in one source. Inputs: ``documents`` and ``duplicates``."""

    name = "tally"
    version = 4
    settings: RepetitionSettings

    def plan(self) -> Sequence[str]:
        return [PART]

    def make(self, part: str, writer: PartWriter, report: Report) -> Made:
        """Counts lines and paragraphs, and finds runs of words that stand twice."""
        settings, ref = self.settings, self.inputs["documents"].ref
        duplicates = read_tables(self.store, self.inputs["duplicates"].ref, "duplicates", ["doc_id", "rank"])
        others = duplicates.filter(pc.greater(duplicates["rank"], 0))["doc_id"].combine_chunks()

        def source() -> Iterator[Texts]:
            seen = np.empty(0, np.uint64)  # a document may stand in several archives, and counts once
            for stored in load(self.store, ref).parts:
                table = read_tables(self.store, ref, "documents", ["doc_id", "text"], [stored.part])
                table = table.filter(pc.invert(pc.is_in(table["doc_id"], value_set=others)))
                keys = digests(table["doc_id"])[:, 0]
                yield texts_of(table.filter(pa.array(~np.isin(keys, seen))))
                seen = np.concatenate([seen, keys])

        words = sum(
            int(pc.sum(read_tables(self.store, ref, "documents", ["n_words"], [stored.part])["n_words"]).as_py() or 0)
            for stored in load(self.store, ref).parts
        )
        ranges = max(1, -(-words * BYTES_PER_WORD // (settings.memory_mb << 20)))
        lines, paragraphs, spans = tally(
            source,
            min(settings.line_documents, settings.edge_documents),
            settings.paragraph_documents,
            settings.span_words,
            ranges,
        )
        for kind, found in ((LINE, lines), (PARAGRAPH, paragraphs)):
            columns = {"name": found.names, "documents": found.documents}
            writer.table(KINDS[kind], pa.table(columns, schema=schemas.RECURRING))
        columns = {"name": spans.names, "doc_key": spans.keys, "word": spans.places}
        writer.table("repeated_windows", pa.table(columns, schema=schemas.REPEATED_WINDOWS))
        return Made(
            statistics={"lines": len(lines.names), "paragraphs": len(paragraphs.names), "windows": len(spans.names)}
        )


class Repetition(PerPart):
    """How much of each document of a source recurs in it. Inputs: ``documents`` and ``tally``."""

    name = "repetition"
    version = 4
    of = "documents"
    settings: RepetitionSettings

    def make(self, part: str, writer: PartWriter, report: Report) -> Made:
        """Measures the documents of the part, and notes the stretches that recur, for policies that want them out."""
        table = read_tables(
            self.store, self.inputs["documents"].ref, "documents", ["doc_id", "text", "n_chars"], [part]
        )
        ref = self.inputs["tally"].ref
        counted = [read_tables(self.store, ref, KINDS[kind]) for kind in (LINE, PARAGRAPH)]
        lines, paragraphs = (Recurring(one["name"].to_numpy(), one["documents"].to_numpy()) for one in counted)
        windows = read_tables(self.store, ref, "repeated_windows")
        spans = Repeated(*(windows[name].to_numpy() for name in ("name", "doc_key", "word")))
        texts = texts_of(table)
        named = (
            lines.names[lines.documents >= self.settings.line_documents],
            paragraphs.names,
            lines.names[lines.documents >= self.settings.edge_documents],
        )
        found = stretches(texts, *named, spans, self.settings.span_words)
        starts, stops = _in_characters(texts, found)
        shares = np.zeros((len(table), len(KINDS)))
        np.add.at(shares, (found.text, found.kind), stops - starts)
        shares /= np.maximum(1, table["n_chars"].to_numpy())[:, None]
        columns = {"doc_id": table["doc_id"], **{signal.name: shares[:, n] for n, signal in enumerate(SIGNALS)}}
        writer.table("repetition", pa.table(columns, schema=schemas.REPETITION))
        rows = {
            "doc_id": table["doc_id"].take(pa.array(found.text)),
            "kind": pa.array(KINDS).take(pa.array(found.kind)),
            "start": starts,
            "stop": stops,
        }
        writer.table("recurring_text", pa.table(rows, schema=schemas.RECURRING_TEXT))
        return Made(counts=Counts(documents_in=len(table), kept=len(table)))


def texts_of(documents: pa.Table) -> Texts:
    """The texts of documents, for compiled code."""
    return Texts(*buffers(documents["text"]), np.ascontiguousarray(digests(documents["doc_id"])[:, 0]))


def _in_characters(
    texts: Texts, found: Stretches
) -> tuple[np.ndarray[tuple[int], np.dtype[np.int64]], np.ndarray[tuple[int], np.dtype[np.int64]]]:
    """Places in bytes as places in characters."""
    begins = np.concatenate([[0], np.cumsum((texts.data & 0xC0) != 0x80)])  # characters that begin before each byte
    base = texts.offsets[found.text]
    return begins[base + found.start] - begins[base], begins[base + found.stop] - begins[base]
