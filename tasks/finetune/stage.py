"""finetune: a network and labelled examples to what answers them, once a seed, with its figures on each set."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tasks.core.stage import Input, Made, Report, Stage
from tasks.finetune.settings import TuningSettings
from tasks.finetune.task import LabelledSettings
from tasks.train.names import step_of_model
from tasks.train.settings import ModelSettings
from warehouse.artifact import PartWriter, valid_record
from warehouse.store import Store

AND = ":"  # between the name of a fine-tuning and its task


def tuning_name(name: str, task: str) -> str:
    """What a network that is fine-tuned to a task is called."""
    return f"{name}{AND}{task}"


def name_of(tuning: str) -> str:
    """The fine-tuning whose network it is."""
    return tuning.partition(AND)[0]


def task_of(tuning: str) -> str:
    """The task of a fine-tuning."""
    return tuning.partition(AND)[2]


class Finetune(Stage):
    """One network fine-tuned to one task. Inputs: ``labelled``, ``tokenizer``, and ``checkpoint`` where it starts from one."""

    name = "finetune"
    version = 1
    subject_is_content = False
    is_long = True
    settings: TuningSettings

    def __init__(
        self,
        store: Store,
        settings: TuningSettings,
        inputs: Mapping[str, Input],
        subject: str,
        task: LabelledSettings,
        model: ModelSettings,
        start: str,
    ) -> None:
        super().__init__(store, settings, inputs, subject)
        self._task, self._model, self._start = task, model, start

    @property
    def identity(self) -> dict[str, Any]:
        said = self.settings.identity() | {
            "form": self._task.form,
            "number": self._task.number,
            "main": self._task.main,
        }
        if self.settings.reader == "network" and not self._start:
            said["model"] = self._model.identity()
        elif self._start:
            said["step"] = step_of_model(self._start)
        return said

    def plan(self) -> Sequence[str]:
        return [f"seed-{seed}" for seed in self.settings.seeds]

    def part_inputs(self, part: str) -> Sequence[str]:
        return [f"{role} {self.inputs[role].identity}" for role in sorted(self.inputs)]

    def part_settings(self, part: str) -> dict[str, Any]:
        return self.identity | {"seeds": part}

    def make(self, part: str, writer: PartWriter, report: Report) -> Made:
        """Trains one seed, then answers every set."""
        import pyarrow as pa

        from tasks.finetune import learnt
        from warehouse import schemas

        seed = _seed_of(part)
        given = learnt.given(self.store, self.inputs, self._task, self.settings)
        if self.settings.reader == "bag of words":
            found = learnt.by_counting(given)
        elif self.settings.reader == "prompt":
            tell = self._tell(part, report)
            found = learnt.by_asking(self.store, self.inputs, self._start, given, self.settings, seed, tell)
        else:
            folder = self.store.scratch(self.name, self.ref.key, part)
            network = learnt.Network(self.store, self.inputs, self._model, self._start, self.settings, seed)
            found = network.learn(given, f"{self.ref.key}-{seed}", folder, writer, self._tell(part, report))
        beside = {"run": self.ref.key, "name": name_of(self.subject), "task": task_of(self.subject), "seed": seed}
        rows = [beside | row for row in learnt.predictions(given, found)]
        writer.table("predictions", pa.Table.from_pylist(rows, schema=schemas.PREDICTIONS))
        trained = 0 if self.settings.reader == "prompt" else len(given.trained)
        beside |= {"start": self._origin, "trained": trained, "parameters": found.parameters}
        beside |= {"truncated": found.truncated, "language_model": found.language_model}
        figures = [beside | row for row in learnt.figured(given, found)]
        writer.table("finetuned", pa.Table.from_pylist(figures, schema=schemas.FINETUNED))
        return Made(statistics={"trained": trained, "answered": len(rows)})

    def committed(self) -> None:
        """The checkpoints of a seed whose part is there can go."""
        for part in self.plan():
            if valid_record(self.store, self.ref, part) is not None:
                shutil.rmtree(self.store.scratch(self.name, self.ref.key, part), ignore_errors=True)

    def _tell(self, part: str, report: Report) -> Callable[[int, int], None]:
        return lambda step, steps: report.part_progress(self, part, step, steps)

    @property
    def _origin(self) -> str:
        return self._start or ("random weights" if self.settings.reader == "network" else self.settings.reader)


def _seed_of(part: str) -> int:
    return int(part.removeprefix("seed-"))
