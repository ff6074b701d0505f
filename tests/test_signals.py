"""Signals equal figures worked out by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.select import Rule
from tasks.signals.stage import SIGNALS, measure


def test_gopher_quality_by_hand() -> None:
    found = measure("# The cat ... sat\n- and the dog have 12 cats…\nThat was it")
    assert found["gopher_word_count"] == 15
    assert found["gopher_mean_word_length"] == pytest.approx(43 / 15)
    assert found["gopher_hash_word_ratio"] == pytest.approx(1 / 15)
    assert found["gopher_bullet_line_share"] == pytest.approx(1 / 3)
    assert found["gopher_ellipsis_line_share"] == pytest.approx(1 / 3)
    assert found["gopher_stop_word_count"] == 4  # the, and, have, that


def test_duplicate_lines_and_paragraphs_by_hand() -> None:
    found = measure("aaaa\nbb\naaaa\n\ncc\n\ncc")
    assert found["gopher_duplicate_line_share"] == pytest.approx(2 / 5)
    assert found["gopher_duplicate_line_char_share"] == pytest.approx(6 / 20)
    assert found["gopher_duplicate_paragraph_share"] == pytest.approx(1 / 3)
    assert found["gopher_duplicate_paragraph_char_share"] == pytest.approx(2 / 20)


def test_top_n_gram_counts_only_what_occurs_twice() -> None:
    found = measure("a b x a b y a b")
    assert found["gopher_top_2_gram_char_share"] == pytest.approx(3 * 3 / 15)  # "a b" three times
    assert found["gopher_top_3_gram_char_share"] == 0  # "a b x" and "x a b" occur once each


def test_repeated_n_grams_count_from_the_second_occurrence_without_overlap() -> None:
    found = measure("a b c d e " * 3)
    # Five words are new; the other ten are two repeated 5-grams of 5 characters each.
    assert found["gopher_duplicate_5_gram_char_share"] == pytest.approx(10 / 30)


def test_c4_by_hand() -> None:
    found = measure(
        'He said "yes."\nplease enable javascript now.\nwe use cookies here.\ntwo words\nOne two three. Four five! {'
    )
    assert found["c4_terminal_line_share"] == pytest.approx(3 / 5)
    assert found["c4_short_line_share"] == pytest.approx(1 / 5)
    assert (found["c4_javascript_line_count"], found["c4_policy_line_count"], found["c4_curly_bracket"]) == (1, 1, 1)
    assert found["c4_sentence_count"] == 3  # 'yes."', 'three.', 'five!': the other lines are dropped


def test_fineweb_by_hand() -> None:
    found = measure("This line is longer than thirty characters.\nshort\nshort")
    assert found["fineweb_terminal_line_share"] == pytest.approx(1 / 3)
    assert found["fineweb_short_line_share"] == pytest.approx(2 / 3)
    assert found["fineweb_duplicate_line_char_share"] == pytest.approx(5 / 53)
    assert found["fineweb_newline_word_ratio"] == pytest.approx(2 / 9)


def test_language_reads_the_whole_text() -> None:
    german = "Der schnelle braune Fuchs springt über den faulen Hund und läuft danach in den Wald zurück. " * 20
    assert measure("This first line is English.\n" + german)["language"] == "de"


@given(st.text(max_size=300))
def test_any_text_has_every_signal_as_a_number(text: str) -> None:
    found = measure(text)
    assert set(found) == {signal.name for signal in SIGNALS}
    assert all(isinstance(value, float | int) and value == value for name, value in found.items() if name != "language")


@pytest.mark.parametrize(
    ("rule", "kept", "removed"),
    [
        ({"signal": "gopher_word_count", "min": 50}, 50, 49),
        ({"signal": "gopher_word_count", "max": 100_000}, 100_000, 100_001),
        ({"signal": "gopher_stop_word_count", "min": 2}, 2, 1),
        ({"signal": "gopher_mean_word_length", "min": 3, "max": 10}, 10.0, 10.01),
        ({"signal": "gopher_duplicate_line_share", "max": 0.3}, 0.3, 0.3001),
        ({"signal": "fineweb_newline_word_ratio", "max": 0.3}, 0.3, 0.301),
    ],
)
def test_bounds_keep_their_own_value(rule: dict, kept: float, removed: float) -> None:
    made = Rule(**rule)
    assert made.broken_by({rule["signal"]: kept}) is None
    assert made.broken_by({rule["signal"]: removed}) is not None


def test_unknown_signal_is_an_error_that_names_the_nearest() -> None:
    with pytest.raises(ValueError, match="the nearest is gopher_word_count"):
        Rule(signal="gopher_words_count", min=50)
