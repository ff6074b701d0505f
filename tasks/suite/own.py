"""A set of one's own: texts whose perplexity is asked, and which of four sentences goes on from them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tasks.suite.data import Data
from tasks.suite.endings import Text, endings
from tasks.suite.question import Prompt, Question, Task
from tasks.text.records import records

TEXTS, TEXTS_ENDINGS = "texts", "texts_endings"
YOURS = (Data("", license="as the user's own"),)
LEAST_ENDINGS = 10
PIECE_WORDS = 150  # of a plain text that is asked about as one
SOURCE = "a file of the user's own: JSON lines with text, or one plain text"


def documents(path: Path) -> Iterator[tuple[str, str]]:
    """(name, text) of each document of a file: JSON lines with a field text, and perhaps id, or plain text in pieces of some paragraphs."""
    if path.suffix == ".txt":
        piece: list[str] = []
        pieces = 0
        for paragraph in [*path.read_text(encoding="utf-8").split("\n\n"), ""]:
            piece += [paragraph] if paragraph.strip() else []
            if piece and (len(" ".join(piece).split()) >= PIECE_WORDS or not paragraph):
                yield str(pieces), "\n\n".join(piece)
                piece, pieces = [], pieces + 1
        return
    for number, row in enumerate(records(path)):
        yield str(row.get("id", number)), row["text"]


def whole(path: Path) -> Iterator[Question]:
    """Each document, its words those that white space parts."""
    for name, text in documents(path):
        yield Question(name, {"text": text, "units": str(max(1, len(text.split())))})


def continued(path: Path) -> Iterator[Question]:
    """A question for each document that has one."""
    return endings([Text(name, "", text) for name, text in documents(path)])


def has_endings(path: Path) -> bool:
    """Whether enough can be asked of what goes on from these texts."""
    return sum(1 for _ in continued(path)) >= LEAST_ENDINGS


TASKS: tuple[Task, ...] = (
    Task(TEXTS, YOURS, whole, (Prompt("", "{text}"),), SOURCE, kind="text", main="bits a byte"),
    Task(TEXTS_ENDINGS, YOURS, continued, (Prompt("{context}"),), SOURCE, shots=8),
)
