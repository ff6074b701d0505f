"""What a page's blocks and elements weigh, and which of them go: compiled passes over the arrays of ``dom``."""

from __future__ import annotations

from typing import Any

import numpy as np

from tasks.core.compiled import compiled
from tasks.extract import markup, patterns

# All lengths are in bytes of UTF-8: a Chinese character then weighs about as much as the three letters it stands for.
SUSPECT_SHARE = 0.4  # a name is not believed of an element with more than this share of the prose
SHORT_BLOCK, SHORT_WEIGHT = 50, 0.3  # blocks shorter than this, of which little can be said, weigh less
LONG_HEADING = 100  # a longer heading is prose, whatever its tag
LONG_BLOCK = 200  # a block as long is prose, whatever its links
TEASER = 500  # a longer text under a linked heading is no teaser


@compiled
def weighed(kinds: Any, parent: Any, first: Any, last: Any, start: Any, stop: Any, links: Any, owner: Any) -> Any:
    """Of each block: its size, the kind of what it stands in, and what it weighs."""
    size, of_block, weights = stop - start, np.zeros(len(start), np.uint32), np.zeros(len(start), np.float64)
    for b in range(len(start)):
        kind = kinds[owner[b]]
        e, steps = owner[b], 0
        while e > 0 and steps < 4:  # a paragraph of a short item, term or cell is one
            if kinds[e] & (markup.ITEM | markup.CELL | markup.PRE):
                if stop[last[e] - 1] - start[first[e]] < LONG_BLOCK or kinds[e] & markup.PRE:
                    kind |= kinds[e] & (markup.ITEM | markup.CELL | markup.TERM | markup.PRE)
                break
            e, steps = parent[e], steps + 1
        of_block[b] = kind
        if (not kind & markup.HEADING or size[b] >= LONG_HEADING) and 2 * links[b] <= size[b]:
            weights[b] = (size[b] - links[b]) * (1.0 if size[b] >= SHORT_BLOCK else SHORT_WEIGHT)
    return size, of_block, weights


@compiled
def sums_of(weights: Any, alive: Any) -> Any:
    """Prose of the living blocks before each block: an element's is the difference at its ends."""
    out = np.zeros(len(weights) + 1, np.float64)
    for b in range(len(weights)):
        out[b + 1] = out[b] + (weights[b] if alive[b] else 0.0)
    return out


@compiled
def dropped(elements: Any, suspected: Any, prose: Any, enough: Any) -> Any:
    """The living blocks without suspects: without all where enough prose is left, else without the smaller ones, else all."""
    kind, marks, end, first, last = elements
    kinds, names, spared = suspected
    weights, alive = prose
    least_share, least, plenty, largest_share = enough
    sums = sums_of(weights, alive)
    wanted = min(max(least_share * sums[-1], least), plenty)
    for largest in (largest_share, min(largest_share, SUSPECT_SHARE)):
        kept = alive.copy()
        e = 0
        while e < len(kind):
            suspect = (kind[e] & kinds or marks[e] & names) and not (len(spared) and spared[e])
            if suspect and sums[last[e]] - sums[first[e]] <= largest * sums[-1]:
                kept[first[e] : last[e]] = False
                e = end[e]
            else:
                e += 1
        if sums_of(weights, kept)[-1] >= wanted:
            return kept
    return alive


@compiled
def holders(kind: Any, marks: Any, parent: Any, first: Any, last: Any, sums: Any) -> Any:
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
def teasers(elements: Any, owner: Any, sums: Any, chosen: Any, linked: Any) -> Any:
    """Of each linked heading, the smallest element around it that has prose, where that is short."""
    parent, first, last = elements
    out = np.zeros(len(chosen), np.bool_)
    for b in range(len(chosen)):
        if not (linked[b] and chosen[b]):
            continue
        e = owner[b]
        while e > 0 and sums[last[e]] == sums[first[e]]:
            e = parent[e]
        if e > 0 and sums[last[e]] - sums[first[e]] <= TEASER:
            out[first[e] : last[e]] = True
    if sums[-1] - sums_of(np.diff(sums), ~out)[-1] > SUSPECT_SHARE * sums[-1]:
        out[:] = False
    return out


@compiled
def deepest(kind: Any, end: Any, first: Any, last: Any, sums: Any, share: float) -> int:
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
