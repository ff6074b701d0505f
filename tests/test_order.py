"""The order of training data is a pure function: no replacement, any rank count, and it can be inverted."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.training.masking import Vocabulary, masked_sequence, predictions
from models.training.order import BLOCK_SLOTS, Order, permute, quotas, unpermute
from models.training.schedule import BatchSchedule, RateSchedule


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
        "batch": BatchSchedule(4),
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


@given(st.integers(0, 800), st.integers(1, 60), st.sampled_from([BatchSchedule(4), BatchSchedule(9, 2, 100)]))
@settings(max_examples=40, deadline=None)
def test_steps_of_a_span_are_exactly_the_steps_whose_batch_holds_it(
    start: int, length: int, batch: BatchSchedule
) -> None:
    order, last = _order(batch=batch), 120
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


def test_source_too_rare_to_be_drawn_is_named() -> None:
    with pytest.raises(ValueError, match="source b has less than 1 in 1024"):
        _order(weights=(("a", 1.0), ("b", 0.0004)))


def test_source_shorter_than_a_window_is_named() -> None:
    with pytest.raises(ValueError, match="source b has 8 training tokens"):
        _order(streams=(("a", 801), ("b", 8)))


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 3000))
@settings(max_examples=50, deadline=None)
def test_ramp_grows_to_the_full_batch_and_every_sequence_has_its_step(full: int, first: int, ramp: int) -> None:
    schedule = BatchSchedule(full, min(first, full), ramp)
    sizes = [schedule.size(step) for step in range(1, 300)]
    assert sizes == sorted(sizes)
    assert sizes[0] == (min(first, full) if ramp else full)
    assert sizes[-1] == full or sum(sizes) < ramp
    slot = 0
    for step, size in enumerate(sizes, start=1):
        assert schedule.first_slot(step) == slot
        assert {schedule.step_of(slot), schedule.step_of(slot + size - 1)} == {step}
        slot += size
    assert schedule.steps_for(slot) == 299
    assert schedule.steps_for(slot + 1) == 300


def test_ramp_of_gpt3_takes_its_tokens_and_the_rate_follows_the_paper() -> None:
    schedule = BatchSchedule(3_200_000 // 2048, 32_768 // 2048, 12_000_000_000 // 2048)
    assert schedule.size(1) == 16
    ramped = next(step for step in range(1, 100_000) if schedule.size(step) == 1562)
    assert schedule.first_slot(ramped) * 2048 == pytest.approx(12e9, rel=0.01)
    rate = RateSchedule(375_000_000, 260_000_000_000, 0.1)
    assert rate.share(187_500_000) == 0.5
    assert rate.share(375_000_000) == 1
    assert rate.share((260_000_000_000 + 375_000_000) // 2) == pytest.approx(0.55)
    assert rate.share(260_000_000_000) == rate.share(300_000_000_000) == pytest.approx(0.1)


@given(st.integers(0, 10_000), st.integers(8, 200), st.booleans())
@settings(max_examples=60, deadline=None)
def test_masking_hides_its_share_and_depends_on_its_subject_alone(step: int, length: int, whole_words: bool) -> None:
    draw = np.random.default_rng(step)
    window, other = draw.integers(0, 90, length), draw.integers(0, 90, length)
    inside = draw.random(100) < 0.5
    words = {"begins_inside": inside, "ends_inside": inside} if whole_words else {}
    vocabulary = Vocabulary(100, end_of_text=99, **words)
    found = masked_sequence(window, other, vocabulary, 1, "step", step, 3)
    again = masked_sequence(window, other, vocabulary, 1, "step", step, 3)
    assert all(np.array_equal(getattr(found, name), getattr(again, name)) for name in found.__dataclass_fields__)
    hidden = found.positions[found.weights == 1]
    assert len(found.ids) == len(found.types) == length + 3
    assert len(found.positions) == predictions(length + 3)
    assert len(hidden) == len(set(hidden.tolist())) <= predictions(length + 3)
    if not whole_words:
        assert len(hidden) == min(predictions(length + 3), length)
    end = int(np.flatnonzero(found.ids == vocabulary.sep)[0])
    assert found.ids[0] == vocabulary.cls
    assert found.ids[-1] == vocabulary.sep
    original = found.ids.copy()
    original[hidden] = found.targets[found.weights == 1]
    text = np.concatenate([original[1:end], original[end + 1 : -1]])
    second = (other if found.not_next else window)[end - 1 :]
    assert np.array_equal(text, np.concatenate([window[: end - 1], second]))
    assert np.array_equal(found.types, np.arange(length + 3) > end)


def test_masking_is_80_10_10_and_half_of_the_pairs_are_no_neighbours() -> None:
    vocabulary = Vocabulary(1000, end_of_text=999)
    window, other = np.arange(1, 126), np.arange(200, 325)
    rows = [masked_sequence(window, other, vocabulary, 1, "step", step, 0) for step in range(800)]
    fates: Counter[str] = Counter()
    for row in rows:
        for position, target in zip(row.positions, row.targets, strict=True):
            now = row.ids[position]
            fates["mask" if now == vocabulary.mask else "kept" if now == target else "random"] += 1
    total = sum(fates.values())
    assert fates["mask"] / total == pytest.approx(0.8, abs=0.015)
    assert fates["kept"] / total == pytest.approx(0.1, abs=0.01)
    assert np.mean([row.not_next for row in rows]) == pytest.approx(0.5, abs=0.06)


def test_whole_words_are_hidden_whole() -> None:
    # Tokens below 50 begin a word, the others continue one.
    inside = np.arange(100) >= 50
    vocabulary = Vocabulary(100, end_of_text=99, begins_inside=inside, ends_inside=np.ones(100, dtype=bool))
    window = np.array([1, 60, 61, 2, 62, 3, 4, 63, 64, 65, 5, 6] * 10)
    for step in range(50):
        row = masked_sequence(window, window, vocabulary, 1, "step", step, 0)
        shown = row.ids.copy()
        hidden = set(row.positions[row.weights == 1].tolist())
        shown[list(hidden)] = [row.targets[row.positions.tolist().index(place)] for place in hidden]
        for place in hidden:
            if shown[place] >= 50 and shown[place - 1] < 100:
                assert place - 1 in hidden
            if place + 1 < len(shown) and 50 <= shown[place + 1] < 100:
                assert place + 1 in hidden


def test_each_epoch_has_an_order_of_its_own() -> None:
    order = _order(weights=(("a", 1.0), ("b", 1.0)))
    size = order.windows_of("b")
    drawn = [window.start for step in range(1, 200) for window in order.batch_at(step) if window.source == "b"]
    epochs = [drawn[n * size : (n + 1) * size] for n in range(3)]
    assert sorted(epochs[0]) == sorted(epochs[1])
    assert epochs[0] != epochs[1] != epochs[2]


def test_fifteen_percent_of_a_full_sequence_are_hidden() -> None:
    assert [predictions(context) for context in (4, 128, 512)] == [1, 19, 77]
