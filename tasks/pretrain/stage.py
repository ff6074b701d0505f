"""pretrain: tokens to a checkpoint, in a process of its own."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from safetensors.torch import load_file, save_file

from models.training import checkpoint
from models.transformer import Architecture, Decoder
from tasks.pack import sources_of
from tasks.pretrain.process import Job
from tasks.pretrain.settings import PretrainSettings
from tasks.process import events
from tasks.stage import Made, Report, Stage
from warehouse.artifact import PartWriter, Ref, load, verified_path
from warehouse.errors import GristmillError
from warehouse.store import Store

# glibc gives memory back to the system after each step and faults it in again unless told to keep it;
# these must be set before the process starts.
ENVIRONMENT = {
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # what deterministic algorithms ask for on CUDA
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TOP_PAD_": str(1 << 28),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 34),
}
WEIGHTS, OPTIMIZER, CONFIG = (
    "checkpoint/model.safetensors",
    "checkpoint/optimizer.safetensors",
    "checkpoint/config.json",
)


class Pretrain(Stage):
    """One training run. Inputs: ``tokens``, ``tokenizer``."""

    name = "pretrain"
    version = 1
    in_worker = False
    settings: PretrainSettings

    def plan(self) -> Sequence[str]:
        return ["final"]

    def make(self, part: str, writer: PartWriter, report: Report) -> Made:
        """Runs the trainer to its last step, then publishes the final parameters and optimiser state."""
        scratch = self.store.scratch("pretrain", self.ref.key)
        job = self._job(scratch / "checkpoints")
        (scratch / "job.json").write_text(job.model_dump_json())
        for event in events(
            [*self._launcher(), "-m", "tasks.pretrain.process", str(scratch / "job.json")],
            scratch / "train.log",
            ENVIRONMENT,
        ):
            if "loss" in event:
                held_out = f", held out {event['validation_loss']:.3f}" if "validation_loss" in event else ""
                report.progress(
                    self,
                    event["step"],
                    event["steps"],
                    f"step {event['step']:,} of {event['steps']:,}, loss {event['loss']:.3f}"
                    f"{held_out}, {event['tokens_per_second']:,.0f} tokens/s",
                )
        final = checkpoint.newest(job.folder, self.ref.key)
        if final is None or int(final.stem.removeprefix("step-")) != self.settings.steps:
            raise GristmillError(f"the training in {scratch} left no final checkpoint: run the same command again")
        parameters = self._publish(final, writer, job.architecture, scratch)
        return Made(
            statistics={
                "parameters": parameters,
                "steps": self.settings.steps,
                "architecture": job.architecture.as_dict(),
                "tokens_seen": self.settings.steps * self.settings.batch * self.settings.context,
            }
        )

    def committed(self) -> None:
        shutil.rmtree(self.store.scratch("pretrain", self.ref.key), ignore_errors=True)

    def _job(self, folder: Path) -> Job:
        vocabulary = load(self.store, self.inputs["tokenizer"].ref).statistic("vocabulary")
        if not sources_of(self.store, self.inputs["tokens"].ref):
            raise GristmillError(
                'the corpus is empty: no document was kept; see why with gristmill sql "FROM funnel", and loosen the policy'
            )
        return Job(
            store=self.store.url,
            run=self.ref,
            tokens=self.inputs["tokens"].ref,
            vocabulary=vocabulary,
            settings=self.settings,
            folder=folder,
        )

    def _launcher(self) -> list[str]:
        if self.settings.ranks == 1:
            return [sys.executable]
        return [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            f"--nproc-per-node={self.settings.ranks}",
        ]

    def _publish(self, final: Path, writer: PartWriter, architecture: Architecture, scratch: Path) -> int:
        tensors = load_file(final)
        for name, prefix in ((WEIGHTS, "model."), (OPTIMIZER, "optimizer.")):
            local = scratch / Path(name).name
            save_file(
                {key.removeprefix(prefix): value for key, value in sorted(tensors.items()) if key.startswith(prefix)},
                local,
            )
            writer.file(name, local)
        config = {
            "architecture": architecture.as_dict(),
            "step": self.settings.steps,
            "tokenizer": self.inputs["tokenizer"].identity,
            "tokens": self.inputs["tokens"].identity,
        }
        writer.bytes(CONFIG, json.dumps(config, indent=1, sort_keys=True).encode())
        return sum(value.numel() for key, value in tensors.items() if key.startswith("model."))


def load_model(store: Store, run: Ref, tokenizer: Ref | None = None) -> Decoder:
    """The trained network of a run. Raises GristmillError where it was trained with another tokenizer."""
    files = {file.path: file for file in load(store, run).files("checkpoint")}
    config = json.loads(verified_path(store, run, files[CONFIG]).read_text())
    if tokenizer is not None and config["tokenizer"] != tokenizer.key:
        raise GristmillError(
            f"the checkpoint {run} was trained with the tokenizer {config['tokenizer'][:8]}, not {tokenizer.key[:8]}: "
            "use its own, or train again"
        )
    model = Decoder(Architecture(**config["architecture"]))
    model.load_state_dict(load_file(verified_path(store, run, files[WEIGHTS])))
    return model.eval()
