"""Settings of a network and of its training."""

from __future__ import annotations

from dataclasses import asdict
from functools import cached_property
from typing import Any, Literal

from pydantic import Field, model_validator

from models.architecture import Architecture
from models.objectives.traits import TRAITS, ObjectiveName, Traits, objective_of
from models.presets import PRESETS, Family, Shape, from_depth
from models.training.schedule import BatchSchedule, Decay
from tasks.core.stage import StageSettings, operational
from warehouse.errors import nearest

DEFAULTS = Shape()
SHORTEST_CONTEXT = 8
SHORTEST_HELD_OUT = 8  # tokens that a network can be validated on: of a shorter text BERT's two segments are nothing
DEEPEST = 48  # beyond some billions of parameters Kaplan's formula has no learning rate left
# The settings of training that a preset or a depth sets.
TRAINED_AS = {"steps"} | {name for preset in PRESETS.values() for name in preset.training}


class ModelSettings(StageSettings):
    """The network: a published one, one from a single number, or sizes of your own. What is given wins."""

    preset: str = Field("", description=f"a published model and its training: {', '.join(PRESETS)}")
    depth: int = Field(
        0,
        ge=0,
        le=DEEPEST,
        description="layers of a compute-optimal run, from which width, batch, rate, decay and tokens follow",
    )
    family: Family = Field("gpt", description="gpt (GPT-2 and GPT-3), gpt1 (LayerNorm after each sum), or bert")
    layers: int = Field(DEFAULTS.layers, ge=1, description="transformer blocks")
    heads: int = Field(DEFAULTS.heads, ge=1, description="attention heads")
    width: int = Field(DEFAULTS.width, ge=1, description="width of the residual stream")
    head_width: int = Field(0, ge=0, description="width of a head, 0 for width / heads")
    context: int = Field(DEFAULTS.context, ge=SHORTEST_CONTEXT, description="tokens that the model sees at once")
    band: int = Field(0, ge=0, description="positions that every second layer sees, 0 for all (GPT-3: unpublished)")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout on the embedding and the residual writes")
    attention_dropout: float = Field(0.0, ge=0, lt=1, description="dropout on the attention weights")

    @model_validator(mode="before")
    @classmethod
    def _filled_in(cls, given: Any) -> Any:
        """The preset's or the depth's sizes where none are given."""
        if not isinstance(given, dict):
            return given
        shape, _ = preset_of(given)
        return asdict(shape) | given if shape else given

    @model_validator(mode="after")
    def _fits(self) -> ModelSettings:
        self.architecture(1)
        return self

    def architecture(self, vocabulary: int) -> Architecture:
        """The network over a vocabulary."""
        values = self.model_dump(exclude={"preset", "depth"})
        return Shape(**values).architecture(vocabulary)

    @property
    def objective(self) -> ObjectiveName:
        """What the network is trained for."""
        return objective_of(self.family)

    @property
    def traits(self) -> Traits:
        """What that asks of data and vocabulary."""
        return TRAITS[self.objective]


def preset_of(model: dict[str, Any]) -> tuple[Shape | None, dict[str, Any]]:
    """The shape and the training settings that a model section asks for. Raises ValueError."""
    name, depth, context = model.get("preset"), model.get("depth"), model.get("context", DEFAULTS.context)
    if name and depth:
        raise ValueError("a model has a preset or a depth, not both")
    if isinstance(name, str) and name:
        if name not in PRESETS:
            raise ValueError(f"there is no preset {name}; the nearest is {nearest(name, list(PRESETS))}")
        return PRESETS[name].shape, PRESETS[name].training
    if isinstance(depth, int) and 0 < depth <= DEEPEST and isinstance(context, int) and context >= SHORTEST_CONTEXT:
        return from_depth(depth, context)
    return None, {}  # or the fields' own checks complain


class TrainingSettings(StageSettings):
    """The optimiser, its schedule, and how a run is watched."""

    seed: int = Field(1337, description="seed of weights, data order, masking and dropout")
    steps: int = Field(0, ge=0, description="optimiser steps; 0: as many as tokens asks for")
    tokens: int = Field(10_000_000, ge=0, description="tokens to train on, where steps is 0; 0 with initial: none")
    batch: int = Field(16, ge=1, description="sequences in a global batch")
    first_batch: int = Field(
        0, ge=0, description="sequences in the first batch of a ramp (GPT-3: 32k tokens), 0: batch"
    )
    ramp_tokens: int = Field(0, ge=0, description="tokens over which the batch grows (GPT-3: 4-12 billion)")
    warmup_tokens: int = Field(250_000, ge=0, description="tokens of linear warm-up (GPT-3: 375 million)")
    decay: Decay = Field("cosine", description="how the learning rate falls (BERT: linear)")
    decay_tokens: int = Field(0, ge=0, description="tokens until it is lowest (GPT-3: 260 billion), 0: all of them")
    learning_rate: float = Field(1e-3, gt=0, description="peak learning rate")
    final_learning_rate_share: float = Field(
        0.1, ge=0, le=1, description="share of the peak at the end of the decay (GPT-3: 0.1)"
    )
    optimizer: Literal["adamw", "muon", "bert_adam"] = Field(
        "adamw",
        description="adamw, muon for the matrices inside blocks and adamw for the rest, or adam as BERT has it",
    )
    muon_learning_rate: float = Field(0.02, gt=0, description="peak learning rate of Muon")
    weight_decay: float = Field(0.1, ge=0, description="decay of matrices (GPT-3: 0.1)")
    beta1: float = Field(0.9, ge=0, lt=1, description="Adam's beta 1 (GPT-3: 0.9)")
    beta2: float = Field(0.95, ge=0, lt=1, description="Adam's beta 2 (GPT-3: 0.95)")
    epsilon: float = Field(1e-8, gt=0, description="Adam's epsilon (GPT-3: 1e-8)")
    clip: float = Field(1.0, gt=0, description="largest norm of the gradient (GPT-3: 1.0)")
    whole_words: bool = Field(False, description="BERT: hide whole words instead of tokens")
    precision: Literal["auto", "bf16", "fp32"] = Field(
        "auto", description="arithmetic of matrix products; auto takes bf16 where the hardware has it"
    )
    compile: bool = Field(False, description="torch.compile the loss: faster steps after half a minute or more")
    on_bad_step: Literal["halt", "skip"] = Field(
        "halt", description="a loss that spikes or is not finite: halt, or leave the step out and go on"
    )
    spike_deviations: float = Field(
        0.0, ge=0, description="standard deviations above recent losses from which one is a spike, 0: none is"
    )
    initial: str = Field(
        "", description="what to start from: another run, or the key of imported weights, which gristmill import prints"
    )
    mixture: dict[str, float] = Field(
        default={}, description="source -> share of the sequences; filled in from the sources' weights"
    )
    micro_batch: int = Field(16, ge=1, description="sequences in one forward pass of one rank")
    recompute: bool = Field(False, description="keep no activations inside blocks: less memory, a third more work")
    parallel: Literal["ddp", "fsdp"] = Field(
        "ddp", description="what ranks hold: ddp a whole copy each, fsdp a slice of everything"
    )
    save_every: int = operational(100, "steps between checkpoints", ge=1)
    keep_checkpoints: int = operational(2, "checkpoints to resume from that are kept", ge=1)
    validate_every: int = operational(100, "steps between validations", ge=1)
    validation_sequences: int = operational(64, "held-out sequences in a validation", ge=1)
    log_every: int = operational(10, "steps between two rows of metrics", ge=1)
    pin_every: int = Field(0, ge=0, description="steps between checkpoints that are published too, 0: the last only")
    ranks: int = operational(
        1, "processes that share the global batch (torchrun); bytes are equal for the same number", ge=1
    )
    device: Literal["auto", "cpu", "cuda"] = operational("auto", "where to train")
    threads: int = operational(
        0, "CPU threads of a rank, 0 for all cores divided by the ranks; bytes are equal for the same number", ge=0
    )


def check_fit(model: ModelSettings, training: TrainingSettings) -> None:
    """Raises ValueError where a network cannot be trained so."""
    if training.parallel == "fsdp" and training.optimizer == "muon":
        raise ValueError("muon needs whole matrices: take pretrain.parallel=ddp, or another optimizer")
    least = model.traits.least_sequences
    if min(training.batch, training.first_batch or training.batch) < least:
        raise ValueError(
            f"{model.family} takes the other sentence from its batch: pretrain.batch must be {least} or more"
        )


class PretrainSettings(TrainingSettings):
    """A training run whole: the network and how it is trained."""

    model: ModelSettings = Field(default=ModelSettings(), description="the network")

    @model_validator(mode="after")
    def _runs(self) -> PretrainSettings:
        check_fit(self.model, self)
        return self

    @cached_property
    def batches(self) -> BatchSchedule:
        """Sequences of every step."""
        return BatchSchedule(self.batch, self.first_batch, self.ramp_tokens // self.model.context)

    @cached_property
    def last_step(self) -> int:
        """Steps of the run."""
        return self.steps or self.batches.steps_for(-(-self.tokens // self.model.context))

    @property
    def pinned_steps(self) -> tuple[int, ...]:
        """Steps before the last whose checkpoints are published too."""
        return tuple(range(self.pin_every, self.last_step, self.pin_every)) if self.pin_every else ()

    def tokens_after(self, step: int) -> int:
        """Tokens that were seen when a step ends."""
        return self.batches.first_slot(step + 1) * self.model.context
