"""The order of training data is a pure function: no replacement, any rank count, and it can be inverted."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.training.order import BLOCK_SLOTS, Order, permute, quotas, unpermute


@given(st.integers(1, 3000), st.integers(0, 2**64 - 1))
@settings(max_examples=30)
def test_permutation_is_one_and_its_inverse_inverts_it(size: int, key: int) -> None:
    image = [permute(index, size, key) for index in range(size)]
    assert sorted(image) == list(range(size))
    assert all(unpermute(value, size, key) == index for index, value in enumerate(image))


def _order(**changes: object) -> Order:
    values: dict[str, object] = {
        "identity": "t",
        "seed": 1,
        "context": 8,
        "batch": 4,
        "streams": (("a", 801), ("b", 161)),
        "weights": (("a", 0.7), ("b", 0.3)),
    }
    return Order(**(values | changes))  # type: ignore[arg-type]


def test_window_is_repeated_only_after_its_source_was_seen_whole() -> None:
    order = _order()
    drawn: dict[str, list[int]] = {"a": [], "b": []}
    for step in range(1, 400):
        for window in order.batch_at(step):
            drawn[window.source].append(window.start)
    for source, starts in drawn.items():
        size = order.windows_of(source)
        for epoch in range(len(starts) // size):
            assert sorted(starts[epoch * size : (epoch + 1) * size]) == [i * 8 for i in range(size)]


def test_every_block_holds_the_mixture_exactly() -> None:
    order = _order()
    counted = Counter(order.window(slot).source for slot in range(3 * BLOCK_SLOTS, 4 * BLOCK_SLOTS))
    assert counted == quotas({"a": 0.7, "b": 0.3})


@given(st.dictionaries(st.text(min_size=1, max_size=4), st.floats(0.01, 10), min_size=1, max_size=6))
def test_quotas_fill_the_block_and_are_within_one_slot_of_the_weights(weights: dict[str, float]) -> None:
    found = quotas(weights)
    assert sum(found.values()) == BLOCK_SLOTS
    assert all(abs(found[name] - BLOCK_SLOTS * weight / sum(weights.values())) < 1 for name, weight in weights.items())


@given(st.integers(0, 800), st.integers(1, 60))
@settings(max_examples=25, deadline=None)
def test_steps_of_a_span_are_exactly_the_steps_whose_batch_holds_it(start: int, length: int) -> None:
    order, last = _order(), 120
    length = min(length, 801 - start)
    expected = [
        step
        for step in range(1, last + 1)
        for window in [order.batch_at(step)]
        if any(w.source == "a" and w.start <= start + length - 1 and start < w.start + 8 + 1 for w in window)
    ]
    assert order.steps_of("a", start, length, last) == sorted(set(expected))


def test_seed_and_tokens_change_the_order() -> None:
    first = _order().batch_at(3)
    assert first == _order().batch_at(3)
    assert first != _order(seed=2).batch_at(3)
    assert first != _order(identity="u").batch_at(3)


def test_source_shorter_than_a_window_is_named() -> None:
    with pytest.raises(ValueError, match="source b has 8 training tokens"):
        _order(streams=(("a", 801), ("b", 8)))
