"""Unicode's normal form C (UAX #15): one way to write what can be written in several, and where its bytes were before."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from functools import cache
from itertools import accumulate
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks.text.characters import told_apart

FORM: Final = "NFC"


class Places:
    """Bytes of a text in normal form, and where the characters that they stand for are in the text as it was."""

    def __init__(self, text: str) -> None:
        pieces = _pieces(text)
        self._here = np.array([0, *accumulate(len(normal(piece).encode()) for piece in pieces)], np.int64)
        self._there = np.array([0, *accumulate(len(piece.encode()) for piece in pieces)], np.int64)

    def before(self, starts: npt.NDArray[np.int64], stops: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Starts and stops of stretches in the text as it was, shape (2, n); a stretch takes in whole characters."""
        first = np.searchsorted(self._here, starts, side="right") - 1
        return np.array([self._there[first], self._there[np.searchsorted(self._here, stops, side="left")]])


def normal(text: str) -> str:
    """A text in normal form C."""
    return unicodedata.normalize(FORM, text)


def in_normal_form(texts: pa.ChunkedArray) -> tuple[pa.ChunkedArray, dict[int, Places]]:
    """The texts in normal form, and of those that were not, by their rows, where their bytes were."""
    plain = texts.to_pylist()
    others = {row: Places(text) for row, text in enumerate(plain) if text and not unicodedata.is_normalized(FORM, text)}
    if not others:
        return texts, {}
    return pa.chunked_array([[normal(text) if text else text for text in plain]], texts.type), others


@cache
def joins() -> frozenset[int]:
    """Code points that normal form C joins with a character before them."""
    found = set(range(0x1161, 0x11C3))  # vowels and finals of Hangul, which Unicode joins by rule
    for code in told_apart():
        pieces = unicodedata.decomposition(chr(code)).split()
        if len(pieces) > 1 and not pieces[0].startswith("<"):
            found.add(int(pieces[1], 16))
    return frozenset(found)


def _pieces(text: str) -> list[str]:
    """A text in pieces that are normalised each for itself."""
    begins = [
        place
        for place, character in enumerate(text)
        if not place or (ord(character) not in joins() and not unicodedata.combining(character))
    ]
    return [text[begin:end] for begin, end in zip(begins, [*begins[1:], len(text)], strict=False)]


def put_back(
    rows: npt.NDArray[np.int64],
    starts: npt.NDArray[np.int64],
    stops: npt.NDArray[np.int64],
    others: Mapping[int, Places],
) -> None:
    """Turns stretches of texts in normal form into those of the texts as they were, in place; ``rows`` says whose each is."""
    for row in np.unique(rows).tolist() if others else ():
        if row in others:
            here = rows == row
            starts[here], stops[here] = others[row].before(starts[here], stops[here])
