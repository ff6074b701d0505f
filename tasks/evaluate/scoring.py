"""The answers of a network and of the baselines to a task, as rows of evaluations; and samples to read."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from models.bert import Bert
from models.generate import Sampling, generate
from models.ngram import NGram, unigram_on_hidden
from models.pseudo import pseudo_scores
from models.score import LanguageModel, MaskedScores, Network, Scored, score_masked
from models.transformer import Transformer
from tasks.evaluate.declared import BASELINES, Task
from tasks.evaluate.held_out import HeldOutText, Passage
from tasks.evaluate.metrics import Answers
from tasks.evaluate.settings import EvaluateSettings
from warehouse import schemas


class Scores(NamedTuple):
    """Answers to a task, with the source of each example and what of it was trained on, where those are told."""

    answers: Answers
    sources: np.ndarray[Any, np.dtype[np.object_]] | None = None
    overlaps: np.ndarray[Any, np.dtype[np.float64]] | None = None


def answers_of(task: Task, text: HeldOutText, network: Transformer | None, baseline: str, bf16: bool) -> Scores:
    """What a network, or a baseline where there is none, answers to a task."""
    examples = task.examples(text)
    if task.objective == "masked tokens" and isinstance(next(iter(examples), None), Passage):
        assert isinstance(network, Bert)
        added = text.codec.size  # the special tokens follow the tokenizer's own
        scored = pseudo_scores(network, [one.tokens for one in examples], added, added + 1, added + 2, bf16)
        return Scores(_of_passages(examples, scored))
    if task.objective == "masked tokens":
        if network is None:
            scores = unigram_on_hidden(text.training_tokens(), text.codec.size, examples)
        else:
            assert isinstance(network, Bert)
            scores = score_masked(network, examples, bf16)
        return Scores(masked_answers(scores))
    order = BASELINES[task.objective].get(baseline, 0)
    model: LanguageModel = Network(network, bf16=bf16) if network is not None else _counted(order, text)
    sources = np.array([passage.source for passage in examples], object)
    return Scores(passage_answers(examples, model), sources, text.overlaps(examples))


def passage_answers(passages: list[Passage], model: LanguageModel) -> Answers:
    """How likely a model finds the tokens that are asked, and which of them were its first choice."""
    return _of_passages(passages, model.score([passage.tokens for passage in passages]))


def _of_passages(passages: list[Passage], scored: list[Scored]) -> Answers:
    pairs = list(zip(scored, passages, strict=True))
    return Answers(
        nats=_column([-one.log_probability[-passage.asked :].sum() for one, passage in pairs]),
        right=_column([one.greedy[-passage.asked :].sum() for one, passage in pairs]),
        tokens=_column([passage.asked for passage in passages]),
        words=_column([passage.n_words for passage in passages]),
        bytes=_column([passage.n_bytes for passage in passages]),
    )


def masked_answers(scores: MaskedScores) -> Answers:
    """How likely a model finds hidden tokens; a label a window."""
    return Answers(scores.nats, scores.right, scores.hidden, label_right=scores.label_right)


def rows(
    task: Task, shots: int, run: str, step: int | None, scores: Scores, clean_overlap: float
) -> list[dict[str, Any]]:
    """The figures of all examples, and of each source's where the task has those; none where nothing could be asked."""
    count = len(scores.answers.nats)
    groups = {task.name: np.ones(count, np.bool_)}
    if task.by_source and scores.sources is not None:
        groups |= {f"{task.name}, {source}": scores.sources == source for source in sorted(set(scores.sources))}
    found = []
    for name, picked in groups.items():
        beside = _overlap(scores, picked, clean_overlap)
        for metric, figure in task.metrics.items():
            if not picked.any():
                continue
            mine = scores.answers.of(picked)
            value, error = figure(mine)
            clean = figure(scores.answers.of(beside.clean))[0] if beside.clean.any() else None
            n = int(mine.tokens.sum()) if task.counted == "tokens" else len(mine.nats)
            row = {"run": run, "step": step, "task": name, "shots": shots, "metric": metric, "value": value}
            row |= {"stderr": error, "n": n, "clean_value": clean, "share_clean": beside.share_clean}
            found.append(row | {"overlap": beside.overlap})
    return found


class _Beside(NamedTuple):
    clean: np.ndarray[Any, np.dtype[np.bool_]]
    share_clean: float | None
    overlap: float | None


def _overlap(scores: Scores, picked: np.ndarray[Any, np.dtype[np.bool_]], limit: float) -> _Beside:
    """Which examples are clean, their share of those that can be told, and the mean share of theirs that was trained on."""
    if scores.overlaps is None or not np.isfinite(scores.overlaps[picked]).any():
        return _Beside(np.zeros_like(picked), None, None)
    known = picked & np.isfinite(scores.overlaps)
    clean = known & (np.nan_to_num(scores.overlaps, nan=1.0) <= limit)
    return _Beside(clean, float(clean.sum() / known.sum()), float(scores.overlaps[known].mean()))


def samples(network: Transformer, text: HeldOutText, settings: EvaluateSettings, run: str, step: int) -> pa.Table:
    """What a causal network writes behind each prompt."""
    codec = text.codec
    sampling = Sampling(settings.temperature, settings.top_k, settings.top_p, seed=settings.seed)
    found = []
    for prompt in settings.prompts:
        tokens = [codec.end_of_text, *codec.encode(prompt)]
        made = generate(network, tokens, settings.sample_tokens, sampling, stop=codec.end_of_text)
        found.append({"run": run, "step": step, "prompt": prompt, "text": codec.decode(made)})
    return pa.Table.from_pylist(found, schema=schemas.SAMPLES)


def _column(values: list[Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array(values, dtype=np.float64)


@lru_cache(maxsize=1)
def _ngram(order: int, vocabulary: int, stream: bytes) -> NGram:
    return NGram(order, vocabulary, np.frombuffer(stream, np.int64))


def _counted(order: int, text: HeldOutText) -> NGram:
    """An n-gram over the training text, counted once for the tasks that a process asks of it."""
    return _ngram(order, text.codec.size, text.training_tokens().tobytes())
