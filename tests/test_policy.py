"""Policies keep and remove at exactly the bounds that their papers print, and say why."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from models.draws import uniform
from tasks.select import policy
from tasks.select.facts import SelectSettings
from tasks.select.measured import SIGNALS
from tasks.select.policy import Policy, Rule, passing
from tests.conftest import PROJECT
from warehouse.errors import SettingError


def judged(rule: Rule, *values: float | str) -> list[bool]:
    """Which values a rule keeps."""
    kind = pa.string() if rule.signal == "language" else pa.float64()
    table = pa.table({"doc_id": [f"d{n}" for n in range(len(values))], rule.signal: pa.array(values, kind)})
    return passing(Policy(rules=(rule,)).checks(table, 1, {}), len(values)).tolist()


# Policy, signal, a value at the bound that is kept, the nearest that is not. Figures are those of the papers.
BOUNDS = [
    ("gopher", "gopher_word_count", 50, 49),
    ("gopher", "gopher_word_count", 100_000, 100_001),
    ("gopher", "gopher_mean_word_length", 3, 2.999),
    ("gopher", "gopher_mean_word_length", 10, 10.001),
    ("gopher", "gopher_hash_word_ratio", 0.1, 0.1001),
    ("gopher", "gopher_ellipsis_word_ratio", 0.1, 0.1001),
    ("gopher", "gopher_bullet_line_share", 0.9, 0.9001),
    ("gopher", "gopher_ellipsis_line_share", 0.3, 0.3001),
    ("gopher", "gopher_alphabetic_word_share", 0.8, 0.7999),
    ("gopher", "gopher_stop_word_count", 2, 1),
    ("gopher", "gopher_duplicate_line_share", 0.3, 0.3001),
    ("gopher", "gopher_duplicate_paragraph_share", 0.3, 0.3001),
    ("gopher", "gopher_duplicate_line_char_share", 0.2, 0.2001),
    ("gopher", "gopher_duplicate_paragraph_char_share", 0.2, 0.2001),
    ("gopher", "gopher_top_2_gram_char_share", 0.2, 0.2001),
    ("gopher", "gopher_top_3_gram_char_share", 0.18, 0.1801),
    ("gopher", "gopher_top_4_gram_char_share", 0.16, 0.1601),
    ("gopher", "gopher_duplicate_5_gram_char_share", 0.15, 0.1501),
    ("gopher", "gopher_duplicate_6_gram_char_share", 0.14, 0.1401),
    ("gopher", "gopher_duplicate_7_gram_char_share", 0.13, 0.1301),
    ("gopher", "gopher_duplicate_8_gram_char_share", 0.12, 0.1201),
    ("gopher", "gopher_duplicate_9_gram_char_share", 0.11, 0.1101),
    ("gopher", "gopher_duplicate_10_gram_char_share", 0.1, 0.1001),
    ("c4", "c4_sentence_count", 5, 4),
    ("c4", "c4_lorem_ipsum", 0, 1),
    ("c4", "c4_curly_bracket", 0, 1),
    ("fineweb", "language_score", 0.65, 0.6499),
    ("fineweb", "c4_loose_sentence_count", 5, 4),
    ("fineweb", "c4_loose_lorem_ipsum", 0, 1),
    ("fineweb", "c4_loose_curly_bracket", 0, 1),
    ("c4", "language_score", 0.65, 0.6499),
    ("refinedweb", "language_score", 0.65, 0.6499),
    ("dclm", "language_score", 0.65, 0.6499),
    ("fineweb", "fineweb_terminal_line_share", 0.12, 0.1199),
    ("fineweb", "fineweb_short_line_share", 0.67, 0.6701),
    ("fineweb", "fineweb_duplicate_line_char_share", 0.01, 0.0101),
    ("fineweb", "fineweb_newline_word_ratio", 0.3, 0.3001),
    ("refinedweb", "refinedweb_line_word_share", 0.05, 0.0501),
    ("dclm", "refinedweb_line_word_share", 0.05, 0.0501),
    ("documentation", "gopher_word_count", 20, 19),
    ("documentation", "gopher_alphabetic_word_share", 0.4, 0.3999),
    ("documentation", "gopher_duplicate_paragraph_char_share", 0.3, 0.3001),
    ("documentation", "gopher_duplicate_line_char_share", 0.4, 0.4001),
    ("documentation", "repeated_span_char_share", 0.9, 0.9001),
    ("site", "gopher_word_count", 10, 9),
]


@pytest.mark.parametrize(("name", "signal", "kept", "removed"), BOUNDS)
def test_each_paper_keeps_its_own_bound_and_not_the_next_value(
    name: str, signal: str, kept: float, removed: float
) -> None:
    (rule,) = [rule for rule in policy.load(name).rules if rule.signal == signal]
    assert judged(rule, kept, removed) == [True, False]


def test_every_bound_of_every_policy_is_pinned_above() -> None:
    pinned = {(name, signal) for name, signal, _, _ in BOUNDS}
    gopher = set(policy.load("gopher").rules)
    for name in policy.names():
        for rule in policy.load(name).rules:
            drawn = rule.only or rule.pareto or rule.top_share
            assert drawn or rule in gopher or (name, rule.signal) in pinned, (name, rule.signal)


def test_gpt3_keeps_as_often_as_the_pareto_distribution_says() -> None:
    (rule,) = policy.load("gpt3").rules
    for score, chance in ((1.0, 1.0), (0.9, 0.424), (0.8, 0.194), (0.5, 0.026)):  # (2 - score) ** -9
        kept = judged(rule, *[score] * 20_000)
        assert np.mean(kept) == pytest.approx(chance, abs=0.012)


def test_the_pareto_draw_of_a_document_is_its_own() -> None:
    (rule,) = policy.load("gpt3").rules
    ids = [f"doc{n}" for n in range(500)]
    scores = uniform(5, "score", ids)

    def kept(order: list[int]) -> dict[str, bool]:
        table = pa.table({"doc_id": [ids[n] for n in order], "quality_score": scores[order]})
        mask = passing(Policy(rules=(rule,)).checks(table, 1, {}), len(order))
        return {ids[n]: bool(ok) for n, ok in zip(order, mask, strict=True)}

    forwards = kept(list(range(500)))
    assert kept(list(range(499, -1, -1))) == forwards
    assert {ids[7]: forwards[ids[7]]} == kept([7])


def test_dclm_keeps_the_best_tenth_of_a_source() -> None:
    scores = pa.chunked_array([[n / 1000 for n in range(1000)]])
    one = Policy(rules=(Rule(signal="quality_score", top_share=0.1),))
    cutoffs = one.cutoffs(lambda _: scores)
    table = pa.table({"doc_id": [str(n) for n in range(1000)], "quality_score": scores})
    assert passing(one.checks(table, 1, cutoffs), 1000).sum() == 100


def test_unknown_names_are_errors_that_name_the_nearest() -> None:
    with pytest.raises(ValidationError, match="the nearest is gopher_word_count"):
        Rule(signal="gopher_words_count", min=50)
    with pytest.raises(ValidationError, match="the nearest is c4_short"):
        Policy(drop_lines=("c4_shorts",))
    with pytest.raises(SettingError, match="the nearest is fineweb"):
        policy.load("finweb")


def test_a_signal_that_nobody_measured_is_an_error_and_keeps_nothing_by_accident() -> None:
    table = pa.table({"doc_id": ["a"], "quality_score": pa.nulls(1, pa.float64())})
    with pytest.raises(SettingError, match=r"quality\.positive"):
        policy.load("gpt3").checks(table, 1, {})


def test_every_signal_says_what_it_is_and_where_it_comes_from() -> None:
    assert all(signal.unit and signal.meaning and signal.source for signal in SIGNALS)
    assert len({signal.name for signal in SIGNALS}) == len(SIGNALS)
    documented = (PROJECT / "docs" / "signals.md").read_text()
    for signal in SIGNALS:
        row = f"| `{signal.name}` | {signal.unit} | {signal.meaning} | {signal.source} | {signal.version} | {signal.needs} |"
        assert row in documented, f"docs/signals.md says something else of {signal.name}"


@pytest.mark.parametrize("repeats", [{1: 2}, {2: 0}])
def test_repeats_that_make_no_sense_are_refused(repeats: dict[int, int]) -> None:
    with pytest.raises(ValidationError):
        SelectSettings(policies={}, weights={"a": 1.0}, repeats=repeats)
