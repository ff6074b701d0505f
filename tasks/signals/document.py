"""A document taken apart once, for all signals, and the registry of what each signal means."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Signal:
    """The definition of one column of the signals table."""

    name: str
    unit: str
    meaning: str
    source: str


class Document:
    """A text with its words, lines and paragraphs; words are runs without white space."""

    def __init__(self, text: str) -> None:
        self.text = text

    @cached_property
    def words(self) -> list[str]:
        """White-space separated words."""
        return self.text.split()

    @cached_property
    def lines(self) -> list[str]:
        """Lines that are not blank, stripped."""
        return [line.strip() for line in self.text.split("\n") if line.strip()]

    @cached_property
    def paragraphs(self) -> list[str]:
        """Blocks between blank lines, stripped."""
        return [block.strip() for block in re.split(r"\n\s*\n", self.text) if block.strip()]


Measure = Callable[[Document], dict[str, float]]


def share(part: float, whole: float) -> float:
    """Part / whole, 0 where there is no whole."""
    return part / whole if whole else 0.0
