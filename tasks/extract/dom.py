"""A page's body as flat arrays: its elements, and its text in blocks. One compiled pass over a parser's own output.

lexbor repairs a page by the rules of HTML and writes it down again; what it writes is regular, so one pass without
any rules of repair reads it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tasks.core.compiled import compiled
from tasks.extract import patterns
from tasks.extract.markup import (
    BLOCK,
    BREAK,
    BUTTON,
    CLOSING,
    FRAGMENT,
    HEADING,
    LEVEL,
    LINK,
    PRE,
    SKIPPED,
    TERM,
    VOID,
    is_plain,
    is_tag,
    read_tag,
    read_text,
    skip_comment,
)

_SPACE, _NEWLINE, _LESS = 32, 10, 60
SIGN = 5  # bytes of the longest sign by which a heading links to itself: a space and one character


class Elements(NamedTuple):
    """In document order, so that a subtree is the range from an element to its ``end``; its blocks are from ``first`` to ``last``."""

    kind: npt.NDArray[np.uint32]
    marks: npt.NDArray[np.uint32]
    parent: npt.NDArray[np.int32]
    end: npt.NDArray[np.int32]
    first: npt.NDArray[np.int32]
    last: npt.NDArray[np.int32]
    block: npt.NDArray[np.int32]  # the innermost element of block level that an element is, or is in
    text: npt.NDArray[np.int32]  # bytes of the page's text before it


class Blocks(NamedTuple):
    """Runs of text that no element of block level parts: bytes of the text, bytes of links in it, and the element around it."""

    start: npt.NDArray[np.int32]
    stop: npt.NDArray[np.int32]
    links: npt.NDArray[np.int32]
    owner: npt.NDArray[np.int32]


class Page(NamedTuple):
    """The text of a body, white space collapsed but in pre, and what it stands in."""

    text: bytes
    elements: Elements
    blocks: Blocks


def flatten(body: str) -> Page:
    """The arrays of a body as lexbor serialises it."""
    content = body.encode("utf-8", "replace")
    source = np.frombuffer(content, np.uint8)
    columns = np.zeros((len(Elements._fields) + len(Blocks._fields), content.count(b"<") + 2), np.int32)
    kind, marks, *places = columns[: len(Elements._fields)]
    elements = Elements(kind.view(np.uint32), marks.view(np.uint32), *places)
    blocks = Blocks(*columns[len(Elements._fields) :])
    text = np.empty(len(source) + 1, np.uint8)
    size, n_elements, n_blocks = _scan(source, text, elements, blocks)
    return Page(
        text[:size].tobytes(),
        Elements._make(column[:n_elements] for column in elements),
        Blocks._make(column[:n_blocks] for column in blocks),
    )


@compiled
def _scan(  # noqa: PLR0912, PLR0915 (one loop over the source, whose state would be passed around)
    source: Any, text: Any, elements: Elements, blocks: Blocks
) -> Any:
    """Fills text, elements and blocks; returns how much of each there is."""
    n_elements, n_blocks, out, begin = 0, 0, 0, 0
    here, in_link, in_pre, in_title, skipped = -1, 0, 0, 0, -1
    owner, links, space = 0, 0, False
    at = 0
    while at < len(source):
        if source[at] != _LESS:
            if source[at] <= _SPACE:
                byte, at = _white(source[at]), at + 1
                if not in_pre:
                    space = True
                    while at < len(source) and source[at] <= _SPACE:
                        at += 1
                    continue
            else:
                byte, at = read_text(source, at)
            if skipped >= 0 or byte == 0:
                continue
            if byte <= _SPACE and not in_pre:
                space = True
                continue
            if byte <= _SPACE and out == begin and byte == _NEWLINE:
                continue
            if out == begin:
                owner, links = elements.block[here] if here >= 0 else 0, 0
            elif space and text[out - 1] != _NEWLINE:
                text[out] = _SPACE
                out += 1
            space = False
            text[out] = byte
            run = out
            out += 1
            last, spaces = len(source) - 1, 0
            while at < last:
                byte = source[at]
                if not is_plain(byte):
                    if byte != _SPACE or not is_plain(source[at + 1]):  # one space between words is as it will be
                        break
                    text[out], text[out + 1] = byte, source[at + 1]
                    out, at, spaces = out + 2, at + 2, spaces + 1
                else:
                    text[out] = byte
                    out, at = out + 1, at + 1
            links += out - run - spaces if in_link else 0
            continue
        if not is_tag(source, at):
            at = skip_comment(source, at)
            continue
        kind, marks, at = read_tag(source, at)
        closing = kind & CLOSING and here >= 0
        kind = elements.kind[here] | np.uint32(CLOSING) if closing else _as_read(kind, marks, in_title)
        if kind & BREAK and skipped < 0 and out > begin:
            out = _trimmed(text, begin, out, False)
            text[out] = _NEWLINE
            out, space = out + (1 if out > begin else 0), False
        if kind & BLOCK:
            out, space = _trimmed(text, begin, out, True), False
            if out > begin:
                n_blocks = _end_block(blocks, n_blocks, begin, out, links, owner)
                begin = out
        if kind & CLOSING:
            if closing:
                in_link -= 1 if kind & LINK else 0
                in_pre -= 1 if kind & PRE else 0
                in_title -= 1 if kind & (HEADING | TERM) else 0
                skipped = -1 if skipped == here else skipped
                if _is_no_text(text, out, elements, here):
                    first = elements.text[here]
                    if kind & BLOCK:
                        out, begin, n_blocks = first, first, elements.first[here]
                    elif first >= begin:
                        out = first
                here = _leave(elements, here, n_elements, n_blocks)
            continue
        pending = 1 if out > begin else 0  # text before an inline element is not in it
        _enter(elements, n_elements, kind, marks, here, n_blocks + pending)
        elements.text[n_elements] = out
        if not kind & VOID:
            here = n_elements
            in_link += 1 if kind & LINK else 0
            in_pre += 1 if kind & PRE else 0
            in_title += 1 if kind & (HEADING | TERM) else 0
            skipped = here if kind & SKIPPED and skipped < 0 else skipped
            if kind & FRAGMENT and in_title:
                _heads_a_section(elements, here)
        n_elements += 1
    out = _trimmed(text, begin, out, True)
    if out > begin:
        n_blocks = _end_block(blocks, n_blocks, begin, out, links, owner)
    while here >= 0:
        here = _leave(elements, here, n_elements, n_blocks)
    return out, n_elements, n_blocks


@compiled
def _as_read(kind: Any, marks: Any, in_title: int) -> Any:
    """A tag's kind where it stands: what unfolds a text is its title, and a heading's link to itself is no link."""
    if kind & BUTTON and in_title:
        kind &= ~np.uint32(SKIPPED)
    elif kind & BUTTON and marks & patterns.FOLDED:
        kind = (kind & ~np.uint32(SKIPPED)) | np.uint32(BLOCK | HEADING | LEVEL)
    elif kind & FRAGMENT and in_title:
        kind &= ~np.uint32(LINK)
    return kind


@compiled
def _is_no_text(text: Any, out: int, elements: Elements, element: int) -> bool:
    """Whether an element that ends holds the numbers of lines, or the sign by which a heading links to itself."""
    numbers = elements.marks[element] & patterns.NUMBERS
    sign = elements.kind[element] & FRAGMENT and not elements.kind[element] & LINK
    first = elements.text[element]
    if out == first or not (numbers or (sign and out - first <= SIGN)):
        return False
    for at in range(first, out):
        byte = text[at]
        is_digit = ord("0") <= byte <= ord("9")
        if numbers and not (is_digit or byte <= _SPACE):
            return False
        if sign and (is_digit or ord("a") <= byte | 32 <= ord("z")):
            return False
    return True


@compiled
def _heads_a_section(elements: Elements, link: int) -> None:
    """A heading that links to itself names a section of a text: no id that was made of it says anything else."""
    heading = elements.parent[link]
    while heading >= 0 and not elements.kind[heading] & (HEADING | TERM):
        heading = elements.parent[heading]
    section = elements.parent[heading] if heading >= 0 else -1
    if section > 0 and heading <= section + 2:
        elements.marks[section] = 0
        elements.marks[heading] = 0


@compiled
def _white(byte: Any) -> Any:
    """White space is a newline or a space."""
    return np.uint8(_NEWLINE if byte == _NEWLINE else _SPACE)


@compiled
def _trimmed(text: Any, begin: int, out: int, newlines: bool) -> int:
    """Where a block's text ends without white space: spaces alone, or newlines as well."""
    while out > begin and (text[out - 1] == _SPACE or (newlines and text[out - 1] <= _SPACE)):
        out -= 1
    return out


@compiled
def _end_block(blocks: Blocks, n: int, begin: int, out: int, links: int, owner: int) -> int:
    blocks.start[n], blocks.stop[n], blocks.links[n], blocks.owner[n] = begin, out, links, owner
    return n + 1


@compiled
def _enter(elements: Elements, n: int, kind: int, marks: int, parent: int, first: int) -> None:
    elements.kind[n], elements.marks[n], elements.parent[n] = kind, marks, parent
    elements.end[n], elements.first[n], elements.last[n] = n + 1, first, first
    elements.block[n] = n if kind & BLOCK or parent < 0 else elements.block[parent]


@compiled
def _leave(elements: Elements, element: int, n_elements: int, n_blocks: int) -> Any:
    """Ends an element; returns the one around it."""
    elements.end[element], elements.last[element] = n_elements, max(n_blocks, elements.first[element])
    return elements.parent[element]
