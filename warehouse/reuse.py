"""Parts with the same content in several artifacts: noted where they were made, linked where they are needed again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from warehouse.artifact import PartRecord, Ref, artifact_key, record_path, valid_record, verified_path
from warehouse.errors import CorruptPart
from warehouse.store import Store

REUSE = "reuse"  # where the notes are, below the store


def part_identity(stage: str, version: int, settings: Mapping[str, Any], part: str, inputs: Sequence[str]) -> str:
    """The name of a part's content, the same in every artifact that has it."""
    return artifact_key(f"{stage}/{part}", version, settings, {str(n): digest for n, digest in enumerate(inputs)})


def remember_part(store: Store, ref: Ref, part: str, identity: str) -> None:
    """Notes where a part's content is, for artifacts to come. The note is a hint: losing it costs work, never data."""
    store.write_bytes(f"{REUSE}/{ref.stage}/{identity}.json", json.dumps({"key": ref.key, "part": part}).encode())


def note_of(content: bytes) -> tuple[str, str]:
    """The key and the part that a note names. Raises ValueError, KeyError or TypeError for what is none."""
    known = json.loads(content)
    return str(known["key"]), str(known["part"])


def noted_part(store: Store, stage: str, part: str, identity: str) -> tuple[Ref, PartRecord] | None:
    """An artifact of the stage that has a part with this content, its bytes checked, or None."""
    try:
        key, name = note_of(store.read_bytes(f"{REUSE}/{stage}/{identity}.json"))
        ref = Ref(stage=stage, key=key)
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    record = valid_record(store, ref, name)
    if record is None or name != part:
        return None
    try:
        for file in record.files:
            verified_path(store, ref, file)
    except CorruptPart:
        return None
    return ref, record


def take_part(store: Store, ref: Ref, other: Ref, record: PartRecord) -> PartRecord:
    """Takes over another artifact's part as one of ``ref``, under this record."""
    for file in record.files:
        store.copy(f"{other.folder}/{file.path}", f"{ref.folder}/{file.path}")
    store.write_bytes(record_path(ref, record.part), record.model_dump_json(indent=1).encode())
    return record
