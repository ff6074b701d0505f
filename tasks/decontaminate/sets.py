"""Evaluation sets: what a model will be asked, and so must not have been trained on."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import pyarrow.parquet as pq
from pydantic import Field

from tasks.extract.files import ExternalFile, FilesSettings, external_files
from tasks.text.normal import normal
from warehouse.errors import SettingError
from warehouse.store import Store


class EvaluationSet(FilesSettings):
    """Examples in JSON lines (.gz too) or Parquet, and which of their fields are asked and answered."""

    question: tuple[str, ...] = Field((), description="fields with what the model is shown")
    answer: tuple[str, ...] = Field((), description="fields with what it is to say")
    id: str = Field("", description="field that names an example; its number where empty")


class Piece(NamedTuple):
    """A text of an example."""

    example: str
    field: str  # question or answer
    text: str


def pieces(store: Store, name: str, settings: EvaluationSet) -> Iterator[Piece]:
    """The texts of a set. Raises SettingError where it has none of the fields."""
    found = False
    for number, row in enumerate(row for file in external_files(store, settings) for row in _rows(file)):
        example = str(row.get(settings.id, number)) if settings.id else str(number)
        for kind, fields in (("question", settings.question), ("answer", settings.answer)):
            for text in (text for field in fields for text in _texts(row.get(field))):
                found = True
                yield Piece(example, kind, normal(text))
    if not found:
        raise SettingError(
            f"no example of the evaluation set {name} has a text in {', '.join((*settings.question, *settings.answer)) or 'any field: name some'}"
        )


def identity(store: Store, settings: EvaluationSet) -> str:
    """What the set's content depends on."""
    files = [file.digest for file in external_files(store, settings)]
    return json.dumps([files, settings.question, settings.answer, settings.id])


def _rows(file: ExternalFile) -> Iterator[dict[str, Any]]:
    with file.open() as stream:
        if file.name.endswith(".parquet"):
            yield from pq.read_table(stream).to_pylist()
            return
        lines: Any = gzip.GzipFile(fileobj=stream) if file.name.endswith(".gz") else stream
        for number, line in enumerate(lines):
            if line.strip():
                try:
                    row = json.loads(line)
                except ValueError as error:
                    raise SettingError(f"line {number + 1} of {file.name} is no JSON: {error}") from error
                yield row if isinstance(row, dict) else {"text": row}


def _texts(value: Any) -> Iterator[str]:
    """The strings in a field, whatever it is: a text, a list of choices, a record."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _texts(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _texts(part)
