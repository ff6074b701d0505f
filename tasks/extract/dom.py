"""A page's body as flat arrays: its elements, and its text in blocks. One compiled pass over a parser's own output.

lexbor repairs a page by the rules of HTML and writes it down again; what it writes is regular, so one pass without
any rules of repair reads it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tasks.core.compiled import compiled
from tasks.extract.markup import (
    BLOCK,
    BREAK,
    CLOSING,
    LINK,
    PRE,
    SKIPPED,
    VOID,
    is_plain,
    is_tag,
    read_tag,
    read_text,
    skip_comment,
)

_SPACE, _NEWLINE, _LESS = 32, 10, 60


class Elements(NamedTuple):
    """In document order, so that a subtree is the range from an element to its ``end``; its blocks are from ``first`` to ``last``."""

    kind: npt.NDArray[np.uint32]
    marks: npt.NDArray[np.uint32]
    parent: npt.NDArray[np.int32]
    end: npt.NDArray[np.int32]
    first: npt.NDArray[np.int32]
    last: npt.NDArray[np.int32]
    block: npt.NDArray[np.int32]  # the innermost element of block level that an element is, or is in


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
    source = np.frombuffer(body.encode("utf-8", "replace"), np.uint8)
    columns = np.zeros((len(Elements._fields) + len(Blocks._fields), body.count("<") + 2), np.int32)
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
    here, in_link, in_pre, skipped = -1, 0, 0, -1
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
            while at < len(source) and is_plain(source[at]):
                text[out] = source[at]
                out, at = out + 1, at + 1
            links += out - run if in_link else 0
            continue
        if not is_tag(source, at):
            at = skip_comment(source, at)
            continue
        kind, marks, at = read_tag(source, at)
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
            if not kind & VOID and here >= 0:
                in_link -= 1 if elements.kind[here] & LINK else 0
                in_pre -= 1 if elements.kind[here] & PRE else 0
                skipped = -1 if skipped == here else skipped
                here = _leave(elements, here, n_elements, n_blocks)
            continue
        pending = 1 if out > begin else 0  # text before an inline element is not in it
        _enter(elements, n_elements, kind, marks, here, n_blocks + pending)
        if not kind & VOID:
            here = n_elements
            in_link += 1 if kind & LINK else 0
            in_pre += 1 if kind & PRE else 0
            skipped = here if kind & SKIPPED and skipped < 0 else skipped
        n_elements += 1
    out = _trimmed(text, begin, out, True)
    if out > begin:
        n_blocks = _end_block(blocks, n_blocks, begin, out, links, owner)
    while here >= 0:
        here = _leave(elements, here, n_elements, n_blocks)
    return out, n_elements, n_blocks


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
