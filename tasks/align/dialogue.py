"""dialogue: conversations as one table, out of files or out of plays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from tasks.align import files, plays
from tasks.align.conversation import TRAIN, Conversation, DialogueSettings, Turn
from tasks.core.stage import Input, Made, Report, Stage
from tasks.finetune.label import documents_of
from warehouse import schemas
from warehouse.artifact import PartWriter, Ref, read_tables
from warehouse.errors import GristmillError
from warehouse.store import Store

PART = "dialogues"
DECLARED = DialogueSettings(sets={TRAIN: ""}, prompt="{prompt}", answers=("{answer}",))  # of those that come with plays


class Dialogue(Stage):
    """The conversations of one declaration. Inputs: none, or ``documents/…`` of each source where they are made of plays."""

    name = "dialogue"
    version = 1
    settings: DialogueSettings

    def __init__(
        self,
        store: Store,
        settings: DialogueSettings,
        inputs: Mapping[str, Input],
        subject: str,
        licences: Mapping[str, str],
    ) -> None:
        super().__init__(store, settings, inputs, subject)
        self._licences = dict(licences) if inputs else {}

    @property
    def identity(self) -> dict[str, Any]:
        if self.inputs:
            return {"dialogues": plays.NAME, "licences": self._licences}
        return self.settings.identity() | {"sets": files.identities(self.settings)}

    def plan(self) -> Sequence[str]:
        return [PART]

    def make(self, part: str, writer: PartWriter, report: Report) -> Made:
        """Reads or makes the conversations."""
        made = (
            plays.conversations(documents_of(self, self._licences))
            if self.inputs
            else files.conversations(self.settings)
        )
        rows = [_row(self.subject, one) for one in made]
        if not any(row["set"] == TRAIN for row in rows):
            raise GristmillError(
                f"there is no conversation of {self.subject} to train on: plays come with the demo's works, others are declared in [dialogues]"
            )
        writer.table("dialogues", pa.Table.from_pylist(rows, schema=schemas.DIALOGUES))
        return Made(
            statistics={name: sum(row["set"] == name for row in rows) for name in sorted({row["set"] for row in rows})}
        )


def _row(name: str, one: Conversation) -> dict[str, Any]:
    return {
        "dialogues": name,
        "example_id": one.id,
        "set": one.set,
        "roles": [turn.role for turn in one.turns],
        "turns": [turn.text for turn in one.turns],
        "answers": list(one.answers),
        "ranks": list(one.ranks),
        "group": one.group,
        "source": one.source,
        "license": one.license,
    }


def read_conversations(store: Store, ref: Ref) -> list[Conversation]:
    """The conversations of an artifact."""
    return [
        Conversation(
            row["example_id"],
            row["set"],
            tuple(Turn(role, text) for role, text in zip(row["roles"], row["turns"], strict=True)),
            tuple(row["answers"]),
            tuple(row["ranks"]),
            row["group"],
            row["source"],
            row["license"],
        )
        for row in read_tables(store, ref, "dialogues").to_pylist()
    ]
