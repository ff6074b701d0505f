"""What a signal is: the definition that stands beside its column, in the schema and in the documentation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# What most of a text's letters must be, or its words, for a signal to mean something. Else it is null.
Needs = Literal["", "parted words", "Latin letters", "stops of ASCII", "letters with case"]


@dataclass(frozen=True)
class Signal:
    """The definition of one column of the signals table. A new meaning is a new version."""

    name: str
    unit: str
    meaning: str
    source: str
    version: int = 1
    needs: Needs = ""
