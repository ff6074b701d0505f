"""What an evaluation asks."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from models.objectives.traits import ObjectiveName
from tasks.core.stage import StageSettings

# Objective -> what a network is held against: the name of a part -> the words of an n-gram.
BASELINES: dict[ObjectiveName, dict[str, int]] = {
    "next token": {"baseline-unigram": 1, "baseline-bigram": 2, "baseline-5-gram": 5},
    "masked tokens": {"baseline-unigram": 1},
}
MODEL_PART = "model"


class EvaluateSettings(StageSettings):
    """How much is asked, and what is sampled."""

    max_documents: int = Field(400, ge=2, description="held-out documents to score at most")
    max_clozes: int = Field(400, ge=2, description="last-word passages at most, one a document")
    precision: Literal["fp32", "bf16"] = Field(
        "fp32",
        description="arithmetic of matrix products, the same on every machine; bf16 is faster where there is hardware",
    )
    prompts: tuple[str, ...] = Field(
        ("The ", "KING.\n"), description="beginnings that the model continues in the report"
    )
    sample_tokens: int = Field(160, ge=1, description="tokens of a sample")
    temperature: float = Field(0.8, ge=0, description="temperature of the samples, 0 for greedy")
    top_k: int = Field(50, ge=0, description="likeliest tokens that a sample is drawn from, 0 for all")
    top_p: float = Field(1.0, gt=0, le=1, description="share of the probability that a sample is drawn from")
    seed: int = Field(1, description="seed of the samples")
