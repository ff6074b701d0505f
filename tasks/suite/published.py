"""What the papers report: Radford et al. 2019, table 3, and Brown et al. 2020, table H.1. In the unit of our own figures."""

from __future__ import annotations

from typing import NamedTuple

GPT2_SIZES = ("GPT-2 117M", "GPT-2 345M", "GPT-2 762M", "GPT-2 1542M")
GPT3_SIZES = (
    "GPT-3 125M",
    "GPT-3 350M",
    "GPT-3 760M",
    "GPT-3 1.3B",
    "GPT-3 2.7B",
    "GPT-3 6.7B",
    "GPT-3 13B",
    "GPT-3 175B",
)


class Published(NamedTuple):
    """A figure of a paper. ``shots`` is 0, 1 or few, as the paper has it."""

    task: str
    metric: str
    shots: str
    model: str
    value: float


def _row(
    task: str, metric: str, shots: str, models: tuple[str, ...], values: str, unit: float = 1.0
) -> list[Published]:
    found = [float(value) * unit for value in values.split()]
    return [Published(task, metric, shots, model, value) for model, value in zip(models, found, strict=True)]


PUBLISHED: tuple[Published, ...] = (
    *_row("lambada_openai", "perplexity a token", "0", GPT2_SIZES, "35.13 15.60 10.87 8.63"),
    *_row("lambada_openai", "accuracy without stop words", "0", GPT2_SIZES, "45.99 55.48 60.12 63.24", 0.01),
    *_row("cbt_cn", "accuracy", "0", GPT2_SIZES, "87.65 92.35 93.45 93.30", 0.01),
    *_row("cbt_ne", "accuracy", "0", GPT2_SIZES, "83.4 87.1 88.0 89.05", 0.01),
    *_row("wikitext2", "perplexity a word", "0", GPT2_SIZES, "29.41 22.76 19.93 18.34"),
    *_row("ptb", "perplexity a word", "0", GPT2_SIZES, "65.85 47.33 40.31 35.76"),
    *_row("enwik8", "bits a byte", "0", GPT2_SIZES, "1.16 1.01 0.97 0.93"),
    *_row("text8", "bits a character", "0", GPT2_SIZES, "1.17 1.06 1.02 0.98"),
    *_row("wikitext103", "perplexity a word", "0", GPT2_SIZES, "37.50 26.37 22.05 17.48"),
    *_row("1bw", "perplexity a word", "0", GPT2_SIZES, "75.20 55.72 44.575 42.16"),
    *_row("lambada", "accuracy", "0", GPT3_SIZES, "42.7 54.3 60.4 63.6 67.1 70.3 72.5 76.2", 0.01),
    *_row("lambada_blank", "accuracy", "1", GPT3_SIZES, "22.0 47.1 53.6 58.3 63.1 65.4 69.0 72.5", 0.01),
    *_row("lambada_blank", "accuracy", "few", GPT3_SIZES, "22.0 40.4 63.2 57.0 78.1 79.1 81.3 86.4", 0.01),
    *_row("hellaswag", "accuracy", "0", GPT3_SIZES, "33.7 43.6 51.0 54.7 62.8 67.4 70.9 78.9", 0.01),
    *_row("hellaswag", "accuracy", "few", GPT3_SIZES, "33.5 43.1 51.3 54.9 62.9 67.3 71.3 79.3", 0.01),
    *_row("piqa", "accuracy", "few", GPT3_SIZES, "64.3 69.4 72.0 74.3 75.4 77.8 79.9 82.3", 0.01),
    *_row("arc_easy", "accuracy", "few", GPT3_SIZES, "42.7 51.0 58.1 59.1 62.1 65.8 69.1 70.1", 0.01),
)  # fmt: skip


def shots_as_published(shots: int) -> str:
    """What a paper calls a number of demonstrations."""
    return str(shots) if shots < 2 else "few"


def beside(task: str, metric: str, shots: int) -> list[Published]:
    """The papers' figures of a task."""
    return [row for row in PUBLISHED if (row.task, row.metric, row.shots) == (task, metric, shots_as_published(shots))]
