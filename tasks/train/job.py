"""What the trainer's process needs to know, and where its results lie: the stage and the process share it."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel

from tasks.train.settings import PretrainSettings
from warehouse.artifact import Ref, load, verified_path
from warehouse.store import Store

WEIGHTS = "checkpoint/model.safetensors"
OPTIMIZER = "checkpoint/optimizer.safetensors"
CONFIG = "checkpoint/config.json"
PINNED = "pinned"  # folder of checkpoints before the last
FOR_LESS_MEMORY = "lower pretrain.micro_batch, or set pretrain.recompute=true, or train a smaller model"


class Job(BaseModel):
    """One training run."""

    store: str
    run: Ref
    tokens: Ref
    tokenizer: Ref
    vocabulary: int
    settings: PretrainSettings
    folder: Path
    initial: Path | None = None


def weights_path(store: Store, run: Ref) -> Path:
    """The verified file of a run's or an import's final weights."""
    files = {file.path: file for file in load(store, run).files("checkpoint")}
    return verified_path(store, run, files[WEIGHTS])
