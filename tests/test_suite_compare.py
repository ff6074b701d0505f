"""Models pair by pair: differences by hand, intervals that hold what they promise, and a command that says so."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows.commands.cli import main
from tasks.report.comparison import render
from tasks.suite.compare import compared, sign_test
from tasks.suite.declared import TASKS
from tasks.suite.published import PUBLISHED, beside
from tests.known import recipe_file
from tests.test_suite_pipeline import SETTINGS, set_of

CHOICE, TEXT, LAST = TASKS["piqa"], TASKS["wikitext2"], TASKS["lambada"]


def answered(right: list[bool], clusters: list[str] | None = None) -> list[dict[str, Any]]:
    names = [f"q{n}" for n in range(len(right))]
    return [
        {
            "shots": 0,
            "prompt": "published",
            "seed": None,
            "example_id": name,
            "cluster": cluster,
            "correct": one,
            "prompt_digest": "d",
        }
        for name, one, cluster in zip(names, right, clusters or names, strict=True)
    ]


def test_a_difference_is_taken_question_by_question() -> None:
    a, b = [True, True, False, False, True, False], [True, False, True, True, True, True]
    found = compared(CHOICE, 0, answered(a), list(reversed(answered(b))))
    assert found is not None
    assert (found.n, found.a, found.b) == (6, 0.5, pytest.approx(5 / 6))
    assert (found.only_a, found.only_b) == (1, 3)
    differences = np.array([0, -1, 1, 1, 0, 1])
    error = float(differences.std(ddof=1) / math.sqrt(6))
    assert found.stderr == pytest.approx(error)
    assert found.detectable == pytest.approx(2.801585 * error, rel=1e-5)
    assert found.sign_test == pytest.approx(2 * (1 + 4) / 16)  # of four that differ, one or none to one side
    assert found.verdict == "cannot tell"


def test_questions_of_one_passage_count_as_one() -> None:
    right = [True] * 8 + [False] * 8
    passages = [str(n // 4) for n in range(16)]
    alone, together = (
        compared(CHOICE, 0, answered([False] * 16), answered(right, names)) for names in (None, passages)
    )
    grouped = compared(CHOICE, 0, answered([False] * 16, passages), answered(right, passages))
    assert alone is not None
    assert grouped is not None
    assert together is not None
    # Four passages with differences of 4, 4, 0, 0: sqrt(4 / 3 * 4 * 2 ** 2) / 16.
    assert grouped.stderr == pytest.approx(math.sqrt(4 / 3 * 16) / 16)
    assert grouped.stderr > 1.5 * alone.stderr


def test_questions_that_one_alone_was_asked_are_left_out() -> None:
    first, second = answered([True] * 5), answered([False] * 9)
    found = compared(CHOICE, 0, first, second)
    assert found is not None
    assert found.n == 5
    for row in second:
        row["seed"] = 3
    assert compared(CHOICE, 0, first, second) is None


def test_wordings_and_seeds_of_a_question_are_one_question() -> None:
    a, b = [True] * 3 + [False] * 7, [False] * 3 + [True] * 7
    once = compared(CHOICE, 0, answered(a), answered(b))
    five = [[row | {"seed": seed} for seed in range(5) for row in answered(right)] for right in (a, b)]
    often = compared(CHOICE, 0, *five)
    assert once is not None
    assert often is not None
    assert (often.n, often.only_a, often.only_b, often.sign_test) == (10, 3, 7, once.sign_test)
    assert often.stderr == pytest.approx(once.stderr)


def test_answers_to_other_prompts_are_no_pair_and_one_passage_is_no_verdict() -> None:
    other = [row | {"prompt_digest": "another"} for row in answered([True] * 4)]
    assert compared(CHOICE, 0, answered([True] * 4), other) is None
    found = compared(CHOICE, 0, answered([False] * 4, ["p"] * 4), answered([True] * 4, ["p"] * 4))
    assert found is not None
    assert found.verdict == "cannot tell"


def test_texts_are_compared_by_bits_a_byte_of_which_fewer_are_better() -> None:
    def read(nats: list[float]) -> list[dict[str, Any]]:
        return [
            row | {"log_likelihoods": [-n], "bytes": size}
            for row, n, size in zip(answered([True] * 3), nats, (10, 20, 70), strict=True)
        ]

    found = compared(TEXT, 0, read([10, 20, 70]), read([9, 18, 63]))
    assert found is not None
    assert (found.a, found.b) == (pytest.approx(1 / math.log(2)), pytest.approx(0.9 / math.log(2)))
    assert found.sign_test is None
    assert found.verdict == "b"
    assert found.stderr == pytest.approx(0.0, abs=1e-12)


def test_an_interval_holds_the_truth_nineteen_times_in_twenty() -> None:
    """Models of equal skill on questions of unequal difficulty, two hundred times: few are called apart."""
    draw = np.random.default_rng(1)
    called = signs = 0
    for _ in range(200):
        hard = draw.random(150)
        a, b = (draw.random(150) < hard for _ in range(2))
        found = compared(CHOICE, 0, answered(a.tolist()), answered(b.tolist()))
        assert found is not None
        called += found.verdict != "cannot tell"
        signs += (found.sign_test or 1) < 0.05
    assert called <= 20  # 10 expected, with a deviation of 3
    assert called >= 1
    assert signs <= 20


def test_a_difference_of_the_size_that_is_said_is_seen_four_times_in_five() -> None:
    draw, seen, promised = np.random.default_rng(2), 0, 0.0
    for _ in range(100):
        hard = draw.random(300) * 0.6
        a, b = draw.random(300) < hard, draw.random(300) < hard + 0.1
        found = compared(CHOICE, 0, answered(a.tolist()), answered(b.tolist()))
        assert found is not None
        seen, promised = seen + (found.verdict == "b"), promised + found.detectable / 100
    # A difference of .1 where detectable is about .1: seen about four times in five.
    assert promised == pytest.approx(0.1, abs=0.02)
    assert 65 <= seen <= 92


def test_the_sign_test_is_exact() -> None:
    assert sign_test(0, 0) == 1.0
    assert sign_test(0, 5) == pytest.approx(2 / 32)
    assert sign_test(5, 5) == 1.0
    assert sign_test(3000, 4000) < 1e-30  # and has no overflow


def test_the_page_draws_better_to_the_right_whichever_way_the_metric_goes() -> None:
    better = compared(CHOICE, 0, answered([False] * 40), answered([True] * 40))
    assert better is not None
    page = render("small", {"wide": [better]}, beside)
    assert "small beside wide" in page
    assert "+1.0000" in page
    assert "<td>wide</td>" in page
    assert "<svg" in page
    few = compared(CHOICE, 50, answered([True] * 40), answered([True] * 40))
    assert few is not None
    assert "GPT-3 125M 0.643, GPT-3 175B 0.823" in render("a", {"b": [few]}, beside)


def test_papers_are_quoted_in_the_unit_of_our_figures() -> None:
    quoted = {(row.task, row.metric, row.shots, row.model): row.value for row in PUBLISHED}
    assert len(quoted) == len(PUBLISHED)
    assert quoted["hellaswag", "accuracy", "0", "GPT-3 175B"] == pytest.approx(0.789)
    assert quoted["lambada_openai", "perplexity a token", "0", "GPT-2 117M"] == 35.13
    assert {row.task for row in PUBLISHED} <= set(TASKS)
    assert next(row.model for row in beside("lambada_blank", "accuracy", 15)) == "GPT-3 125M"
    assert beside("lambada_blank", "accuracy", 0) == []


RUNS = """
[runs.first]
[runs.second]
seed = 8
[runs.second.model]
width = 32
"""


def test_the_command_compares_runs_of_a_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import json
    from random import Random

    from flows.making import Pipeline
    from flows.recipe.loading import load_recipe

    draw = Random(3)
    (tmp_path / "piqa.jsonl").write_text("\n".join(map(json.dumps, set_of(draw, 30))))
    sections = SETTINGS.replace("FOLDER", str(tmp_path)).replace('"piqa", "triviaqa"', '"piqa"') + RUNS
    path = recipe_file(tmp_path, {"pages": [" ".join(draw.choices("abcdefgh", k=300)) for _ in range(20)]}, sections)
    made = Pipeline(load_recipe(str(path)))

    def asked(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["compare", *words, "--config", str(path), "--set", "workers=1"])
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    for node in (
        "extract",
        "annotate",
        "sign",
        "band",
        "match",
        "tally",
        "repetition",
        "elect",
        "select",
        "tokenizer",
        "split",
        "relatives",
        "pack",
        "pretrain",
    ):
        made.make(node)
    status, _, error = asked("first", "second")
    assert (status, "has answered nothing yet: gristmill evaluate --suite core asks it" in error) == (1, True)
    for node in ("evaluate", "questions", "seek", "expose", "answer"):
        made.make(node)
    status, out, error = asked("first", "second")
    assert status == 0, error
    assert "first beside second" in out
    assert "piqa" in out
    page = Path(out[out.index("Page:") :].split()[1])
    assert "first beside second" in page.read_text()
    status, out, error = asked("first", "second", "--task", "wic")
    assert (status, "were asked no question in common" in error) == (1, True)
    assert asked("first")[2].startswith("gristmill: compare takes two runs or more")
