"""Policies: what is kept of a source, as rules over signals, each with where it comes from.

A policy decides about facts that are measured already, so that trying another one costs seconds.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from models.draws import uniform
from tasks import pii
from tasks.repetition.recur import KINDS as RECURRING
from tasks.select.measured import SIGNALS
from tasks.signals import classifier
from tasks.signals.fineweb import OWN
from tasks.signals.fineweb import SIGNALS as OF_FINEWEB
from tasks.signals.lines import CITATIONS, LINE_RULES
from warehouse.errors import SettingError, nearest

FOLDER = Path(__file__).resolve().parents[2] / "configs" / "policies"
LANGUAGE = "language"
_OF_CLASSIFIER = frozenset(signal.name for signal in classifier.SIGNALS)
# FineWeb's own signals -> the same on what C4's rules left, as its code runs them one after the other.
_IN_SEQUENCE = {own.name: left.name for own, left in zip(OF_FINEWEB[:OWN], OF_FINEWEB[OWN:], strict=True)}
Threshold = float | npt.NDArray[np.float64] | None


@dataclass(frozen=True)
class Check:
    """One bound of a rule over a column of documents: which break it, the values it saw and what it held them against."""

    label: str
    broken: npt.NDArray[np.bool_]
    values: npt.NDArray[np.float64] | None = None
    threshold: Threshold = None

    def threshold_of(self, row: int) -> float | None:
        """What a document was held against."""
        return float(self.threshold[row]) if isinstance(self.threshold, np.ndarray) else self.threshold


class Rule(BaseModel):
    """Keep a document only where a signal lies within bounds; a value at a bound is kept.

    A document whose signal is null, since it means nothing for the document's script, is not judged by the rule.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    signal: str = Field(description="name of a signal")
    min: float | None = Field(None, description="smallest value that is kept")
    max: float | None = Field(None, description="largest value that is kept")
    only: str | None = Field(None, description="the one value that is kept, of the signal language")
    pareto: float | None = Field(
        None,
        gt=0,
        description="keep where a draw from a Lomax distribution of this shape is above 1 - value (GPT-3: 9)",
    )
    top_share: float | None = Field(None, gt=0, lt=1, description="keep this share of the source, the highest values")
    reference: str = Field("", description="where the bound comes from")

    @field_validator("signal")
    @classmethod
    def _known(cls, signal: str) -> str:
        names = [known.name for known in SIGNALS]
        if signal not in names:
            raise ValueError(f"there is no signal {signal}; the nearest is {nearest(signal, names)}")
        return signal

    @model_validator(mode="after")
    def _bounds_fit(self) -> Rule:
        numeric = [self.min, self.max, self.pareto, self.top_share]
        if (self.signal == LANGUAGE) != (self.only is not None) or (self.only is None) == all(
            b is None for b in numeric
        ):
            raise ValueError("the signal language takes only = CODE, every other signal min, max, pareto or top_share")
        return self

    def labels(self) -> list[str]:
        """The names of its checks, as decisions and the funnel show them."""
        bounds = {
            f"{self.signal} is not {self.only}": self.only,
            f"{self.signal} below {_figure(self.min)}": self.min,
            f"{self.signal} above {_figure(self.max)}": self.max,
            f"{self.signal} below its Pareto draw": self.pareto,
            f"{self.signal} not in the top {_figure(self.top_share)}": self.top_share,
        }
        return [label for label, bound in bounds.items() if bound is not None]

    def checks(self, column: pa.ChunkedArray, doc_ids: pa.ChunkedArray, seed: int, cutoff: float | None) -> list[Check]:
        """The rule over the documents of a source; ``cutoff`` is the value that ``top_share`` came out at.

        Raises SettingError where the signal was not measured.
        """
        labels = iter(self.labels())
        if self.only is not None:
            return [Check(next(labels), np.array([value != self.only for value in column.to_pylist()], np.bool_))]
        if column.null_count == len(column) and len(column) and self.signal in _OF_CLASSIFIER:
            raise SettingError(
                f"a policy asks for {self.signal}, which was not measured: name good and bad examples in quality.positive and quality.negative"
            )
        values = column.to_numpy()  # nulls, which a rule does not judge, are not numbers: no comparison holds
        found = []
        if self.min is not None:
            found.append(Check(next(labels), values < self.min, values, self.min))
        if self.max is not None:
            found.append(Check(next(labels), values > self.max, values, self.max))
        if self.pareto is not None:
            draws = (1.0 - uniform(seed, "pareto", doc_ids.to_pylist())) ** (-1.0 / self.pareto) - 1.0
            found.append(Check(next(labels), draws <= 1.0 - values, values, 1.0 - draws))
        if self.top_share is not None:
            assert cutoff is not None
            found.append(Check(next(labels), values < cutoff, values, cutoff))
        return found


class Policy(BaseModel):
    """What is kept of a source: rules in the order of their application, lines that go, personal data that is replaced."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    description: str = Field("", description="what it is for, and where it comes from")
    rules: tuple[Rule, ...] = Field((), description="rules that every document must pass, in order")
    sequential: bool = Field(
        False,
        description="FineWeb's own rules see what C4's left of a text, as its code runs them, and not the whole text",
    )
    drop_lines: tuple[str, ...] = Field(
        (),
        description=f"kinds of lines and stretches that are taken out: {', '.join((*LINE_RULES, CITATIONS, *RECURRING))}",
    )
    replace_pii: tuple[str, ...] = Field(
        pii.NAMES, description="kinds of personal data that become placeholders in the corpus"
    )

    @field_validator("drop_lines", "replace_pii")
    @classmethod
    def _known(cls, names: tuple[str, ...], info: Any) -> tuple[str, ...]:
        known = [*LINE_RULES, CITATIONS, *RECURRING] if info.field_name == "drop_lines" else list(pii.NAMES)
        for name in names:
            if name not in known:
                raise ValueError(f"there is no {name} to name here; the nearest is {nearest(name, known)}")
        return names

    @property
    def applied(self) -> tuple[Rule, ...]:
        """The rules over the signals that they ask for in the policy's order."""
        if not self.sequential:
            return self.rules
        return tuple(
            rule.model_copy(update={"signal": _IN_SEQUENCE.get(rule.signal, rule.signal)}) for rule in self.rules
        )

    @property
    def signals(self) -> list[str]:
        """The signals that its rules ask for, each once."""
        return list(dict.fromkeys(rule.signal for rule in self.applied))

    @property
    def labels(self) -> list[str]:
        """The names of all checks, in order."""
        return [label for rule in self.applied for label in rule.labels()]

    def cutoffs(self, column: Callable[[str], pa.ChunkedArray]) -> dict[str, float]:
        """Signal -> the value at which ``top_share`` cuts a source off, given the source's whole columns."""
        found = {}
        for rule in self.applied:
            if rule.top_share is not None:
                values = np.sort(column(rule.signal).drop_null().to_numpy())[::-1]
                kept = max(1, round(rule.top_share * len(values)))
                found[rule.signal] = float(values[kept - 1]) if len(values) else 0.0
        return found

    def checks(self, signals: pa.Table, seed: int, cutoffs: dict[str, float]) -> list[Check]:
        """Every rule over a table with doc_id and the signals that are asked for."""
        return [
            check
            for rule in self.applied
            for check in rule.checks(signals[rule.signal], signals["doc_id"], seed, cutoffs.get(rule.signal))
        ]


def passing(checks: Sequence[Check], documents: int) -> npt.NDArray[np.bool_]:
    """Which documents break no rule."""
    out = np.ones(documents, np.bool_)
    for check in checks:
        out &= ~check.broken
    return out


def names() -> list[str]:
    """The policies that come with the project."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load(name: str) -> Policy:
    """A policy by its name in ``configs/policies``, or by the path of a TOML file. Raises SettingError."""
    path = next((path for path in (Path(name), FOLDER / f"{name}.toml") if path.is_file()), None)
    if path is None:
        raise SettingError(f"there is no policy {name}; the nearest is {nearest(name, names())}")
    try:
        return Policy.model_validate(tomllib.loads(path.read_text()))
    except tomllib.TOMLDecodeError as error:
        raise SettingError(f"{path} is not valid TOML: {error}") from error
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(map(str, fault["loc"]))
        raise SettingError(f"{path}, {place}: {fault['msg'].removeprefix('Value error, ')}") from error


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:g}"
