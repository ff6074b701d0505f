"""pretrain: tokens to a checkpoint, in a process of its own."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from models.architecture import Architecture
from models.bert import build
from models.training import checkpoint
from models.training.masking import SPECIAL_TOKENS
from models.transformer import Transformer
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
    """One training run. Inputs: ``tokens``, ``tokenizer``, and ``initial`` where it starts from imported weights."""

    name = "pretrain"
    version = 2
    in_worker = False
    settings: PretrainSettings

    def plan(self) -> Sequence[str]:
        return ["final"]

    def make(self, part: str, writer: PartWriter, report: Report) -> Made:
        """Runs the trainer to its last step, then publishes the final parameters and optimiser state."""
        scratch = self.store.scratch("pretrain", self.ref.key)
        job = self._job(scratch / "checkpoints")
        (scratch / "job.json").write_text(job.model_dump_json())
        environment = ENVIRONMENT | {"TORCHINDUCTOR_CACHE_DIR": str(self.store.scratch("inductor"))}
        command = [*self._launcher(), "-m", "tasks.pretrain.process", str(scratch / "job.json")]
        for event in events(command, scratch / "train.log", environment):
            if "loss" in event:
                report.progress(self, event["step"], event["steps"], _progress(event))
            elif "skipped" in event:
                report.note(self, f"{event['skipped']}: left out; its documents: {', '.join(event['documents'])}")
        final = checkpoint.newest(job.folder, self.ref.key)
        if final is None or checkpoint.step_of(final) != self.settings.last_step:
            raise GristmillError(f"the training in {scratch} left no final checkpoint: run the same command again")
        architecture = self.settings.model.architecture(job.vocabulary)
        self._publish(final, writer, architecture, scratch)
        return Made(
            statistics={
                "parameters": architecture.parameter_count(),
                "steps": self.settings.last_step,
                "architecture": architecture.as_dict(),
                "tokens_seen": self.settings.tokens_after(self.settings.last_step),
            }
        )

    def committed(self) -> None:
        shutil.rmtree(self.store.scratch("pretrain", self.ref.key), ignore_errors=True)

    def _job(self, folder: Path) -> Job:
        vocabulary = load(self.store, self.inputs["tokenizer"].ref).statistic("vocabulary")
        if self.settings.model.family == "bert":
            vocabulary += len(SPECIAL_TOKENS)
        if not sources_of(self.store, self.inputs["tokens"].ref):
            raise GristmillError(
                'the corpus is empty: no document was kept; see why with gristmill sql "FROM funnel", and loosen the policy'
            )
        return Job(
            store=self.store.url,
            run=self.ref,
            tokens=self.inputs["tokens"].ref,
            tokenizer=self.inputs["tokenizer"].ref,
            vocabulary=vocabulary,
            settings=self.settings,
            folder=folder,
            initial=weights_path(self.store, self.inputs["initial"].ref) if "initial" in self.inputs else None,
        )

    def _launcher(self) -> list[str]:
        if self.settings.ranks == 1:
            return [sys.executable]
        return [
            sys.executable,
            "-m",
            "tasks.pretrain.launch",
            "--standalone",
            f"--nproc-per-node={self.settings.ranks}",
        ]

    def _publish(self, final: Path, writer: PartWriter, architecture: Architecture, scratch: Path) -> None:
        """The final weights and optimiser state, the weights of pinned steps, and what they belong to."""
        for name, prefix in ((WEIGHTS, "model."), (OPTIMIZER, "optimizer.")):
            self._publish_tensors(final, prefix, writer, name, scratch)
        every = self.settings.pin_every
        for step in range(every, self.settings.last_step, every) if every else ():
            path = checkpoint.pinned(final.parent, self.ref.key, step)
            if path is None:
                raise GristmillError(
                    f"the pinned checkpoint of step {step} in {final.parent} is damaged or gone: delete that folder and run "
                    "the same command again"
                )
            self._publish_tensors(path, "model.", writer, f"pinned/{path.name}", scratch)
        config = {
            "architecture": architecture.as_dict(),
            "step": self.settings.last_step,
            "tokenizer": self.inputs["tokenizer"].identity,
            "tokens": self.inputs["tokens"].identity,
        }
        writer.bytes(CONFIG, json.dumps(config, indent=1, sort_keys=True).encode())

    def _publish_tensors(self, path: Path, prefix: str, writer: PartWriter, name: str, scratch: Path) -> None:
        """The tensors of a checkpoint whose names begin so, without that beginning."""
        local = scratch / Path(name).name
        tensors = {key: value for key, value in load_file(path).items() if key.startswith(prefix)}
        save_file({key.removeprefix(prefix): value for key, value in sorted(tensors.items())}, local)
        writer.file(name, local)
        local.unlink(missing_ok=True)


def _progress(event: dict[str, Any]) -> str:
    held_out = f", held out {event['validation_loss']:.3f}" if "validation_loss" in event else ""
    right = f", {event['masked_accuracy']:.1%} right" if "masked_accuracy" in event else ""
    return (
        f"step {event['step']:,} of {event['steps']:,}, loss {event['loss']:.3f}"
        f"{held_out}{right}, {event['tokens_per_second']:,.0f} tokens/s"
    )


def weights_path(store: Store, run: Ref) -> Path:
    """The verified file of a run's or an import's final weights."""
    files = {file.path: file for file in load(store, run).files("checkpoint")}
    return verified_path(store, run, files[WEIGHTS])


def load_model(store: Store, run: Ref, tokenizer: Ref | None = None) -> Transformer:
    """The trained network of a run. Raises GristmillError where it was trained with another tokenizer."""
    files = {file.path: file for file in load(store, run).files("checkpoint")}
    config = json.loads(verified_path(store, run, files[CONFIG]).read_text())
    if tokenizer is not None and config["tokenizer"] != tokenizer.key:
        raise GristmillError(
            f"the checkpoint {run} was trained with the tokenizer {config['tokenizer'][:8]}, not {tokenizer.key[:8]}: "
            "use its own, or train again"
        )
    model = build(Architecture(**config["architecture"]))
    model.load_state_dict(load_file(weights_path(store, run)))
    return model.eval()
