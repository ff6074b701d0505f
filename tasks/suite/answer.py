"""What a model answers to the questions of a task: a row a question, with all that its scores are made of."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.continuation import Continuation, continuations
from models.draws import random_bits
from models.generate import Sampling, generate
from models.score import LanguageModel, Network, Scored
from models.words import likeliest_words
from tasks.suite.demonstrations import Asked
from tasks.suite.encoding import Encoding
from tasks.suite.figures import OF_AN_ANSWER, column_of
from tasks.suite.question import NORMALISERS, Prompt, Question, Task
from tasks.text.stopwords import STOP_WORDS

Row = dict[str, Any]
Tell = Callable[[int], None]  # that so many more questions were answered
SHOWN_PROMPTS = 5  # whose text is kept, to be read
TOGETHER = 256  # questions between two words of progress
WORD_BEGINS, WORD_GOES_ON = re.compile(r" [^\W\d_]"), re.compile(r"'?[^\W\d_]+$")
SENTENCES = re.compile(r"(?<=[.!?])\s+")
SUMMARY_SENTENCES = 3  # of what a model writes behind TL;DR: (Radford et al. 2019, section 3.6)


@dataclass(frozen=True)
class Reader:
    """Who answers, and how text becomes tokens for it."""

    model: LanguageModel
    encoding: Encoding


def answers(
    task: Task, prompt: Prompt, asked: Sequence[Asked], reader: Reader, tell: Tell = lambda _: None
) -> list[Row]:
    """The rows of questions that were put by a prompt. Raises ValueError for a kind that the model cannot be asked."""
    how = {"choice": _choices, "last word": _last_words, "free": _free, "text": _texts}[task.kind]
    rows: list[Row] = []
    for first in range(0, len(asked), TOGETHER):
        group = asked[first : first + TOGETHER]
        rows += [
            common(one, reader.encoding.begin) | row
            for one, row in zip(group, how(task, prompt, group, reader), strict=True)
        ]
        tell(len(rows))
    for row, one in zip(rows[:SHOWN_PROMPTS], asked, strict=False):
        row["prompt_text"] = one.pairs[0][0]
    return rows


def common(one: Asked, begin: bool) -> Row:
    """What every row says of its question and its prompt."""
    said = [f"begin {begin}", *(text for pair in one.pairs for text in pair)]
    digest = hashlib.sha256("\0".join(said).encode()).hexdigest()
    question = one.question
    return {
        "example_id": question.id,
        "cluster": question.cluster or question.id,
        "prompt_digest": digest[:16],
        "shown": one.shown,
        "choices": list(question.choices) or None,
    }


def _choices(task: Task, prompt: Prompt, asked: Sequence[Asked], reader: Reader) -> list[Row]:
    encoded = [reader.encoding.continuations(one.pairs) for one in asked]
    scored = continuations(reader.model, encoded)
    # Where choices stand in the sentence the same words are asked behind each, and nothing is left to normalise by.
    alone = [None] * len(asked) if "{choice}" in prompt.context else _unconditional(task, asked, reader)
    return [
        choice_row(
            task,
            one.question,
            [answer for _, answer in one.pairs],
            [len(c.asked) for c in pieces],
            sums(found),
            without,
        )
        for one, pieces, found, without in zip(asked, encoded, scored, alone, strict=True)
    ]


def _unconditional(task: Task, asked: Sequence[Asked], reader: Reader) -> list[list[float] | None]:
    """The nats of each choice behind words that say nothing of the question, each text scored once."""
    texts = sorted({answer for one in asked for _, answer in one.pairs})
    pieces = reader.encoding.continuations([(task.unconditional, text) for text in texts])
    # Together in small trees: they share the few words before them.
    groups = [list(pieces[first : first + 16]) for first in range(0, len(pieces), 16)]
    found = [float(one.log_probability.sum()) for group in continuations(reader.model, groups) for one in group]
    of = dict(zip(texts, found, strict=True))
    return [[of[answer] for _, answer in one.pairs] for one in asked]


def sums(found: Sequence[Scored]) -> list[float]:
    """The nats of whole answers."""
    return [float(one.log_probability.sum()) for one in found]


def choice_row(
    task: Task,
    question: Question,
    texts: Sequence[str],
    tokens: Sequence[int],
    nats: Sequence[float],
    alone: Sequence[float] | None,
) -> Row:
    """What a question's log-likelihoods say: the choice by each normaliser, and figures of the right one."""
    logged, gold = np.array(nats), question.gold
    bare = [text.removeprefix(" ") for text in texts]  # the space before an answer is no letter of it
    scores = {
        "none": logged,
        "token": logged / np.array(tokens),
        "character": logged / np.array([max(1, len(text)) for text in bare]),
        "byte": logged / np.array([max(1, len(text.encode())) for text in bare]),
        "context": None if alone is None else logged - np.array(alone),
    }
    chosen = {name: None if values is None else int(np.argmax(values)) for name, values in scores.items()}
    main = scores[task.normaliser]
    assert main is not None
    others = np.delete(main, gold)
    shares = np.exp(logged - logged.max())
    row = {
        "log_likelihoods": list(nats),
        "unconditional": None if alone is None else list(alone),
        "tokens": list(tokens),
        "answer": question.choices[int(np.argmax(main))],
        "gold": question.choices[gold],
        "correct": chosen[task.normaliser] == gold,
        "bits_a_byte": -nats[gold] / math.log(2) / len(texts[gold].encode()),
        "probability": float(shares[gold] / shares.sum()),
        "margin": float(main[gold] - others.max()) if len(others) else None,
    }
    return row | {f"correct_by_{n}": None if chosen[n] is None else chosen[n] == gold for n in NORMALISERS}


def _last_words(task: Task, prompt: Prompt, asked: Sequence[Asked], reader: Reader) -> list[Row]:
    encoded = [reader.encoding.continuations(one.pairs[:1]) for one in asked]
    scored = continuations(reader.model, encoded)
    rows = []
    for one, (piece,), (found,) in zip(asked, encoded, scored, strict=True):
        gold = one.question.answers[0]
        filtered = _filtered_word(piece, reader) if isinstance(reader.model, Network) else None
        rows.append(
            {
                "log_likelihoods": sums([found]),
                "tokens": [len(piece.asked)],
                "answer": filtered,
                "gold": gold,
                "correct": bool(found.greedy.all()),
                "correct_filtered": None if filtered is None else filtered == gold,
                "correct_last_token": bool(found.greedy[-1]),
                "bits_a_byte": -float(found.log_probability.sum()) / math.log(2) / len(one.pairs[0][1].encode()),
            }
        )
    return rows


def _filtered_word(piece: Continuation, reader: Reader) -> str:
    """The likeliest word that is no function word."""
    assert isinstance(reader.model, Network)
    begins, inside = reader.encoding.word_tokens(WORD_BEGINS, WORD_GOES_ON)
    words = likeliest_words(reader.model, piece.context, begins, inside, reader.encoding.codec.decode)
    return next((word.strip() for word in words if word.strip().lower() not in STOP_WORDS), "")


def _free(task: Task, prompt: Prompt, asked: Sequence[Asked], reader: Reader) -> list[Row]:
    if not isinstance(reader.model, Network):
        raise ValueError("an n-gram model is not asked for free answers")
    encoding = reader.encoding
    context = reader.model.model.arch.context
    room = context - task.room_to_answer(context)  # a window that moves on in an answer would lose half of the prompt
    ended = (lambda made: task.stop in encoding.codec.decode(made)) if task.stop else None
    rows = []
    for one in asked:
        written = encoding.codec.encode(one.pairs[0][0])
        tokens = encoding.after_begin(written[-(room - 1) :] if len(written) >= room else written).tolist()
        seed = random_bits(0, "answer", task.name, one.question.id) >> 1
        drawn = Sampling(top_k=task.top_k, seed=seed)
        sampling = drawn if task.top_k else Sampling(temperature=0.0, beams=task.beams)
        made = generate(reader.model.model, tokens, task.max_tokens, sampling, encoding.codec.end_of_text, ended)
        said = encoding.codec.decode(made)
        text = (said.partition(task.stop)[0] if task.stop else said).strip()
        if "rouge-l" in task.metrics:
            text = " ".join(SENTENCES.split(text)[:SUMMARY_SENTENCES])
        accepted = one.question.answers
        row: Row = {"answer": text, "gold": accepted[0], "accepted": list(accepted)}
        row |= {column_of(name): OF_AN_ANSWER[name](text, accepted) for name in task.metrics if name in OF_AN_ANSWER}
        if task.literal:
            row["exact_match"] = float(text in accepted)
        row["correct"] = bool(row["exact_match"]) if "exact_match" in row else None
        rows.append(row)
    return rows


def _texts(task: Task, prompt: Prompt, asked: Sequence[Asked], reader: Reader) -> list[Row]:
    texts = [one.pairs[0][1] for one in asked]
    encoded = reader.encoding.codec.encode_all(texts)
    # Nothing stands before a text: its first token is asked behind the end-of-text token.
    documents = [np.concatenate([[reader.encoding.codec.end_of_text], tokens]).astype(np.int64) for tokens in encoded]
    return [
        {
            "log_likelihoods": sums([found]),
            "tokens": [len(document) - 1],
            "words": int(one.question.fields["units"]),
            "bytes": len(text.encode()),
            "characters": len(text),
        }
        for one, text, document, found in zip(asked, texts, documents, reader.model.score(documents), strict=True)
    ]
