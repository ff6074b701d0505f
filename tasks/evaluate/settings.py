"""What an evaluation asks."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tasks.core.stage import StageSettings

SAMPLING = ("prompts", "sample_tokens", "temperature", "top_k", "top_p", "seed")  # what samples depend on


class EvaluateSettings(StageSettings):
    """How much is asked, and what is sampled."""

    max_documents: int = Field(400, ge=2, description="held-out documents, or windows of them, to score at most")
    max_clozes: int = Field(400, ge=2, description="last-word passages at most, one a document")
    max_pseudo: int = Field(
        16,
        ge=2,
        description="beginnings of held-out documents of which a bidirectional model is asked each token alone",
    )
    clean_overlap: float = Field(
        0.05,
        ge=0,
        le=1,
        description="a held-out document is clean where no larger share of its 8-grams stands in training text",
    )
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
    seed: int = Field(1, description="seed of the samples, and of what is hidden from a bidirectional model")
    sources: tuple[str, ...] = Field(
        (), description="sources whose held-out text is asked about; empty for all that a run of the recipe trains on"
    )
