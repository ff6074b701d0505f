"""How networks are fine-tuned to tasks with labels: the published recipe of GPT-1, and what stands beside it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from models.objectives.traits import LANGUAGE_MODEL
from models.training.schedule import Decay
from tasks.core.stage import StageSettings, operational

Reader = Literal["network", "prompt", "lstm", "bag of words"]


class TuningSettings(StageSettings):
    """What of a fine-tuning is one network's and one task's. Defaults: Radford et al. 2018, section 4.1, and the released code."""

    reader: Reader = Field(
        "network",
        description="the model's network, that network as it is (prompt: asked in words), or a baseline from scratch: lstm, bag of words",
    )
    seeds: tuple[int, ...] = Field(
        (1, 2, 3), min_length=1, description="seeds of head, order and dropout, each a fine-tuning of its own"
    )
    epochs: int = Field(3, ge=1, description="times that every example is seen (GPT-1: 3, BERT: 2 to 4)")
    batch: int = Field(32, ge=1, description="examples in a batch (GPT-1: 32, BERT: 16 or 32)")
    learning_rate: float = Field(6.25e-5, gt=0, description="peak learning rate (GPT-1: 6.25e-5, BERT: 2e-5 to 5e-5)")
    warmup_share: float = Field(
        0.002, ge=0, lt=1, description="share of the training in which the rate rises (GPT-1: 0.002)"
    )
    decay: Decay = Field("linear", description="how the learning rate falls, to nothing")
    weight_decay: float = Field(0.01, ge=0, description="decay of matrices (GPT-1: 0.01)")
    clip: float = Field(1.0, gt=0, description="largest norm of the gradient (GPT-1: 1.0)")
    dropout: float = Field(
        0.1, ge=0, lt=1, description="dropout of embeddings, residual writes, attention and head (GPT-1: 0.1)"
    )
    language_model: float = Field(
        LANGUAGE_MODEL,
        ge=0,
        description="lambda: weight of the next-token loss of the same text (GPT-1: 0.5); 0 leaves it out",
    )
    max_examples: int = Field(0, ge=0, description="examples to train on at most, drawn by their names; 0 for all")
    max_tested: int = Field(
        0, ge=0, description="examples of a set that are tested at most, drawn by their names; 0 for all"
    )
    shots: int = Field(
        0, ge=0, description="examples of the training set that are shown before what is asked of a prompt"
    )
    lstm_width: int = Field(128, ge=1, description="width of an LSTM and of its embeddings")
    precision: Literal["fp32", "bf16"] = Field(
        "fp32", description="arithmetic of matrix products, the same on every machine"
    )
    micro_batch: int = Field(32, ge=1, description="examples in one forward pass")
    save_every: int = operational(50, "steps between checkpoints to resume from", ge=1)
    device: Literal["auto", "cpu", "cuda"] = operational("auto", "where to train")
    threads: int = operational(1, "CPU threads of a fine-tuning; bytes are equal for the same number", ge=1)


class FinetuneSettings(TuningSettings):
    """One network fine-tuned to some tasks, each on its own."""

    tasks: tuple[str, ...] = Field(
        min_length=1, description="tasks with labels: those of [labelled], and genre, reply, editions, signature"
    )
    initial: str = Field("", description="the run that it starts from, or RUN@STEP; empty: weights that are drawn")

    @model_validator(mode="after")
    def _fits(self) -> FinetuneSettings:
        if self.initial and self.reader in ("lstm", "bag of words"):
            raise ValueError(f"a {self.reader} starts from nothing: leave out initial")
        if self.reader == "prompt" and not self.initial:
            raise ValueError("a prompt is put to a network that was trained: name a run with initial")
        if self.shots and self.reader != "prompt":
            raise ValueError("shots are shown in prompts: they belong to the reader prompt")
        return self

    def tuning(self) -> TuningSettings:
        """All but the names of tasks and runs, which the inputs say."""
        return TuningSettings(**self.model_dump(include=set(TuningSettings.model_fields)))
