"""What a training run costs before it is run: parameters, memory a GPU, arithmetic, days and money.

Nothing is measured here. Arithmetic is 6 N a token (Kaplan et al. 2020) plus 12 L d T for the scores of dense
attention; activations are 34 bytes a token, layer and width (Korthikanti et al. 2022, equation 2, without scores,
which fused attention does not keep).
"""

from __future__ import annotations

from dataclasses import dataclass

from models.architecture import Architecture

STATE_BYTES = 16  # float32 weights, gradients and Adam's two moments
ACTIVATION_BYTES = 34
RECOMPUTED_ACTIVATION_BYTES = 4  # a block's input, at most in float32, is all that is kept
GATHERED_UNITS = 2  # blocks whose bfloat16 weights are whole at a time: the one at work and the next
SECONDS_A_DAY = 86_400


@dataclass(frozen=True)
class Gpu:
    """A GPU's dense bfloat16 arithmetic (float16 for V100) and memory, by its data sheet."""

    flops: float
    memory_bytes: float


GPUS = {
    "v100": Gpu(125e12, 32e9),
    "a100": Gpu(312e12, 80e9),
    "h100": Gpu(989e12, 80e9),
    "h200": Gpu(989e12, 141e9),
    "b200": Gpu(2250e12, 180e9),
}


@dataclass(frozen=True)
class TrainingPlan:
    """A run on paper. Memory is in bytes a GPU, with everything sliced over all GPUs (FSDP)."""

    parameters: int
    tokens: int
    gpus: int
    flops: float
    flops_with_attention: float
    state_bytes: float
    gathered_bytes: float
    activation_bytes: float
    memory_bytes: float
    fits: bool
    tokens_per_second: float
    days: float
    cost: float


def plan_training(
    arch: Architecture,
    tokens: int,
    gpus: int,
    gpu: Gpu,
    utilisation: float,
    micro_batch: int,
    recompute: bool,
    price_an_hour: float,
) -> TrainingPlan:
    """The cost of training an architecture; ``utilisation`` is the share of the GPU's arithmetic that the model gets."""
    parameters = arch.parameter_count()
    kept = RECOMPUTED_ACTIVATION_BYTES if recompute else ACTIVATION_BYTES
    positions = micro_batch * arch.context * arch.width
    activations = positions * (kept * arch.layers + (ACTIVATION_BYTES if recompute else 0))
    embedding = arch.width * (arch.vocabulary + arch.context)
    block = (parameters - embedding) / arch.layers
    gathered = 2.0 * (GATHERED_UNITS * block + embedding) if gpus > 1 else 0.0
    state = STATE_BYTES * parameters / gpus
    rate = gpus * gpu.flops * utilisation / arch.flops_per_token()
    seconds = tokens / rate
    return TrainingPlan(
        parameters=parameters,
        tokens=tokens,
        gpus=gpus,
        flops=6.0 * parameters * tokens,
        flops_with_attention=float(arch.flops_per_token()) * tokens,
        state_bytes=state,
        gathered_bytes=gathered,
        activation_bytes=float(activations),
        memory_bytes=state + gathered + activations,
        fits=state + gathered + activations < gpu.memory_bytes,
        tokens_per_second=rate,
        days=seconds / SECONDS_A_DAY,
        cost=gpus * seconds / 3600 * price_an_hour,
    )
