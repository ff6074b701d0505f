"""Labelled examples out of files: Parquet, Arrow, JSON lines, JSON, and tables of columns (CSV, TSV)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from tasks.finetune.task import TRAIN, Example, LabelledSettings
from tasks.suite.data import Data, file_of, identity_of
from tasks.suite.question import filled
from tasks.text.records import records
from warehouse.errors import GristmillError


def data_of(settings: LabelledSettings, name: str) -> Data:
    """The file of a set."""
    return Data(settings.sets[name], settings.sha256.get(name, ""), settings.license)


def identities(settings: LabelledSettings) -> dict[str, str]:
    """What identifies the content of each set's file."""
    return {name: identity_of(data_of(settings, name)) for name in sorted(settings.sets)}


def examples(settings: LabelledSettings) -> tuple[list[Example], list[str]]:
    """All examples of all sets, and the names of the classes. Raises GristmillError for a file that is none of the task's."""
    rows = {name: list(_rows(settings, name)) for name in settings.sets}
    if not rows[TRAIN]:
        raise GristmillError(f"the file {settings.sets[TRAIN]} holds no example to train on")
    classes = [] if settings.number or settings.form == "choice" else _classes(settings, rows[TRAIN])
    return [
        _example(settings, name, number, row, classes)
        for name, found in rows.items()
        for number, row in enumerate(found)
    ], classes


def _classes(settings: LabelledSettings, rows: list[dict[str, Any]]) -> list[str]:
    return list(settings.labels) or sorted({_cell(settings, row, settings.label) for row in rows})


def _example(settings: LabelledSettings, name: str, number: int, row: Mapping[str, Any], classes: list[str]) -> Example:
    cells = {column: "" if value is None else str(value) for column, value in row.items() if column is not None}
    try:
        first, second = filled(settings.first, cells), filled(settings.second, cells)
        choices = _choices(settings, row, cells)
    except KeyError as missing:
        raise GristmillError(
            f"{settings.sets[name]} has no column {missing}: it has {', '.join(cells)}; name them with columns or first"
        ) from missing
    label = _cell(settings, row, settings.label)
    try:
        gold = float(classes.index(label)) if classes else float(label)
    except ValueError as error:
        known = f"none of {', '.join(classes)}" if classes else "no number"
        raise GristmillError(
            f"example {number + 1:,} of {settings.sets[name]} has the label {label!r}, {known}"
        ) from error
    if choices and not 0 <= gold < len(choices):
        raise GristmillError(f"example {number + 1:,} of {settings.sets[name]} has no choice {label}, counted from 0")
    said = "\0".join((name, str(number), first, second, *choices))
    return Example(
        hashlib.sha256(said.encode()).hexdigest()[:16],
        name,
        first,
        gold,
        second,
        choices,
        _cell(settings, row, settings.group) if settings.group else "",
        f"{name}#{number + 1}",
        settings.license,
    )


def _choices(settings: LabelledSettings, row: Mapping[str, Any], cells: Mapping[str, str]) -> tuple[str, ...]:
    """Each template filled in, or the one column that holds a list."""
    if len(settings.choices) == 1:
        held = row[settings.choices[0].strip("{}")]
        return tuple(map(str, held if isinstance(held, list) else json.loads(held)))
    return tuple(filled(template, cells) for template in settings.choices)


def _cell(settings: LabelledSettings, row: Mapping[str, Any], column: str) -> str:
    if row.get(column) is None:
        raise GristmillError(
            f"an example of {settings.sets[TRAIN]} and its like has no column {column}: name it with label or columns"
        )
    return str(row[column]).strip()


def _rows(settings: LabelledSettings, name: str) -> Iterator[dict[str, Any]]:
    path = file_of(data_of(settings, name), settings.mirror)
    return records(path, settings.columns, settings.separator, settings.quotes)
