"""What tasks score, against models whose every probability is known: a chain, a unigram, one that knows nothing, one that knows the answer."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers import models as kinds

from models.architecture import Architecture
from models.bert import build
from models.score import Network
from models.transformer import Transformer
from tasks.core.estimates import mean, rate
from tasks.suite.answer import Reader, Row, answers
from tasks.suite.demonstrations import ask
from tasks.suite.encoding import Encoding
from tasks.suite.figures import bleu, exact_match, f1, normal_answer, rouge, rouge_l
from tasks.suite.question import Prompt, Question, Task
from tasks.suite.scores import chance, scored
from tasks.tokens.tokenizer import END_OF_TEXT, Codec
from tests.known import chain, transitions

Log = Callable[[int, int], float]  # log P(next | token)


@pytest.fixture(scope="module")
def codec(tmp_path_factory: pytest.TempPathFactory) -> Codec:
    """Bytes, a few merges, and the end of a text."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("t", "h"), ("Ġ", "th"), ("e", "r"), ("Ġ", "a")]
    vocabulary = {token: place for place, token in enumerate([*alphabet, *(a + b for a, b in merges)])}
    tokenizer = Tokenizer(kinds.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([END_OF_TEXT])
    path = tmp_path_factory.mktemp("codec") / "tokenizer.json"
    tokenizer.save(str(path))
    return Codec(path)


def constant(codec: Codec, logits: np.ndarray[Any, Any], context: int = 64) -> Transformer:
    """A unigram: whatever came before, the same probabilities."""
    model = build(Architecture(vocabulary=codec.size, context=context, layers=1, heads=1, width=16)).initialise(0)
    with torch.no_grad():
        for block in model.blocks:
            for layer in (block.attention.out, block.down):
                layer.weight.zero_()
                layer.bias.zero_()
        model.ln_final.weight.zero_()
        model.ln_final.bias.zero_()
        model.ln_final.bias[0] = 1.0
        model.tokens.weight.zero_()
        model.tokens.weight[:, 0] = torch.from_numpy(logits).float()
    return model.eval()


def table_of(logits: np.ndarray[Any, Any]) -> Log:
    logged = logits - np.log(np.exp(logits).sum())
    return lambda _, token: float(logged[token])


def knowing(codec: Codec, name: str) -> tuple[Transformer, Log]:
    """A model by name, with its log P(next | token)."""
    if name == "chain":
        model = chain(codec.size, context=64, seed=5, scale=0.8)
        table = transitions(model)
        return model, lambda before, token: float(table[before, token])
    logits = np.zeros(codec.size)
    if name == "unigram":
        logits = np.random.default_rng(1).normal(size=codec.size)
    if name == "planted":
        logits[codec.encode("z")] = 9.0  # z is all that it would ever say
    return constant(codec, logits), table_of(logits)


MODELS = ("chain", "unigram", "uniform", "planted")


def asked_of(
    codec: Codec, task: Task, questions: Sequence[Question], model: Transformer, begin: bool = True
) -> list[Row]:
    encoding = Encoding(codec, begin)
    asked = [ask(task.prompts[0], question, [], encoding.count, 10_000) for question in questions]
    return [row | {"dirty": None} for row in answers(task, task.prompts[0], asked, Reader(Network(model), encoding))]


def nats_of(codec: Codec, log: Log, before: str, text: str) -> list[float]:
    """log P of each token of a text behind another, one after the other."""
    tokens = [codec.end_of_text, *codec.encode(before), *codec.encode(text)]
    first = len(tokens) - len(codec.encode(text))
    return [log(tokens[at - 1], tokens[at]) for at in range(first, len(tokens))]


def score(rows: Sequence[Row], task: Task, metric: str) -> dict[str, Any]:
    return next(row for row in scored(task, rows) if row["metric"] == metric)


def spread(values: Sequence[float]) -> float:
    """The standard error of a mean, as every book has it."""
    return float(np.std(values, ddof=1) / math.sqrt(len(values)))


QUESTIONS = [
    Question("one", {"question": "What is that there"}, ("the other", "a mother", "zz", "naïve"), 0),
    Question("two", {"question": "And then what"}, ("zzz", "another one altogether", "ether"), 0),
    Question("three", {"question": "Whither"}, ("there", "a"), 1),
    Question("four", {"question": "Who"}, ("an author", "z"), 1),
]
CHOICE = Task("choice", (), iter, (Prompt("Q: {question}\nA:"),), "", normaliser="token")


@pytest.mark.parametrize("name", MODELS)
def test_a_choice_is_made_by_each_normaliser_as_arithmetic_says(codec: Codec, name: str) -> None:
    model, log = knowing(codec, name)
    rows = asked_of(codec, CHOICE, QUESTIONS, model)
    right: dict[str, list[float]] = {by: [] for by in ("none", "token", "character", "byte", "context")}
    bits, shares, margins = [], [], []
    for row, question in zip(rows, QUESTIONS, strict=True):
        context = f"Q: {question.fields['question']}\nA:"
        pieces = [nats_of(codec, log, context, f" {choice}") for choice in question.choices]
        alone = [sum(nats_of(codec, log, "Answer:", f" {choice}")) for choice in question.choices]
        sums = [sum(piece) for piece in pieces]
        assert row["log_likelihoods"] == pytest.approx(sums, rel=1e-4)
        assert row["tokens"] == [len(piece) for piece in pieces]
        by = {
            "none": sums,
            "token": [total / len(piece) for total, piece in zip(sums, pieces, strict=True)],
            "character": [total / len(choice) for total, choice in zip(sums, question.choices, strict=True)],
            "byte": [total / len(choice.encode()) for total, choice in zip(sums, question.choices, strict=True)],
            "context": [total - other for total, other in zip(sums, alone, strict=True)],
        }
        for normaliser, values in by.items():
            best = max(values)
            near = [place for place, value in enumerate(values) if best - value < 1e-3]
            if len(near) == 1:  # where two are as good it is arithmetic of the last bit that decides
                assert row[f"correct_by_{normaliser}"] == (near[0] == question.gold), (name, question.id, normaliser)
            right[normaliser].append(float(row[f"correct_by_{normaliser}"]))
        bits.append(-sums[question.gold] / math.log(2) / len(f" {question.choices[question.gold]}".encode()))
        shares.append(math.exp(sums[question.gold]) / sum(map(math.exp, sums)))
        others = [value for place, value in enumerate(by["token"]) if place != question.gold]
        margins.append(by["token"][question.gold] - max(others))
    for metric, values in {
        "accuracy": right["token"],
        "accuracy of the sum": right["none"],
        "accuracy a token": right["token"],
        "accuracy a character": right["character"],
        "accuracy a byte": right["byte"],
        "accuracy by context": right["context"],
        "bits a byte of the right answer": bits,
        "probability of the right choice": shares,
        "margin in nats": margins,
    }.items():
        found = score(rows, CHOICE, metric)
        assert found["value"] == pytest.approx(sum(values) / 4, rel=1e-3, abs=1e-5), (name, metric)
        assert found["stderr"] == pytest.approx(spread(values), rel=1e-2, abs=1e-5), (name, metric)
        assert found["n"] == 4
    assert chance(CHOICE, rows) == (
        pytest.approx((1 / 4 + 1 / 3 + 1 / 2 + 1 / 2) / 4),
        pytest.approx(spread([1 / 4, 1 / 3, 1 / 2, 1 / 2])),
    )
    if name == "planted":  # it takes what is spelt with z, and that is right twice
        assert [row["correct"] for row in rows] == [False, True, False, True]
        assert [rows[0]["answer"], rows[1]["answer"], rows[3]["answer"]] == ["zz", "zzz", "z"]


def test_a_choice_in_the_sentence_is_judged_by_what_follows_it(codec: Codec) -> None:
    task = Task("partial", (), iter, (Prompt("{before}{choice}", " {after}"),), "", normaliser="none")
    questions = [
        Question("0", {"before": "She gave it to the ", "after": "and then another"}, ("author", "thatcher"), 1),
        Question("1", {"before": "Then the ", "after": "there"}, ("mother", "other"), 0),
    ]
    model, log = knowing(codec, "chain")
    rows = asked_of(codec, task, questions, model)
    for row, question in zip(rows, questions, strict=True):
        expected = [
            sum(nats_of(codec, log, question.fields["before"] + choice, f" {question.fields['after']}"))
            for choice in question.choices
        ]
        assert row["log_likelihoods"] == pytest.approx(expected, rel=1e-4)
        assert row["answer"] == question.choices[int(np.argmax(expected))]
        assert row["correct_by_context"] is None
        assert row["unconditional"] is None
    assert not any(found["metric"] == "accuracy by context" for found in scored(task, rows))


@pytest.mark.parametrize("name", MODELS)
def test_the_last_word_has_three_accuracies_and_two_perplexities(codec: Codec, name: str) -> None:
    model, log = knowing(codec, name)
    task = Task("last", (), iter, (Prompt("{context}", " {answer}"),), "", kind="last word")
    questions = [
        Question(str(n), {"context": context}, answers=(answer,), cluster=cluster)
        for n, (context, answer, cluster) in enumerate(
            [("then there was a", "z", "p"), ("the author and the", "other", "p"), ("whether or not the", "ether", "q")]
        )
    ]
    rows = asked_of(codec, task, questions, model)
    nats, tokens, firsts, lasts = [], [], [], []
    for row, question in zip(rows, questions, strict=True):
        before = [codec.end_of_text, *codec.encode(question.fields["context"])]
        answer = codec.encode(f" {question.answers[0]}")
        line = [*before[-1:], *answer]
        logged = [log(a, b) for a, b in itertools.pairwise(line)]
        greedy = [
            max(range(codec.size), key=lambda token, a=a: (log(a, token), -token)) == b
            for a, b in itertools.pairwise(line)
        ]
        nats.append(-sum(logged))
        tokens.append(len(answer))
        firsts.append(float(all(greedy)))
        lasts.append(float(greedy[-1]))
        assert row["correct"] == all(greedy)
        assert row["log_likelihoods"] == [pytest.approx(sum(logged), rel=1e-4)]
    assert score(rows, task, "accuracy")["value"] == pytest.approx(sum(firsts) / 3)
    assert score(rows, task, "accuracy of the last token")["value"] == pytest.approx(sum(lasts) / 3)
    word, token = score(rows, task, "perplexity a word"), score(rows, task, "perplexity a token")
    assert word["value"] == pytest.approx(math.exp(sum(nats) / 3), rel=1e-3)
    assert token["value"] == pytest.approx(math.exp(sum(nats) / sum(tokens)), rel=1e-3)
    # Two questions are of one passage: two clusters, their residuals summed.
    center = sum(nats) / 3
    residuals = [nats[0] + nats[1] - 2 * center, nats[2] - center]
    error = math.sqrt(2 / 1 * sum(r * r for r in residuals)) / 3
    assert word["stderr"] == pytest.approx(math.exp(center) * error, rel=1e-2, abs=1e-6)


def test_the_stop_word_filter_takes_the_likeliest_word_that_is_none(codec: Codec) -> None:
    logits = np.full(codec.size, -9.0)
    logits[codec.encode(" th")] = 4.0  # then e, as often as not: the
    logits[codec.encode("e")] = 3.9
    logits[codec.encode(" a")] = 3.5
    logits[codec.encode("z")] = 1.0
    task = Task("last", (), iter, (Prompt("{context}", " {answer}"),), "", kind="last word")
    # After " th" the model's own choice is " th" again, which no word goes on with: th is a word, and no stop word.
    (row,) = asked_of(codec, task, [Question("0", {"context": "so"}, answers=("th",))], constant(codec, logits))
    assert row["answer"] == "th"
    assert row["correct_filtered"] is True
    logits[codec.encode("e")] = 5.0  # now e goes on with it: the..., e for ever, as long as a word may be
    (row,) = asked_of(codec, task, [Question("0", {"context": "so"}, answers=("theeeee",))], constant(codec, logits))
    assert row["answer"] == "theeeee"
    assert row["correct_filtered"] is True
    (row,) = asked_of(codec, task, [Question("0", {"context": "so"}, answers=("eeeeee",))], constant(codec, logits))
    assert row["correct_filtered"] is False  # what has no space before it is no word of its own
    assert score([row], task, "accuracy without stop words")["value"] == 0.0
    logits[codec.encode("'")] = 9.0  # a closing mark is no letter of the word
    (row,) = asked_of(codec, task, [Question("0", {"context": "so"}, answers=("th",))], constant(codec, logits))
    assert row["answer"] == "th"
    logits = np.full(codec.size, -9.0)
    logits[codec.encode(" a")], logits[codec.encode(" th")] = 4.0, 3.0
    (row,) = asked_of(codec, task, [Question("0", {"context": "so"}, answers=("th",))], constant(codec, logits))
    assert row["correct"] is False  # the likeliest word is a
    assert row["correct_filtered"] is True


@pytest.mark.parametrize("name", MODELS)
def test_texts_have_the_perplexity_of_their_own_words_and_bits_of_bytes_and_characters(codec: Codec, name: str) -> None:
    model, log = knowing(codec, name)
    task = Task("text", (), iter, (Prompt("", "{text}"),), "", kind="text")
    texts = ["The other thing there.", "Naïve and another — than that", "z" * 90]  # the last is longer than a window
    units = [5, 6, 2]
    questions = [
        Question(str(n), {"text": text, "units": str(of)})
        for n, (text, of) in enumerate(zip(texts, units, strict=True))
    ]
    rows = asked_of(codec, task, questions, model)
    nats = [-sum(nats_of(codec, log, "", text)) for text in texts]
    assert [row["log_likelihoods"][0] for row in rows] == pytest.approx([-one for one in nats], rel=1e-4)
    sizes = {
        "perplexity a word": units,
        "perplexity a token": [len(codec.encode(text)) for text in texts],
        "bits a byte": [len(text.encode()) for text in texts],
        "bits a character": [len(text) for text in texts],
    }
    for metric, of in sizes.items():
        per = sum(nats) / sum(of)
        error = math.sqrt(3 / 2 * sum((n - per * size) ** 2 for n, size in zip(nats, of, strict=True))) / sum(of)
        value, stderr = (
            (per / math.log(2), error / math.log(2))
            if metric.startswith("bits")
            else (math.exp(per), math.exp(per) * error)
        )
        found = score(rows, task, metric)
        assert found["value"] == pytest.approx(value, rel=1e-3), (name, metric)
        assert found["stderr"] == pytest.approx(stderr, rel=1e-2, abs=1e-6), (name, metric)
    if name == "uniform":
        assert score(rows, task, "perplexity a token")["value"] == pytest.approx(codec.size, rel=1e-4)


@pytest.mark.parametrize("beams", [1, 4])
def test_a_free_answer_is_what_the_model_writes_up_to_the_stop(codec: Codec, beams: int) -> None:
    """A chain that goes z, y, x, the end of a line, and on."""
    way = [codec.encode(letter)[0] for letter in ("A", ":", "z", "y", "x", "\n", "w")]
    model = chain(codec.size, context=64)
    with torch.no_grad():
        model.tokens.weight.zero_()
        model.ln_final.weight.fill_(1.0)
        model.ln_final.bias.zero_()
        base = torch.linalg.qr(torch.randn(16, 16, generator=torch.Generator().manual_seed(0))).Q
        vectors = base - base.mean(1, keepdim=True)
        for place, token in enumerate(way):
            model.tokens.weight[token] = 30 * vectors[place]
    # What comes likeliest behind each is itself: turn the output so that the next is.
    rotation = torch.zeros(16, 16)
    for place in range(len(way) - 1):
        rotation += torch.outer(vectors[place + 1], vectors[place]) / (vectors[place] @ vectors[place])
    turned = _Turned(model, rotation)
    task = Task(
        "free",
        (),
        iter,
        (Prompt("{question}A:", " {answer}"),),
        "",
        kind="free",
        metrics=("exact match", "f1"),
        beams=beams,
    )
    questions = [
        Question("0", {"question": ""}, answers=("zyx",)),
        Question("1", {"question": ""}, answers=("w", "ZYX.")),
    ]
    rows = asked_of(codec, task, [*questions, Question("2", {"question": ""}, answers=("zy",))], turned)
    assert [row["answer"] for row in rows] == ["zyx"] * 3
    assert [row["exact_match"] for row in rows] == [1.0, 1.0, 0.0]
    found = score(rows, task, "exact match")
    assert found["value"] == pytest.approx(2 / 3)
    assert found["stderr"] == pytest.approx(spread([1, 1, 0]))


class _Turned(Transformer):
    """A network whose final states are turned by a matrix before they meet the embedding."""

    def __init__(self, model: Transformer, rotation: torch.Tensor) -> None:
        super().__init__(model.arch)
        self.load_state_dict(model.state_dict())
        self.rotation = rotation

    def hidden(self, *given: Any, **named: Any) -> torch.Tensor:
        return super().hidden(*given, **named) @ self.rotation.T


def test_answers_are_compared_as_squad_compares_them() -> None:
    assert normal_answer("The  Cat, sat!") == "cat sat"
    assert exact_match("an Apple.", ["pear", "apple"]) == 1.0
    assert exact_match("apples", ["apple"]) == 0.0
    # Two of three words in common: 2 * 2 / (3 + 3).
    assert f1("big red dog", ["a red dog barks"]) == pytest.approx(2 / 3)
    assert f1("", ["x"]) == 0.0
    assert rouge(1)("the cat sat", ["the cat ran"]) == pytest.approx(2 / 3)
    assert rouge(2)("the cat sat", ["the cat ran"]) == pytest.approx(1 / 2)
    # The longest common subsequence of a b c d and a c x d is a c d: 2 * 3 / 8.
    assert rouge_l("a b c d", ["a c x d"]) == pytest.approx(6 / 8)


def test_signs_and_points_are_part_of_a_number(codec: Codec) -> None:
    """SQuAD's comparison takes them for punctuation; a sum that is written alone is compared as it stands."""
    assert exact_match("38", ["-38"]) == 1.0
    logits = np.full(codec.size, -9.0)
    logits[codec.encode("7")] = 5.0
    for literal, right in ((True, 0.0), (False, 1.0)):
        how: dict[str, Any] = {"metrics": ("exact match",), "max_tokens": 2, "beams": 1}
        task = Task("sum", (), iter, (Prompt("{question}", " {answer}"),), "", kind="free", literal=literal, **how)
        (row,) = asked_of(codec, task, [Question("0", {"question": "so"}, answers=("-77",))], constant(codec, logits))
        assert (row["answer"], row["exact_match"]) == ("77", right)


def test_a_prompt_that_fills_the_context_leaves_room_for_its_answer(
    codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tasks.suite.answer as answering

    read: list[list[int]] = []
    monkeypatch.setattr(answering, "generate", lambda _model, tokens, *_: read.append(tokens) or [])
    task = Task("free", (), iter, (Prompt("{question}", " {answer}"),), "", kind="free", metrics=("f1",), max_tokens=10)
    asked_of(codec, task, [Question("0", {"question": "y" * 200 + "z"}, answers=("a",))], knowing(codec, "uniform")[0])
    assert len(read[0]) == 64 - 10
    assert (read[0][0], codec.decode(read[0][1:])) == (codec.end_of_text, "y" * 52 + "z")


def test_what_is_behind_the_stop_is_no_answer(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token may hold the stop and more."""
    import tasks.suite.answer as answering

    monkeypatch.setattr(answering, "generate", lambda *_: codec.encode(" zy\nand more"))
    task = Task("free", (), iter, (Prompt("{question}", " {answer}"),), "", kind="free", metrics=("exact match",))
    (row,) = asked_of(codec, task, [Question("0", {"question": "so"}, answers=("zy",))], knowing(codec, "uniform")[0])
    assert (row["answer"], row["exact_match"]) == ("zy", 1.0)


def test_bleu_is_that_of_sacrebleu_and_its_error_falls_with_more_sentences() -> None:
    from sacrebleu.metrics.bleu import BLEU

    given = ["the cat sat on the mat today", "a dog ran in the park", "it rains"] * 10
    wanted = ["the cat sat on the mat", "a dog ran through the park", "it rains a lot"] * 10
    value = BLEU(effective_order=True).corpus_score(given, [wanted]).score
    clusters = np.arange(30)
    assert bleu(given, wanted, clusters).value == pytest.approx(value)
    few, many = bleu(given[:6], wanted[:6], clusters[:6]).stderr, bleu(given, wanted, clusters).stderr
    assert 0 < many < few
    assert bleu(["x y z w v"], ["x y z w v"], np.zeros(1)).value == pytest.approx(100.0)


def test_errors_of_rates_are_those_of_clusters() -> None:
    y, x = np.array([1.0, 0.0, 1.0, 1.0]), np.ones(4)
    assert mean(y, np.arange(4)) == (0.75, pytest.approx(float(np.std(y, ddof=1) / 2)))
    # Two passages, 1 + 0 and 1 + 1: residuals -.5 and .5, sqrt(2 * .5) / 4.
    assert rate(y, x, np.array([0, 0, 1, 1])) == (0.75, pytest.approx(math.sqrt(2 * 0.5) / 4))
    assert math.isnan(mean(y, np.zeros(4)).stderr)


def test_clean_and_dirty_questions_have_figures_of_their_own(codec: Codec) -> None:
    model, _ = knowing(codec, "chain")
    rows = asked_of(codec, CHOICE, QUESTIONS, model)
    for row, dirty, right in zip(rows, (True, False, False, None), (True, False, True, True), strict=True):
        row |= {"dirty": dirty, "correct": right}
    found = score(rows, CHOICE, "accuracy")
    assert (found["value"], found["clean_value"], found["dirty_value"]) == (0.75, 0.5, 1.0)
    assert found["share_clean"] == pytest.approx(2 / 3)  # of those that can be told


def test_nothing_stands_before_a_prompt_where_that_is_set_so(codec: Codec) -> None:
    model, log = knowing(codec, "chain")
    question = Question("0", {"question": ""}, ("the", "a"), 0)
    task = Task("bare", (), iter, (Prompt("th{question}"),), "")
    (row,) = asked_of(codec, task, [question], model, begin=False)
    first = codec.encode("th")
    assert row["log_likelihoods"][1] == pytest.approx(log(first[-1], codec.encode(" a")[0]), rel=1e-4)
    # With no context at all the end of a text stands for it.
    bare = Task("bare", (), iter, (Prompt("{question}", "{choice}"),), "")
    (row,) = asked_of(codec, bare, [question], model, begin=False)
    assert row["log_likelihoods"][1] == pytest.approx(log(codec.end_of_text, codec.encode("a")[0]), rel=1e-4)
