"""label: the examples of a task with labels as one table, those that stand in a test set kept out of training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from tasks.core.stage import Input, Made, Report, Stage
from tasks.finetune import files
from tasks.finetune.plays import BUILTIN, Document
from tasks.finetune.task import TRAIN, Example, LabelledSettings
from tasks.text.grams import normalised
from warehouse import schemas
from warehouse.artifact import PartWriter, Ref, read_tables
from warehouse.errors import GristmillError
from warehouse.store import Store

PART = "labelled"
ROLE = "documents/"
WORDS = 13  # of an n-gram that two texts share (Brown et al. 2020, appendix C)
FEWEST_WORDS = 8  # of a text that is looked for whole


class Label(Stage):
    """The examples of one task. Inputs: none, or ``documents/…`` of each source for a task that is made of them."""

    name = "label"
    version = 1
    settings: LabelledSettings

    def __init__(
        self,
        store: Store,
        settings: LabelledSettings,
        inputs: Mapping[str, Input],
        subject: str,
        licences: Mapping[str, str],
    ) -> None:
        super().__init__(store, settings, inputs, subject)
        self._licences = dict(licences) if inputs else {}

    @property
    def identity(self) -> dict[str, Any]:
        if self._is_made:
            return {"task": self.subject, "licences": self._licences}
        settings = self.settings.identity()
        return settings | {"sets": files.identities(self.settings)}

    @property
    def _is_made(self) -> bool:
        return bool(self.inputs)

    def plan(self) -> Sequence[str]:
        return [PART]

    def make(self, part: str, writer: PartWriter, report: Report) -> Made:
        """Reads or makes the examples, and looks for what is tested among what is trained on."""
        if self._is_made:
            made = BUILTIN[self.subject]
            found, classes = list(made.made(documents_of(self, self._licences))), list(made.classes)
        else:
            found, classes = files.examples(self.settings)
        if not any(one.set == TRAIN for one in found):
            raise GristmillError(
                f"the recipe's sources hold no example of the task {self.subject} to train on: it is made of plays and documentation, "
                "as the demo crawls them; give it more works, or leave it out"
            )
        removed = leaked(found)
        rows = [
            _row(self.subject, one, classes, self.settings.number) | {"removed": removed.get(one.id)} for one in found
        ]
        writer.table("labelled", pa.Table.from_pylist(rows, schema=schemas.LABELLED))
        counts = {name: sum(one.set == name for one in found) for name in dict.fromkeys(one.set for one in found)}
        return Made(statistics={"classes": classes, "examples": counts, "removed": len(removed)})


def documents_of(stage: Stage, licences: Mapping[str, str]) -> list[Document]:
    """The documents of all sources that a stage reads, in one order."""
    return sorted(
        Document(row["url"], row["text"], source, licences.get(source, ""))
        for role in stage.inputs
        for source in [role.removeprefix(ROLE)]
        for row in read_tables(stage.store, stage.inputs[role].ref, "documents", ["url", "text"]).to_pylist()
    )


def _row(task: str, one: Example, classes: Sequence[str], number: bool) -> dict[str, Any]:
    place = int(one.gold)
    named = f"{one.gold:g}" if number else one.choices[place] if one.choices else classes[place]
    return {
        "task": task,
        "example_id": one.id,
        "set": one.set,
        "first": one.first,
        "second": one.second,
        "choices": list(one.choices) or None,
        "label": named,
        "gold": one.gold,
        "group": one.group,
        "source": one.source,
        "license": one.license,
    }


def leaked(examples: Sequence[Example]) -> dict[str, str]:
    """Examples to train on that a test would be no test with -> the set that has their text.

    Their texts are the same words as those of one that is tested, or a text of eight words or more is, or shares thirteen in a row.
    """
    whole: dict[tuple[str, ...], str] = {}
    grams: dict[tuple[str, ...], str] = {}
    for one in examples:
        if one.set != TRAIN:
            whole.setdefault(_said(one), one.set)
            for gram in _grams(one):
                grams.setdefault(gram, one.set)
    found = {}
    for one in examples:
        if one.set == TRAIN:
            name = whole.get(_said(one)) or next((grams[gram] for gram in _grams(one) if gram in grams), None)
            if name is not None:
                found[one.id] = name
    return found


def _said(one: Example) -> tuple[str, ...]:
    return tuple(" ".join(normalised(text)) for text in one.texts)


def _grams(one: Example) -> Iterator[tuple[str, ...]]:
    for text in one.texts:
        words = normalised(text)
        n = min(len(words), WORDS)
        if n >= FEWEST_WORDS:
            yield from (tuple(words[at : at + n]) for at in range(len(words) - n + 1))


def read_examples(store: Store, ref: Ref) -> list[Example]:
    """The examples of an artifact that are trained on or tested."""
    return [
        Example(
            row["example_id"],
            row["set"],
            row["first"],
            row["gold"],
            row["second"],
            tuple(row["choices"] or ()),
            row["group"],
            row["source"],
            row["license"],
        )
        for row in read_tables(store, ref, "labelled").to_pylist()
        if row["removed"] is None
    ]
