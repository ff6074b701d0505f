"""A stretch of a document that an evaluation set has too, as a row of contamination."""

from __future__ import annotations

from typing import Any

from tasks.text.grams import normalised

CONTEXT_CHARS = 80  # shown on both sides of a match


def match_row(
    doc_id: str, text: str, benchmark: str, example: str, field: str, start: int, stop: int
) -> dict[str, Any]:
    """``start`` and ``stop`` are bytes of the text; the row counts characters."""
    encoded = text.encode()
    first = len(encoded[:start].decode())
    last = first + len(encoded[start:stop].decode())
    return {
        "doc_id": doc_id,
        "benchmark": benchmark,
        "example_id": example,
        "field": field,
        "ngram": " ".join(normalised(text[first:last])),
        "context": text[max(0, first - CONTEXT_CHARS) : last + CONTEXT_CHARS],
        "start": first,
        "stop": last,
    }
