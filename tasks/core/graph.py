"""The resolver: a table of nodes and what a recipe says become a plan, every artifact's key before any of them is made.

A node says where a stage stands: which subjects it fans out over, what it reads and in which role, which settings it
takes. The plan is immutable, and its artifacts are in topological order, that of the table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

from tasks.core.stage import Input, Stage, StageSettings
from warehouse.artifact import Ref
from warehouse.errors import GristmillError
from warehouse.store import Store

Given = TypeVar(
    "Given"
)  # all that keys depend on beside the stages: a recipe, what was crawled, what is to be forgotten
How = Literal["same", "every", "one", "optional"]


@dataclass(frozen=True)
class Artifact:
    """One artifact of a plan: the stage that makes it, or the pin that stands in for what that would make."""

    stage: Stage
    pin: Ref | None = None

    @property
    def ref(self) -> Ref:
        """The reference to it, known before it is made."""
        return self.pin or self.stage.ref

    @property
    def subject(self) -> str:
        """What it is of: a source, or nothing where there is one of its kind."""
        return self.stage.subject

    @property
    def title(self) -> str:
        """Stage and subject, as a person reads it."""
        return self.stage.title


@dataclass(frozen=True)
class Read(Generic[Given]):
    """What a node reads of another one in one role."""

    node: str
    how: How
    where: Callable[[Given, str], bool] | None = None  # which subjects, where not all of them are read
    of: Callable[[str], str] | None = None  # a subject -> the one whose artifact it reads, where that is another

    def inputs(
        self, role: str, subject: str, given: Given, planned: Mapping[str, Sequence[Artifact]]
    ) -> dict[str, Input]:
        """The inputs of one subject: ``role``, or ``role/subject`` of each where every one is read."""
        found = [each for each in planned[self.node] if self.where is None or self.where(given, each.subject)]
        if self.how == "every":
            return {f"{role}/{each.subject}" if each.subject else role: Input.of(each.ref) for each in found}
        if self.how == "same":
            wanted = self.of(subject) if self.of is not None else subject
            found = [each for each in found if each.subject == wanted]
        if len(found) > 1 or (self.how == "one" and not found):
            raise ValueError(f"{role} is to be one artifact of {self.node}, and there are {len(found)}")
        return {role: Input.of(found[0].ref)} if found else {}  # a source that is no crawl has none


def same(node: str, of: Callable[[str], str] | None = None) -> Read[Any]:
    """The artifact of the same subject, or of the one that ``of`` makes of it."""
    return Read(node, "same", of=of)


def every(node: str, where: Callable[[Given, str], bool] | None = None) -> Read[Given]:
    """The artifacts of every subject, or of those that ``where`` chooses."""
    return Read(node, "every", where)


def one(node: str) -> Read[Any]:
    """The only artifact of a node."""
    return Read(node, "one")


def optional(node: str) -> Read[Any]:
    """The only artifact of a node, where the recipe has it."""
    return Read(node, "optional")


@dataclass(frozen=True)
class Node(Generic[Given]):
    """Where a stage stands."""

    stage: type[Stage]
    over: Callable[[Given], Sequence[str]]  # its subjects: sources, or "" alone
    settings: Callable[[Given], StageSettings] | None = None
    reads: Mapping[str, Read[Given]] = field(default_factory=dict)
    made_by: Callable[[Given, str, dict[str, Input]], Stage] | None = (
        None  # where stage(store, settings, ...) is not all
    )

    @property
    def name(self) -> str:
        """The name of its stage."""
        return self.stage.name

    def artifacts(
        self, store: Store, given: Given, planned: Mapping[str, Sequence[Artifact]], pin: Ref | None
    ) -> tuple[Artifact, ...]:
        """One artifact for each subject."""
        found = []
        for subject in self.over(given):
            inputs = {
                name: entry
                for role, read in self.reads.items()
                for name, entry in read.inputs(role, subject, given, planned).items()
            }
            if self.made_by is not None:
                stage = self.made_by(given, subject, inputs)
            else:
                assert self.settings is not None
                stage = self.stage(store, self.settings(given), inputs, subject)
            found.append(Artifact(stage, pin))
        return tuple(found)


@dataclass(frozen=True)
class Plan:
    """The artifacts of a recipe by node, as far as their keys are known yet."""

    artifacts: Mapping[str, tuple[Artifact, ...]]
    unknown: GristmillError | None = None  # why the nodes that follow have no keys: a source was not crawled yet

    def __getitem__(self, node: str) -> tuple[Artifact, ...]:
        """One artifact a subject. Raises GristmillError where their keys are not known yet."""
        if node not in self.artifacts and self.unknown is not None:
            raise self.unknown
        return self.artifacts[node]

    def __iter__(self) -> Iterator[str]:
        """The nodes whose keys are known, in topological order."""
        return iter(self.artifacts)


def resolve(nodes: Sequence[Node[Given]], given: Given, store: Store, pins: Mapping[str, Ref]) -> Plan:
    """The plan of a table of nodes; ``pins``, node -> artifact, stand in for what those nodes would make."""
    planned: dict[str, tuple[Artifact, ...]] = {}
    for node in nodes:
        try:
            planned[node.name] = node.artifacts(store, given, planned, pins.get(node.name))
        except GristmillError as unknown:
            return Plan(planned, unknown)
    return Plan(planned)


def ancestors(nodes: Sequence[Node[Any]], *names: str) -> tuple[str, ...]:
    """These nodes and all that they are made from, in the order of the table."""
    wanted = set(names)
    for node in reversed(nodes):
        if node.name in wanted:
            wanted |= {read.node for read in node.reads.values()}
    return tuple(node.name for node in nodes if node.name in wanted)
