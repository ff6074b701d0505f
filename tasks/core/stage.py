"""A stage: plan parts, make one, commit it, reuse it. Everything here runs as plain functions.

Resume asks one question: is there a valid part record? A scheduler above (Prefect, or a loop) decides only
when and where ``make_part`` runs.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from tasks.core.process import usage
from warehouse import log
from warehouse.artifact import (
    Counts,
    Manifest,
    PartRecord,
    PartWriter,
    Ref,
    artifact_key,
    complete,
    load,
    valid_record,
    write_manifest,
)
from warehouse.reuse import noted_part, part_identity, remember_part, take_part
from warehouse.store import Store


class StageSettings(BaseModel):
    """Settings of a stage. Fields marked operational change how it runs, never what it makes."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    def identity(self) -> dict[str, Any]:
        """The settings that the artifact's content depends on."""
        return self.model_dump(mode="json", exclude=_operational(type(self)))


def operational(default: Any, description: str, **constraints: Any) -> Any:
    """A setting that is no part of an artifact's identity: worker counts, cadences, time limits of a run."""
    return Field(default, description=description, json_schema_extra={"operational": True}, **constraints)


def _operational(model: type[BaseModel]) -> set[str]:
    return {
        name
        for name, field in model.model_fields.items()
        if isinstance(field.json_schema_extra, dict) and field.json_schema_extra.get("operational")
    }


class Input(BaseModel):
    """An artifact that a stage reads, and what identifies its content (its key unless said otherwise)."""

    model_config = ConfigDict(frozen=True)
    ref: Ref
    identity: str

    @classmethod
    def of(cls, ref: Ref) -> Input:
        """An input identified by the artifact's key."""
        return cls(ref=ref, identity=ref.key)


class Made(BaseModel):
    """What ``make`` returns beside the files that it wrote."""

    counts: Counts = Counts()
    statistics: dict[str, Any] = {}


class Stage(ABC):
    """One stage applied to its inputs. Instances are small and can be pickled to worker processes."""

    name: ClassVar[str]
    version: ClassVar[int]  # raised when the meaning of the output changes
    in_worker: ClassVar[bool] = True  # False: make() starts processes of its own, or is brief
    alone: ClassVar[bool] = False  # whether a part wants the whole machine: no other such one is made beside it
    is_long: ClassVar[bool] = False  # whether a part says how far it is
    subject_is_content: ClassVar[bool] = True  # False: what a recipe calls it changes nothing of what is made

    def __init__(self, store: Store, settings: StageSettings, inputs: Mapping[str, Input], subject: str = "") -> None:
        self.store, self.settings, self.inputs, self.subject = store, settings, dict(inputs), subject

    @property
    def identity(self) -> dict[str, Any]:
        """The settings that enter the key."""
        return self.settings.identity()

    @property
    def ref(self) -> Ref:
        """The reference to what this stage makes, known before it is made."""
        inputs = {name: entry.identity for name, entry in self.inputs.items()}
        named = {"subject": self.recorded_subject} if self.recorded_subject else {}
        return Ref(stage=self.name, key=artifact_key(self.name, self.version, {**named, **self.identity}, inputs))

    @property
    def recorded_subject(self) -> str:
        """The subject, where it is part of what is made."""
        return self.subject if self.subject_is_content else ""

    @property
    def title(self) -> str:
        """Stage and subject, as a person reads it."""
        return self.name if self.subject in ("", self.name) else f"{self.name} {self.subject}"

    @abstractmethod
    def plan(self) -> Sequence[str]:
        """The names of the parts, from the inputs' content alone."""

    @abstractmethod
    def make(self, part: str, writer: PartWriter, report: Report) -> Made:
        """Makes one part: writes its files, returns what it counted."""

    def part_inputs(self, part: str) -> Sequence[str] | None:
        """Digests of all that this part's content depends on, beside the stage and its settings; None where that is unknown.

        A part of an earlier artifact with the same ones is taken over instead of made again.
        """
        return None

    def part_settings(self, part: str) -> dict[str, Any]:
        """The settings that a part's content depends on, where those of the artifact say more."""
        return self.identity

    def take_over(self, part: str) -> PartRecord | None:
        """Takes the part over from an earlier artifact that has the same, or returns None."""
        name = self._part_name(part)
        found = None if name is None else noted_part(self.store, self.name, part, name)
        return None if found is None else take_part(self.store, self.ref, *found)

    def remember(self, part: str) -> None:
        """Notes where the part is, for artifacts to come."""
        name = self._part_name(part)
        if name is not None:
            remember_part(self.store, self.ref, part, name)

    def _part_name(self, part: str) -> str | None:
        inputs = self.part_inputs(part)
        if inputs is None:
            return None
        return part_identity(self.name, self.version, self.part_settings(part), part, inputs)

    def committed(self) -> None:  # noqa: B027 (most stages keep nothing)
        """Called once a part's record is durable: what was only needed to make it can go."""

    def documents_expected(self) -> int | None:
        """How many documents the inputs hold, where the stage accounts for documents."""
        return None


class PerPart(Stage):
    """A stage that makes a part of each part of one input, and accounts for all documents in it."""

    of: ClassVar[str]  # the role of that input

    def plan(self) -> Sequence[str]:
        return [part.part for part in load(self.store, self.inputs[self.of].ref).parts]

    def documents_expected(self) -> int:
        return load(self.store, self.inputs[self.of].ref).counts.kept


class Report:
    """What a running stage tells whoever watches. The base class tells nobody."""

    def stage_starts(self, stage: Stage, parts: int, reused: int) -> None:
        """A stage has been planned: so many parts, so many of them there already."""

    def part_done(self, stage: Stage, part: str) -> None:
        """A part was committed."""

    def progress(self, stage: Stage, done: float, total: float, message: str) -> None:
        """A long part is so far."""

    def part_progress(self, stage: Stage, part: str, done: int, total: int) -> None:
        """One part of several is so far."""

    def note(self, stage: Stage, message: str) -> None:
        """Something happened that whoever watches should know of, though the stage goes on."""

    def stage_ends(self, stage: Stage, manifest: Manifest, seconds: float, reused: bool) -> None:
        """The artifact exists."""


SILENT = Report()
MakeParts = Callable[[Sequence[tuple[Stage, str]], Report], None]


def make_part(stage: Stage, part: str, report: Report = SILENT) -> PartRecord:
    """Makes and commits one part in this process, unless it is there already, in this artifact or in an earlier one."""
    existing = valid_record(stage.store, stage.ref, part)
    if existing is not None:
        return existing
    started, clock, (cpu, _) = log.now(), time.perf_counter(), usage()
    record = stage.take_over(part)
    reused = record is not None
    if record is None:
        writer = PartWriter(stage.store, stage.ref, part)
        made = stage.make(part, writer, report)
        record = writer.commit(made.counts, made.statistics)
    stage.remember(part)
    stage.committed()
    cpu_after, peak = usage()
    log.note_work(stage.store, stage.ref, part, started, time.perf_counter() - clock, cpu_after - cpu, peak, reused)
    return record


def one_by_one(parts: Sequence[tuple[Stage, str]], report: Report) -> None:
    """The plainest way to make parts: in this process, in order."""
    for stage, part in parts:
        make_part(stage, part, report)
        report.part_done(stage, part)


def run_stages(stages: Sequence[Stage], make_parts: MakeParts = one_by_one, report: Report = SILENT) -> list[Manifest]:
    """Makes the artifacts of one stage for all its subjects, reusing every valid part; returns their manifests."""
    manifests: dict[Ref, Manifest] = {}
    planned: list[tuple[Stage, Sequence[str], float]] = []
    for stage in stages:
        if complete(stage.store, stage.ref) is not None:
            manifests[stage.ref] = reuse(stage, stage.ref, report)
        else:
            planned.append((stage, (), time.perf_counter()))
    with _locked([stage for stage, _, _ in planned]):
        planned = [(stage, _plan(stage, report), clock) for stage, _, clock in planned]
        missing = [
            (stage, part)
            for stage, parts, _ in planned
            for part in parts
            if not valid_record(stage.store, stage.ref, part)
        ]
        make_parts(missing, report)
        for stage, parts, clock in planned:
            manifests[stage.ref] = _finish(stage, parts, time.perf_counter() - clock, report)
    return [manifests[stage.ref] for stage in stages]


def reuse(stage: Stage, ref: Ref, report: Report = SILENT) -> Manifest:
    """Shows an artifact that is there as the stage's. Raises MissingArtifact where it is not."""
    manifest = load(stage.store, ref)
    log.note_work(stage.store, ref, None, log.now(), 0.0, 0.0, 0, reused=True)
    report.stage_ends(stage, manifest, 0.0, reused=True)
    return manifest


def _locked(stages: Sequence[Stage]) -> ExitStack:
    """One run makes an artifact at a time: a second one waits, then finds the parts there."""
    locks = ExitStack()
    for stage in sorted(stages, key=lambda each: each.ref.key):
        locks.enter_context(stage.store.lock(stage.name, stage.ref.key))
    return locks


def _plan(stage: Stage, report: Report) -> Sequence[str]:
    stage.store.sweep(stage.ref.folder)
    parts = stage.plan()
    reused = sum(valid_record(stage.store, stage.ref, part) is not None for part in parts)
    report.stage_starts(stage, len(parts), reused)
    return parts


def _finish(stage: Stage, parts: Sequence[str], seconds: float, report: Report) -> Manifest:
    """Writes the manifest from the part records, so that the statistics of a resumed run are whole."""
    found = [valid_record(stage.store, stage.ref, part) for part in parts]
    records = [record for record in found if record is not None]
    if len(records) != len(parts):
        raise RuntimeError(f"{stage.title}: {len(parts) - len(records)} of {len(parts)} parts were not made")
    stage.store.sweep(stage.ref.folder)  # a worker of a killed run may have outlived the first look by a moment
    manifest = Manifest(
        stage=stage.name,
        subject=stage.recorded_subject,
        version=stage.version,
        key=stage.ref.key,
        settings=stage.identity,
        inputs={name: entry.identity for name, entry in stage.inputs.items()},
        counts=sum((record.counts for record in records), Counts()),
        rows=sum(file.rows for record in records for file in record.files),
        bytes=sum(file.bytes for record in records for file in record.files),
        parts=tuple(records),
    )
    write_manifest(stage.store, manifest, stage.documents_expected())
    log.note_work(stage.store, stage.ref, None, log.now(), seconds, 0.0, 0)
    report.stage_ends(stage, manifest, seconds, reused=False)
    return manifest
