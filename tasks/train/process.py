"""The trainer's process: ``python -m tasks.train.process JOB.json``, or the same under torchrun.

It alone holds the accelerator. It prints one JSON object of progress a line, writes metrics to the store and
TensorBoard, and leaves checkpoints in its folder.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import traceback
import warnings
from pathlib import Path

import torch
from safetensors.torch import load_file

from models.bert import build
from models.objectives.chosen import OBJECTIVES
from models.training.checkpoint import ForeignCheckpoint
from models.training.guard import BadStep
from models.training.loop import BAD_STEPS_IN_A_ROW, Plan, Training
from models.training.optimizer import OptimizerPlan
from models.training.parallel import Parallel
from models.training.schedule import RateSchedule
from models.transformer import Transformer, has_bf16
from tasks.core.process import die_with_parent, emit, is_out_of_memory
from tasks.tokens.tokenizer import Codec
from tasks.train.data import TrainingData, masking_vocabulary
from tasks.train.job import FOR_LESS_MEMORY, Job
from warehouse import log
from warehouse.errors import GristmillError
from warehouse.store import Store

NAMED_DOCUMENTS = 20  # of a bad step's batch, in a sentence


def plan_of(job: Job, bf16: bool) -> Plan:
    """The settings in the words of the training loop."""
    s = job.settings
    last = s.tokens_after(s.last_step)
    return Plan(
        run=job.run.key,
        seed=s.seed,
        steps=s.last_step,
        rate=RateSchedule(s.warmup_tokens, s.decay_tokens or last, s.final_learning_rate_share, s.decay),
        optimizer=OptimizerPlan(
            kind=s.optimizer,
            learning_rate=s.learning_rate,
            muon_learning_rate=s.muon_learning_rate,
            betas=(s.beta1, s.beta2),
            epsilon=s.epsilon,
            weight_decay=s.weight_decay,
        ),
        clip=s.clip,
        bf16=bf16,
        micro_batch=s.micro_batch,
        on_bad_step=s.on_bad_step,
        spike_deviations=s.spike_deviations,
        save_every=s.save_every,
        keep_checkpoints=s.keep_checkpoints,
        pin_every=s.pin_every,
        validate_every=s.validate_every,
        log_every=s.log_every,
        compiled=s.compile,
    )


def network_of(job: Job) -> Transformer:
    """The network with its first weights: drawn from the seed, or imported."""
    model = build(job.settings.model.architecture(job.vocabulary))
    model.recompute = job.settings.recompute
    if job.initial is None:
        return model.initialise(job.settings.seed)
    model.load_state_dict(load_file(job.initial))
    return model


class Metrics:
    """Rows of the metrics table, in files of their own for each start of the process; a query sees them at any time."""

    def __init__(self, job: Job) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._run, self._steps = job.run.key, job.settings.last_step
        self._chunk = log.MetricsChunk(Store(job.store), job.run.key)
        self._board = SummaryWriter(str(Store(job.store).scratch("tensorboard", job.run.key[:12])))

    def add(self, step: int, values: dict[str, float]) -> None:
        """Keeps, publishes and prints the figures of a step."""
        at = log.now()
        self._chunk.add(
            [{"run": self._run, "step": step, "name": name, "value": value, "at": at} for name, value in values.items()]
        )
        for name, value in values.items():
            self._board.add_scalar(name, value, step)
        self._board.flush()
        emit(step=step, steps=self._steps, **values)


class Watch:
    """Watcher: metrics to the store, progress to the parent, and SIGTERM or Ctrl-C, which ask to save and stop."""

    def __init__(self, job: Job, data: TrainingData, rank: int) -> None:
        self._data = data
        self._metrics = Metrics(job) if rank == 0 else None
        self._told: list[int] = []
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, _: self._told.append(number))

    def log(self, step: int, figures: dict[str, float]) -> None:
        """See Watcher."""
        if self._metrics is not None:
            self._metrics.add(step, figures)

    def bad_step(self, bad: BadStep) -> None:
        """See Watcher."""
        if self._metrics is not None:
            emit(skipped=str(bad), documents=self._data.documents_at(bad.step)[:NAMED_DOCUMENTS])
            self.log(bad.step, {"skipped_step": 1.0})

    def stopping(self) -> bool:
        """See Watcher."""
        return bool(self._told)


def run(job: Job) -> None:
    """Trains from the newest checkpoint to the end, or until told to stop."""
    parallel, device, bf16 = _setting(job)
    vocabulary = None
    if job.settings.model.traits.special_tokens:
        codec = Codec.load(Store(job.store), job.tokenizer)
        vocabulary = masking_vocabulary(codec, job.settings.whole_words)
    data = TrainingData(Store(job.store), job.tokens, job.settings, parallel.rank, parallel.world, vocabulary)
    watch = Watch(job, data, parallel.rank)
    try:
        finished = Training(
            network_of(job),
            OBJECTIVES[job.settings.model.objective],
            plan_of(job, bf16),
            data,
            job.folder,
            watch,
            parallel,
            device,
        ).run()
    except BadStep as bad:
        documents = ", ".join(data.documents_at(bad.step)[:NAMED_DOCUMENTS])
        skipping = job.settings.on_bad_step == "skip"
        after = f", after {BAD_STEPS_IN_A_ROW} in a row that were skipped" if skipping else ""
        else_skip = "" if skipping else "set pretrain.on_bad_step=skip, "
        raise GristmillError(
            f"{bad}, and the step was not applied{after}: lower pretrain.learning_rate, {else_skip}"
            f"or look at its documents: {documents}"
        ) from bad
    except ForeignCheckpoint as error:
        raise GristmillError(f"{error}: delete that folder and run the same command again") from error
    if not finished:
        raise GristmillError("training was told to stop; its state is saved, and the same command goes on from there")


def _setting(job: Job) -> tuple[Parallel, torch.device, bool]:
    """This process among its ranks, its device, and whether it computes in bfloat16."""
    kind = _device(job)
    if "RANK" in os.environ:
        torch.distributed.init_process_group("nccl" if kind == "cuda" else "gloo")
    ranks = torch.distributed.is_initialized()
    rank, world = (torch.distributed.get_rank(), torch.distributed.get_world_size()) if ranks else (0, 1)
    torch.set_num_threads(job.settings.threads or max(1, (os.cpu_count() or 1) // world))
    torch.use_deterministic_algorithms(True)
    device = torch.device(f"cuda:{rank % torch.cuda.device_count()}" if kind == "cuda" else "cpu")
    if kind == "cuda":
        torch.cuda.set_device(device)
        torch.set_float32_matmul_precision("high")  # TF32 for what autocast leaves in float32
    bf16 = job.settings.precision == "bf16" or (job.settings.precision == "auto" and has_bf16(device))
    return Parallel(job.settings.parallel, rank, world, bf16 and kind == "cuda"), device, bf16


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
    except OSError as error:
        emit(
            error=f"the trainer cannot write or read in {job.folder} ({error}): make room, and run the same command again"
        )
        return 1
    except Exception as error:
        traceback.print_exc()
        if is_out_of_memory(error):
            emit(error=f"the trainer needs more memory than there is: {FOR_LESS_MEMORY}")
            return 1
        emit(error=f"the trainer failed with {type(error).__name__}: {error}; its log is {job.folder.parent}/train.log")
        return 1
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
    return 0


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Without Python's own finalisation: threads of gloo that want the interpreter then abort the process now and then
    # (pytorch pull request 179291), and a rank that had trained to its end would count as failed.
    os._exit(status)
