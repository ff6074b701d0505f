"""Tokenised text as it is written, in a way that can be taken back.

WikiText, the Penn Treebank and the One Billion Words were published with spaces around punctuation. GPT-2's perplexities are of
text without them, by rules that can be undone (Radford et al. 2019, section 3.2), since otherwise the perplexity would be of
another text. Here a chunk of tokens is written together only where the tokeniser parts it into the very same ones; each line is turned back
and compared, and one that does not come back stays as it was published.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

# Abbreviations that keep their full stop in these sets, and letters between full stops.
ABBREVIATED = re.compile(
    r"(?:[A-Za-z]\.)+|(?:Mr|Mrs|Ms|Dr|St|Jr|Sr|Gen|Col|Lt|Capt|Sgt|Maj|Adm|Gov|Sen|Rep|Rev|Hon|Prof|Ft|Mt|vs|No|Nos|Inc|Corp|Co|Ltd|Bros|Cos|al)\."
)
WHOLE = re.compile(r"\.{2,}|'(?:s|re|ve|ll|d|m|t)|n't")  # tokens that stand alone as they are


@dataclass(frozen=True)
class Style:
    """How a set was tokenised: what is written onto the word before, onto the word behind, and what stood for what."""

    before: re.Pattern[str]  # tokens that are written onto what is before them
    behind: re.Pattern[str]  # onto what is behind them
    quotes: frozenset[str]  # in turn onto what is behind and what is before
    written: Mapping[str, str]  # token -> how it is written, onto both sides
    parts: Callable[[str], list[str]]  # a chunk without white space -> its tokens
    frame: str = ""  # what every line begins and ends with; one that is nothing else is empty


def detokenized(line: str, style: Style) -> str:
    """A line as it is written. Where a chunk could not be taken apart again its tokens keep their spaces."""
    lead, tokens, trail = _parted(_unframed(line, style.frame))
    chunks: list[list[str]] = []
    open_quotes = set[str]()
    joins_next = False
    for token in tokens:
        both = token in style.written
        if token in style.quotes:
            closing = token in open_quotes
            (open_quotes.discard if closing else open_quotes.add)(token)
            onto_before, onto_behind = closing, not closing
        else:
            onto_before = both or style.before.fullmatch(token) is not None
            onto_behind = both or style.behind.fullmatch(token) is not None
        if chunks and (joins_next or onto_before):
            chunks[-1].append(token)
        else:
            chunks.append([token])
        joins_next = onto_behind
    return lead + " ".join(_written(chunk, style) for chunk in chunks) + trail


def tokenized(line: str, style: Style) -> str:
    """The line as it was published."""
    lead, chunks, trail = _parted(line)
    inner = lead + " ".join(token for chunk in chunks for token in style.parts(chunk)) + trail
    return style.frame + (inner + style.frame if inner else "")


def plain(line: str, style: Style) -> str:
    """A line as it is written, or as it was published where that could not be turned back."""
    written = detokenized(line, style)
    return written if tokenized(written, style) == line else line


def _unframed(line: str, frame: str) -> str:
    return line.removeprefix(frame).removesuffix(frame) if frame else line


def _parted(line: str) -> tuple[str, list[str], str]:
    """Single spaces part tokens; white space at the ends of a line is kept as it is."""
    inner = line.strip(" ")
    at = line.find(inner) if inner else len(line)
    return line[:at], inner.split(" ") if inner else [], line[at + len(inner) :]


def _written(chunk: Sequence[str], style: Style) -> str:
    """Tokens written together as far as they can be taken apart again: from the left, the longest stretch first."""
    pieces, at = [], 0
    while at < len(chunk):
        stop = next(
            (
                stop
                for stop in range(len(chunk), at + 1, -1)
                if style.parts(_together(chunk[at:stop], style)) == chunk[at:stop]
            ),
            at + 1,
        )
        pieces.append(_together(chunk[at:stop], style))
        at = stop
    return " ".join(pieces)


def _together(tokens: Sequence[str], style: Style) -> str:
    if len(tokens) == 1:
        return tokens[0]
    return "".join(style.written.get(token, token) for token in tokens)


def _parts(inner: Callable[[str], list[str]], before: str, behind: str, chunk: str) -> list[str]:
    """Marks at the ends of a chunk taken off one by one, what is left parted by ``inner``."""
    if WHOLE.fullmatch(chunk):
        return [chunk]
    first: list[str] = []
    last: list[str] = []
    opening, closing = re.compile(rf"(?:{behind})(?=.)"), re.compile(rf"(?<=.)(?:{before})$")
    while found := opening.match(chunk):
        first.append(found.group())
        chunk = chunk[found.end() :]
    while (found := closing.search(chunk)) and not ABBREVIATED.fullmatch(chunk):
        last.insert(0, found.group())
        chunk = chunk[: found.start()]
    return [*first, *(inner(chunk) if chunk else []), *last]


_HYPHEN = re.compile(r"(?<=[\w>])-(?=[\w<])")
_NUMBER = re.compile(r"(?<!\w)\d+(?:[.,]\d+)+(?!\w)")


def _wiki_inner(chunk: str) -> list[str]:
    spaced = _NUMBER.sub(lambda found: re.sub(r"([.,])", r" @\1@ ", found.group()), chunk)
    return _HYPHEN.sub(" @-@ ", spaced).split(" ")


WIKI_BEFORE = r"[,.;:!?)\]%]|'(?:s|re|ve|ll|d|m|t)(?!\w)|\"|'|′|″"
WIKI_BEHIND = r"[(\[\"'$£€#]"


def wiki_parts(chunk: str) -> list[str]:
    """WikiText's tokens of a chunk."""
    return _parts(_wiki_inner, WIKI_BEFORE, WIKI_BEHIND, chunk)


WIKI = Style(
    re.compile(r"[,.;:!?)\]%]|'(?:s|re|ve|ll|d|m|t)|′|″"),
    re.compile(r"[(\[$£€#]"),
    frozenset("\"'"),
    {"@-@": "-", "@,@": ",", "@.@": "."},
    wiki_parts,
    frame=" ",
)
NEWS = Style(
    re.compile(r"[,.;:!?)\]%]|'(?:s|re|ve|ll|d|m|t)"),
    re.compile(r"[(\[$£€#]"),
    frozenset("\"'"),
    {},
    lambda chunk: _parts(lambda left: [left], WIKI_BEFORE, WIKI_BEHIND, chunk),
)
TREEBANK = Style(
    re.compile(r"[,.;:!?)\]%]|'(?:s|re|ve|ll|d|m)|n't"),
    re.compile(r"[(\[$£#]"),
    frozenset("\"'"),
    {},
    lambda chunk: _parts(lambda left: [left], rf"n't|{WIKI_BEFORE}", WIKI_BEHIND, chunk),
)
