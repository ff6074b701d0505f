"""Conversations out of files: a prompt with answers, turns in a list, or whole transcripts of which one was preferred."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from models.draws import uniform
from tasks.align.conversation import TEST, TRAIN, Conversation, DialogueSettings, Role, Turn
from tasks.suite.data import Data, file_of, identity_of
from tasks.suite.question import filled
from tasks.text.records import records
from warehouse.errors import GristmillError

ROLES: Mapping[str, Role] = {
    "system": "system", "user": "user", "human": "user", "prompter": "user", "assistant": "assistant", "gpt": "assistant", "bot": "assistant",
}  # fmt: skip
SPOKEN = re.compile(r"(?:^|\n\n)(Human|Assistant): ?")


def data_of(settings: DialogueSettings, name: str) -> Data:
    """The file of a set."""
    return Data(settings.sets[name], settings.sha256.get(name, ""), settings.license)


def identities(settings: DialogueSettings) -> dict[str, str]:
    """What identifies the content of each set's file."""
    return {name: identity_of(data_of(settings, name)) for name in sorted(settings.sets)}


def conversations(settings: DialogueSettings) -> Iterator[Conversation]:
    """All conversations of all sets. Raises GristmillError for a file that is none of them."""
    for name, address in settings.sets.items():
        for number, row in enumerate(records(file_of(data_of(settings, name), settings.mirror)), 1):
            try:
                turns, answers = _read(settings, row)
            except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
                raise GristmillError(
                    f"record {number:,} of {address} is no conversation as declared ({type(error).__name__}: {error}): it has {', '.join(row)}"
                ) from error
            asked = _set(settings, name, turns)
            said = "\0".join([f"{name} {number}", *(turn.text for turn in turns), *answers])
            place = hashlib.sha256(said.encode()).hexdigest()[:16]
            ranks = tuple(answers.index(one) for one in answers)  # the same words are as good
            yield Conversation(place, asked, turns, answers, ranks, "", f"{name}#{number}", settings.license)


def _set(settings: DialogueSettings, name: str, turns: tuple[Turn, ...]) -> str:
    """What is asked decides what is held out, so that no question is on both sides."""
    if name != TRAIN or TEST in settings.sets:
        return name
    (drawn,) = uniform(0, "dialogue", ["\0".join(turn.text for turn in turns)])
    return TEST if drawn < settings.test_share else TRAIN


def _read(settings: DialogueSettings, row: Mapping[str, Any]) -> tuple[tuple[Turn, ...], tuple[str, ...]]:
    """The turns before the answer, and the answers."""
    cells = {column: _text(value) for column, value in row.items()}
    answers = tuple(filled(template, cells).strip() for template in settings.answers)
    if settings.transcripts:
        spoken = [_spoken(answer) for answer in answers]
        turns, answers = tuple(spoken[0][:-1]), tuple(one[-1].text for one in spoken)
        if any(tuple(one[:-1]) != turns for one in spoken):
            raise ValueError("its answers are to different questions")
    elif settings.messages:
        turns = tuple(Turn(_role(one), _text(one)) for one in row[settings.messages])
        if not answers:
            turns, answers = turns[:-1], (turns[-1].text,)
    else:
        turns = (Turn("user", filled(settings.prompt, cells).strip()),)
    system = filled(settings.system, cells).strip()
    turns = (Turn("system", system), *turns) if system else turns
    if not turns or turns[-1].role != "user":
        raise ValueError("what is answered is no user's turn")
    return turns, answers


def _spoken(transcript: str) -> list[Turn]:
    """Turn by turn; what one side says twice in a row is one turn."""
    pieces = SPOKEN.split(transcript)[1:]
    turns: list[Turn] = []
    for who, text in zip(pieces[::2], pieces[1::2], strict=True):
        role, said = ROLES[who.lower()], text.strip()
        if turns and turns[-1].role == role:
            turns[-1] = Turn(role, f"{turns[-1].text}\n\n{said}".strip())
        else:
            turns.append(Turn(role, said))
    return turns


def _role(turn: Mapping[str, Any]) -> Role:
    return ROLES[str(turn["role"] if "role" in turn else turn["from"])]


def _text(value: Any) -> str:
    """A cell's words: those of a turn are its content."""
    if isinstance(value, Mapping):
        return str(value["content"] if "content" in value else value["value"])
    return "" if value is None else str(value)
