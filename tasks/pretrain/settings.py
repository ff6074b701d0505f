"""Settings of a training run."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from tasks.stage import StageSettings, operational


class PretrainSettings(StageSettings):
    """The model's shape, the optimiser's schedule, and how the run is watched."""

    layers: int = Field(4, ge=1, description="transformer blocks")
    heads: int = Field(4, ge=1, description="attention heads")
    width: int = Field(256, ge=1, description="width of the residual stream")
    context: int = Field(256, ge=2, description="tokens that the model sees at once")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout on the embedding and the residual writes")
    seed: int = Field(1337, description="seed of weights, data order and dropout")
    steps: int = Field(600, ge=1, description="optimiser steps")
    batch: int = Field(16, ge=1, description="sequences in a global batch")
    warmup_steps: int = Field(60, ge=0, description="steps of linear warm-up")
    learning_rate: float = Field(1e-3, gt=0, description="peak learning rate")
    final_learning_rate_share: float = Field(
        0.1, ge=0, le=1, description="share of the peak at the end of the cosine (GPT-3: 0.1)"
    )
    weight_decay: float = Field(0.1, ge=0, description="decay of matrices (GPT-3: 0.1)")
    beta1: float = Field(0.9, ge=0, lt=1, description="AdamW beta 1 (GPT-3: 0.9)")
    beta2: float = Field(0.95, ge=0, lt=1, description="AdamW beta 2 (GPT-3: 0.95)")
    optimizer: Literal["adamw", "muon"] = Field(
        "adamw", description="adamw, or muon for the matrices inside blocks and adamw for the rest"
    )
    muon_learning_rate: float = Field(0.02, gt=0, description="peak learning rate of Muon")
    precision: Literal["auto", "bf16", "fp32"] = Field(
        "auto", description="arithmetic of matrix products; auto takes bf16 where the hardware has it"
    )
    clip: float = Field(1.0, gt=0, description="largest norm of the gradient (GPT-3: 1.0)")
    mixture: dict[str, float] = Field(
        default={}, description="source -> share of the sequences; filled in from the sources' weights"
    )
    micro_batch: int = Field(16, ge=1, description="sequences in one forward pass of one rank")
    save_every: int = operational(100, "steps between checkpoints to resume from", ge=1)
    keep_checkpoints: int = operational(2, "checkpoints to resume from that are kept", ge=1)
    validate_every: int = operational(100, "steps between validations", ge=1)
    validation_sequences: int = operational(64, "held-out sequences in a validation", ge=1)
    log_every: int = operational(10, "steps between two rows of metrics", ge=1)
    ranks: int = operational(
        1, "processes that share the global batch (torchrun); bytes are equal for the same number", ge=1
    )
    device: Literal["auto", "cpu", "cuda"] = operational("auto", "where to train")
    threads: int = operational(
        0, "CPU threads of a rank, 0 for all cores divided by the ranks; bytes are equal for the same number", ge=0
    )

    @model_validator(mode="after")
    def _fits(self) -> PretrainSettings:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        if self.batch % self.ranks:
            raise ValueError(f"batch {self.batch} is not a multiple of ranks {self.ranks}")
        return self
