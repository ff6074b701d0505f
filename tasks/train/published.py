"""A run's checkpoints as files of an artifact, and its network back from them."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import load_file, save_file

from models.architecture import Architecture
from models.bert import build
from models.training import checkpoint
from models.transformer import Transformer
from tasks.train.job import CONFIG, OPTIMIZER, PINNED, WEIGHTS, Job, weights_path
from tasks.train.runs import KnownRun
from warehouse.artifact import PartWriter, Ref, load, verified_path
from warehouse.errors import GristmillError
from warehouse.store import Store


def publish(job: Job, architecture: Architecture, writer: PartWriter) -> None:
    """The final weights and optimiser state, the weights of pinned steps, and what they belong to.

    Raises GristmillError where the training did not get to its end, or a pinned checkpoint is damaged.
    """
    last = job.settings.last_step
    final = checkpoint.newest(job.folder, job.run.key)
    if final is None or checkpoint.step_of(final) != last:
        raise GristmillError(f"the training in {job.folder} left no final checkpoint: run the same command again")
    _publish_tensors(final, "model.", writer, WEIGHTS)
    _publish_tensors(final, "optimizer.", writer, OPTIMIZER)
    for step in job.settings.pinned_steps:
        path = checkpoint.pinned(job.folder, job.run.key, step)
        if path is None:
            raise GristmillError(
                f"the pinned checkpoint of step {step} in {job.folder} is damaged or gone: delete that folder and run "
                "the same command again"
            )
        _publish_tensors(path, "model.", writer, f"{PINNED}/{path.name}")
    config = {
        "architecture": architecture.as_dict(),
        "step": last,
        "tokenizer": job.tokenizer.key,
        "tokens": job.tokens.key,
    }
    writer.bytes(CONFIG, json.dumps(config, indent=1, sort_keys=True).encode())


def _publish_tensors(path: Path, prefix: str, writer: PartWriter, name: str) -> None:
    """The tensors of a checkpoint whose names begin so, without that beginning."""
    local = path.parent.parent / Path(name).name
    tensors = {key: value for key, value in load_file(path).items() if key.startswith(prefix)}
    save_file({key.removeprefix(prefix): value for key, value in sorted(tensors.items())}, local)
    writer.file(name, local)
    local.unlink(missing_ok=True)


def load_run(store: Store, run: KnownRun) -> tuple[Transformer, int]:
    """A run's network and the step that it is of: the one that is meant, its last, or of a run under way the newest saved.

    Raises GristmillError where there is none yet.
    """
    if run.job is None:
        return load_model(store, run.ref, step=run.step), run.step or int(load(store, run.ref).statistic("steps"))
    folder, step = run.job.folder, run.step
    path = checkpoint.newest(folder, run.key) if step is None else checkpoint.pinned(folder, run.key, step)
    if path is None:
        raise GristmillError(f"the run {run.title} has saved no such checkpoint yet: wait for one, or name another run")
    model = build(run.settings.model.architecture(run.job.vocabulary))
    tensors = {name: value for name, value in load_file(path).items() if name.startswith("model.")}
    model.load_state_dict({name.removeprefix("model."): value for name, value in tensors.items()})
    return model.eval(), checkpoint.step_of(path)


def load_model(store: Store, run: Ref, tokenizer: Ref | None = None, step: int | None = None) -> Transformer:
    """The trained network of a run, or the one that it pinned at a step.

    Raises GristmillError where it was trained with another tokenizer.
    """
    files = {file.path: file for file in load(store, run).files("checkpoint")}
    config = json.loads(verified_path(store, run, files[CONFIG]).read_text())
    if tokenizer is not None and config["tokenizer"] != tokenizer.key:
        raise GristmillError(
            f"the checkpoint {run} was trained with the tokenizer {config['tokenizer'][:8]}, not {tokenizer.key[:8]}: "
            "use its own, or train again"
        )
    model = build(Architecture(**config["architecture"]))
    if step is None:
        model.load_state_dict(load_file(weights_path(store, run)))
    else:
        pinned = {file.path: file for file in load(store, run).files(PINNED)}
        model.load_state_dict(load_file(verified_path(store, run, pinned[f"{PINNED}/{checkpoint.name_of(step)}"])))
    return model.eval()
