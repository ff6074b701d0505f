"""Conversations: prompts with ranked answers, and where they are declared to come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import Field, model_validator

from tasks.core.stage import StageSettings, operational

Role = Literal["system", "user", "assistant"]
TRAIN, TEST = "train", "test"


@dataclass(frozen=True)
class Turn:
    """What one side said."""

    role: Role
    text: str


@dataclass(frozen=True)
class Conversation:
    """Turns up to a user's last one, and answers to it. ``ranks`` are their places, 0 for the best; equal ones are ties."""

    id: str
    set: str
    turns: tuple[Turn, ...]
    answers: tuple[str, ...]
    ranks: tuple[int, ...]
    group: str = ""
    source: str = ""
    license: str = ""


class DialogueSettings(StageSettings):
    """Conversations that are read from files."""

    sets: dict[str, str] = Field(
        description="set -> its file: train, and test; a path, a URL, hub:OWNER/NAME@REVISION!FILE or pypi:NAME==VERSION!FILE"
    )
    sha256: dict[str, str] = Field({}, description="set -> the digest that its file must have, where it is fetched")
    license: str = Field("", description="licence of the conversations, as an SPDX name or in words")
    prompt: str = Field("", description="what is asked, over a row's columns in braces")
    messages: str = Field(
        "", description="or the column of a list of turns, each with role (or from) and content (or value)"
    )
    system: str = Field("", description="what stands before all of it, over a row's columns")
    answers: tuple[str, ...] = Field(
        (), description="the answers over a row's columns, the best first; empty: the last turn of messages"
    )
    transcripts: bool = Field(
        False,
        description="answers are whole conversations of `Human:` and `Assistant:`, of which the last turn is the answer",
    )
    test_share: float = Field(
        0.1, ge=0, lt=1, description="share of train that is held out, by what is asked, where there is no set test"
    )
    mirror: str = operational("", "folder that is looked through, by digest, before files are fetched")

    @model_validator(mode="after")
    def _fits(self) -> DialogueSettings:
        if TRAIN not in self.sets:
            raise ValueError(f"conversations need a set {TRAIN}")
        if bool(self.prompt) + bool(self.messages) + self.transcripts != 1:
            raise ValueError("what is asked stands in prompt, in messages or in transcripts: give one of them")
        if not self.answers and not self.messages:
            raise ValueError("there are no answers: name their columns, the best first")
        return self
