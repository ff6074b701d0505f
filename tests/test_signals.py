"""Signals equal figures worked out by hand."""

from __future__ import annotations

import string
from collections import Counter
from random import Random

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.signals import stage
from tasks.signals.classifier import BUCKETS, features
from tasks.signals.language import _sample
from tasks.signals.lines import without_lines
from tasks.signals.stage import SIGNALS
from tasks.text.buffers import buffers


def measure(text: str) -> dict[str, float | str]:
    """Every signal of one text."""
    return {name: values[0] for name, values in stage.measure(pa.array([text])).items()}


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


def test_paragraphs_are_equal_whose_lines_are() -> None:
    assert measure("a\nb\n\na \n b")["gopher_duplicate_paragraph_share"] == pytest.approx(1 / 2)
    assert measure("a\nb\n\na b")["gopher_duplicate_paragraph_share"] == 0


def test_top_n_gram_counts_only_what_occurs_twice() -> None:
    found = measure("a b x a b y a b")
    assert found["gopher_top_2_gram_char_share"] == pytest.approx(3 * 3 / 15)  # "a b" three times
    assert found["gopher_top_3_gram_char_share"] == 0  # "a b x" and "x a b" occur once each


def test_repeated_n_grams_count_from_the_second_occurrence_without_overlap() -> None:
    found = measure("a b c d e " * 3)
    # Five words are new; the other ten are two repeated 5-grams of 5 characters each.
    assert found["gopher_duplicate_5_gram_char_share"] == pytest.approx(10 / 30)


def plainly_repeated(words: list[str], n: int) -> int:
    """Characters in repeated n-grams, as a reader would count them."""
    seen: set[tuple[str, ...]] = set()
    at, characters = 0, 0
    while at + n <= len(words):
        gram = tuple(words[at : at + n])
        if gram in seen:
            characters += sum(map(len, gram))
            at += n
        else:
            seen.add(gram)
            at += 1
    return characters


@settings(deadline=None)
@given(st.lists(st.sampled_from(["a", "bb", "ccc"]), min_size=1, max_size=60))
def test_n_gram_shares_are_those_of_a_plain_count(words: list[str]) -> None:
    text = " ".join(words)
    found = measure(text)
    for n in (2, 3, 4):
        counts = Counter(" ".join(words[at : at + n]) for at in range(len(words) - n + 1))
        most = max(counts.values(), default=0)
        first = next((len(gram) for gram in counts if counts[gram] == most), 0)  # the earliest, on a tie
        assert found[f"gopher_top_{n}_gram_char_share"] == pytest.approx(first * most / len(text) if most > 1 else 0)
    for n in range(5, 11):
        again = plainly_repeated(words, n) / len(text)
        assert found[f"gopher_duplicate_{n}_gram_char_share"] == pytest.approx(again)


def test_c4_by_hand() -> None:
    found = measure(
        'He said "yes."\nplease enable javascript now.\nwe use cookies here.\ntwo words\nOne two three. Four five! {'
    )
    assert found["c4_terminal_line_share"] == pytest.approx(3 / 5)
    assert found["c4_short_line_share"] == pytest.approx(1 / 5)
    assert (found["c4_javascript_line_count"], found["c4_policy_line_count"]) == (1, 1)
    assert (found["c4_curly_bracket"], found["c4_loose_curly_bracket"]) == (0, 1)  # its line ends in no punctuation
    assert found["c4_sentence_count"] == 1  # 'yes."'
    assert found["c4_loose_sentence_count"] == 4  # and 'three.', 'five!', '{'


def test_fineweb_by_hand() -> None:
    found = measure("This line is longer than thirty characters.\nshort\nshort")
    assert found["fineweb_terminal_line_share"] == pytest.approx(1 / 3)
    assert found["fineweb_short_line_share"] == pytest.approx(2 / 3)
    assert found["fineweb_duplicate_line_char_share"] == pytest.approx(5 / 53)
    assert found["fineweb_newline_word_ratio"] == pytest.approx(2 / 9)


def test_language_reads_more_than_the_first_line() -> None:
    german = "Der schnelle braune Fuchs springt über den faulen Hund und läuft danach in den Wald zurück. " * 20
    assert measure("This first line is English.\n" + german)["language"] == "de"


def test_language_is_that_of_a_sample_spread_over_the_text() -> None:
    german = "Dies ist ein langer deutscher Satz, der von den Dingen des Alltags handelt. " * 40
    assert measure("An English beginning of some length stands here. " * 12 + german)["language"] == "de"
    assert len(_sample(german)) == 8 * 200 + 7
    assert _sample(german).startswith(german[:200])
    assert _sample(german).endswith(german[-200:])
    assert _sample("short") == "short"


def test_shouting_is_not_taken_for_another_language() -> None:
    assert measure("THE COMMITTEE HAS DECIDED THAT NO FURTHER MEETINGS WILL BE HELD THIS YEAR.")["language"] == "en"


@settings(deadline=None)
@given(st.text(max_size=300))
def test_any_text_has_every_signal_as_a_number_or_as_nothing_where_its_script_has_none(text: str) -> None:
    found = measure(text)
    assert set(found) == {signal.name for signal in SIGNALS} - {"quality_score", "unigram_perplexity"}
    needs = {signal.name: signal.needs for signal in SIGNALS}
    assert all(isinstance(found[name], float | int) for name in found if name != "language")
    assert {name for name, value in found.items() if value != value} <= {name for name in needs if needs[name]}


@settings(deadline=None)
@given(st.lists(st.text(max_size=80), min_size=1, max_size=5))
def test_a_text_is_measured_alike_alone_and_in_any_column(texts: list[str]) -> None:
    together = stage.measure(pa.array([None, *texts]).slice(1))
    for row, text in enumerate(texts):
        alone, among = measure(text), {name: values[row] for name, values in together.items()}
        assert repr(alone) == repr(among)  # of which some are nothing, which equals nothing


def test_c4_judges_the_line_as_it_is_without_citations() -> None:
    assert measure("A sentence with a note.[12]")["c4_terminal_line_share"] == 1
    assert measure("Nobody said so.[citation needed]")["c4_terminal_line_share"] == 1
    assert measure("It goes on and on...")["c4_terminal_line_share"] == 0
    assert measure("An unfinished [list]")["c4_terminal_line_share"] == 0


def test_words_longer_than_c4_allows_take_their_line_out() -> None:
    assert measure("see " + "x" * 1000 + " there.")["c4_long_word_line_count"] == 0
    assert measure("see " + "x" * 1001 + " there.")["c4_long_word_line_count"] == 1


def test_refinedweb_lines_by_hand() -> None:
    found = measure("BUY NOW TODAY\n12 345\n3 likes\n1.2K Followers\nalone\nthree plain words here")
    assert found["refinedweb_capital_line_count"] == 1
    assert found["refinedweb_numeric_line_count"] == 1
    assert found["refinedweb_counter_line_count"] == 2
    assert found["refinedweb_single_word_line_count"] == 1
    assert found["refinedweb_line_word_share"] == pytest.approx(10 / 14)


def test_redpajama_counts_by_hand() -> None:
    found = measure("The cat saw THE cat. OK 42")
    assert found["redpajama_unique_word_share"] == pytest.approx(6 / 7)  # the, cat, saw, cat., ok, 42
    assert found["redpajama_all_caps_word_share"] == pytest.approx(2 / 7)
    assert found["redpajama_stop_word_share"] == pytest.approx(2 / 7)
    assert found["redpajama_numeral_share"] == pytest.approx(2 / 26)
    assert found["redpajama_sentence_count"] == 2


def test_repetition_of_order_is_no_repetition_of_words() -> None:
    assert measure("a b c b a")["gopher_top_2_gram_char_share"] == 0  # "b a" is not "a b"


def test_repetitive_text_compresses_and_noise_does_not() -> None:
    noise = "".join(Random(1).choices(string.printable, k=2000))
    assert measure("the same again. " * 200)["compression_ratio"] < 0.05 < 0.5 < measure(noise)["compression_ratio"]


def test_lines_go_and_the_others_stay_as_they_are() -> None:
    text = "Keep this one.\n  too short\nEnable JavaScript to go on.\nAnd  keep this."
    kept = without_lines(pa.chunked_array([[text, "Nothing to take out here."]]), ("c4_short", "c4_javascript"))
    assert kept == ["Keep this one.\nAnd  keep this.", "Nothing to take out here."]


def test_classifier_features_are_those_of_scikit_learn() -> None:
    from sklearn.feature_extraction.text import HashingVectorizer

    texts = [
        "Hello hello world, the END",
        "Ärger ünïcode straße 中文 字 العربية 👩",
        "",
        "a",
        "x " * 50,
        "abc abcd abcde abcdef",
    ]
    reference = HashingVectorizer(tokenizer=str.split, token_pattern=None, n_features=BUCKETS).transform(texts)
    assert abs(features(*buffers(pa.array(texts))) - reference).max() < 1e-6
