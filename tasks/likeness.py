"""Which members of a cluster are verified to be like one another, by the evidence of the comparisons."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

import pyarrow as pa

URL, EXACT, NEAR = "url", "exact", "near"


class Like(NamedTuple):
    """The kept document that another one is like, why, and how like."""

    kept: str
    kind: str
    jaccard: float


class _Groups:
    """Names that were joined, directly or by others (union-find)."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def of(self, name: str) -> str:
        """The name that stands for a name's group."""
        root = name
        while (parent := self._parent.get(root, root)) != root:
            root = parent
        while name != root:
            self._parent[name], name = root, self._parent.get(name, root)
        return root

    def join(self, a: str, b: str) -> None:
        self._parent[self.of(a)] = self.of(b)


class Likeness:
    """What is known of pairs: one URL and one text go from member to member, nearness only from text to text."""

    def __init__(self, pairs: pa.Table) -> None:
        columns = [pairs[name].to_pylist() for name in ("a", "b", "verdict", "jaccard")]
        self._urls, self._texts = _Groups(), _Groups()
        for a, b, verdict, jaccard in zip(*columns, strict=True):
            if verdict == URL:
                self._urls.join(a, b)
            if verdict == EXACT or (verdict == URL and jaccard == 1.0):
                self._texts.join(a, b)
        self._near: dict[str, dict[str, float]] = defaultdict(dict)
        for a, b, verdict, jaccard in zip(*columns, strict=True):
            if verdict == NEAR:
                one, other = self._texts.of(a), self._texts.of(b)
                self._near[one][other] = self._near[other][one] = jaccard

    def elected(self, members: list[tuple[str, bool]]) -> list[tuple[str, Like]]:
        """Of members in the order of preference, with whether each may survive, those that go to one before them.

        The first that may survives; a later one goes to the first survivor that it is verified to be like, or
        survives itself.
        """
        found: list[tuple[str, Like]] = []
        by_url, by_text, rank = dict[str, str](), dict[str, str](), dict[str, int]()
        for name, may in members:
            url, text = self._urls.of(name), self._texts.of(name)
            near = [(rank[kept], kept, j) for other, j in self._near[text].items() if (kept := by_text.get(other, ""))]
            if url in by_url:
                found.append((name, Like(by_url[url], URL, 1.0)))
            elif text in by_text:
                found.append((name, Like(by_text[text], EXACT, 1.0)))
            elif near:
                _, kept, jaccard = min(near)
                found.append((name, Like(kept, NEAR, jaccard)))
            elif may:
                by_url[url], by_text[text], rank[name] = name, name, len(rank)
        return found
