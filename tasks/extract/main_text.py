"""Gristmill's own extractor: the main text of a page from its tree, without any rules for single sites.

In short: weigh each block by its prose (text that is no link), drop what calls itself boilerplate as long as enough
prose remains, take the deepest element that holds most of what is left, and trim its edges. A suspicion is never
acted on where too little would remain: a page that is no article falls back to more of it rather than to nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from selectolax.lexbor import LexborHTMLParser, LexborNode

from tasks.core.compiled import compiled
from tasks.extract import dom, markup, patterns
from tasks.extract.lines import heads_a_list_of_links, trimmed

# All lengths are in bytes of UTF-8: a Chinese character then weighs about as much as the three letters it stands for.
REGION_SHARE = 0.75  # of the page's prose: the region is the deepest element that holds as much
NAMED_SHARE = {patterns.ARTICLE_BODY: 0.5, patterns.CONTENT: 0.4}  # of it, that makes an element so named the region
RIVAL_SHARE = 0.25  # of the largest so named: with another as large, a page has several texts
SUSPECT_SHARE = 0.4  # a name is not believed of an element with more than this share of the prose
ENOUGH_SHARE = 0.25  # of the prose must remain without all suspects
SHORT_BLOCK, SHORT_WEIGHT = 50, 0.3  # blocks shorter than this, of which little can be said, weigh less
LINK_BLOCK, LINKED_SHARE = 0.6, 0.4  # share of links that makes a block one of links, and a region a list of links
BOX_LINKS = 4  # times as much prose as links makes an aside a box of the text
LONG_BLOCK = 200  # a block as long is prose, whatever its links
ARTICLE = 1500  # as much prose that can be seen, and is no comment, is a text by itself
HEADING_BYTES = 80  # a longer block announces nothing
MOST_BOXES = 100  # of related links that are looked for
INDEX_PROSE = 100  # a page with less prose is an index: then its links are its text
SHORT_TEXT = 250  # a text shorter than this is held against the rest of the page
_NONE = np.zeros(0, np.bool_)


def main_text(tree: LexborHTMLParser) -> str:
    """The main text of a parsed page, a line for each block; the tree loses what has no text."""
    if tree.body is None:
        return ""
    tree.strip_tags(markup.WITHOUT_TEXT)
    body = tree.body.html or ""
    if "<math" in body:
        for formula in tree.body.css("math"):
            formula.replace_with(f" {_as_tex(formula)} ")
        body = tree.body.html or ""
    page = dom.flatten(body)
    if not len(page.blocks.start):
        return ""
    draft = _Draft(page)
    title = tree.head.css_first("title") if tree.head is not None else None
    headings = [*draft.headings(), title.text() if title is not None else ""]
    draft.drop_boilerplate()
    region = draft.region()
    text = draft.lines(draft.of(region), headings)
    if len(text) < SHORT_TEXT:  # no article: all that is not boilerplate, or all that there is
        is_index = draft.weights[draft.alive].sum() < INDEX_PROSE
        wider = draft.lines(draft.alive, headings, with_links=is_index)
        text = wider if len(wider) > 2 * len(text) else text
    return text or draft.lines(np.ones_like(draft.alive), [])


def _as_tex(formula: LexborNode) -> str:
    """A formula as its author wrote it, where MathML says how."""
    annotation = formula.css_first('annotation[encoding="application/x-tex"]')
    return formula.attributes.get("alttext") or (annotation.text() if annotation is not None else formula.text())


class _Draft:
    """A page's blocks, of which fewer and fewer are alive."""

    def __init__(self, page: dom.Page) -> None:
        self._text_bytes, self.elements, self.blocks = page
        elements, blocks = self.elements, self.blocks
        elements.marks[0] = 0  # the names of a body speak of the site
        self.size, self.kinds, self.weights = _weighed(elements.kind, *blocks)
        self.alive = np.ones(len(self.size), np.bool_)
        self._holds_text = _holders(
            elements.kind,
            elements.marks,
            elements.parent,
            elements.first,
            elements.last,
            _sums(self.weights, self.alive),
        )

    def drop_boilerplate(self) -> None:
        """By what elements are and call themselves, strongest evidence first."""
        self._drop(0, patterns.HIDDEN, ENOUGH_SHARE, SHORT_TEXT, ARTICLE, spared=_NONE)
        self._drop(markup.BOILER, 0, ENOUGH_SHARE, spared=_NONE)
        self._drop(0, patterns.BOILERPLATE, ENOUGH_SHARE)
        asides = (self.elements.marks & np.uint32(patterns.ASIDE)) | (self.elements.kind & np.uint32(markup.ASIDE))
        if asides.any():
            self._drop(markup.ASIDE, patterns.ASIDE, ENOUGH_SHARE, spared=self._boxes(asides) | self._holds_text)
        self._drop(markup.FIGCAPTION, patterns.CAPTION, 0.5, spared=_NONE)
        self._drop_related()
        self._drop(0, patterns.COMMENTS, ENOUGH_SHARE, SHORT_TEXT, ARTICLE)

    def _drop(
        self,
        kinds: int,
        marks: int,
        least_share: float,
        least: float = 0.0,
        plenty: float = np.inf,
        spared: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        """Elements of some kinds and marks go where enough prose remains without them, else the smaller ones, else none."""
        elements = self.elements
        self.alive = _dropped(
            (elements.kind, elements.marks, elements.end, elements.first, elements.last),
            (np.uint32(kinds), np.uint32(marks), self._holds_text if spared is None else spared),
            (self.weights, self.alive),
            (least_share, least, plenty),
        )

    def _boxes(self, asides: npt.NDArray[np.uint32]) -> npt.NDArray[np.bool_]:
        """Asides of prose in the midst of other prose of the same element: boxes of a text, no column beside it."""
        elements, blocks, sums = self.elements, self.blocks, _sums(self.weights, self.alive)
        linked = np.concatenate([[0], np.cumsum(blocks.links)])
        boxes = np.zeros(len(asides), np.bool_)
        for e in np.nonzero(asides)[0].tolist():
            above, first, last = max(0, int(elements.parent[e])), elements.first[e], elements.last[e]
            prose = sums[last] - sums[first]
            around = min(sums[first] - sums[elements.first[above]], sums[elements.last[above]] - sums[last])
            boxes[e] = around > 0 and prose > BOX_LINKS * (linked[last] - linked[first])
        return boxes

    def _drop_related(self) -> None:
        """Boxes that a heading such as "You may also like" begins, where there was a text before."""
        elements, blocks = self.elements, self.blocks
        sums = _sums(self.weights, self.alive)
        boxes = 0
        announces = self.alive & (self.size < HEADING_BYTES) & (2 * blocks.links < self.size)
        for block in np.nonzero(announces)[0].tolist():
            if not self.alive[block] or boxes == MOST_BOXES or not heads_a_list_of_links(self._text(block)):
                continue
            box = int(blocks.owner[block])
            while (above := int(elements.parent[box])) >= 0 and sums[block] == sums[elements.first[above]]:
                box = above
            size = sums[elements.last[box]] - sums[block]
            leads_on = blocks.links[block : elements.last[box]].any()
            if leads_on and (size <= SUSPECT_SHARE * sums[-1] or sums[block] > max(SHORT_TEXT, 0.1 * sums[-1])):
                self.alive[block : elements.last[box]] = False
                sums = _sums(self.weights, self.alive)
                boxes += 1

    def headings(self) -> list[str]:
        """What the page's first-level headings say."""
        return [self._text(block) for block in np.nonzero(self.kinds & np.uint32(markup.TITLE))[0].tolist()]

    def region(self) -> int:
        """The deepest element with most of the prose, or the one that says that it holds the text."""
        elements, sums = self.elements, _sums(self.weights, self.alive)
        region = int(_deepest(elements.kind, elements.end, elements.first, elements.last, sums, REGION_SHARE))
        for mark, share in NAMED_SHARE.items():
            named = np.nonzero(elements.marks & np.uint32(mark))[0]
            if not len(named):
                continue
            prose = sums[elements.last[named]] - sums[elements.first[named]]
            best = int(named[prose.argmax()])
            apart = (named >= elements.end[best]) | (elements.end[named] <= best)
            if prose.max() >= share * sums[-1] and not (apart & (prose >= RIVAL_SHARE * prose.max())).any():
                region = best
        return region

    def of(self, element: int) -> npt.NDArray[np.bool_]:
        """The blocks that are alive in an element."""
        inside = np.zeros_like(self.alive)
        inside[self.elements.first[element] : self.elements.last[element]] = True
        return inside & self.alive

    def _of_links(self, chosen: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Blocks that are links, but for cells of a table and the headings of prose."""
        heads_prose = np.zeros_like(chosen)
        blocks = np.nonzero(chosen)[0]
        is_heading = (self.kinds[blocks[:-1]] & np.uint32(markup.HEADING)) != 0
        heads_prose[blocks[:-1]] = is_heading & (self.weights[blocks[1:]] >= SHORT_BLOCK)
        spared = heads_prose | ((self.kinds & np.uint32(markup.CELL)) != 0)
        of_links: npt.NDArray[np.bool_] = (
            (self.blocks.links > LINK_BLOCK * self.size) & (self.size < LONG_BLOCK) & ~spared
        )
        return of_links

    def lines(self, chosen: npt.NDArray[np.bool_], headings: list[str], with_links: bool = True) -> str:
        """The text of blocks with trimmed edges; without those that are links unless it is a list of links."""
        elements, blocks = self.elements, self.blocks
        if not with_links or blocks.links[chosen].sum() < LINKED_SHARE * self.size[chosen].sum():
            chosen = chosen & ~self._of_links(chosen)
        cells: list[list[str]] = []
        kinds: list[int] = []
        row = -1
        for block in np.nonzero(chosen)[0].tolist():
            owner, kind = int(blocks.owner[block]), int(self.kinds[block])
            cell = kind & markup.CELL and self.size[block] < LONG_BLOCK
            if cell and elements.parent[owner] == row:
                cells[-1].append(self._text(block))
                continue
            row = int(elements.parent[owner]) if cell else -1
            cells.append([self._text(block)])
            kinds.append(kind)
        return "\n".join(trimmed(["\t".join(row) for row in cells], kinds, headings))

    def _text(self, block: int) -> str:
        return self._text_bytes[self.blocks.start[block] : self.blocks.stop[block]].decode("utf-8", "replace")


@compiled
def _weighed(element_kinds: Any, start: Any, stop: Any, links: Any, owner: Any) -> Any:
    """Of each block: its size, the kind of what it stands in, and what it weighs."""
    size, kinds, weights = stop - start, np.zeros(len(start), np.uint32), np.zeros(len(start), np.float64)
    for b in range(len(start)):
        kinds[b] = element_kinds[owner[b]]
        if not kinds[b] & markup.HEADING and 2 * links[b] <= size[b]:
            weights[b] = (size[b] - links[b]) * (1.0 if size[b] >= SHORT_BLOCK else SHORT_WEIGHT)
    return size, kinds, weights


@compiled
def _sums(weights: Any, alive: Any) -> Any:
    """Prose of the living blocks before each block: an element's is the difference at its ends."""
    out = np.zeros(len(weights) + 1, np.float64)
    for b in range(len(weights)):
        out[b + 1] = out[b] + (weights[b] if alive[b] else 0.0)
    return out


@compiled
def _dropped(elements: Any, suspected: Any, prose: Any, enough: Any) -> Any:
    """The living blocks without suspects: without all where enough prose is left, else without the smaller ones, else all."""
    kind, marks, end, first, last = elements
    kinds, names, spared = suspected
    weights, alive = prose
    least_share, least, plenty = enough
    sums = _sums(weights, alive)
    wanted = min(max(least_share * sums[-1], least), plenty)
    for largest_share in (1.0, SUSPECT_SHARE):
        kept = alive.copy()
        e = 0
        while e < len(kind):
            suspect = (kind[e] & kinds or marks[e] & names) and not (len(spared) and spared[e])
            if suspect and sums[last[e]] - sums[first[e]] <= largest_share * sums[-1]:
                kept[first[e] : last[e]] = False
                e = end[e]
            else:
                e += 1
        if _sums(weights, kept)[-1] >= wanted:
            return kept
    return alive


@compiled
def _holders(kind: Any, marks: Any, parent: Any, first: Any, last: Any, sums: Any) -> Any:
    """Elements that are, or hold, what says that it is the main part and has much of the prose."""
    out = np.zeros(len(kind), np.bool_)
    for e in range(len(kind) - 1, 0, -1):
        says_so = kind[e] & markup.MAIN or marks[e] & patterns.ARTICLE_BODY
        if says_so and sums[last[e]] - sums[first[e]] >= SUSPECT_SHARE * sums[-1]:
            out[e] = True
        if out[e]:
            out[parent[e]] = True
    return out


@compiled
def _deepest(kind: Any, end: Any, first: Any, last: Any, sums: Any, share: float) -> int:
    """From the body down, as long as one child has the share of the prose and is no part of a text, such as a list.

    A table is entered where one of its cells has the share.
    """
    deepest, element, child = 0, 0, 1 if sums[-1] > 0 else end[0]
    while child < end[element]:
        if sums[last[child]] - sums[first[child]] < share * sums[-1]:
            child = end[child]
        elif kind[child] & markup.WHOLE:
            break
        else:
            element, child = child, child + 1
            deepest = deepest if kind[element] & markup.GRID else element
    return deepest
