"""The answers of a network and of the baselines to a task, as rows of evaluations; and samples to read."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

from models.bert import Bert
from models.generate import Sampling, generate
from models.ngram import NGram, unigram_on_hidden
from models.score import LanguageModel, MaskedScores, Network, score_masked
from models.transformer import Transformer
from tasks.evaluate.declared import BASELINES, Task
from tasks.evaluate.held_out import HeldOutText, Passage
from tasks.evaluate.metrics import Answers
from tasks.evaluate.settings import EvaluateSettings
from warehouse import schemas


def answers_of(
    task: Task, text: HeldOutText, network: Transformer | None, baseline: str, bf16: bool
) -> tuple[Answers, list[str]]:
    """What a network, or a baseline where there is none, answers to a task; and the source of each example."""
    examples = task.examples(text)
    if task.objective == "masked tokens":
        if network is None:
            scores = unigram_on_hidden(text.training_tokens(), text.codec.size, examples)
        else:
            assert isinstance(network, Bert)
            scores = score_masked(network, examples, bf16)
        return masked_answers(scores), []
    order = BASELINES[task.objective].get(baseline, 0)
    model: LanguageModel = Network(network, bf16=bf16) if network is not None else _counted(order, text)
    return passage_answers(examples, model), [passage.source for passage in examples]


def passage_answers(passages: list[Passage], model: LanguageModel) -> Answers:
    """How likely a model finds the tokens that are asked, and which of them were its first choice."""
    scored = model.score([passage.tokens for passage in passages])
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
    task: Task, shots: int, run: str, step: int | None, answers: Answers, sources: list[str]
) -> list[dict[str, Any]]:
    """The figures of all examples, and of each source's where the task has those; none where nothing could be asked."""
    groups = {task.name: np.ones(len(answers.nats), np.bool_)}
    if task.by_source:
        groups |= {
            f"{task.name}, {source}": np.array([one == source for one in sources]) for source in sorted(set(sources))
        }
    found = []
    for name, picked in groups.items():
        mine = answers.of(picked)
        n = int(mine.tokens.sum()) if task.counted == "tokens" else len(mine.nats)
        for metric, figure in task.metrics.items():
            if not n:
                continue
            value, error = figure(mine)
            row = {"run": run, "step": step, "task": name, "shots": shots, "metric": metric, "value": value}
            found.append(row | {"stderr": error, "n": n, "clean_value": None, "share_clean": None})
    return found


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
