"""What of the tasks is asked, and how."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from tasks.core.stage import StageSettings, operational
from tasks.suite.declared import tasks_named
from tasks.suite.question import Task
from warehouse.errors import SettingError

Shots = int | Literal["few"]


class QuestionSettings(StageSettings):
    """Where questions come from."""

    synthetic: int = Field(
        0, ge=0, description="make so many questions of arithmetic and scrambled words anew; 0 reads the published ones"
    )
    synthetic_seed: int = Field(1, description="seed of the questions that are made anew")
    files: dict[str, str] = Field({}, description="task -> a file of your own in the place of its data")
    mirror: str = operational(
        "", "folder that is looked through, by digest, for the data of tasks before they are fetched"
    )


class AskingSettings(StageSettings):
    """Which tasks are asked, and how."""

    tasks: tuple[str, ...] = Field(
        (), description="suites (core, gpt2, gpt3, arithmetic, scrambles) and tasks by name; none asks nothing"
    )
    shots: tuple[Shots, ...] = Field(
        (0,),
        min_length=1,
        description="demonstrations before a question: numbers, or few for as many as the paper showed",
    )
    seeds: tuple[int, ...] = Field(
        (1,), min_length=1, description="seeds that demonstrations are drawn by, each asked on its own"
    )
    prompts: int = Field(1, ge=1, description="how many of a task's wordings are asked; the first is the published one")
    max_questions: int = Field(0, ge=0, description="questions of a task at most, drawn by their names; 0 for all")
    begin: bool = Field(
        True, description="put the end-of-text token before each prompt, as before documents in training"
    )
    stride: int = Field(
        0, ge=0, description="tokens by which the window moves over a long text, 0 for half the context"
    )
    precision: Literal["fp32", "bf16"] = Field(
        "fp32", description="arithmetic of matrix products, the same on every machine"
    )

    @field_validator("tasks")
    @classmethod
    def _are_known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        try:
            tasks_named(names)
        except SettingError as error:
            raise ValueError(str(error)) from error
        return names

    @field_validator("shots")
    @classmethod
    def _are_counts(cls, shots: tuple[Shots, ...]) -> tuple[Shots, ...]:
        if any(isinstance(one, int) and one < 0 for one in shots):
            raise ValueError("a number of demonstrations is 0 or more, or few")
        return shots


class SuiteSettings(AskingSettings, QuestionSettings):
    """Tasks that are asked of every causal model of the recipe, each in several ways."""

    @property
    def declared(self) -> list[Task]:
        """The tasks themselves, but those of a suite that want a file of the user's own which is not given."""
        left_out = self.left_out
        return [task for task in tasks_named(self.tasks) if task.name not in left_out]

    @property
    def left_out(self) -> list[str]:
        """The tasks of named suites that are not asked, since nobody can have their data and none are given."""
        wanting = [task.name for task in tasks_named(self.tasks) if any(not data.address for data in task.data)]
        return [name for name in wanting if name not in self.tasks and name not in self.files]

    def licences(self) -> dict[str, list[str]]:
        """Licence -> the tasks whose data are under it, as their authors or their copies state it."""
        found: dict[str, list[str]] = {}
        for task in self.declared:
            own = ["your own"] if task.name in self.files else [data.license for data in task.files]
            for licence in dict.fromkeys(own):
                found.setdefault(licence, []).append(task.name)
        return found

    def question_settings(self) -> QuestionSettings:
        """Where questions come from."""
        return QuestionSettings(**self.model_dump(include=set(QuestionSettings.model_fields)))

    def asking_settings(self) -> AskingSettings:
        """Those of the stage that asks: each of its tasks by name, so that a suite may grow."""
        said = self.model_dump(include=set(AskingSettings.model_fields))
        return AskingSettings(**said | {"tasks": tuple(task.name for task in self.declared)})
