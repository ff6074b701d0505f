"""evaluate: a trained network and baselines on what was held out, task by task, and samples to read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tasks.core.stage import Input, Made, Report, Stage
from tasks.evaluate.declared import BASELINES, Task, tasks_of
from tasks.evaluate.settings import SAMPLING, EvaluateSettings
from tasks.train.names import step_of_model
from tasks.train.settings import PretrainSettings
from warehouse.artifact import PartWriter
from warehouse.store import Store

SAMPLES = "samples"


class _Asked(NamedTuple):
    """One part: a task with so many examples shown before, of the network or of a baseline."""

    task: Task
    shots: int
    baseline: str = ""

    @property
    def name(self) -> str:
        by = f"-by-{self.baseline}" if self.baseline else ""
        return f"{self.task.slug}-{self.shots}-shot{by}"


class Evaluate(Stage):
    """Scores of one network. Inputs: ``corpus``, ``tokenizer``, ``tokens``, ``split``, ``relatives``, ``checkpoint``.

    Its subject is what the recipe calls the network: a run, or ``run@step`` for a checkpoint that it pinned.
    """

    name = "evaluate"
    version = 4
    subject_is_content = False
    settings: EvaluateSettings

    def __init__(
        self,
        store: Store,
        settings: EvaluateSettings,
        inputs: Mapping[str, Input],
        subject: str,
        training: PretrainSettings,
    ) -> None:
        super().__init__(store, settings, inputs, subject)
        self._training, self._pinned = training, step_of_model(subject)

    @property
    def identity(self) -> dict[str, Any]:
        tasks = {task.name: [task.version, *task.shots] for task in self._tasks}
        return self.settings.identity() | {"tasks": tasks} | ({"step": self._pinned} if self._pinned else {})

    def plan(self) -> Sequence[str]:
        return [*self._asked, *([SAMPLES] if self._writes else [])]

    def part_inputs(self, part: str) -> Sequence[str]:
        """A baseline knows the corpus alone, so that the networks of a recipe share it."""
        corpus = [self.inputs[name].identity for name in ("corpus", "tokenizer", "tokens", "relatives")]
        own = part == SAMPLES or not self._asked[part].baseline
        return [*corpus, self.inputs["checkpoint"].identity, str(self._step)] if own else corpus

    def part_settings(self, part: str) -> dict[str, Any]:
        said = self.settings.identity()
        if part == SAMPLES:
            return {name: said[name] for name in SAMPLING}
        task, _, baseline = self._asked[part]
        known = {name: said[name] for name in (*task.limits, "sources")} | {"task": task.name, "version": task.version}
        if not baseline:
            return known | {"precision": said["precision"]}
        training = self._training  # a bidirectional network is asked about windows of its own length
        windows = {"context": training.model.context, "whole_words": training.whole_words}
        return known | (windows if training.model.traits.special_tokens else {})

    def make(self, part: str, writer: PartWriter, report: Report) -> Made:
        """Asks one task, or writes samples."""
        import pyarrow as pa

        from tasks.evaluate import scoring
        from tasks.evaluate.held_out import HeldOutText
        from tasks.train.published import load_model
        from warehouse import schemas

        text = HeldOutText(self.store, self.settings, self.inputs, self._training)
        baseline = "" if part == SAMPLES else self._asked[part].baseline
        run, network = self.inputs["checkpoint"].ref, None
        if not baseline:
            network = load_model(self.store, run, self.inputs["tokenizer"].ref, self._pinned)
        if part == SAMPLES:
            assert network is not None
            writer.table("samples", scoring.samples(network, text, self.settings, run.key, self._step))
            return Made()
        task, shots, _ = self._asked[part]
        scores = scoring.answers_of(task, text, network, baseline, self.settings.precision == "bf16")
        who, step = (baseline, None) if baseline else (run.key, self._step)
        found = scoring.rows(task, shots, who, step, scores, self.settings.clean_overlap)
        writer.table("evaluations", pa.Table.from_pylist(found, schema=schemas.EVALUATIONS))
        return Made()

    @property
    def _asked(self) -> dict[str, _Asked]:
        """Part -> what it asks; the parts of one baseline stand together, since they share what it counted."""
        baselines = BASELINES[self._training.model.objective]
        who = [
            (baseline, task) for baseline in (*baselines, "") for task in self._tasks if task.baselines or not baseline
        ]
        asked = [_Asked(task, shots, baseline) for baseline, task in who for shots in task.shots]
        return {one.name: one for one in asked}

    @property
    def _tasks(self) -> list[Task]:
        return tasks_of(self._training.model.objective)

    @property
    def _writes(self) -> bool:
        return self._training.model.traits.writes

    @property
    def _step(self) -> int:
        return self._pinned or self._training.last_step
