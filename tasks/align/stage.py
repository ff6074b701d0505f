"""align: a language model and conversations to one that answers, a reward model, or a policy."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tasks.align.settings import AlignSettings
from tasks.core.stage import Input, Made, Report, Stage
from tasks.train.names import step_of_model
from warehouse.artifact import PartWriter
from warehouse.store import Store

PART = "final"


class Align(Stage):
    """One alignment. Inputs: ``dialogues``, ``tokenizer``, ``checkpoint``, and for PPO ``reward`` and the ``tokens`` of the pretraining."""

    name = "align"
    version = 1
    subject_is_content = False
    is_long = True
    settings: AlignSettings

    def __init__(
        self,
        store: Store,
        settings: AlignSettings,
        inputs: Mapping[str, Input],
        subject: str,
        mixture: Mapping[str, float],
    ) -> None:
        super().__init__(store, settings, inputs, subject)
        self._mixture = dict(mixture) if settings.text else {}

    @property
    def identity(self) -> dict[str, Any]:
        said = self.settings.identity()
        del said["initial"], said["dialogues"]  # the inputs say what they are
        if not self.settings.is_programmatic:
            del said["reward"]
        return said | {"mixture": self._mixture, "step": step_of_model(self.settings.initial)}

    def plan(self) -> Sequence[str]:
        return [PART]

    def make(self, part: str, writer: PartWriter, report: Report) -> Made:
        """Trains from the newest checkpoint to the end, then publishes the weights and what was measured."""
        import pyarrow as pa

        from tasks.align.aligned import Alignment
        from warehouse import schemas

        folder = self.store.scratch(self.name, self.ref.key)
        alignment = Alignment(self.store, self.inputs, self.settings, self._mixture, f"{self.ref.key}", folder)
        made = alignment.make(writer, self._tell(report))
        beside = {"run": self.ref.key, "name": self.subject}
        figures = [{**beside, "method": self.settings.method, **one._asdict()} for one in made.figures]
        writer.table("aligned", pa.Table.from_pylist(figures, schema=schemas.ALIGNED))
        rows = [{**beside, **row} for row in made.rows]
        writer.table("rollouts", pa.Table.from_pylist(rows, schema=schemas.ROLLOUTS))
        return Made(
            statistics={
                "method": self.settings.method,
                "conversations": made.trained,
                "architecture": made.architecture,
            }
        )

    def committed(self) -> None:
        shutil.rmtree(self.store.scratch(self.name, self.ref.key), ignore_errors=True)

    def _tell(self, report: Report) -> Callable[[int, int], None]:
        return lambda step, steps: report.part_progress(self, PART, step, steps)
