"""What is asked of a model: text it has not seen, by the token, the word and the byte, and a last-word cloze.

Every figure has a standard error over documents or examples. Ratios (nats a token, bits a byte) take it from
the linearised ratio estimator (Cochran 1977, section 2.11): sqrt(n / (n-1) * sum (y - r x)^2) / sum x.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from models.score import LanguageModel, MaskedScores, Scored, Tokens

CLOZE_MIN_CONTEXT_WORDS, CLOZE_MAX_CONTEXT_WORDS = 40, 120
CLOZE_MIN_LETTERS = 4  # of the last word: function words are no test
_SENTENCE = re.compile(r"[^.!?]+[.!?]")
_WORD = re.compile(r"[A-Za-z']+")


@dataclass(frozen=True)
class HeldOut:
    """A validation document: its tokens (the end-of-text token before the first), and its sizes."""

    source: str
    text: str
    tokens: Tokens
    n_words: int
    n_bytes: int


class Figure(NamedTuple):
    """One row of the evaluations table."""

    task: str
    metric: str
    value: float
    stderr: float
    n: int


def language_modelling(documents: list[HeldOut], scored: list[Scored]) -> list[Figure]:
    """Perplexities, bits a byte and next-token accuracy, for all documents and for each source."""
    out = []
    for source in (None, *sorted({document.source for document in documents})):
        picked = [i for i, document in enumerate(documents) if source in (None, document.source)]
        task = "held-out text" if source is None else f"held-out text, {source}"
        nats = np.array([-scored[i].log_probability.sum() for i in picked])
        hits = np.array([scored[i].greedy.sum() for i in picked], dtype=np.float64)
        tokens = np.array([len(scored[i].greedy) for i in picked], dtype=np.float64)
        words = np.array([documents[i].n_words for i in picked], dtype=np.float64)
        size = np.array([documents[i].n_bytes for i in picked], dtype=np.float64)
        for metric, over in (("perplexity a token", tokens), ("perplexity a word", words)):
            rate, error = ratio(nats, over)
            out.append(Figure(task, metric, *exponential(rate, error), len(picked)))
        rate, error = ratio(nats, size)
        out.append(Figure(task, "bits a byte", rate / math.log(2), error / math.log(2), len(picked)))
        out.append(Figure(task, "next-token accuracy", *ratio(hits, tokens), len(picked)))
    return out


def ratio(numerator: npt.NDArray[np.float64], denominator: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Sum y / sum x over documents, with its standard error."""
    value = float(numerator.sum() / denominator.sum())
    n = len(numerator)
    if n < 2:
        return value, math.nan
    residual = float(((numerator - value * denominator) ** 2).sum())
    return value, math.sqrt(n / (n - 1) * residual) / float(denominator.sum())


def exponential(nats: float, error: float) -> tuple[float, float]:
    """exp(nats) and its standard error by the delta method, d exp(x) = exp(x) dx.

    Where words are long (Chinese, DNA) a perplexity may have no float: it is infinite then, and has no standard error.
    """
    try:
        value = math.exp(nats)
    except OverflowError:
        return math.inf, math.nan
    return value, value * error


class Cloze(NamedTuple):
    """A passage and the last word that is asked for, both as tokens."""

    tokens: Tokens
    answer_tokens: int


def cloze_of(document: HeldOut, encode: Callable[[str], list[int]], start: int) -> Cloze | None:
    """One passage of a document in LAMBADA's form (Paperno et al. 2016), or None where it has none.

    Whole sentences, at least 40 words of them, ending in a word of four letters or more that occurred earlier
    in the passage; which of the candidates is drawn depends on the document alone.
    """
    sentences = [match.group().strip() for match in _SENTENCE.finditer(document.text)]
    found = [passage for end in range(1, len(sentences) + 1) if (passage := _passage(sentences[:end])) is not None]
    if not found:
        return None
    pick = int.from_bytes(hashlib.sha256(document.text.encode()).digest()[:8], "big") % len(found)
    context, answer = found[pick]
    before, tail = [start, *encode(context)], encode(f" {answer}")
    return Cloze(np.array(before + tail, dtype=np.int64), len(tail))


def _passage(sentences: list[str]) -> tuple[str, str] | None:
    """(context, last word) of the passage that these sentences end, or None where it is no fair question."""
    picked: list[str] = []
    for sentence in reversed(sentences):
        picked.insert(0, sentence)
        if len(" ".join(picked).split()) > CLOZE_MIN_CONTEXT_WORDS:
            break
    passage = " ".join(" ".join(picked).split())
    words = passage.split()
    if not CLOZE_MIN_CONTEXT_WORDS < len(words) <= CLOZE_MAX_CONTEXT_WORDS:
        return None
    answer = words[-1].rstrip(".!?")
    context = " ".join(words[:-1])
    if len(answer) < CLOZE_MIN_LETTERS or not _WORD.fullmatch(answer):
        return None
    return (context, answer) if answer.lower() in {word.lower() for word in _WORD.findall(context)} else None


def last_word(clozes: list[Cloze], model: LanguageModel) -> list[Figure]:
    """Accuracy (every token of the word is the first choice) and perplexity of the last word."""
    scored = model.score([cloze.tokens for cloze in clozes])
    right = np.array(
        [one.greedy[-cloze.answer_tokens :].all() for one, cloze in zip(scored, clozes, strict=True)], dtype=np.float64
    )
    nats = np.array(
        [-one.log_probability[-cloze.answer_tokens :].sum() for one, cloze in zip(scored, clozes, strict=True)]
    )
    n = len(clozes)
    return [
        Figure("last-word cloze", "accuracy", float(right.mean()), _mean_error(right), n),
        Figure("last-word cloze", "perplexity", *exponential(float(nats.mean()), _mean_error(nats)), n),
    ]


def hidden_tokens(scores: MaskedScores, with_label: bool = True) -> list[Figure]:
    """Accuracy, perplexity and bits of the hidden tokens, and accuracy of the next-sentence label."""
    nats, error = ratio(scores.nats, scores.hidden)
    accuracy, accuracy_error = ratio(scores.right, scores.hidden)
    n, task = int(scores.hidden.sum()), "hidden tokens"
    label = Figure(
        "next sentence", "accuracy", float(scores.label_right.mean()), _mean_error(scores.label_right), len(scores.nats)
    )
    return [
        Figure(task, "accuracy", accuracy, accuracy_error, n),
        Figure(task, "perplexity a token", *exponential(nats, error), n),
        Figure(task, "bits a hidden token", nats / math.log(2), error / math.log(2), n),
        *([label] if with_label else []),
    ]


def _mean_error(values: npt.NDArray[np.float64]) -> float:
    return float(values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else math.nan


def rows(run: str, step: int | None, figures: list[Figure]) -> list[dict[str, Any]]:
    """Figures as rows of the evaluations table."""
    return [
        {
            "run": run,
            "step": step,
            "task": f.task,
            "shots": 0,
            "metric": f.metric,
            "value": f.value,
            "stderr": f.stderr,
            "n": f.n,
            "clean_value": None,
            "share_clean": None,
        }
        for f in figures
    ]
