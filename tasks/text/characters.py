"""What the signals know of single characters, as tables over all code points for compiled code."""

from __future__ import annotations

import unicodedata
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tasks.core.compiled import compiled

SPACE, ALPHABETIC, UPPER, NUMERIC, STOP, BULLET = (1 << n for n in range(6))
CODE_POINTS = 0x110000
_ASSIGNED = 0x33480  # beyond are private and unassigned code points and invisible tags, which are none of these
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

    properties: npt.NDArray[np.uint8]
    lower: npt.NDArray[np.int32]


@cache
def characters() -> Characters:
    """The tables, made once a process."""
    properties = np.zeros(CODE_POINTS, np.uint8)
    lower = np.arange(CODE_POINTS, dtype=np.int32)
    for code in range(_ASSIGNED):
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
        elif unicodedata.category(character) == "Nd":
            properties[code] |= NUMERIC
    for marks, bit in ((STOPS, STOP), (BULLETS, BULLET)):
        for mark in marks:
            properties[ord(mark)] |= bit
    return Characters(properties, lower)


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
