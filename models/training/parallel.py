"""How ranks share a step: alone, with whole copies (DDP), or with slices of everything (FSDP2). Kept out of the model."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

Kind = Literal["ddp", "fsdp"]


@dataclass(frozen=True)
class Parallel:
    """This process's place among the ranks, and how they share parameters. torch.distributed is set up by the caller."""

    kind: Kind = "ddp"
    rank: int = 0
    world: int = 1
    bf16_parameters: bool = False  # slices are gathered in bfloat16 for the computation; the optimiser sees float32

    @property
    def first(self) -> bool:
        """Whether this rank speaks for all."""
        return self.rank == 0

    def wrap(self, loss_of: Any, device: torch.device) -> nn.Module:
        """The loss module of this rank on its device; its ``model`` has ``blocks``.

        Slices are cut before anything moves to the device, which never holds the whole model. Under FSDP each block is
        a unit, and all the rest another, so that the tied embedding is gathered once for both of its uses.
        """
        if self.world == 1:
            return loss_of.to(device)  # type: ignore[no-any-return]
        if self.kind == "ddp":
            return DistributedDataParallel(loss_of.to(device))
        from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard  # seconds that one rank need not wait

        # Inputs stay as they are: BERT's weights of predictions are float32 on purpose.
        policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32, cast_forward_inputs=False)
        options: dict[str, Any] = {"mp_policy": policy} if self.bf16_parameters else {}
        for block in loss_of.model.blocks:
            fully_shard(block, **options)
        fully_shard(loss_of, **options)
        return loss_of  # type: ignore[no-any-return]

    def gradients_meet(self, loss_of: nn.Module, last: bool) -> AbstractContextManager[None]:
        """Around each micro-batch: the ranks' gradients are averaged in the last one's backward pass."""
        if self.world > 1 and self.kind == "ddp" and not last:
            return loss_of.no_sync()  # type: ignore[operator, no-any-return]
        if self.world > 1 and self.kind == "fsdp":
            loss_of.set_requires_gradient_sync(last)  # type: ignore[operator]
        return contextlib.nullcontext()

    def settle(self, loss_of: nn.Module) -> None:
        """After a forward pass that no backward pass follows: what was gathered is let go."""
        if self.world > 1 and self.kind == "fsdp":
            loss_of.reshard()  # type: ignore[operator]

    def sum(self, value: Tensor) -> float:
        """The sum of a figure over the ranks."""
        if self.world > 1:
            dist.all_reduce(value)
        return float(value)

    def any(self, flag: bool) -> bool:
        """Whether any rank says so."""
        return bool(self.sum(torch.tensor(float(flag), device=self._device))) if self.world > 1 else flag

    def barrier(self) -> None:
        """Waits for all ranks."""
        if self.world > 1:
            self.sum(torch.zeros((), device=self._device))

    @property
    def _device(self) -> torch.device:
        return torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")


def whole(tensor: Tensor) -> Tensor:
    """A tensor that FSDP may hold in slices (a DTensor), gathered; every rank calls this."""
    gathered = getattr(tensor, "full_tensor", None)
    return tensor if gathered is None else gathered()


def as_held(value: Tensor, parameter: Tensor) -> Tensor:
    """A whole tensor in the place and in the slices in which a parameter is held."""
    value = value.to(parameter.device)
    if not hasattr(parameter, "device_mesh"):
        return value
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(parameter, DTensor)
    return distribute_tensor(value, parameter.device_mesh, parameter.placements)
