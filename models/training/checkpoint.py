"""Training state on disk: atomic to write, verified to read, equal to the bit after a reload.

A checkpoint is one safetensors file (parameters, optimiser state and the record of recent losses) and a JSON beside
it, written last, that names the step and the file's SHA-256. There is no other state: data order and random draws
are functions of the step.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from models.training.parallel import as_held, whole

GUARD = "guard.statistics"
KINDS = {torch.float32: "F32", torch.float64: "F64", torch.bfloat16: "BF16", torch.float16: "F16", torch.int64: "I64"}
WRITE_BYTES = 1 << 22


class ForeignCheckpoint(Exception):
    """A checkpoint belongs to another run: other data, tokenizer or settings."""


def state_tensors(model: nn.Module, optimizers: list[torch.optim.Optimizer], guard: Tensor) -> dict[str, Tensor]:
    """All tensors of the training state by name, in the slices in which ranks hold them."""
    names: dict[Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
    tensors = {f"model.{name}": parameter.detach() for name, parameter in model.named_parameters()}
    for optimizer in optimizers:
        for parameter, state in optimizer.state.items():
            tensors |= {f"optimizer.{kind}.{names[parameter]}": torch.as_tensor(value) for kind, value in state.items()}
    return dict(sorted((tensors | {GUARD: guard}).items()))


class Saver:
    """Writes checkpoints beside the training: a save copies the state and returns, a thread does the rest.

    ``keep`` newest checkpoints are kept, and every one whose step ``pin_every`` divides (0: none). Every rank calls
    ``save``, since slices are gathered, a tensor at a time; the one that ``writes`` keeps what it gathers.
    """

    def __init__(self, folder: Path, run: str, keep: int, pin_every: int = 0, writes: bool = True) -> None:
        self.folder, self.run, self.keep, self.pin_every, self.writes = folder, run, keep, pin_every, writes
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None
        self._copies: dict[str, Tensor] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def save(self, step: int, tensors: Mapping[str, Tensor]) -> None:
        """Takes the state after ``step``. Raises OSError where the save before could not be written."""
        self.wait()
        with torch.no_grad():
            for name, held in tensors.items():
                value = whole(held)
                if not self.writes:
                    continue
                if name not in self._copies:
                    self._copies[name] = torch.empty(value.shape, dtype=value.dtype)
                self._copies[name].copy_(value)
        if not self.writes:
            return
        self._thread = threading.Thread(target=self._write, args=(step,), name=f"save-{step}")
        self._thread.start()

    def wait(self) -> None:
        """Until the last save is durable. Raises OSError where it could not be written."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._failure is not None:
            raise self._failure

    def _write(self, step: int) -> None:
        try:
            write(self.folder, step, self.run, dict(sorted(self._copies.items())))
            self._drop_old()
        except BaseException as error:  # the training thread raises it
            self._failure = error

    def _drop_old(self) -> None:
        records = sorted(self.folder.glob("step-*.json"))
        for old in records[: -self.keep]:
            if not self.pin_every or step_of(old) % self.pin_every:
                old.unlink()
                old.with_suffix(".safetensors").unlink(missing_ok=True)


def write(folder: Path, step: int, run: str, tensors: Mapping[str, Tensor]) -> Path:
    """One checkpoint, durable when this returns."""
    path = folder / name_of(step)
    temporary = path.with_suffix(".tmp")
    digest = _write_safetensors(temporary, tensors)
    os.replace(temporary, path)
    record = path.with_suffix(".json.tmp")
    with record.open("w") as handle:
        json.dump({"step": step, "run": run, "sha256": digest}, handle)
        handle.flush()
        os.fsync(handle.fileno())
    os.replace(record, path.with_suffix(".json"))
    descriptor = os.open(folder, os.O_RDONLY)  # the renames too are to outlive a lost power
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return path


def _write_safetensors(path: Path, tensors: Mapping[str, Tensor]) -> str:
    """The format of safetensors, written and hashed in one pass that lets other threads run; returns the SHA-256."""
    header: dict[str, Any] = {}
    start = 0
    for name, value in tensors.items():
        end = start + value.numel() * value.element_size()
        header[name] = {"dtype": KINDS[value.dtype], "shape": list(value.shape), "data_offsets": [start, end]}
        start = end
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    digest = hashlib.sha256()
    with path.open("wb", buffering=0) as handle:
        for piece in (len(head).to_bytes(8, "little"), head):
            handle.write(piece)
            digest.update(piece)
        for value in tensors.values():
            data: Any = value.reshape(-1).view(torch.uint8).numpy()
            for first in range(0, len(data), WRITE_BYTES):
                handle.write(data[first : first + WRITE_BYTES])
                digest.update(data[first : first + WRITE_BYTES])
        os.fsync(handle.fileno())
    return digest.hexdigest()


def name_of(step: int) -> str:
    """The file of a step."""
    return f"step-{step:08d}.safetensors"


def step_of(path: Path) -> int:
    """The step that a checkpoint was written after."""
    return int(path.name.removeprefix("step-").partition(".")[0])


def newest(folder: Path, run: str) -> Path | None:
    """The newest checkpoint whose bytes are the ones its record names; damaged ones are passed over.

    Raises ForeignCheckpoint for one of another run.
    """
    return next(
        (path for record in sorted(folder.glob("step-*.json"), reverse=True) if (path := _valid(record, run))), None
    )


def pinned(folder: Path, run: str, step: int) -> Path | None:
    """The checkpoint of one step, or None where it is missing or damaged."""
    return _valid(folder / f"step-{step:08d}.json", run)


def _valid(record_path: Path, run: str) -> Path | None:
    """The checkpoint that a record names, if its bytes are the record's. Raises ForeignCheckpoint."""
    path = record_path.with_suffix(".safetensors")
    try:
        record = json.loads(record_path.read_text())
        owner, expected = str(record["run"]), record["sha256"]
        with path.open("rb") as handle:
            digest = hashlib.file_digest(handle, "sha256").hexdigest()
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if owner != run:
        raise ForeignCheckpoint(f"the checkpoint {path.stem} in {path.parent} is of run {owner[:8]}, not {run[:8]}")
    return path if digest == expected else None


def restore(path: Path, model: nn.Module, optimizers: list[torch.optim.Optimizer], guard: Tensor) -> int:
    """Loads a checkpoint in place; returns its step."""
    tensors = load_file(path)
    owner = {
        parameter: optimizer
        for optimizer in optimizers
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    guard.copy_(tensors.pop(GUARD))
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for full_name, value in tensors.items():
            kind, name = full_name.split(".", 1)
            if kind == "model":
                parameters[name].copy_(as_held(value, parameters[name]))
            else:
                state, name = name.split(".", 1)
                parameter = parameters[name]
                held = value.to(parameter.device) if value.ndim == 0 else as_held(value, parameter)
                owner[parameter].state[parameter][state] = held
    return step_of(path)
