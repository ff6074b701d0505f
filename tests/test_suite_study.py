"""Which corpus is better: figures by hand, equal corpora that are seldom called different, a bad one that loses; and laws of scale."""

from __future__ import annotations

import json
import math
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from flows.commands.cli import main
from flows.query import rows
from flows.recipe.arms import Study, arms_of, pair_recipe
from flows.recipe.loading import load_recipe
from tasks.suite.ablation import expected, outcome, verdict
from tasks.suite.endings import Text, endings
from tasks.suite.scaling import Signal, noise_of, power_law, without_the_largest
from tests.conftest import PROJECT
from tests.known import recipe_file
from tests.test_known_scores import WORDS
from warehouse.errors import SettingError


def test_an_outcome_is_two_variances_by_hand() -> None:
    # Two pairs, three texts of 10, 20 and 30 bytes.
    first = np.array([[10.0, 20.0, 30.0], [12.0, 22.0, 32.0]])
    second = np.array([[9.0, 18.0, 27.0], [11.0, 21.0, 31.0]])
    sizes = np.array([10.0, 20.0, 30.0])
    found = outcome(first, second, sizes, ["a", "b", "c"])
    assert found.a == pytest.approx((60 + 66) / 2 / 60)
    assert found.b == pytest.approx((54 + 63) / 2 / 60)
    # The pairs differ by -6 / 60 and -3 / 60.
    assert found.pair_variance == pytest.approx(np.var([-0.1, -0.05], ddof=1))
    # Over pairs the texts differ by -1, -1.5, -2: residuals -1 + .75, -1.5 + 1.5, -2 + 2.25.
    assert found.question_variance == pytest.approx(3 / 2 * (0.25**2 + 0 + 0.25**2) / 60**2)
    assert found.stderr == pytest.approx(math.sqrt(found.pair_variance / 2 + found.question_variance))
    assert outcome(first, second, sizes, ["a", "a", "b"]).question_variance == pytest.approx(
        2 * (0.25**2 + 0.25**2) / 60**2
    )
    assert expected(first, sizes) == pytest.approx(math.sqrt(2 * np.var([1.0, 1.1], ddof=1)))
    with pytest.raises(ValueError, match="two pairs of models at least"):
        outcome(first[:1], second[:1], sizes, ["a", "b", "c"])


def study(draw: np.random.Generator, pairs: int, effect: float, texts: int = 60) -> tuple[Any, Any, Any]:
    """Bits of texts by models whose chance is like that of small networks: hard texts, good seeds, and what both have of a pair."""
    sizes = draw.integers(400, 4000, texts).astype(float)
    hard = 2.4 + 0.3 * draw.normal(size=texts)
    pair = 0.01 * draw.normal(size=(pairs, 1))
    arms = []
    for shift in (0.0, effect):
        seeds = 0.012 * draw.normal(size=(pairs, 1))
        own = 0.03 * draw.normal(size=(pairs, texts))  # what a model has with a text alone
        taste = 0.02 * draw.normal(size=texts)  # what a corpus has with a text
        arms.append((hard + shift + pair + seeds + own + taste) * sizes)
    return arms[0], arms[1], sizes


@pytest.mark.parametrize("pairs", [2, 4, 8])
def test_equal_corpora_are_called_different_no_oftener_than_is_said(pairs: int) -> None:
    draw, called, bootstrap = np.random.default_rng(pairs), 0, 0
    for _ in range(400):
        first, second, sizes = study(draw, pairs, 0.0)
        called += outcome(first, second, sizes, [str(n) for n in range(60)]).is_told
        of_pairs = ((second - first).sum(1)) / sizes.sum()
        means = of_pairs[draw.integers(0, pairs, (500, pairs))].mean(1)
        bootstrap += np.percentile(means, 2.5) > 0 or np.percentile(means, 97.5) < 0
    assert called <= 0.05 * 400 + 9  # 20 expected at most, with a deviation of 4.4
    assert called >= 1 or pairs == 2  # and it is no interval that holds everything
    if pairs == 4:
        assert bootstrap > 2 * called  # which is why it is not the interval that is reported


def test_a_difference_that_is_detectable_is_told_and_more_seeds_are_asked_for_where_it_is_not() -> None:
    draw, told, more = np.random.default_rng(9), 0, []
    for _ in range(100):
        first, second, sizes = study(draw, 4, 0.06)
        found = outcome(first, second, sizes, [str(n) for n in range(60)])
        told += found.is_told and found.difference > 0
        small = outcome(*study(draw, 2, 0.03), [str(n) for n in range(60)])
        if not small.is_told and small.more_pairs is not None:
            more.append(small.more_pairs)
    assert told >= 80
    assert min(more) >= 1
    assert np.median(more) < 20


def test_verdicts_say_what_would_tell() -> None:
    sizes, names = np.ones(50), [str(n) for n in range(50)]
    flat = np.zeros((4, 50))
    draw = np.random.default_rng(1)
    better = outcome(flat, flat - 1 + 0.01 * draw.normal(size=(4, 50)), sizes, names)
    assert verdict(("a", "b"), better, [better], higher_is_better=False).better == "b"
    assert verdict(("a", "b"), better, [better], higher_is_better=True).better == "a"
    unsure = outcome(flat, flat + draw.normal(size=(4, 1)) + 0.3, sizes, names)
    said = verdict(("a", "b"), unsure, [unsure], higher_is_better=True)
    assert said.better == ""
    assert said.words.startswith("cannot tell: about ")
    other = outcome(flat, flat + 1 + 0.01 * draw.normal(size=(4, 50)), sizes, names)
    assert "learning rates disagree" in verdict(("a", "b"), better, [better, other], higher_is_better=False).words
    few = outcome(flat[:, :4], flat[:, :4] + np.array([3.0, -3.0, 2.0, -1.5]), sizes[:4], names[:4])
    assert "the questions are too few" in verdict(("a", "b"), few, [few], higher_is_better=True).words


def test_arms_are_policies_or_recipes(tmp_path: Path) -> None:
    base = load_recipe("demo-tiny", (f"store={tmp_path}",))
    arms = arms_of(["fineweb", "gopher", str(PROJECT / "configs" / "demo.toml")], base)
    assert {source.policy for source in arms["fineweb"].sources.values()} == {"fineweb"}
    assert arms[str(PROJECT / "configs" / "demo.toml")].sources["works"].demo_limit is None
    member = pair_recipe(
        base, arms["gopher"], "gopher", 3, Study(seeds=3, rates=(1.0, 0.25)), {"texts": "x", "texts_endings": "x"}
    )
    assert member.model == base.model
    assert (member.pack.subset, member.pack.subset_seed) == (0.8, 3)
    assert [run.seed for run in member.trainings.values()] == [base.pretrain.seed + 3] * 2
    assert member.trainings["rate-0.25"].learning_rate == pytest.approx(0.25 * base.pretrain.learning_rate)
    assert {source.policy for source in member.sources.values()} == {"gopher"}
    for names, sentence in {
        ("fineweb",): "two recipes or policies",
        ("fineweb", "fineweb"): "each named once",
        ("fineweb", "goper"): "goper is no policy of demo-tiny and no recipe: the nearest policy is gopher",
    }.items():
        with pytest.raises(SettingError, match=sentence):
            arms_of(list(names), base)
    for wrong in ({"seeds": 1}, {"subset": 0.0}, {"rates": ()}):
        with pytest.raises(SettingError, match="a study"):
            Study(**wrong)  # type: ignore[arg-type]


NETWORK = """
[tokenizer]
vocabulary = 300
[pack]
validation_share = 0.2
[model]
layers = 1
heads = 2
width = 32
context = 32
[pretrain]
steps = 150
batch = 16
warmup_tokens = 2048
learning_rate = 1e-2
precision = "fp32"
threads = 1
save_every = 150
validate_every = 150
"""


def grammatical(draw: Random, sentences: int) -> str:
    """Text in which what comes next can be learnt: each word has few that follow it."""
    follows = {word: [WORDS[(place * 3 + step) % len(WORDS)] for step in (1, 2)] for place, word in enumerate(WORDS)}
    found = []
    for _ in range(sentences):
        word, line = draw.choice(WORDS), []
        for _ in range(9):
            line.append(word)
            word = draw.choice(follows[word])
        found.append(" ".join(line).capitalize() + ".")
    return " ".join(found)


def shuffled(draw: Random, text: str) -> str:
    """The same words, half of them in another order."""
    words = text.split()
    places = draw.sample(range(len(words)), len(words) // 2)
    for place, other in zip(places, draw.sample(places, len(places)), strict=True):
        words[place], words[other] = words[other], words[place]
    return " ".join(words)


def test_a_corpus_with_half_of_its_words_shuffled_loses_and_one_more_seed_costs_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw = Random(2)
    texts = [grammatical(draw, 12) for _ in range(60)]
    good = recipe_file(tmp_path, {"pages": texts}, NETWORK)
    other = tmp_path / "other"
    other.mkdir()
    bad = recipe_file(other, {"pages": [shuffled(draw, text) for text in texts]}, NETWORK)
    judge = tmp_path / "judge.jsonl"
    judge.write_text("\n".join(json.dumps({"text": grammatical(draw, 6)}) for _ in range(30)))

    def asked(seeds: int) -> str:
        with pytest.raises(SystemExit) as ended:
            how = ["--seeds", str(seeds), "--rate", "1.0", "--subset", "0.7", "--judge", str(judge)]
            main(
                [
                    "ablate",
                    str(good),
                    str(bad),
                    "--config",
                    str(good),
                    *how,
                    "--task",
                    "texts",
                    "--set",
                    "workers=1",
                    "--verbose",
                ]
            )
        said = capsys.readouterr()
        assert ended.value.code == 0, said.err[-2000:]
        return said.out

    out = asked(2)
    store = load_recipe(str(good)).store
    assert len(list(Path(store, "artifacts", "pretrain").iterdir())) == 4
    # What can be seen is said when the first arm's models are there, and no other is.
    said = out.index(f"models of {good} alone differ by")
    assert out[:said].count("pretrain rate-1") == 2
    answers = rows(_store(store), "SELECT run, log_likelihoods, bytes FROM history.answers WHERE task = 'texts'")
    bits: dict[str, list[float]] = {}
    for row in answers:
        bits.setdefault(row["run"], []).append(-row["log_likelihoods"][0] / math.log(2))
    size = sum(row["bytes"] for row in answers) / 4
    best = sorted(sum(one) / size for one in bits.values())[:2]
    assert float(out[said:].split("differ by ")[1].split()[0]) == pytest.approx(float(np.std(best, ddof=1)), abs=1e-4)
    out = asked(3)
    assert len(list(Path(store, "artifacts", "pretrain").iterdir())) == 6
    assert f"Better: {good}" in out
    page = Path(out[out.rindex("Page:") :].split()[1])
    figures = json.loads(page.with_suffix(".json").read_text())
    bits = next(one for one in figures if one["task"] == "texts")
    assert bits["better"] == str(good)
    text = page.read_text()
    assert "3 pairs" in text
    assert "draw of 70 %" in text
    # The tokenizer of the first arm is that of all, and each seed draws documents of its own.
    assert len(list(Path(store, "artifacts", "tokenizer").iterdir())) == 1
    drawn = rows(_store(store), "SELECT rule, count(*) AS n FROM decisions WHERE rule = 'not drawn' GROUP BY ALL")
    assert 5 < drawn[0]["n"] < 30


def test_a_pair_draws_its_own_documents_and_each_that_is_not_drawn_says_so(tmp_path: Path) -> None:
    from models.draws import uniform
    from tests.known import pipeline_over

    draw = Random(6)
    texts = [grammatical(draw, 5) for _ in range(50)]
    made = pipeline_over(tmp_path, {"pages": texts}, "pack.subset=0.6", "pack.subset_seed=9", sections=NETWORK)
    corpus = [row["id"] for row in rows(made.store, "SELECT id FROM corpus")]
    held_out = {row["doc_id"] for row in rows(made.store, "SELECT doc_id FROM held_out")}
    trained = {row["doc_id"] for row in rows(made.store, "SELECT doc_id FROM token_spans WHERE split = 'train'")}
    draws = dict(zip(corpus, uniform(9, "subset", corpus), strict=True))
    related = {row["doc_id"] for row in rows(made.store, "SELECT doc_id FROM decisions WHERE rule LIKE 'relative%'")}
    assert trained == {name for name in corpus if draws[name] < 0.6} - held_out - related
    assert 10 < len(trained) < 40
    left_out = rows(
        made.store, "SELECT doc_id, value, threshold FROM decisions WHERE stage = 'relatives' AND rule = 'not drawn'"
    )
    assert {row["doc_id"] for row in left_out} == {name for name in corpus if draws[name] >= 0.6} - held_out - related
    assert all(row["value"] == pytest.approx(draws[row["doc_id"]]) and row["threshold"] == 0.6 for row in left_out)
    funnel = rows(
        made.store,
        "SELECT rule, documents_in - documents_out AS n FROM funnel WHERE stage = 'relatives' AND rule = 'not drawn'",
    )
    assert funnel == [{"rule": "not drawn", "n": len(left_out)}]


def _store(url: str) -> Any:
    from warehouse.store import Store

    return Store(url)


def test_a_law_of_scale_is_a_line_in_logarithms() -> None:
    compute = [1e12, 1e13, 1e14, 1e15]
    exact = power_law(compute, [30 * c**-0.05 for c in compute])
    assert (exact.exponent, exact.scale) == (pytest.approx(0.05), pytest.approx(30))
    assert exact.band(1e16) == (pytest.approx(exact.at(1e16)), pytest.approx(exact.at(1e16)))
    # Against numpy's own line, and Student's interval for a new observation by hand: t of 2 degrees is 4.3027.
    noisy = [8.0, 7.0, 6.5, 5.6]
    slope, start = np.polyfit(np.log(compute), np.log(noisy), 1)
    law = power_law(compute, noisy)
    assert (law.exponent, law.scale) == (pytest.approx(-slope), pytest.approx(math.exp(start)))
    x, residuals = np.log(compute), np.log(noisy) - start - slope * np.log(compute)
    s = math.sqrt(float((residuals**2).sum()) / 2)
    reach = 4.30265 * s * math.sqrt(1 + 1 / 4 + (math.log(1e16) - x.mean()) ** 2 / ((x - x.mean()) ** 2).sum())
    assert law.band(1e16)[1] == pytest.approx(law.at(1e16) * math.exp(reach), rel=1e-4)
    assert power_law(compute[:2], noisy[:2]).band(1e16) == (0.0, math.inf)
    with pytest.raises(ValueError, match="two amounts of compute"):
        power_law([1e12, 1e12], [1.0, 2.0])


def test_the_largest_checks_the_law_of_the_others() -> None:
    compute = [1e12, 1e13, 1e14, 1e15]
    check = without_the_largest(compute, [30 * c**-0.05 for c in compute])
    assert check is not None
    assert check.said == pytest.approx(check.found)
    broken = without_the_largest(
        compute, [*(30 * c**-0.05 * n for c, n in zip(compute[:3], (1, 1.001, 1), strict=True)), 1.0]
    )
    assert broken is not None
    assert not broken.holds
    assert without_the_largest(compute[:2], [2.0, 1.0]) is None


def test_a_task_tells_where_its_signal_is_twice_its_noise_and_it_is_no_guess() -> None:
    assert noise_of([[1.0, 3.0], [5.0], [2.0, 2.0, 2.0]]) == pytest.approx(math.sqrt(2 / 3))
    assert noise_of([[1.0]]) == 0.0
    assert Signal("t", "accuracy", 0.4, 0.25, 0.1, 0.05, 3.0).tells
    assert not Signal("t", "accuracy", 0.4, 0.25, 0.1, 0.051, 3.0).tells
    assert not Signal("t", "accuracy", 0.26, 0.25, 0.1, 0.01, 0.5).tells
    assert Signal("t", "bits a byte", 2.0, None, 0.1, 0.0, None).ratio == math.inf


def test_endings_are_four_of_like_length_of_which_one_goes_on() -> None:
    draw = Random(3)
    texts = [
        (
            f"d{n}",
            "plays" if n % 3 else "pages",
            " ".join(f"{' '.join(draw.choices('abcdefgh', k=draw.randint(6, 14))).capitalize()}." for _ in range(9)),
        )
        for n in range(40)
    ]
    found = {one.id: one for one in endings([Text(*one) for one in texts])}
    assert len(found) > 30
    whole = {name: " ".join(text.split()) for name, _, text in texts}
    source = {name: source for name, source, _ in texts}
    for name, one in found.items():
        right = one.choices[one.gold]
        assert f"{one.fields['context']} {right}" in whole[name]
        assert 20 <= len(one.fields["context"].split()) <= 60
        assert len(set(one.choices)) == 4
        for other in one.choices:  # each of a text of the same source
            assert any(other in text for name_of, text in whole.items() if source[name_of] == source[name])
        assert max(abs(len(other.split()) - len(right.split())) for other in one.choices) <= 6
    assert {one.gold for one in found.values()} == {0, 1, 2, 3}
    # The same of the same texts, and one text more changes at most which endings are wrong.
    again = {
        one.id: one for one in endings([Text(*one) for one in (*texts, ("x", "plays", texts[0][2] + " And more."))])
    }
    assert all(again[name].fields == one.fields for name, one in found.items())


def test_the_ladder_page_is_what_the_tables_say(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw = Random(4)
    ladder = (
        NETWORK
        + '[suite]\ntasks = ["endings"]\nshots = [0, 1]\nprompts = 2\n[evaluate]\nmax_documents = 12\nmax_clozes = 4\nsample_tokens = 4\n'
    )
    for width, steps in ((16, 20), (32, 40), (48, 60)):
        ladder += (
            f"[runs.w{width}]\nsteps = {steps}\npin_every = {steps // 2}\n[runs.w{width}.model]\nwidth = {width}\n"
        )
    path = recipe_file(tmp_path, {"pages": [grammatical(draw, 14) for _ in range(60)]}, ladder)
    said = []
    for _ in range(2):
        with pytest.raises(SystemExit) as ended:
            main(["scaling", str(path), "--set", "workers=1", "--verbose"])
        said.append(capsys.readouterr())
        assert ended.value.code == 0, said[-1].err[-2000:]
    assert "nothing was done" in said[1].out
    page = Path(said[1].out[said[1].out.index("Page:") :].split()[1]).read_text()
    store = _store(load_recipe(str(path)).store)
    models = rows(store, "FROM models ORDER BY parameters, step")
    assert len(models) == 6
    losses = rows(
        store,
        """SELECT m.flops, e.value FROM models m JOIN evaluations e USING (run, step)
           WHERE e.task = 'held-out text' AND e.metric = 'bits a byte' AND m.step = (SELECT max(step) FROM models o WHERE o.run = m.run) ORDER BY m.flops""",
    )
    law = power_law([row["flops"] for row in losses], [row["value"] for row in losses])
    assert f"the power of {law.exponent:.3f}" in page
    check = without_the_largest([row["flops"] for row in losses], [row["value"] for row in losses])
    assert check is not None
    assert f"says {check.said:.3f} of that one" in page
    assert f"it has {losses[-1]['value']:.3f}" in page
    for heading in ("Accuracy by parameters", "Accuracy by demonstrations", "Accuracy by updates", "Which tasks tell"):
        assert heading in page
    assert page.count("<svg") >= 5
    assert "w48, described" in page


def test_every_recipe_of_a_ladder_has_its_twin() -> None:
    ladder, twin = (load_recipe(name) for name in ("scaling", "scaling-tiny"))
    assert len(ladder.trainings) == 6
    assert len(twin.trainings) == 3
    assert ladder.suite.tasks == twin.suite.tasks == ("endings",)
