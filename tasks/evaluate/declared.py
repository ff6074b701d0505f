"""What is asked of models: one declaration a task, from which parts, tables, report and reuse follow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from models.objectives.traits import ObjectiveName
from tasks.evaluate import metrics
from tasks.evaluate.metrics import Metric

if TYPE_CHECKING:
    from tasks.evaluate.held_out import HeldOutText

# What a model is held against, by what it was trained for: the name that evaluations shows -> the words of an n-gram.
BASELINES: dict[ObjectiveName, dict[str, int]] = {
    "next token": {"baseline-unigram": 1, "baseline-bigram": 2, "baseline-5-gram": 5},
    "masked tokens": {"baseline-unigram": 1},
}


@dataclass(frozen=True)
class Task:
    """One task. ``version`` is raised where the meaning of its figures changes."""

    name: str  # in the view evaluations
    objective: ObjectiveName  # what the models that it is asked of were trained for
    examples: Callable[[HeldOutText], Any]  # Passages, or of a bidirectional model masked windows
    metrics: Mapping[str, Metric]
    limits: tuple[str, ...]  # the settings that its examples depend on
    main: str  # the metric that a report draws
    shots: tuple[int, ...] = (0,)
    by_source: bool = False  # whether each source has figures of its own too
    counted: Literal["examples", "tokens"] = "examples"  # what n says
    baselines: bool = True
    version: int = 1
    slug: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "slug", self.name.replace(" ", "-"))


TASKS: tuple[Task, ...] = (
    Task(
        "held-out text",
        "next token",
        lambda text: text.documents(),
        {
            "perplexity a token": metrics.perplexity_a_token,
            "perplexity a word": metrics.perplexity_a_word,
            "bits a byte": metrics.bits_a_byte,
            "next-token accuracy": metrics.token_accuracy,
        },
        limits=("max_documents", "clean_overlap"),
        main="bits a byte",
        by_source=True,
    ),
    Task(
        "last-word cloze",
        "next token",
        lambda text: text.clozes(),
        {"accuracy": metrics.answer_accuracy, "perplexity": metrics.answer_perplexity},
        limits=("max_documents", "max_clozes", "clean_overlap"),
        main="accuracy",
    ),
    Task(
        "hidden tokens",
        "masked tokens",
        lambda text: text.masked_windows(),
        {
            "accuracy": metrics.token_accuracy,
            "perplexity a token": metrics.perplexity_a_token,
            "bits a hidden token": metrics.bits_a_token,
        },
        limits=("max_documents", "seed"),
        main="bits a hidden token",
        counted="tokens",
    ),
    Task(
        "pseudo-perplexity",
        "masked tokens",
        lambda text: text.beginnings(),
        {"pseudo-perplexity a token": metrics.perplexity_a_token, "accuracy": metrics.token_accuracy},
        limits=("max_documents", "max_pseudo"),
        main="pseudo-perplexity a token",
        counted="tokens",
        baselines=False,
    ),
    Task(
        "next sentence",
        "masked tokens",
        lambda text: text.masked_windows(),
        {"accuracy": metrics.label_accuracy},
        limits=("max_documents", "seed"),
        main="accuracy",
        baselines=False,
    ),
)


def tasks_of(objective: ObjectiveName) -> list[Task]:
    """The tasks that models of an objective are asked."""
    return [task for task in TASKS if task.objective == objective]


def main_metrics() -> dict[str, str]:
    """Task -> the metric that a report draws of it."""
    return {task.name: task.main for task in TASKS}
