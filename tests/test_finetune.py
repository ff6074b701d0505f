"""Fine-tuning by hand: GPT-1's transformations and L3, BERT's pairs, files of labels, figures, leaks, and a task that is learnt."""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError

from models.architecture import Architecture
from models.bert import build
from models.finetuned import FineTuned, Lstm, grown
from models.objectives.labels import Labels
from models.score import Network
from tasks.finetune import bag
from tasks.finetune.encode import Encoded, Read, Transformation, batch_of
from tasks.finetune.files import examples
from tasks.finetune.label import leaked
from tasks.finetune.metrics import figures
from tasks.finetune.prompts import Prompts
from tasks.finetune.settings import FinetuneSettings
from tasks.finetune.task import Example, LabelledSettings
from tasks.finetune.training import labelled_data, plan_of, scores
from tasks.suite.encoding import Encoding
from tasks.train.within import exactly
from tests.conftest import SHARED
from warehouse.errors import GristmillError

GPT = Architecture(vocabulary=23, context=12, layers=2, heads=2, width=16, norm="post", initialisation="gpt1")
GPT2 = replace(GPT, norm="pre")
BERT = replace(GPT, causal=False, token_types=2, embedding_norm=True)
# Two examples of two sequences each, of different lengths.
PAIRS = [
    Encoded([Read([20, 3, 4, 22], [0] * 4), Read([20, 5, 22], [0] * 3)], 1, False),
    Encoded([Read([20, 6, 22], [0] * 3), Read([20, 7, 8, 9, 10, 22], [0, 0, 0, 1, 1, 1])], 0, False),
]


def network(arch: Architecture, outputs: int, ranks: bool = False) -> FineTuned:
    return FineTuned(build(arch).initialise(3), arch.width, outputs, 0.0, ranks).initialise(5).double()


def one_by_one(model: FineTuned, how: Labels, given: list[Encoded]) -> torch.Tensor:
    """L3 (Radford et al. 2018, equation 5), sequence by sequence and without padding."""
    labels, texts = [], []
    inner: Any = model.network
    for one in given:
        states = []
        for sequence in one.sequences:
            ids, types = torch.tensor([sequence.ids]), torch.tensor([sequence.types])
            hidden = inner.hidden(ids, types=types if inner.token_types is not None else None)[0]
            if inner.arch.causal:
                states.append(hidden[-1])
                logits = hidden[:-1] @ inner.tokens.weight.T
                nats = torch.logsumexp(logits, 1) - logits[torch.arange(len(logits)), ids[0, 1:]]
                texts.append(nats.mean())
            else:
                states.append(torch.tanh(hidden[0] @ inner.pooler.weight.T + inner.pooler.bias))
        weight, bias = model.head.weight, model.head.bias
        scores = (
            torch.stack([(weight @ state + bias)[0] for state in states])
            if model.ranks
            else weight @ sum(states) + bias
        )
        if how.number:
            labels.append((scores[0] - one.gold) ** 2)
        else:
            labels.append(torch.logsumexp(scores, 0) - scores[int(one.gold)])
    loss = torch.stack(labels).mean()
    return loss + how.language_model * torch.stack(texts).mean() if texts and how.language_model else loss


@pytest.mark.parametrize("arch", [GPT, GPT2, BERT], ids=["gpt1", "gpt2", "bert"])
@pytest.mark.parametrize(
    ("how", "outputs", "ranks"),
    [(Labels(), 3, False), (Labels(0.0), 3, False), (Labels(0.5), 1, True), (Labels(0.25, number=True), 1, False)],
    ids=["classes", "lambda 0", "choices", "number"],
)
def test_loss_and_gradients_are_those_of_each_sequence_alone(
    arch: Architecture, how: Labels, outputs: int, ranks: bool
) -> None:
    model = network(arch, outputs, ranks)
    expected = one_by_one(model, how, PAIRS)
    expected.backward()  # type: ignore[no-untyped-call]
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    found = how.objective.loss(model, *batch_of(PAIRS, how.number))
    found.backward()  # type: ignore[no-untyped-call]
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    assert any(name.startswith("network.tokens") for name in gradients)
    for name, parameter in model.named_parameters():
        if name in gradients:
            assert parameter.grad is not None, name
            torch.testing.assert_close(parameter.grad, gradients[name], rtol=1e-5, atol=1e-7)


def test_a_question_with_fewer_choices_is_asked_those_alone() -> None:
    model, how = network(GPT, 1, ranks=True), Labels(0.5)
    fewer = Encoded(PAIRS[0].sequences, 1, False)
    more = Encoded([*PAIRS[1].sequences, Read([20, 9, 9, 22], [0] * 4)], 2, False)
    # The text's loss is a mean over sequences, of which there are five.
    alone = [one_by_one(model, Labels(0.0), [one]).item() for one in (fewer, more)]
    texts = [
        one_by_one(model, Labels(1.0), [one]).item() - bare for one, bare in zip((fewer, more), alone, strict=True)
    ]
    expected = sum(alone) / 2 + 0.5 * (2 * texts[0] + 3 * texts[1]) / 5
    assert how.objective.loss(model, *batch_of([fewer, more], False)).item() == pytest.approx(expected, rel=1e-5)
    found = scores(model, how, [fewer, more], tuning(micro_batch=2))
    assert [len(one) for one in found] == [2, 3]
    assert [np.exp(one).sum() for one in found] == pytest.approx([1, 1])


def test_the_language_model_is_part_of_the_loss_by_lambda_alone() -> None:
    model, batch = network(GPT, 3), batch_of(PAIRS, False)
    none, half, whole = (float(Labels(weight).objective.loss(model, *batch)) for weight in (0.0, 0.5, 1.0))
    assert half - none == pytest.approx(whole - half, rel=1e-6)
    assert whole - none == pytest.approx(math.log(GPT.vocabulary), rel=0.1)  # of a network that knows nothing
    bert = network(BERT, 3)
    assert float(Labels(1.0).objective.loss(bert, *batch)) == float(Labels(0.0).objective.loss(bert, *batch))


def test_a_pair_in_both_orders_is_graded_the_same() -> None:
    way = Transformation("similarity", "next token", 20, 12)
    model = network(GPT, 1)
    here, there = (
        way(Example("x", "test", first, 0, second), lambda text: [int(word) for word in text.split()])
        for first, second in (("1 2 3", "4 5"), ("4 5", "1 2 3"))
    )
    batch = batch_of([here, there], True)
    states, _ = model.read(batch.ids.flatten(0, 1), batch.lengths.flatten(), batch.types.flatten(0, 1))
    first, second = model.score(states.view(2, 2, -1))[:, 0].tolist()
    assert first == pytest.approx(second, rel=1e-12)


def encode(text: str) -> list[int]:
    return [int(word) for word in text.split()]


def sequences(form: Any, objective: Any, example: Example, context: int = 12) -> list[list[int]]:
    return [one.ids for one in Transformation(form, objective, 20, context)(example, encode).sequences]


def test_the_four_transformations_are_those_of_the_paper() -> None:
    # 20 start, 21 delimiter, 22 extract (Radford et al. 2018, figure 1).
    text, pair = Example("a", "train", "1 2", 0), Example("b", "train", "1 2", 0, "3")
    choice = Example("c", "train", "1 2", 1, choices=("3", "4 5"))
    assert sequences("classification", "next token", text) == [[20, 1, 2, 22]]
    assert sequences("entailment", "next token", pair) == [[20, 1, 2, 21, 3, 22]]
    assert sequences("similarity", "next token", pair) == [[20, 1, 2, 21, 3, 22], [20, 3, 21, 1, 2, 22]]
    assert sequences("choice", "next token", choice) == [[20, 1, 2, 21, 3, 22], [20, 1, 2, 21, 4, 5, 22]]


def test_berts_pairs_are_segments_between_its_own_tokens() -> None:
    # 20 [CLS], 21 [SEP], 22 [MASK] (Devlin et al. 2018, figure 4).
    pair = Example("b", "train", "1 2", 0, "3")
    for form in ("entailment", "similarity"):
        (found,) = Transformation(form, "masked tokens", 20, 12)(pair, encode).sequences
        assert found == Read([20, 1, 2, 21, 3, 21], [0, 0, 0, 0, 1, 1])
    (alone,) = Transformation("classification", "masked tokens", 20, 12)(
        Example("a", "train", "1 2", 0), encode
    ).sequences
    assert alone == Read([20, 1, 2, 21], [0] * 4)


def test_what_is_longer_than_the_context_is_cut_where_it_is_longest_and_said_to_be() -> None:
    way = Transformation("entailment", "next token", 20, 9)
    long, short = " ".join("1" * 9), "2 2"
    found = way(Example("a", "train", long, 0, short), encode)
    assert found.sequences[0].ids == [20, 1, 1, 1, 1, 21, 2, 2, 22]
    assert found.truncated
    assert way(Example("a", "train", short, 0, long), encode).sequences[0].ids == [20, 2, 2, 21, 1, 1, 1, 1, 22]
    assert way(Example("a", "train", long, 0, long), encode).sequences[0].ids == [20, 1, 1, 1, 21, 1, 1, 1, 22]
    exact = way(Example("a", "train", "1 1 1 1", 0, "2 2"), encode)
    assert not exact.truncated
    assert len(exact.sequences[0].ids) == 9
    # Of a question the words that stand nearest to its answer are kept.
    choice = Transformation("choice", "next token", 20, 7)(
        Example("a", "t", "1 2 3 4 5", 0, choices=("6", "7 8")), encode
    )
    assert [one.ids for one in choice.sequences] == [[20, 3, 4, 5, 21, 6, 22], [20, 4, 5, 21, 7, 8, 22]]


def test_new_tokens_are_drawn_and_the_old_ones_kept() -> None:
    old = build(GPT).initialise(1)
    new = grown(old.state_dict(), replace(GPT, dropout=0.1), 3, seed=2)
    assert new.tokens.weight.shape == (26, 16)
    assert torch.equal(new.tokens.weight[:23], old.tokens.weight)
    assert float(new.tokens.weight[23:].std()) == pytest.approx(0.02, rel=0.4)
    assert torch.equal(new.blocks[1].up.weight, old.blocks[1].up.weight)  # type: ignore[union-attr]
    assert new.arch.dropout == 0.1
    ids = torch.tensor([[1, 2, 3]])
    assert torch.equal(new.eval().hidden(ids), old.eval().hidden(ids))


def test_an_lstm_reads_a_sequence_to_its_end_and_no_further() -> None:
    lstm = Lstm(23, 8, 0.0).initialise(1).eval()
    ids = torch.tensor([[1, 2, 3, 0, 0], [4, 5, 6, 7, 8]])
    states = lstm.states(ids, torch.tensor([3, 5]))
    _, (alone, _) = lstm.lstm(lstm.tokens(ids[:1, :3]))
    torch.testing.assert_close(states[0], alone[0, 0])


# Files


def read(folder: Path, name: str, content: str | bytes, **settings: Any) -> tuple[list[Example], list[str]]:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return examples(
        LabelledSettings.model_validate({"form": "classification", "sets": {"train": str(path)}, **settings})
    )


ROWS = [{"text": "one, two", "label": "pos"}, {"text": 'a "b"\tc', "label": "neg"}]


def parquet(folder: Path) -> bytes:
    pq.write_table(pa.Table.from_pylist(ROWS), folder / "made.parquet")
    return (folder / "made.parquet").read_bytes()


KINDS: dict[str, Callable[[Path], bytes]] = {
    "a.jsonl": lambda _: "\n".join(map(json.dumps, ROWS)).encode(),
    "a.jsonl.gz": lambda _: gzip.compress("\n".join(map(json.dumps, ROWS)).encode()),
    "a.json": lambda _: json.dumps(ROWS).encode(),
    "b.json": lambda _: json.dumps({"version": 1, "data": ROWS}).encode(),
    "a.parquet": parquet,
    "a.csv": lambda _: b'\xef\xbb\xbftext,label\r\n"one, two",pos\r\n"a ""b""\tc",neg\r\n',
}


@pytest.mark.parametrize("kind", KINDS)
def test_labels_are_read_from_every_kind_of_file(tmp_path: Path, kind: str) -> None:
    found, classes = read(tmp_path, kind, KINDS[kind](tmp_path))
    assert classes == ["neg", "pos"]
    assert [(one.first, one.gold, one.set) for one in found] == [("one, two", 1, "train"), ('a "b"\tc', 0, "train")]
    assert len({one.id for one in found}) == 2


def test_a_table_of_tabs_has_no_quotes_and_may_have_no_names(tmp_path: Path) -> None:
    text = 'gj\t1\t\tHe said "no\ngj\t0\t*\tThe\u2028 end.\textra\n'
    found, classes = read(tmp_path, "a.tsv", text, columns=("source", "label", "star", "text"))
    assert [(one.first, classes[int(one.gold)]) for one in found] == [('He said "no', "1"), ("The\u2028 end.", "0")]


def test_quotes_of_a_csv_can_be_letters(tmp_path: Path) -> None:
    text = 'text,label\na "b,x\n"c",y\n'
    found, _ = read(tmp_path, "a.csv", text, quotes=False)
    assert [one.first for one in found] == ['a "b', '"c"']


def test_a_file_that_is_fetched_is_known_by_its_digest(tmp_path: Path) -> None:
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "x.csv").write_text("text,label\na fog,dark\n")
    digest = hashlib.sha256((tmp_path / "mirror" / "x.csv").read_bytes()).hexdigest()
    address = "https://nowhere.invalid/labels.csv"
    given = {"form": "classification", "sets": {"train": address}, "mirror": str(tmp_path / "mirror")}
    found, _ = examples(LabelledSettings.model_validate({**given, "sha256": {"train": digest}}))
    assert [one.first for one in found] == ["a fog"]
    with pytest.raises(GristmillError, match="cannot be had"):
        examples(LabelledSettings.model_validate({**given, "sha256": {"train": "0" * 64}}))


def test_choices_stand_in_columns_or_in_a_list(tmp_path: Path) -> None:
    row = {"p": "It rained.", "q": "effect", "a": "wet", "b": "dry", "both": ["wet", "dry"], "label": 1}
    for choices in (("{a}", "{b}"), ("{both}",)):
        (found,), classes = read(
            tmp_path, "a.jsonl", json.dumps(row), form="choice", first="{p} What was the {q}?", choices=choices
        )
        assert (found.first, found.choices, found.gold, classes) == (
            "It rained. What was the effect?",
            ("wet", "dry"),
            1,
            [],
        )


@pytest.mark.parametrize(
    ("row", "settings", "said"),
    [
        ({"text": "a", "label": "x"}, {"labels": ("y", "z")}, "has the label 'x', none of y, z"),
        ({"sentence": "a", "label": "x"}, {}, "has no column 'text': it has sentence, label"),
        ({"text": "a", "gold": "x"}, {}, "no column label"),
        ({"text": "a", "label": 2}, {"form": "choice", "choices": ("{text}", "b")}, "has no choice 2, counted from 0"),
        (
            {"text": "a", "label": "hm"},
            {"form": "similarity", "second": "{text}", "number": True},
            "label 'hm', no number",
        ),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, row: dict[str, Any], settings: Any, said: str) -> None:
    with pytest.raises(GristmillError, match=said):
        read(tmp_path, "a.jsonl", json.dumps(row), **settings)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"sets": {"test": "a"}}, "needs a set train"),
        ({"form": "entailment"}, "has a second text"),
        ({"second": "{b}"}, "has a second text"),
        ({"form": "choice"}, "choices belong to the form choice"),
        ({"number": True}, "only similarity"),
    ],
)
def test_a_task_that_cannot_be_is_refused(settings: Any, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        LabelledSettings.model_validate({"form": "classification", "sets": {"train": "a"}, **settings})


needs_sets = pytest.mark.skipif(
    not (SHARED / "finetune").is_dir(), reason="the real labelled sets are not on this machine"
)


@needs_sets
def test_real_sets_are_read_whole(tmp_path: Path) -> None:
    folder = SHARED / "finetune"
    declared: dict[str, tuple[dict[str, Any], dict[str, int]]] = {
        "cola": (
            {
                "form": "classification",
                "columns": ("source", "label", "star", "sentence"),
                "first": "{sentence}",
                "sets": {"train": "cola/in_domain_train.tsv", "test": "cola/in_domain_dev.tsv"},
            },
            {"train": 8551, "test": 527},
        ),
        "snli": (
            {
                "form": "entailment",
                "first": "{sentence1}",
                "second": "{sentence2}",
                "label": "gold_label",
                "sets": {"train": "snli-subset/original/train.tsv"},
            },
            {"train": 1666},
        ),
        "stsb": (
            {
                "form": "similarity",
                "number": True,
                "separator": "\t",
                "columns": ("genre", "file", "year", "id", "label", "a", "b"),
                "first": "{a}",
                "second": "{b}",
                "sets": {"train": "stsb/sts-train.csv", "test": "stsb/sts-test.csv"},
            },
            {"train": 5749, "test": 1379},
        ),
        "yelp": (
            {
                "form": "classification",
                "columns": ("text", "label"),
                "sets": {"train": "uci-sentiment-sentences/yelp_labelled.txt"},
            },
            {"train": 1000},
        ),
        "copa": (
            {
                "form": "choice",
                "first": "{premise} {question}",
                "choices": ("{choice1}", "{choice2}"),
                "sets": {"train": "superglue-fewglue/COPA/val.jsonl"},
            },
            {"train": 100},
        ),
    }
    for settings, counts in declared.values():
        whole = settings | {"sets": {name: str(folder / path) for name, path in settings["sets"].items()}}
        found, classes = examples(LabelledSettings.model_validate(whole))
        assert {name: sum(one.set == name for one in found) for name in counts} == counts
        assert all(one.first.strip() for one in found)
        assert len(classes) == {"entailment": 3, "classification": 2}.get(settings["form"], 0)


# Leaks


def test_what_is_tested_is_not_trained_on() -> None:
    words = [f"w{n}" for n in range(40)]
    tested = Example("t", "yelp", "The food was Good, here.", 1)
    long = Example("u", "test", " ".join(words[:20]), 0, "an answer")
    trained = [
        Example("same words", "train", "the food was good here", 0),
        Example("another", "train", "the food was good there", 0),
        Example("thirteen in a row", "train", " ".join(["x", *words[5:18], "y"]), 0, "other words"),
        Example("twelve in a row", "train", " ".join(["x", *words[5:17], "y"]), 0, "other words"),
        Example("short and shared", "train", "something else", 0, "an answer"),
    ]
    assert leaked([tested, long, *trained]) == {"same words": "yelp", "thirteen in a row": "test"}
    assert leaked(trained) == {}


# Figures


def test_figures_are_those_of_a_table_by_hand() -> None:
    # 3 true positives, 1 false positive, 2 false negatives, 4 true negatives.
    gold = [1] * 5 + [0] * 5
    answers = [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]
    found = figures(answers, gold, [""] * 10, number=False, ranked=False)
    assert found["accuracy"].value == 0.7
    assert found["accuracy"].stderr == pytest.approx(math.sqrt(0.7 * 0.3 / 9))
    assert found["f1"].value == pytest.approx(2 * 3 / (2 * 3 + 1 + 2))
    assert found["matthews"].value == pytest.approx((3 * 4 - 1 * 2) / math.sqrt(4 * 5 * 5 * 6))
    assert set(figures(answers, gold, [""] * 10, number=False, ranked=True)) == {"accuracy"}
    always = figures([1.0] * 10, gold, [""] * 10, number=False, ranked=False)
    assert always["matthews"].value == 0


def test_correlations_are_those_by_hand_and_their_error_is_what_resampling_says() -> None:
    answers, gold = [1.0, 2.0, 3.0, 10.0], [1.0, 3.0, 2.0, 4.0]
    found = figures(answers, gold, [""] * 4, number=True, ranked=False)
    # Means 4 and 2.5: covariance 4.5 + -1 + .5 + 9 = 13, squares 50 and 5.
    assert found["pearson"].value == pytest.approx(13 / math.sqrt(50 * 5))
    assert found["spearman"].value == pytest.approx(0.8)  # 1 - 6 * 2 / (4 * 15)
    draw = np.random.default_rng(1)
    x = draw.normal(size=400)
    y = 0.6 * x + 0.8 * draw.normal(size=400)
    error = figures(x.tolist(), y.tolist(), [""] * 400, number=True, ranked=False)["pearson"].stderr
    assert error == pytest.approx((1 - 0.6**2) / math.sqrt(400), rel=0.25)  # Fisher's approximation


def test_examples_of_one_group_are_not_counted_as_many() -> None:
    gold, answers = [1.0] * 40, [1.0] * 20 + [0.0] * 20
    alone = figures(answers, gold, [str(n) for n in range(40)], number=False, ranked=True)["accuracy"].stderr
    shared = figures(answers, gold, [str(n // 10) for n in range(40)], number=False, ranked=True)["accuracy"].stderr
    # Four passages, each all right or all wrong: (1/4)(4/3) sum of (10/40 * .5)^2 four times.
    assert shared == pytest.approx(math.sqrt(4 / 3 * 4 * (10 / 40 * 0.5) ** 2))
    assert shared > 3 * alone


# Prompts


class Letters:
    """A tokenizer of single bytes, as Codec is one of more."""

    size, end_of_text = 256, 0

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def encode_all(self, texts: list[str]) -> list[Any]:
        return [np.array(self.encode(text), np.int32) for text in texts]


def prompts(shots: int, **task: Any) -> Prompts:
    settings = LabelledSettings.model_validate({"form": "classification", "sets": {"train": "a"}, **task})
    trained = [Example(f"t{n}", "train", f"text {n}", n % 2, "other" if settings.second else "") for n in range(6)]
    return Prompts(settings, ["dark", "bright"], trained, shots, 1, Encoding(Letters(), begin=True), 64)  # type: ignore[arg-type]


def test_a_class_is_asked_by_its_name_behind_the_text() -> None:
    one = Example("x", "test", "fog", 0, "sun")
    assert prompts(0).pairs(one) == [("fog\nLabel:", " dark"), ("fog\nLabel:", " bright")]
    assert prompts(0, form="entailment", second="{b}").pairs(one)[0] == ("fog\nsun\nLabel:", " dark")
    assert prompts(0, ask="Is {first} good?").pairs(one)[1] == ("Is fog good?", " bright")
    choice = Example("y", "test", "It rained.", 1, choices=("dry", "wet all over"))
    ranked = prompts(0, form="choice", choices=("{a}", "{b}"))
    assert ranked.pairs(choice) == [("It rained.", " dry"), ("It rained.", " wet all over")]


def test_examples_that_are_shown_are_drawn_for_each_one_and_fit() -> None:
    way = prompts(2)
    first, other = (way.pairs(Example(name, "test", "fog", 0))[0][0] for name in ("x", "y"))
    assert first == way.pairs(Example("x", "test", "fog", 0))[0][0] != other
    shown = first.split("\n\n")
    assert shown[-1] == "fog\nLabel:"
    for demonstration in shown[:-1]:
        number = int(re.fullmatch(r"text (\d)\nLabel: (dark|bright)", demonstration)[1])  # type: ignore[index]
        assert demonstration.endswith(("dark", "bright")[number % 2])
    assert len(shown) == 3
    assert all(len(f"{context}{answer}") <= 63 for context, answer in prompts(6).pairs(Example("x", "test", "fog", 0)))
    assert len(replace(way, seed=2).pairs(Example("x", "test", "fog", 0))[0][0].split("\n\n")) == 3


def test_a_prompt_scores_what_the_network_finds_likely() -> None:
    model = build(Architecture(vocabulary=256, context=64, layers=1, heads=1, width=16)).initialise(4)
    with torch.no_grad():
        model.tokens.weight.mul_(20)
    one, way = Example("x", "test", "fog", 0), prompts(1)
    (found,) = way.scores(Network(model), [one])
    sums = []
    for context, answer in way.pairs(one):
        ids = torch.tensor([[0, *context.encode(), *answer.encode()]])
        with torch.no_grad():
            logged = torch.log_softmax(model(ids)[0].double(), 1)
        start = 1 + len(context.encode())
        sums.append(sum(logged[at - 1, ids[0, at]].item() for at in range(start, ids.shape[1])))
    assert found.tolist() == pytest.approx((np.array(sums) - np.logaddexp.reduce(sums)).tolist(), abs=1e-4)
    choice = Example("y", "test", "It rained.", 1, choices=("dry", "wet all over"))
    ranked = prompts(0, form="choice", choices=("{a}", "{b}"))
    (by_token,) = ranked.scores(Network(model), [choice])
    with torch.no_grad():
        means = []
        for context, answer in ranked.pairs(choice):
            ids = torch.tensor([[0, *context.encode(), *answer.encode()]])
            logged = torch.log_softmax(model(ids)[0].double(), 1)
            start = 1 + len(context.encode())
            means.append(np.mean([logged[at - 1, ids[0, at]].item() for at in range(start, ids.shape[1])]))
    assert by_token.tolist() == pytest.approx((np.array(means) - np.logaddexp.reduce(means)).tolist(), abs=1e-4)


# A bag of words


def test_a_bag_of_words_learns_words_pairs_choices_and_numbers() -> None:
    texts = [Example(str(n), "train", f"{'good' if n % 2 else 'bad'} film {n % 7}", n % 2) for n in range(60)]
    made = bag.train("classification", False, texts, texts[:10])
    asked = [Example("p", "test", "a good one", 1), Example("q", "test", "a bad one", 0)]
    assert [int(one.argmax()) for one in made.scores(asked)] == [1, 0]
    for each in made.scores(asked):
        assert np.exp(each).sum() == pytest.approx(1)
    choices = [
        Example(str(n), "train", f"noise {n}", n % 2, choices=("yes", "no") if n % 2 == 0 else ("no", "yes"))
        for n in range(60)
    ]
    ranked = bag.train("choice", False, choices, []).scores(
        [Example("r", "test", "noise", 0, choices=("no", "never", "yes"))]
    )
    assert int(ranked[0].argmax()) == 2
    assert np.exp(ranked[0]).sum() == pytest.approx(1)
    pairs = [
        Example(str(n), "train", "a b c d", 4.0 if n % 2 else 0.0, "a b c d" if n % 2 else f"e f g {n}")
        for n in range(40)
    ]
    same, other = bag.train("similarity", True, pairs, []).scores(
        [Example("s", "test", "h i", 0, "h i"), Example("o", "test", "h i", 0, "j k")]
    )
    assert float(same[0]) > float(other[0]) + 1


# Order and schedule


def tuning(**settings: Any) -> FinetuneSettings:
    return FinetuneSettings.model_validate({"tasks": ("tone",), **settings})


def test_settings_reach_the_training_loop() -> None:
    given = [Encoded([Read([20, 1, 22], [0] * 3)], 0, False)] * 10
    settings = FinetuneSettings(
        tasks=("tone",),
        clip=0.7,
        weight_decay=0.03,
        decay="cosine",
        learning_rate=0.002,
        precision="bf16",
        micro_batch=3,
        save_every=7,
        batch=5,
        epochs=2,
    )
    plan = plan_of(settings, "run", 9, labelled_data(given, [], settings, 9, "key", False))
    assert (plan.clip, plan.optimizer.weight_decay, plan.rate.decay) == (0.7, 0.03, "cosine")
    assert (plan.optimizer.learning_rate, plan.bf16, plan.micro_batch, plan.save_every) == (0.002, True, 3, 7)
    assert (plan.run, plan.seed, plan.steps) == ("run", 9, 4)
    # 10 of 20 examples seen is half of the way: a cosine is at 1/2 of the peak.
    assert plan.rate.share(10) == pytest.approx(0.5, abs=0.01)
    assert FinetuneSettings(tasks=("tone",), language_model=0.2).tuning().language_model == 0.2


def test_a_training_in_a_worker_has_the_threads_and_the_device_that_it_is_given() -> None:
    before = torch.get_num_threads()
    for settings in (
        FinetuneSettings(tasks=("tone",), threads=2, device="cpu"),
        FinetuneSettings(tasks=("tone",), threads=1),
    ):
        with exactly(settings.threads, settings.device) as device:
            assert torch.get_num_threads() == settings.threads
            assert torch.are_deterministic_algorithms_enabled()
            assert device.type == ("cpu" if settings.device == "cpu" or not torch.cuda.is_available() else "cuda")
    assert torch.get_num_threads() == before
    assert not torch.are_deterministic_algorithms_enabled()


def test_every_example_is_seen_once_an_epoch_in_an_order_of_the_seed() -> None:
    given = [Encoded([Read([20, n, 22], [0] * 3)], 0, False) for n in range(10)]

    def seen(seed: int) -> list[int]:
        data = labelled_data(given, [], tuning(batch=4, epochs=2), seed, "key", False)
        assert data.steps == 5
        batches = [data.batch_at(step)[0] for step in range(1, 6)]
        assert [data.sequences_at(step) for step in range(1, 6)] == [len(one) for one in batches] == [4] * 5
        return [int(ids[0, 1]) for batch in batches for ids in batch]

    first = seen(1)
    assert sorted(first[:10]) == sorted(first[10:]) == list(range(10))
    assert first[:10] != first[10:]
    assert first == seen(1) != seen(2)
    odd = labelled_data(given[:7], [], tuning(batch=4, epochs=1), 1, "key", False)
    assert (odd.steps, odd.sequences_at(2), len(odd.batch_at(2)[0])) == (2, 3, 3)


def test_the_rate_rises_and_falls_to_nothing_as_published() -> None:
    settings = FinetuneSettings(tasks=("tone",), batch=10, epochs=3, warmup_share=0.1)
    given = [Encoded([Read([20, 1, 22], [0] * 3)], 0, False)] * 100
    data = labelled_data(given, [], settings, 1, "key", False)
    plan = plan_of(settings, "run", 1, data)
    shares = [plan.rate.share(data.tokens_after(step)) for step in range(1, 31)]
    assert plan.steps == 30
    assert shares[:3] == pytest.approx([1 / 3, 2 / 3, 1])
    assert shares[3:] == pytest.approx([(30 - step) / 27 for step in range(4, 31)])
    published = FinetuneSettings(tasks=("tone",))
    assert (published.learning_rate, published.batch, published.epochs, published.language_model) == (
        6.25e-5,
        32,
        3,
        0.5,
    )
    assert plan.optimizer.weight_decay == 0.01
    assert plan.clip == 1.0


def test_a_loss_of_a_known_head_is_by_hand() -> None:
    """A head of zeros finds every class as likely, and every number 0."""
    model = network(GPT, 3)
    torch.nn.init.zeros_(model.head.weight)
    assert float(Labels(0.0).objective.loss(model, *batch_of(PAIRS, False))) == pytest.approx(math.log(3))
    graded = network(GPT, 1)
    torch.nn.init.zeros_(graded.head.weight)
    assert float(Labels(0.0, number=True).objective.loss(graded, *batch_of(PAIRS, True))) == pytest.approx(0.5)
    found = Labels(0.0).objective.figures(model, *batch_of(PAIRS, False))
    assert float(found["accuracy"]) == 0.5  # the first class is taken, which is right once
    assert float(F.softmax(torch.zeros(3), 0)[0]) == pytest.approx(1 / 3)
