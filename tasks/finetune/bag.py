"""A bag of words: what every fine-tuned network is held against.

Logistic (or ridge) regression over which words a text has, L2-regularised; the strength is chosen on the dev set where there is one. A pair has the words of
each side apart, those on both sides, and the share of words that they have in common; so has a question with each of its answers, of
which the likeliest is chosen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tasks.finetune.task import Example, Form
from tasks.text.grams import normalised

STRENGTHS = (0.01, 0.1, 1.0, 10.0)
RAREST = 2  # examples that a word must stand in
Values = npt.NDArray[np.float64]


class Bag(NamedTuple):
    """A trained one: ``scores`` of examples, and how many words it knows."""

    scores: Any
    features: int


def features_of(form: Form, example: Example) -> list[dict[str, float]]:
    """Feature -> value: of the text or the pair, or of each answer."""
    if form == "classification":
        return [dict.fromkeys((f"0 {word}" for word in normalised(example.first)), 1.0)]
    others = example.choices if form == "choice" else (example.second,)
    return [_pair(normalised(example.first), normalised(other)) for other in others]


def _pair(first: Sequence[str], second: Sequence[str]) -> dict[str, float]:
    both = set(first) & set(second)
    found = dict.fromkeys((f"0 {word}" for word in first), 1.0) | dict.fromkeys((f"1 {word}" for word in second), 1.0)
    found |= dict.fromkeys((f"both {word}" for word in both), 1.0)
    return found | {"common": 10 * len(both) / max(1, len(set(first) | set(second)))}


def train(form: Form, number: bool, examples: Sequence[Example], dev: Sequence[Example]) -> Bag:
    """Learns from examples; returns what scores others as a network does, (examples, classes or choices or 1)."""
    from sklearn.dummy import DummyClassifier
    from sklearn.feature_extraction import DictVectorizer
    from sklearn.linear_model import LogisticRegression, Ridge

    rows = [features_of(form, one) for one in examples]
    counts = Counter(name for row in rows for features in row for name in features)
    known = {name for name, count in counts.items() if count >= RAREST}
    vectors = DictVectorizer(dtype=np.float64)
    flat = vectors.fit_transform([{n: v for n, v in f.items() if n in known} for row in rows for f in row])
    targets = _targets(form, examples)

    def trained(strength: float) -> Any:
        kind = LogisticRegression(C=strength, max_iter=300)
        if len(set(targets)) == 1:  # there is nothing to tell apart
            kind = DummyClassifier()
        made = Ridge(alpha=1 / strength) if number else kind
        made.fit(flat, targets)

        def scores(asked: Sequence[Example]) -> list[Values]:
            pieces = [features_of(form, one) for one in asked]
            matrix = vectors.transform([f for piece in pieces for f in piece])
            return _scored(form, number, made, matrix, [len(piece) for piece in pieces])

        return scores

    tried = [trained(strength) for strength in (STRENGTHS if dev else (1.0,))]
    best = max(tried, key=lambda scores: _worth(number, scores(dev), dev)) if dev else tried[0]
    return Bag(best, len(vectors.feature_names_))


def _targets(form: Form, examples: Sequence[Example]) -> Values:
    if form == "choice":
        return np.array([float(place == one.gold) for one in examples for place in range(len(one.choices))])
    return np.array([one.gold for one in examples])


def _scored(form: Form, number: bool, made: Any, matrix: Any, sizes: Sequence[int]) -> list[Values]:
    if number:
        return [np.array([value]) for value in made.predict(matrix)]
    logged = np.maximum(made.predict_log_proba(matrix), -700)
    if form != "choice":
        full = np.full((len(logged), int(made.classes_.max()) + 1), -700.0)
        full[:, made.classes_.astype(int)] = logged
        return list(full)
    right, found, at = logged[:, 1], [], 0
    for size in sizes:
        piece = right[at : at + size]
        found.append(piece - np.logaddexp.reduce(piece))
        at += size
    return found


def _worth(number: bool, scores: Sequence[Values], dev: Sequence[Example]) -> float:
    gold = [one.gold for one in dev]
    if number:
        return -float(np.mean((np.array([one[0] for one in scores]) - gold) ** 2))
    return float(np.mean([float(one[int(right)]) for one, right in zip(scores, gold, strict=True)]))
