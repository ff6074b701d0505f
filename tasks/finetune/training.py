"""A network fine-tuned in this process: the training loop of pretraining over labelled examples, resumed to the bit as that is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from models.finetuned import FineTuned
from models.objectives.labels import LabelledBatch, Labels, answered
from models.training.epochs import Epochs
from models.training.loop import Plan, Training
from models.training.parallel import Parallel
from tasks.finetune.encode import Encoded, batch_of
from tasks.finetune.settings import TuningSettings
from tasks.train.within import Schedule, Watch

VALIDATED = 256  # examples of the dev set that are looked at at the end


def labelled_data(
    examples: Sequence[Encoded],
    dev: Sequence[Encoded],
    settings: TuningSettings,
    seed: int,
    identity: str,
    number: bool,
) -> Epochs:
    """The examples epoch by epoch."""
    held_out = [
        batch_of(dev[at : at + settings.micro_batch], number)
        for at in range(0, min(len(dev), VALIDATED), settings.micro_batch)
    ]
    return Epochs(
        len(examples),
        lambda rows: batch_of([examples[row] for row in rows], number),
        settings.batch,
        settings.epochs,
        seed,
        identity,
        held_out,
    )


def plan_of(settings: TuningSettings, run: str, seed: int, data: Epochs) -> Plan:
    """The settings in the words of the training loop."""
    schedule = Schedule(
        settings.learning_rate, settings.weight_decay, settings.clip, settings.warmup_share, settings.decay
    )
    bf16 = settings.precision == "bf16"
    return schedule.plan(run, seed, data.steps, data.seen, bf16, settings.micro_batch, settings.save_every)


def tuned(
    model: FineTuned,
    labels: Labels,
    plan: Plan,
    data: Epochs,
    folder: Path,
    tell: Callable[[int], None],
    device: torch.device,
) -> FineTuned:
    """Trains from the newest checkpoint in the folder to the end. Raises BadStep where a number is not finite."""
    Training(model, labels.objective, plan, data, folder, Watch(tell), Parallel(), device).run()
    return model.eval()


@torch.inference_mode()
def scores(
    model: FineTuned, labels: Labels, examples: Sequence[Encoded], settings: TuningSettings
) -> list[npt.NDArray[np.float64]]:
    """Of each example the log-probability in nats of each class or choice, or the number; batched by length."""
    device = model.head.weight.device
    order = sorted(range(len(examples)), key=lambda row: max(len(one.ids) for one in examples[row].sequences))
    found: list[npt.NDArray[np.float64]] = [np.empty(0)] * len(examples)
    for at in range(0, len(order), settings.micro_batch):
        rows = order[at : at + settings.micro_batch]
        batch = LabelledBatch(*(one.to(device) for one in batch_of([examples[row] for row in rows], labels.number)))
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=settings.precision == "bf16"):
            said, _ = answered(model, batch, text=False)
        said = said.double() if labels.number else torch.log_softmax(said.double(), 1)
        for row, values in zip(rows, said.cpu().numpy(), strict=True):
            found[row] = values[: len(examples[row].sequences)] if model.ranks else values
    return found
