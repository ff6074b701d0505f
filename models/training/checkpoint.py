"""Training state on disk: atomic to write, verified to read, equal to the bit after a reload.

A checkpoint is one safetensors file (parameters and optimiser state) and a JSON beside it, written last, that
names the step and the file's SHA-256. There is no other state: data order and random draws are functions of
the step.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn


class ForeignCheckpoint(Exception):
    """A checkpoint belongs to another run: other data, tokenizer or settings."""


def state_tensors(model: nn.Module, optimizers: list[torch.optim.Optimizer]) -> dict[str, Tensor]:
    """All tensors of the training state by name."""
    names: dict[Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
    tensors = {f"model.{name}": parameter.detach() for name, parameter in model.named_parameters()}
    for optimizer in optimizers:
        for parameter, state in optimizer.state.items():
            tensors |= {f"optimizer.{kind}.{names[parameter]}": torch.as_tensor(value) for kind, value in state.items()}
    return {name: tensor.contiguous().cpu() for name, tensor in sorted(tensors.items())}


def save(
    folder: Path, step: int, run: str, model: nn.Module, optimizers: list[torch.optim.Optimizer], keep: int
) -> Path:
    """Writes the state after ``step`` and drops all but the newest ``keep`` checkpoints."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step-{step:08d}.safetensors"
    temporary = path.with_suffix(".tmp")
    save_file(state_tensors(model, optimizers), temporary)
    digest = _sync_and_hash(temporary)
    os.replace(temporary, path)
    record = path.with_suffix(".tmp")
    record.write_text(json.dumps({"step": step, "run": run, "sha256": digest}))
    _sync_and_hash(record)
    os.replace(record, path.with_suffix(".json"))
    for old in sorted(folder.glob("step-*.json"))[:-keep]:
        old.unlink()
        old.with_suffix(".safetensors").unlink(missing_ok=True)
    return path


def newest(folder: Path, run: str) -> Path | None:
    """The newest checkpoint whose bytes are the ones its record names; damaged ones are passed over.

    Raises ForeignCheckpoint for one of another run.
    """
    for record_path in sorted(folder.glob("step-*.json"), reverse=True):
        try:
            record = json.loads(record_path.read_text())
            digest = _hash(record_path.with_suffix(".safetensors"))
        except (OSError, ValueError):
            continue
        if record["run"] != run:
            raise ForeignCheckpoint(
                f"the checkpoint {record_path.stem} in {folder} belongs to run {record['run'][:8]}, not {run[:8]}"
            )
        if digest == record["sha256"]:
            return record_path.with_suffix(".safetensors")
    return None


def restore(path: Path, model: nn.Module, optimizers: list[torch.optim.Optimizer]) -> int:
    """Loads a checkpoint in place; returns its step."""
    tensors = load_file(path)
    owner = {
        parameter: optimizer
        for optimizer in optimizers
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for full_name, value in tensors.items():
            kind, name = full_name.split(".", 1)
            if kind == "model":
                parameters[name].copy_(value)
            else:
                state, name = name.split(".", 1)
                parameter = parameters[name]
                owner[parameter].state[parameter][state] = value.to(parameter.device)
    return int(path.stem.removeprefix("step-"))


def _sync_and_hash(path: Path) -> str:
    with path.open("rb") as handle:
        os.fsync(handle.fileno())
    return _hash(path)


def _hash(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
