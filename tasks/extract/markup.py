"""Tags and text of a page as lexbor writes it down again: every tag closed, every attribute quoted, five entities."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.core.compiled import compiled
from tasks.extract import patterns

# What a tag is.
(
    BLOCK, VOID, SKIPPED, LINK, BREAK, PRE, CELL, HEADING, ITEM, BOILER, MAIN, FIGCAPTION, ASIDE, SECTION, WHOLE, GRID, TITLE, CLOSING,
    LEVEL_1, LEVEL_2, LEVEL_4, BUTTON, TERM, FOOTER, FRAGMENT, FORM,
) = (1 << n for n in range(26))  # fmt: skip
LEVEL = LEVEL_1 | LEVEL_2 | LEVEL_4  # of a heading, as a number in these bits: 1 for h1 to 6 for h6

_KINDS: dict[int, str] = {
    BLOCK: "address article aside blockquote body caption center dd details dialog dir div dl dt fieldset figcaption figure footer "
    "form h1 h2 h3 h4 h5 h6 header hgroup hr legend li main menu nav ol optgroup p pre section summary table tbody td tfoot th thead tr ul",
    VOID: "area base basefont bgsound br col embed frame hr img input keygen link meta param source track wbr",
    SKIPPED: "button select textarea option datalist object canvas video audio map rt rp",
    BUTTON: "button",
    LINK: "a",
    BREAK: "br",
    PRE: "pre",
    CELL: "td th",
    TITLE: "h1",
    HEADING: "h1 h2 h3 h4 h5 h6 summary",
    LEVEL_1: "h1 h3 h5",
    LEVEL_2: "h2 h3 h6",
    LEVEL_4: "h4 h5 h6 summary",
    ITEM: "li dd dt",
    TERM: "dt",
    BOILER: "nav dialog menu",
    FOOTER: "footer",
    FORM: "form",
    MAIN: "main article",
    FIGCAPTION: "figcaption",
    ASIDE: "aside",
    SECTION: "section",
    GRID: "table tbody thead tfoot tr",  # either data, or what lays out a page of which one cell holds the text
    WHOLE: "p ul ol dl menu li dd dt pre blockquote details",  # a text does not go on inside of one alone
}
# Attributes whose values are read, and what their values begin with for the automaton. The first two are names.
_ATTRIBUTES = {
    "class": "", "id": "", "role": "role=", "itemprop": "itemprop=", "itemtype": "itemtype=", "style": "style=", "hidden": "hidden=",
    "aria-hidden": "aria-hidden=",
}  # fmt: skip
_ID = 1
MOST_WORDS = 4  # longer names are titles made into ids: they say what a text is about
JOINT = patterns.JOINT
_LESS, _MORE, _QUOTE, _AMPERSAND, _SLASH, _BANG, _DASH, _EQUALS, _SPACE, _SEMICOLON, _HASH = (
    ord(sign) for sign in "<>\"&/!-= ;#"
)  # fmt: skip
_BASE = 257


def _key(name: str) -> int:
    key = 0
    for byte in name.encode():
        key = (key * _BASE + byte) % (1 << 64)
    return key


def _tags() -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint32]]:
    kinds: dict[str, int] = {}
    for kind, names in _KINDS.items():
        for name in names.split():
            kinds[name] = kinds.get(name, 0) | kind
    ordered = sorted((_key(name), kind) for name, kind in kinds.items())
    return np.array([key for key, _ in ordered], np.uint64), np.array([kind for _, kind in ordered], np.uint32)


def _attribute_states() -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int32]]:
    """The key of each attribute's name, and the automaton's state where its values begin."""
    keys, states = [], []
    for name, prefix in _ATTRIBUTES.items():
        state = 0
        for symbol in prefix:
            state = int(patterns.FOLLOW[state, patterns.SYMBOLS.index(symbol)])
        keys.append(_key(name))
        states.append(state)
    return np.array(keys, np.uint64), np.array(states, np.int32)


_TAG_KEYS, _TAG_KINDS = _tags()
# A slot for each tag alone: the fewest slots, from 1,000 on, among which no two tags meet.
_TAG_SLOTS = next(slots for slots in range(1_000, 100_000) if len(set((_TAG_KEYS % slots).tolist())) == len(_TAG_KEYS))
_TAG_PLACES = np.zeros(_TAG_SLOTS, np.int64)
_TAG_PLACES[_TAG_KEYS % _TAG_SLOTS] = np.arange(len(_TAG_KEYS))
_ATTRIBUTE_KEYS, _ATTRIBUTE_STATES = _attribute_states()
_HREF = _key("href")
_SYMBOL_OF, _FOLLOW, _NAME_MARKS = patterns.SYMBOL_OF, patterns.FOLLOW, patterns.MARKS


@compiled
def read_text(source: Any, at: int) -> Any:
    """The byte of text at a place (0 for what nobody sees, 32 for a space of any kind), and where the next is."""
    size, byte = len(source), source[at]
    if byte == _AMPERSAND:
        return _entity(source, at)
    if byte == 0xC2 and at + 1 < size:
        if source[at + 1] == 0xA0:  # no-break space
            return np.uint8(_SPACE), at + 2
        if source[at + 1] == 0xAD:  # soft hyphen
            return np.uint8(0), at + 2
    elif at + 2 < size and byte >= 0xE2:
        following = source[at + 1], source[at + 2]
        if (byte == 0xE2 and following == (0x80, 0x8B)) or (byte == 0xEF and following == (0xBB, 0xBF)):
            return np.uint8(0), at + 3  # zero-width space, byte-order mark
    return byte, at + 1


@compiled
def _entity(source: Any, at: int) -> Any:
    """What an entity stands for: amp, lt, gt, nbsp, quot are written. An ampersand that begins none is itself."""
    size, after = len(source), source[at + 1] if at + 1 < len(source) else 0
    width = 5 if after == ord("a") else 4 if after == ord("l") or after == ord("g") else 6
    if at + width > size or source[at + width - 1] != _SEMICOLON:
        return np.uint8(_AMPERSAND), at + 1
    if after == ord("a"):
        return np.uint8(_AMPERSAND), at + width
    if after == ord("l"):
        return np.uint8(_LESS), at + width
    if after == ord("g"):
        return np.uint8(_MORE), at + width
    return np.uint8(_SPACE if after == ord("n") else _QUOTE), at + width


@compiled
def is_plain(byte: Any) -> bool:
    """Whether a byte is text as it stands: no white space, markup, entity, or part of a longer character."""
    return bool(_SPACE < byte < 0x80 and byte != _LESS and byte != _AMPERSAND)  # noqa: PLR1714


@compiled
def is_tag(source: Any, at: int) -> bool:
    """Whether a < begins a tag, and not a comment, declaration or instruction."""
    following = source[at + 1] if at + 1 < len(source) else 0
    return bool(following != _BANG and following != ord("?"))


@compiled
def skip_comment(source: Any, at: int) -> int:
    """Where what is no tag ends."""
    size = len(source)
    if at + 3 < size and source[at + 1] == _BANG and source[at + 2] == _DASH and source[at + 3] == _DASH:
        at += 4
        while at < size and not (source[at] == _MORE and source[at - 1] == _DASH and source[at - 2] == _DASH):
            at += 1
    else:
        while at < size and source[at] != _MORE:
            at += 1
    return at + 1


@compiled
def read_tag(source: Any, at: int) -> Any:
    """What the tag at a < is, what its names mark it as, and where it ends."""
    size = len(source)
    at += 1
    if at < size and source[at] == _SLASH:  # it closes what is open, as every tag here
        while at < size and source[at] != _MORE:
            at += 1
        return np.uint32(CLOSING), np.uint32(0), at + 1
    key = np.uint64(0)
    while at < size and source[at] != _SPACE and source[at] != _MORE:
        key = key * np.uint64(_BASE) + np.uint64(source[at])
        at += 1
    place = _TAG_PLACES[key % np.uint64(_TAG_SLOTS)]
    kind = _TAG_KINDS[place] if _TAG_KEYS[place] == key else np.uint32(0)
    marks, address = np.uint32(0), np.uint8(0)
    while at < size and source[at] != _MORE:
        at, said, begins = _read_attribute(source, at + 1, kind)
        marks |= said
        address = max(address, begins)
    if marks & patterns.FOUND:
        marks &= ~np.uint32(patterns.HIDDEN)
    if kind & LINK and not address:
        kind ^= np.uint32(LINK)
    elif kind & LINK and address == _HASH:
        kind |= np.uint32(FRAGMENT)
    elif not kind & BLOCK and marks & patterns.HIDDEN:
        kind |= np.uint32(SKIPPED)
    return kind, marks, at + 1


@compiled
def _read_attribute(source: Any, at: int, kind: Any) -> Any:
    """Where an attribute ends, what its value marks the element as, and how it begins if it is a link's address, else 0."""
    size = len(source)
    name = np.uint64(0)
    while at < size and source[at] != _MORE and source[at] != _SPACE and not (source[at] == _EQUALS and name):
        name = name * np.uint64(_BASE) + np.uint64(source[at])
        at += 1
    if at + 1 >= size or source[at] != _EQUALS:
        return at, np.uint32(0), np.uint8(_SPACE if name == np.uint64(_HREF) else 0)
    at += 2  # the sign and the quotation mark
    for n in range(len(_ATTRIBUTE_KEYS)):
        if _ATTRIBUTE_KEYS[n] == name and not (
            n == _ID and kind & (SECTION | HEADING | ITEM)
        ):  # those are made of titles
            at, marks = _read_names(source, at, _ATTRIBUTE_STATES[n], n <= _ID)
            return at + 1, marks, np.uint8(0)
    begins = np.uint8(0)
    if name == np.uint64(_HREF):
        begins = source[at] if at < size and source[at] != _QUOTE else np.uint8(_SPACE)
    while at < size and source[at] != _QUOTE:
        at += 1
    return at + 1, np.uint32(0), begins


@compiled
def _read_names(source: Any, at: int, begin: int, is_name: bool) -> Any:
    """Where an attribute's value ends, and what it says: the automaton over each of its words, joints between their parts."""
    marks = np.uint32(0)
    state = _FOLLOW[begin, JOINT]
    said, words, joined, lower = _NAME_MARKS[state], 0, True, False
    while True:
        at_end = at >= len(source) or source[at] == _QUOTE
        if at_end or (is_name and source[at] <= _SPACE) or source[at] == _SEMICOLON:
            if not joined:
                said |= _NAME_MARKS[_FOLLOW[state, JOINT]]
            if not is_name or (words <= MOST_WORDS and not said & patterns.NEGATED):
                marks |= said
            if at_end:
                return at, marks
            state = _FOLLOW[begin, JOINT]
            said, words, joined, lower = _NAME_MARKS[state], 0, True, False
            at += 1
            continue
        symbol = _SYMBOL_OF[source[at]]
        if lower and not joined and ord("A") <= source[at] <= ord("Z"):
            state, joined = _FOLLOW[state, JOINT], True
            said |= _NAME_MARKS[state]
        lower = ord("a") <= source[at] <= ord("z")
        at += 1
        if symbol != patterns.OTHER and not (symbol == JOINT and joined):
            words += 1 if joined else 0
            joined = symbol == JOINT
            state = _FOLLOW[state, symbol]
            said |= _NAME_MARKS[state]
