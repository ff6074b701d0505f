"""pretrain: tokens to a checkpoint, in a process of its own."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tasks.core.process import events
from tasks.core.stage import Made, Report, Stage
from tasks.tokens.pack import TokenStream, sources_of
from tasks.train.job import FOR_LESS_MEMORY, Job, weights_path
from tasks.train.settings import SHORTEST_HELD_OUT, PretrainSettings
from warehouse.artifact import PartWriter, load
from warehouse.errors import GristmillError
from warehouse.store import user_cache

# glibc gives memory back to the system after each step and faults it in again unless told to keep it;
# these must be set before the process starts.
ENVIRONMENT = {
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # what deterministic algorithms ask for on CUDA
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TOP_PAD_": str(1 << 28),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 34),
}


class Pretrain(Stage):
    """One training run. Inputs: ``tokens``, ``tokenizer``, and ``initial`` where it starts from weights that are there."""

    name = "pretrain"
    version = 2
    in_worker = False
    alone = True  # two trainers on the same cores, or the same GPU, take many times as long as one after the other
    subject_is_content = False
    settings: PretrainSettings

    def plan(self) -> Sequence[str]:
        return ["final"]

    def make(self, part: str, writer: PartWriter, report: Report) -> Made:
        """Runs the trainer to its last step, then publishes the final parameters and optimiser state."""
        scratch = self.store.scratch("pretrain", self.ref.key)
        job = self._job(scratch / "checkpoints")
        (scratch / "job.json").write_text(job.model_dump_json())
        environment = ENVIRONMENT | {"TORCHINDUCTOR_CACHE_DIR": str(user_cache("inductor"))}
        command = [*self._launcher(), "-m", "tasks.train.process", str(scratch / "job.json")]
        for event in events(command, scratch / "train.log", environment, FOR_LESS_MEMORY):
            if "loss" in event:
                report.progress(self, event["step"], event["steps"], _progress(event))
            elif "skipped" in event:
                report.note(self, f"{event['skipped']}: left out; its documents: {', '.join(event['documents'])}")
        from tasks.train.published import publish

        architecture = self.settings.model.architecture(job.vocabulary)
        publish(job, architecture, writer)
        last = self.settings.last_step
        return Made(
            statistics={
                "parameters": architecture.parameter_count(),
                "steps": last,
                "architecture": architecture.as_dict(),
                "tokens_seen": self.settings.tokens_after(last),
                "objective": self.settings.model.objective,
                "flops_per_token": architecture.flops_per_token(),
                "tokens_at": {
                    str(step): self.settings.tokens_after(step) for step in (*self.settings.pinned_steps, last)
                },
            }
        )

    def committed(self) -> None:
        shutil.rmtree(self.store.scratch("pretrain", self.ref.key), ignore_errors=True)

    def _job(self, folder: Path) -> Job:
        vocabulary = load(self.store, self.inputs["tokenizer"].ref).statistic("vocabulary")
        vocabulary += len(self.settings.model.traits.special_tokens)
        if not sources_of(self.store, self.inputs["tokens"].ref):
            raise GristmillError(
                'the corpus is empty: no document was kept; see why with gristmill sql "FROM funnel", and loosen the policy'
            )
        mixture = self.settings.mixture
        trained = [source for source in sources_of(self.store, self.inputs["tokens"].ref) if mixture.get(source, 0) > 0]
        streams = [TokenStream(self.store, self.inputs["tokens"].ref, source, "validation") for source in trained]
        if trained and max(stream.length for stream in streams) < SHORTEST_HELD_OUT:
            raise GristmillError(
                "nothing of the sources that are trained on can be held out, and the model could not be evaluated: "
                "give one of them a document of some words"
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
            "tasks.train.launch",
            "--standalone",
            f"--nproc-per-node={self.settings.ranks}",
        ]


def _progress(event: dict[str, Any]) -> str:
    held_out = f", held out {event['validation_loss']:.3f}" if "validation_loss" in event else ""
    right = f", {event['masked_accuracy']:.1%} right" if "masked_accuracy" in event else ""
    return (
        f"step {event['step']:,} of {event['steps']:,}, loss {event['loss']:.3f}"
        f"{held_out}{right}, {event['tokens_per_second']:,.0f} tokens/s"
    )
