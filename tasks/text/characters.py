"""What the signals know of single characters, as tables over all code points for compiled code."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tasks.core.compiled import compiled

SPACE, ALPHABETIC, UPPER, NUMERIC, STOP, BULLET, WHOLE, MARK, LATIN, PLAIN_STOPS, CASED = (1 << n for n in range(11))
CODE_POINTS = 0x110000
_ASSIGNED = 0x33480  # beyond are private and unassigned code points and invisible tags, which are none of these
# Ideographs and syllables without case, ways to write them otherwise, or anything else to tell them apart: two in three
# of all characters, which are not asked one by one.
LETTERS_ALONE = (
    (0x3400, 0x4DC0),
    (0x4E00, 0xA000),
    (0xAC00, 0xD7A4),
    (0x17000, 0x18B00),
    (0x20000, 0x2F800),
    (0x30000, _ASSIGNED),
)
# Scripts that part no words, by the names of their letters. Nothing but a dictionary tells their words, so that each letter
# (WHOLE) counts as one, with the marks that belong to it (MARK): in a sequence of five letters an edit shows as in one of
# five words. Korean parts words, but writes them with and without the space that parts them.
_UNPARTED = (
    "CJK UNIFIED", "CJK COMPATIBILITY IDEOGRAPH", "HIRAGANA", "KATAKANA", "HALFWIDTH KATAKANA", "HANGUL", "HALFWIDTH HANGUL",
    "IDEOGRAPHIC", "VERTICAL IDEOGRAPHIC", "VERTICAL KANA", "MASU MARK", "THAI", "LAO", "KHMER", "MYANMAR", "NUSHU", "YI ",
)  # fmt: skip
# Scripts that end sentences as ASCII does.
_STOPS_OF_ASCII = ("LATIN", "GREEK", "CYRILLIC", "HANGUL", "ARABIC", "HEBREW", "GEORGIAN")
BULLETS = "•‣▶◀◦■□▪▫–-*"
# Unicode's property Sentence_Terminal, which its python module does not tell: FineWeb's stop characters.
STOPS = (
    "!.?։؝؞؟۔܀܁܂߹࠷࠹࠽࠾।॥၊။።፧፨᙮᜵᜶។៕៖៙៚᠃᠉᥄᥅᪨᪩᪪᪫᭚᭛᭞᭟᭽᭾᰻᰼᱾᱿‼‽⁇⁈⁉⸮⸼⹓⹔。꓿꘎꘏꛳꛷꡶꡷꣎꣏꤯꧈꧉꩝꩞꩟꫰꫱꯫﹒﹖﹗！．？｡"
    "\U00010a56\U00010a57\U00010f55\U00010f56\U00010f57\U00010f58\U00010f59\U00010f86\U00010f87\U00010f88\U00010f89"
    "\U00011047\U00011048\U000110be\U000110bf\U000110c0\U000110c1\U00011141\U00011142\U00011143\U000111c5\U000111c6"
    "\U000111cd\U000111de\U000111df\U00011238\U00011239\U0001123b\U0001123c\U000112a9\U0001144b\U0001144c\U000115c2"
    "\U000115c3\U00011641\U00011642\U0001173c\U0001173d\U0001173e\U00011944\U00011946\U00011a42\U00011a43\U00011a9b"
    "\U00011a9c\U00011c41\U00011c42\U00011ef7\U00011ef8\U00011f43\U00011f44\U00016a6e\U00016a6f\U00016af5\U00016b37"
    "\U00016b38\U00016b44\U00016e98\U0001bc9f\U0001da88"
)


class Characters(NamedTuple):
    """Code point -> properties, and code point -> the code point of its lower case."""

    properties: npt.NDArray[np.uint16]
    lower: npt.NDArray[np.int32]


HANGUL = LETTERS_ALONE[2]


def told_apart() -> Iterator[int]:
    """All code points of which something is to be asked, in their order."""
    at = 0
    for first, end in (*LETTERS_ALONE, (_ASSIGNED, _ASSIGNED)):
        yield from range(at, first)
        at = end


@cache
def characters() -> Characters:
    """The tables, made once a process."""
    properties = np.zeros(CODE_POINTS, np.uint16)
    lower = np.arange(CODE_POINTS, dtype=np.int32)
    for first, end in LETTERS_ALONE:
        properties[first:end] = ALPHABETIC | WHOLE
    properties[HANGUL[0] : HANGUL[1]] |= PLAIN_STOPS
    for code in told_apart():
        character = chr(code)
        if character.isspace():
            properties[code] |= SPACE
        elif character.isalpha():
            properties[code] |= ALPHABETIC
            if character.isupper():
                properties[code] |= UPPER
            small = character.lower()
            if len(small) == 1:
                lower[code] = ord(small)
            properties[code] |= _of_script(character)
        elif unicodedata.category(character).startswith("M"):
            properties[code] |= MARK
        elif unicodedata.category(character) == "Nd":
            properties[code] |= NUMERIC
    for marks, bit in ((STOPS, STOP), (BULLETS, BULLET)):
        for mark in marks:
            properties[ord(mark)] |= bit
    return Characters(properties, lower)


def _of_script(letter: str) -> int:
    """What its script says of a letter."""
    name = unicodedata.name(letter, "")
    found = CASED if letter.lower() != letter.upper() else 0
    found |= WHOLE if name.startswith(_UNPARTED) else 0
    found |= LATIN if name.startswith("LATIN") else 0
    return found | (PLAIN_STOPS if name.startswith(_STOPS_OF_ASCII) else 0)


@compiled
def code_point(data: Any, at: int) -> Any:
    """The code point at a byte of valid UTF-8, and how many bytes it takes."""
    byte = np.int32(data[at])
    if byte < 0x80:
        return byte, 1
    if byte < 0xE0:
        return (byte & 0x1F) << 6 | np.int32(data[at + 1] & 0x3F), 2
    if byte < 0xF0:
        return (byte & 0x0F) << 12 | np.int32(data[at + 1] & 0x3F) << 6 | np.int32(data[at + 2] & 0x3F), 3
    return (
        (byte & 0x07) << 18
        | np.int32(data[at + 1] & 0x3F) << 12
        | np.int32(data[at + 2] & 0x3F) << 6
        | np.int32(data[at + 3] & 0x3F)
    ), 4
