"""How a language model is aligned: supervised answers, a reward model, PPO against a reward, or direct preferences."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from models.objectives.traits import CLIP
from models.training.schedule import Decay
from tasks.core.stage import StageSettings, operational

Method = Literal["sft", "reward", "ppo", "dpo"]
# Ouyang et al. 2022, appendix C; DPO: Rafailov et al. 2023, appendix B.
PUBLISHED: dict[Any, dict[str, Any]] = {
    "sft": {"epochs": 16, "batch": 32, "learning_rate": 9.65e-6, "dropout": 0.2, "final_share": 0.1},
    "reward": {"epochs": 1, "batch": 64, "learning_rate": 9e-6, "final_share": 0.1},
    "ppo": {"epochs": 1, "batch": 64, "learning_rate": 9e-6, "final_share": 1.0, "episodes": 512, "steps": 500},
    "dpo": {"epochs": 1, "batch": 64, "learning_rate": 1e-6, "final_share": 1.0, "warmup_share": 0.1},
}
PROGRAMS = ("shorter", "longer")
WORD = "word:"


class AlignSettings(StageSettings):
    """One alignment of one network. What is not given is as published for its method."""

    method: Method = Field(description="sft, reward, ppo or dpo")
    initial: str = Field(description="what it starts from: a run, or another alignment")
    dialogues: str = Field(
        "plays", description="the conversations: one of [dialogues], or plays, which come with the demo"
    )
    seed: int = Field(1, description="seed of heads, order, dropout and rollouts")
    epochs: int = Field(
        1,
        ge=1,
        description="times that every conversation is seen (SFT: 16, reward: 1); of a PPO rollout, its inner epochs",
    )
    batch: int = Field(32, ge=1, description="conversations in a batch (SFT: 32, reward: 64); of PPO, a minibatch (64)")
    learning_rate: float = Field(9e-6, gt=0, description="peak learning rate (SFT: 9.65e-6, reward and PPO: 9e-6)")
    final_share: float = Field(
        0.0, ge=0, le=1, description="share of the peak at the end (SFT, reward: 0.1; PPO, DPO: 1, a constant rate)"
    )
    decay: Decay = Field("cosine", description="how the learning rate falls")
    warmup_share: float = Field(
        0.0, ge=0, lt=1, description="share of the training in which the rate rises (DPO: 150 steps)"
    )
    weight_decay: float = Field(0.0, ge=0, description="decay of matrices")
    clip: float = Field(1.0, gt=0, description="largest norm of the gradient")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout of the network (SFT: 0.2 on residual writes)")
    max_conversations: int = Field(
        0, ge=0, description="conversations to train on at most, drawn by their names; 0 for all"
    )
    max_tested: int = Field(200, ge=1, description="held-out conversations that are looked at")
    answer_tokens: int = Field(32, ge=1, description="tokens of an answer that is written at most")
    beta: float = Field(0.1, gt=0, description="DPO: price of leaving the network that it starts from")
    reward: str = Field(
        "",
        description="PPO: an alignment of method reward, shorter or longer answers, or word:WORD for answers that hold it",
    )
    steps: int = Field(100, ge=1, description="PPO: batches of rollouts")
    episodes: int = Field(64, ge=1, description="PPO: answers in a batch of rollouts (512)")
    kl: float = Field(
        0.02, ge=0, description="PPO: beta, price a token of leaving the network that it starts from (0.02)"
    )
    ratio: float = Field(CLIP, gt=0, description="PPO: how far the ratio may go from 1 before it is clipped (0.2)")
    gae: float = Field(0.95, ge=0, le=1, description="PPO: lambda of advantages (unpublished)")
    value: float = Field(0.5, ge=0, description="PPO: weight of the critic's loss (unpublished)")
    temperature: float = Field(1.0, gt=0, description="PPO: temperature of rollouts (1)")
    text: float = Field(0.0, ge=0, description="PPO-ptx: weight of the pretraining's loss (27.8), 0 mixes none in")
    texts: int = Field(8, ge=1, description="PPO-ptx: windows of pretraining text an episode (8)")
    average: float = Field(
        0.992, ge=0, lt=1, description="PPO: what a step keeps of the average of weights that is published (0.992)"
    )
    precision: Literal["fp32", "bf16"] = Field(
        "fp32", description="arithmetic of matrix products, the same on every machine"
    )
    micro_batch: int = Field(16, ge=1, description="conversations in one forward pass")
    save_every: int = operational(50, "steps between checkpoints to resume from", ge=1)
    device: Literal["auto", "cpu", "cuda"] = operational("auto", "where to train")
    threads: int = operational(1, "CPU threads; bytes are equal for the same number", ge=1)

    @model_validator(mode="before")
    @classmethod
    def _published(cls, given: Any) -> Any:
        """What is published for the method, where nothing else is said."""
        return PUBLISHED.get(given.get("method"), {}) | given if isinstance(given, dict) else given

    @model_validator(mode="after")
    def _fits(self) -> AlignSettings:
        if (self.method == "ppo") != bool(self.reward):
            raise ValueError(
                "PPO has a reward, and nothing else has: the name of an alignment, shorter, longer or word:WORD"
            )
        if self.method == "ppo" and self.episodes % self.batch:
            raise ValueError("episodes is a multiple of batch, the size of a minibatch")
        return self

    @property
    def is_programmatic(self) -> bool:
        """Whether the reward is a function of the answer's words."""
        return self.reward in PROGRAMS or self.reward.startswith(WORD)
