"""Taking contaminated stretches out of a text, with a margin, as GPT-3's authors did."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pydantic import Field

from tasks.core.stage import StageSettings

PIECE_BREAK = "\n\n"


class CutSettings(StageSettings):
    """What goes with contaminated text (Brown et al. 2020, appendix C)."""

    margin_chars: int = Field(200, ge=0, description="characters that go on both sides of it (GPT-3: 200)")
    min_piece_chars: int = Field(200, ge=1, description="shortest piece of a document that stays (GPT-3: 200)")
    most_pieces: int = Field(10, ge=1, description="a document in more pieces goes as a whole (GPT-3: 10)")


def without_stretches(
    text: str, stretches: Iterable[tuple[int, int]], settings: CutSettings, unwanted: Iterable[tuple[int, int]] = ()
) -> str | None:
    """What is left of a text without stretches (characters from, to) and their margins, short pieces left out.

    Unwanted stretches go too, without a margin. None where the document falls into too many pieces.
    """
    pieces, at = [], 0
    for start, stop in sorted(stretches):
        first = max(at, start - settings.margin_chars)
        if first > at:
            pieces.append((at, first))
        at = max(at, stop + settings.margin_chars)
    pieces.append((at, len(text)))
    pieces = [(start, stop) for start, stop in pieces if stop > start]
    if len(pieces) > settings.most_pieces:
        return None
    if len(pieces) > 1 or pieces != [(0, len(text))]:
        pieces = [(start, stop) for start, stop in pieces if stop - start >= settings.min_piece_chars]
    gone = sorted(unwanted)
    left = ("".join(text[a:b] for a, b in _between(start, stop, gone)).strip() for start, stop in pieces)
    return PIECE_BREAK.join(piece for piece in left if piece)


def _between(start: int, stop: int, gone: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """What of a piece lies between sorted stretches."""
    for first, last in gone:
        if first > start:
            yield start, min(first, stop)
        start = max(start, last)
        if start >= stop:
            return
    if start < stop:
        yield start, stop
