"""The trainer's process: ``python -m tasks.pretrain.process JOB.json``, or the same under torchrun.

It alone holds the accelerator. It prints one JSON object of progress a line, writes metrics to the store and
TensorBoard, and leaves checkpoints in its folder.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import warnings
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from pydantic import BaseModel

from models.training.checkpoint import ForeignCheckpoint
from models.training.loop import NonFiniteLoss, Plan, mean_loss, train
from models.transformer import Architecture, Decoder, has_bf16
from tasks.pretrain.data import TrainingData
from tasks.pretrain.settings import PretrainSettings
from tasks.process import die_with_parent, emit
from warehouse import log, schemas
from warehouse.artifact import Ref
from warehouse.errors import GristmillError
from warehouse.store import Store

METRIC_ROWS_A_CHUNK = 2000


class Job(BaseModel):
    """What the trainer needs to know."""

    store: str
    run: Ref
    tokens: Ref
    vocabulary: int
    settings: PretrainSettings
    folder: Path

    def plan(self, bf16: bool) -> Plan:
        """The settings in the words of the training loop."""
        s = self.settings
        muon = s.muon_learning_rate if s.optimizer == "muon" else None
        return Plan(
            run=self.run.key,
            seed=s.seed,
            steps=s.steps,
            warmup_steps=s.warmup_steps,
            peak_learning_rate=s.learning_rate,
            final_learning_rate_share=s.final_learning_rate_share,
            weight_decay=s.weight_decay,
            betas=(s.beta1, s.beta2),
            clip=s.clip,
            muon_learning_rate=muon,
            bf16=bf16,
            micro_batch=s.micro_batch,
            save_every=s.save_every,
            keep_checkpoints=s.keep_checkpoints,
            validate_every=s.validate_every,
            log_every=s.log_every,
        )

    @property
    def architecture(self) -> Architecture:
        """The model's shape."""
        s = self.settings
        return Architecture(
            vocabulary=self.vocabulary,
            context=s.context,
            layers=s.layers,
            heads=s.heads,
            width=s.width,
            dropout=s.dropout,
        )


class Metrics:
    """Rows of the metrics table: one Parquet file a process start, rewritten whole, so a query sees it at any time."""

    def __init__(self, job: Job) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._store, self._run, self._steps = Store(job.store), job.run.key, job.settings.steps
        self._rows: list[dict[str, Any]] = []
        self._started = f"{log.now():%Y%m%dT%H%M%S.%f}"
        board = self._store.scratch("tensorboard", job.run.key[:12])
        self._board = SummaryWriter(str(board))

    def add(self, step: int, values: dict[str, float]) -> None:
        """Keeps, publishes and prints the figures of a step."""
        at = log.now()
        self._rows += [
            {"run": self._run, "step": step, "name": name, "value": value, "at": at} for name, value in values.items()
        ]
        for name, value in values.items():
            self._board.add_scalar(name, value, step)
        emit(step=step, steps=self._steps, **values)

    def flush(self) -> None:
        """Makes what was added visible to queries."""
        if not self._rows:
            return
        first = self._rows[0]["step"]
        with self._store.writing(f"{log.METRICS}/{self._run}/{self._started}-{first:08d}.parquet") as path:
            pq.write_table(pa.Table.from_pylist(self._rows, schema=schemas.METRICS), path)
        self._board.flush()
        if len(self._rows) > METRIC_ROWS_A_CHUNK:
            self._rows = []


def run(job: Job) -> None:
    """Trains from the newest checkpoint to the end, or until told to stop."""
    distributed = "RANK" in os.environ
    if distributed:
        torch.distributed.init_process_group("nccl" if _device(job) == "cuda" else "gloo")
    rank, world = (torch.distributed.get_rank(), torch.distributed.get_world_size()) if distributed else (0, 1)
    torch.set_num_threads(job.settings.threads or max(1, (os.cpu_count() or 1) // world))
    torch.use_deterministic_algorithms(True)
    device = torch.device(f"cuda:{rank % torch.cuda.device_count()}" if _device(job) == "cuda" else "cpu")
    bf16 = job.settings.precision == "bf16" or (job.settings.precision == "auto" and has_bf16(device))
    data = TrainingData(Store(job.store), job.tokens, job.settings, rank, world)
    model = Decoder(job.architecture).initialise(job.settings.seed).to(device)
    held_out = data.validation_batches(job.settings.validation_sequences) if rank == 0 else []
    if rank == 0 and not held_out:
        raise GristmillError(
            "no held-out text is as long as the model's context: raise pack.validation_share, or lower pretrain.context"
        )
    metrics = Metrics(job) if rank == 0 else None
    stop: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stop.append(number))

    def on_log(step: int, values: dict[str, float]) -> None:
        if metrics is not None:
            metrics.add(step, values)
            metrics.flush()

    def stopping() -> bool:
        if not distributed:
            return bool(stop)
        flag = torch.tensor(float(bool(stop)), device=device)
        torch.distributed.all_reduce(flag)
        return bool(flag)

    try:
        finished = train(
            model,
            job.plan(bf16),
            data.batch_at,
            lambda: mean_loss(model, iter(held_out), bf16),
            job.folder,
            on_log,
            lambda path: emit(saved=path.stem),
            stopping,
        )
    except NonFiniteLoss as error:
        documents = ", ".join(data.documents_at(error.step)[:20])
        raise GristmillError(f"{error}: lower pretrain.learning_rate, or look at its documents: {documents}") from error
    except ForeignCheckpoint as error:
        raise GristmillError(f"{error}: delete that folder and run the same command again") from error
    if not finished:
        raise GristmillError("training was told to stop; its state is saved, and the same command goes on from there")


def _device(job: Job) -> str:
    if job.settings.device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if job.settings.device == "cuda" and not torch.cuda.is_available():
        raise GristmillError("pretrain.device is cuda, but torch sees no GPU here: set it to auto")
    return job.settings.device


def main() -> int:
    """Reads the job, trains, and says in one sentence what went wrong."""
    parser = argparse.ArgumentParser()
    parser.add_argument("job", type=Path)
    job = Job.model_validate_json(parser.parse_args().job.read_text())
    warnings.filterwarnings("ignore", category=UserWarning)
    die_with_parent()
    try:
        run(job)
    except GristmillError as error:
        emit(error=str(error))
        return 1
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
    return 0


if __name__ == "__main__":
    sys.exit(main())
