"""A page's blocks, of which fewer and fewer are alive: the evidence by which they go or stay."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tasks.extract import dom, markup, patterns
from tasks.extract.lines import heads_a_list_of_links, is_about_a_text, is_title, trimmed
from tasks.extract.tables import rows_of
from tasks.extract.weights import (
    LONG_BLOCK,
    SHORT_BLOCK,
    SUSPECT_SHARE,
    deepest,
    dropped,
    holders,
    sums_of,
    teasers,
    weighed,
)

# All lengths are in bytes of UTF-8.
REGION_SHARE = 0.75  # of the page's prose: the region is the deepest element that holds as much
NAMED_SHARE = {patterns.ARTICLE_BODY: 0.5, patterns.CONTENT: 0.4}  # of it, that makes an element so named the region
RIVAL_SHARE = 0.25  # of the largest so named: with another as large, a page has several texts
ENOUGH_SHARE = 0.25  # of the prose must remain without all suspects
THREAD_SHARE = 0.05  # and without comments, which can be far longer than what they are about
ENOUGH, ARTICLE = 250, 1500  # bytes of prose that can be seen and is no comment: needed at least, and a text by itself
LINK_BLOCK, LINKED_SHARE = 0.6, 0.4  # share of links that makes a block one of links, and a region a list of links
BOX_LINKS = 4  # times as much prose as links makes an aside a box of the text
HEADING_BYTES = 80  # a longer block announces nothing
FIRST_LINK = 12  # blocks after an announcement within which what it announces begins
MOST_BOXES = 100  # of related links that are looked for
INDEX_PROSE = 100  # a page with less prose is an index: then its links are its text
TEASER_LINKS = 0.1  # share of links that makes a paragraph one about another page
FORM_SHARE = 0.4  # of the prose: a form with more holds the page, as some servers' pages are one form
_NONE = np.zeros(0, np.bool_)
Chosen = npt.NDArray[np.bool_]


class Draft:
    """A page's blocks; ``alive`` are those that nothing speaks against."""

    def __init__(self, page: dom.Page) -> None:
        self._text_bytes, self.elements, self.blocks = page
        elements, blocks = self.elements, self.blocks
        elements.marks[:1] = 0  # the names of a body speak of the site
        self.size, self.kinds, self.weights = weighed(
            elements.kind, elements.parent, elements.first, elements.last, *blocks
        )
        self.alive = np.ones(len(self.size), np.bool_)
        self._said = int(np.bitwise_or.reduce(elements.kind)), int(np.bitwise_or.reduce(elements.marks))
        self._holds_text = holders(
            elements.kind,
            elements.marks,
            elements.parent,
            elements.first,
            elements.last,
            sums_of(self.weights, self.alive),
        )

    def drop_boilerplate(self) -> None:
        """By what elements are and call themselves, strongest evidence first."""
        self._drop(0, patterns.HIDDEN, ENOUGH_SHARE, ENOUGH, ARTICLE, spared=_NONE)
        self._drop_footers()
        self._drop(markup.BOILER, 0, ENOUGH_SHARE, spared=_NONE)
        self._drop_forms()
        self._drop(0, patterns.BOILERPLATE, ENOUGH_SHARE)
        if markup.ASIDE & self._said[0] or patterns.ASIDE & self._said[1]:
            asides = (self.elements.marks & np.uint32(patterns.ASIDE)) | (self.elements.kind & np.uint32(markup.ASIDE))
            self._drop(markup.ASIDE, patterns.ASIDE, ENOUGH_SHARE, spared=self._boxes(asides) | self._holds_text)
        self._drop(markup.FIGCAPTION, patterns.CAPTION, 0.5, spared=_NONE)
        self._drop_related()
        self._drop(0, patterns.COMMENTS, THREAD_SHARE, ENOUGH, ARTICLE)

    def _drop(
        self,
        kinds: int,
        marks: int,
        least_share: float,
        least: float = 0.0,
        plenty: float = np.inf,
        spared: Chosen | None = None,
        largest_share: float = 1.0,
    ) -> None:
        """Elements of some kinds and marks go where enough prose remains without them, else the smaller ones, else none."""
        elements = self.elements
        if not (kinds & self._said[0] or marks & self._said[1]):
            return
        self.alive = dropped(
            (elements.kind, elements.marks, elements.end, elements.first, elements.last),
            (np.uint32(kinds), np.uint32(marks), self._holds_text if spared is None else spared),
            (self.weights, self.alive),
            (least_share, least, plenty, largest_share),
        )

    def _drop_footers(self) -> None:
        """Footers go where a text remains, or a list of links of a page whose only prose they hold."""
        if not (markup.FOOTER & self._said[0] or patterns.FOOTER & self._said[1]):
            return
        before = self.alive
        self._drop(markup.FOOTER, patterns.FOOTER, ENOUGH_SHARE, plenty=ENOUGH)
        if (self.alive == before).all():
            self._drop(markup.BOILER, 0, 0.0, spared=_NONE)
            self._drop(markup.FOOTER, patterns.FOOTER, 0.0)
            is_index = self.weights[self.alive].sum() < INDEX_PROSE and self.size[self.alive].sum() >= SHORT_BLOCK
            self.alive = self.alive if is_index else before

    def _drop_forms(self) -> None:
        self._drop(markup.FORM, 0, ENOUGH_SHARE, largest_share=FORM_SHARE)

    def _boxes(self, asides: npt.NDArray[np.uint32]) -> Chosen:
        """Asides of prose in the midst of other prose of the same element: boxes of a text, no column beside it."""
        elements, blocks, sums = self.elements, self.blocks, sums_of(self.weights, self.alive)
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
        sums = sums_of(self.weights, self.alive)
        boxes = 0
        linked = blocks.links > TEASER_LINKS * self.size
        links = np.concatenate([[0], np.cumsum(linked)])
        soon = links[np.minimum(np.arange(len(linked)) + FIRST_LINK, len(linked))] > links[:-1]
        announces = self.alive & soon & (self.size < HEADING_BYTES) & (2 * blocks.links < self.size)
        for block in np.nonzero(announces)[0].tolist():
            if not self.alive[block] or boxes == MOST_BOXES or not heads_a_list_of_links(self._text(block)):
                continue
            box = int(blocks.owner[block])
            while (above := int(elements.parent[box])) >= 0 and sums[block] == sums[elements.first[above]]:
                box = above
            inside = slice(block, elements.last[box])
            size = sums[elements.last[box]] - sums[block]
            of_links = (blocks.links[inside] > LINK_BLOCK * self.size[inside]).any()
            leads_on = of_links or 2 * linked[inside].sum() >= max(1, (self.weights[inside] > 0).sum())
            if leads_on and (size <= SUSPECT_SHARE * sums[-1] or sums[block] > max(ENOUGH, 0.1 * sums[-1])):
                self.alive[inside] = False
                sums = sums_of(self.weights, self.alive)
                boxes += 1

    def headings(self) -> list[str]:
        """What the page's first-level headings say."""
        return [self._text(block) for block in np.nonzero(self.kinds & np.uint32(markup.TITLE))[0].tolist()]

    def region(self) -> int:
        """The deepest element with most of the prose, or the one that says that it holds the text."""
        elements, sums = self.elements, sums_of(self.weights, self.alive)
        region = int(deepest(elements.kind, elements.end, elements.first, elements.last, sums, REGION_SHARE))
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

    def of(self, element: int) -> Chosen:
        """The blocks that are alive in an element."""
        inside = np.zeros_like(self.alive)
        inside[self.elements.first[element] : self.elements.last[element]] = True
        return inside & self.alive

    def standfirst(self, region: int, title: str) -> list[str]:
        """The prose between the page's headline and a region that does not hold it."""
        begin = int(self.elements.first[region])
        headline = self._headline(begin, title)
        if headline is None:
            return []
        between = np.zeros_like(self.alive)
        between[headline + 1 : begin] = True
        between &= self.alive & (self.weights > 0) & (self.size >= SHORT_BLOCK)
        if self.size[between].sum() > self.size[self.of(region)].sum():
            return []  # so much is another text
        lines = [self._text(block) for block in np.nonzero(between)[0].tolist()]
        first = self._text(begin) if begin < len(self.size) else ""
        return [line for line in lines if not is_about_a_text(line) and line != first]

    def _headline(self, end: int, title: str) -> int | None:
        """The last heading of the first level before a block, else the last one that says what the page's title says."""
        above = np.nonzero(self.kinds[:end] & np.uint32(markup.TITLE))[0]
        if len(above):
            return int(above[-1])
        others = np.nonzero(self.kinds[:end] & np.uint32(markup.HEADING))[0].tolist()
        return next((block for block in reversed(others) if is_title(self._text(block), title)), None)

    def said_in(self, lines: list[str], chosen: Chosen) -> Chosen:
        """The blocks outside of the chosen ones that say what the page says of itself, word by word."""
        said = np.zeros_like(self.alive)
        if lines:
            whole = "\n".join(" ".join(line.split()) for line in lines)
            for block in np.nonzero(~chosen)[0].tolist():
                text = " ".join(self._text(block).split())
                said[block] = len(text) > 3 and text in whole
            self.kinds[said] |= np.uint32(markup.ITEM)
        return said

    def teasers(self, chosen: Chosen) -> Chosen:
        """Headings that are links, with the few lines under each, where most of the text stands under none."""
        blocks = self.blocks
        linked = (self.kinds & np.uint32(markup.HEADING) != 0) & (blocks.links > LINK_BLOCK * self.size)
        found: Chosen = teasers(
            (self.elements.parent, self.elements.first, self.elements.last),
            blocks.owner,
            sums_of(self.weights, chosen),
            chosen,
            linked,
        )
        return found

    def _of_links(self, chosen: Chosen) -> Chosen:
        """Blocks that are links, but for cells of a table and the headings of prose."""
        heads_prose = np.zeros_like(chosen)
        blocks = np.nonzero(chosen)[0]
        is_heading = (self.kinds[blocks[:-1]] & np.uint32(markup.HEADING)) != 0
        heads_prose[blocks[:-1]] = is_heading & (self.weights[blocks[1:]] >= SHORT_BLOCK)
        spared = heads_prose | ((self.kinds & np.uint32(markup.CELL)) != 0)
        of_links: Chosen = (self.blocks.links > LINK_BLOCK * self.size) & (self.size < LONG_BLOCK) & ~spared
        return of_links

    def lines(self, chosen: Chosen, headings: list[str], with_links: bool = True) -> str:
        """The text of blocks with trimmed edges; without those that are links unless it is a list of links."""
        if not with_links or self.blocks.links[chosen].sum() < LINKED_SHARE * self.size[chosen].sum():
            chosen = chosen & ~self._of_links(chosen)
        texts, kinds = self._rows(chosen)
        return "\n".join(trimmed(texts, kinds, headings))

    def all_lines(self) -> str:
        """The text of all blocks."""
        return "\n".join(self._rows(np.ones_like(self.alive))[0])

    def _rows(self, chosen: Chosen) -> tuple[list[str], list[int]]:
        """Lines and their kinds: one for each block, and for each row of a table with tabs between its cells."""
        elements, blocks = self.elements, self.blocks
        row_of, cell_of, place = rows_of(
            elements.kind, elements.parent, elements.first, elements.last, blocks.start, blocks.stop, blocks.owner
        )
        rows: list[list[str]] = []
        kinds: list[int] = []
        row = -1
        for block in np.nonzero(chosen)[0].tolist():
            text, kind = self._text(block), int(self.kinds[block])
            if row_of[block] < 0:
                row = -1
                rows.append([text])
                kinds.append(kind)
                continue
            if row != row_of[block]:
                row = int(row_of[block])
                rows.append([""] * int(place[row]))
                kinds.append(kind | markup.CELL)
            number = int(place[cell_of[block]])
            rows[-1][number] = f"{rows[-1][number]} {' '.join(text.split())}".strip()
        return ["\t".join(cells) for cells in rows], kinds

    def _text(self, block: int) -> str:
        return self._text_bytes[self.blocks.start[block] : self.blocks.stop[block]].decode("utf-8", "replace")
