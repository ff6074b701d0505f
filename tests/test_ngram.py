"""The n-gram baselines are probability distributions and count what they say."""

from __future__ import annotations

import numpy as np
import pytest

from models.ngram import NGram

RANDOM = np.random.default_rng(0)
STREAM = RANDOM.choice(12, size=3000, p=np.arange(1, 13) / 78).astype(np.int64)


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_probabilities_of_all_tokens_sum_to_one_after_any_context(order: int) -> None:
    model = NGram(order, 14, STREAM)  # two tokens of the vocabulary never occur
    for context in (STREAM[10:16], np.array([13, 1, 13, 2, 3, 12]), RANDOM.choice(14, 6)):
        total = sum(model.probabilities(np.append(context, token).astype(np.int64))[0][-1] for token in range(14))
        assert total == pytest.approx(1.0, abs=1e-9)


def test_unigram_is_add_one_counting() -> None:
    model = NGram(1, 14, STREAM)
    counts = np.bincount(STREAM, minlength=14)
    probability, best = model.probabilities(np.array([0, 3, 13]))
    assert probability == pytest.approx([(counts[3] + 1) / (3000 + 14), 1 / (3000 + 14)])
    assert (best == counts.argmax()).all()


def test_bigram_equals_the_formula_written_out() -> None:
    stream = np.array([0, 1, 0, 1, 0, 2, 1, 2, 0, 1], dtype=np.int64)
    model = NGram(2, 3, stream)
    bigrams = list(zip(stream[:-1].tolist(), stream[1:].tolist(), strict=True))
    kinds = sorted(set(bigrams))
    counts = {pair: bigrams.count(pair) for pair in kinds}
    once, twice = sum(c == 1 for c in counts.values()), sum(c == 2 for c in counts.values())
    discount = once / (once + 2 * twice) if once and twice else 0.5
    continuation = np.array([sum(pair[1] == token for pair in kinds) for token in range(3)])
    unigram = (continuation + 1) / (continuation.sum() + 3)
    total = sum(count for (first, _), count in counts.items() if first == 0)
    followers = sum(first == 0 for first, _ in kinds)
    expected = max(counts[0, 1] - discount, 0) / total + discount * followers / total * unigram[1]
    assert model.probabilities(np.array([0, 1]))[0][0] == pytest.approx(expected)


def test_longer_order_learns_what_a_shorter_one_cannot() -> None:
    stream = np.tile(np.array([0, 1, 0, 2], dtype=np.int64), 300)
    text = stream[:101]
    losses = [-NGram(order, 3, stream).score([text])[0].log_probability.mean() for order in (1, 2, 3)]
    assert losses[0] > losses[1] > losses[2]
    assert losses[2] < 0.02
