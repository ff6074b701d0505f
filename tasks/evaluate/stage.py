"""evaluate: a checkpoint and three baselines on the same held-out text, and samples to read."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from tasks.core.stage import Made, Report, Stage
from tasks.evaluate.settings import BASELINES, MODEL_PART, EvaluateSettings
from tasks.train.settings import PretrainSettings
from warehouse.artifact import PartWriter, load


class Evaluate(Stage):
    """Scores of one run. Inputs: ``corpus``, ``tokenizer``, ``tokens``, ``checkpoint``."""

    name = "evaluate"
    version = 3
    settings: EvaluateSettings

    def plan(self) -> Sequence[str]:
        return [*BASELINES[self._training.model.objective], MODEL_PART]

    def make(self, part: str, writer: PartWriter, report: Report) -> Made:
        """Scores one model or baseline; a causal network writes samples too."""
        from tasks.evaluate.scoring import Scoring

        Scoring(self.store, self.settings, self.inputs, self._training).write(part, writer)
        return Made()

    @cached_property
    def _training(self) -> PretrainSettings:
        """What the checkpoint was trained with."""
        return PretrainSettings.model_validate(load(self.store, self.inputs["checkpoint"].ref).settings)
