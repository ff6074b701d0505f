"""Every score that a user reads, against a network whose probabilities are known and a few independent lines."""

from __future__ import annotations

import json
import math
from collections import Counter
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from flows.commands.cli import main
from flows.making import Pipeline
from flows.query import rows
from models.ngram import NGram
from models.score import MaskedScores, Scored
from tasks.core.estimates import Figure, exponential, rate
from tasks.evaluate.cloze import cloze_of
from tasks.evaluate.declared import TASKS, Task
from tasks.evaluate.held_out import Passage
from tasks.evaluate.scoring import Scores, masked_answers, passage_answers
from tasks.evaluate.scoring import rows as figures_of
from tasks.tokens.tokenizer import Codec
from tests.known import chain, pipeline_over, publish, transitions
from warehouse.artifact import read_tables

BY_NAME: dict[str, Task] = {task.name: task for task in TASKS}
WORDS = ["river", "stone", "bridge", "mason", "water", "keeper", "winter", "village", "market", "story"]
SETTINGS = """
[tokenizer]
vocabulary = 270
[pack]
validation_share = 0.3
[model]
layers = 1
heads = 1
width = 16
context = 8
[pretrain]
steps = 3
batch = 2
precision = "fp32"
[evaluate]
prompts = ["The river", "A"]
sample_tokens = 12
temperature = 0.0
max_documents = 9
"""


def prose(draw: Random, sentences: int) -> str:
    """Sentences that end in a word that occurred before."""
    return " ".join(
        f"{' '.join(draw.choices(WORDS, k=9)).capitalize()} {draw.choice(WORDS)}." for _ in range(sentences)
    )


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Pipeline, str, Any]:
    """Two sources, a chain in the place of the trained network, and what `evaluate` wrote."""
    folder, draw = tmp_path_factory.mktemp("scores"), Random(3)
    sources = {name: [prose(draw, draw.randint(3, 9)) for _ in range(30)] for name in ("plays", "pages")}
    sources["pages"][3] += " Größe naïve 日本語."
    pipeline = pipeline_over(
        folder, sources, sections=SETTINGS, tables={"plays": "weight = 3.0", "pages": "weight = 1.0"}
    )
    codec = Codec.load(pipeline.store, pipeline.plan["tokenizer"][0].ref)
    model = chain(codec.size, seed=7, scale=0.7)
    run = publish(pipeline, model, folder)
    pipeline.make("evaluate")
    return pipeline, run, transitions(model)


def held_out(pipeline: Pipeline) -> list[dict[str, Any]]:
    """The held-out documents with their tokens, read from the stored arrays by hand."""
    ref = pipeline.plan["pack"][0].ref
    found = []
    for span in read_tables(pipeline.store, ref, "token_spans").to_pylist():
        if span["split"] == "validation":
            shard = np.fromfile(Path(pipeline.store.url) / ref.folder / span["shard"], "<u2").astype(np.int64)
            found.append(span | {"tokens": shard[span["start"] : span["start"] + span["length"] - 1]})
    return sorted(found, key=lambda span: span["doc_id"])[:9]


def of_source(documents: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    found = {"held-out text": documents}
    for document in documents:
        found.setdefault(f"held-out text, {document['source']}", []).append(document)
    return found


def evaluations(pipeline: Pipeline, run: str) -> dict[tuple[str, str], dict[str, Any]]:
    return {(row["task"], row["metric"]): row for row in rows(pipeline.store, "FROM evaluations") if row["run"] == run}


def expected(documents: list[dict[str, Any]], nats: list[float], hits: list[float]) -> dict[str, tuple[float, float]]:
    """The figures of language modelling with Cochran's standard error of a ratio, written out."""

    def per(sums: list[float], sizes: list[float]) -> tuple[float, float]:
        n, rate = len(sums), sum(sums) / sum(sizes)
        squares = sum((y - rate * x) ** 2 for y, x in zip(sums, sizes, strict=True))
        mean = sum(sizes) / n
        return rate, math.sqrt(squares / (n - 1) / n) / mean

    tokens = [float(len(document["tokens"])) for document in documents]
    words, sizes = ([float(document[name]) for document in documents] for name in ("n_words", "n_bytes"))
    (token, token_error), (word, word_error), (byte, byte_error) = (per(nats, over) for over in (tokens, words, sizes))
    return {
        "perplexity a token": (math.exp(token), math.exp(token) * token_error),
        "perplexity a word": (math.exp(word), math.exp(word) * word_error),
        "bits a byte": (byte / math.log(2), byte_error / math.log(2)),
        "next-token accuracy": per(hits, tokens),
    }


def check(found: dict[tuple[str, str], dict[str, Any]], documents: list[dict[str, Any]], table: Any) -> None:
    """``table`` gives log P(next | token) of each pair."""
    for task, mine in of_source(documents).items():
        nats, hits = [], []
        for document in mine:
            before = [document["end"], *document["tokens"][:-1]]
            logged = [table[a, b] for a, b in zip(before, document["tokens"], strict=True)]
            nats.append(-sum(logged))
            hits.append(float(sum(table[a].argmax() == b for a, b in zip(before, document["tokens"], strict=True))))
        for metric, (value, error) in expected(mine, nats, hits).items():
            row = found[task, metric]
            assert row["value"] == pytest.approx(value, rel=2e-4), (task, metric)
            assert row["stderr"] == pytest.approx(error, rel=2e-3), (task, metric)
            assert row["n"] == len(mine)


def test_held_out_scores_are_the_chains_own(scored: tuple[Pipeline, str, Any]) -> None:
    pipeline, run, table = scored
    codec = Codec.load(pipeline.store, pipeline.plan["tokenizer"][0].ref)
    documents = [document | {"end": codec.end_of_text} for document in held_out(pipeline)]
    texts = {row["id"]: row["text"] for row in rows(pipeline.store, "FROM corpus")}
    assert len(documents) == 9
    assert len(of_source(documents)) == 3
    for document in documents:
        assert document["n_bytes"] == len(texts[document["doc_id"]].encode())
        assert document["n_words"] == len(texts[document["doc_id"]].split())
    found = evaluations(pipeline, run)
    check(found, documents, table)
    assert found["held-out text", "next-token accuracy"]["value"] > 0
    assert {row["step"] for row in found.values()} == {3}
    assert {row["shots"] for row in found.values()} == {0}
    assert {row["clean_value"] == row["value"] for row in found.values()} == {True}  # nothing of it was trained on
    assert {(row["share_clean"], row["overlap"]) for row in found.values()} == {(1.0, 0.0)}


def test_unigram_and_bigram_baselines_are_counted_by_hand(scored: tuple[Pipeline, str, Any]) -> None:
    pipeline, _, _ = scored
    codec = Codec.load(pipeline.store, pipeline.plan["tokenizer"][0].ref)
    documents = [document | {"end": codec.end_of_text} for document in held_out(pipeline)]
    ref = pipeline.plan["pack"][0].ref
    # The streams of the sources one after the other, by name, and their shards by name.
    stream = [
        int(token)
        for source in ("pages", "plays")
        for part in pipeline.plan["pack"][0].stage.plan()
        if part.startswith(source)
        for token in np.fromfile(Path(pipeline.store.url) / ref.folder / "train" / f"{part}.bin", "<u2")
    ]
    size, pairs = codec.size, Counter(pairwise(stream))
    counts = Counter(stream)
    unigram = np.array([math.log((counts[token] + 1) / (len(stream) + size)) for token in range(size)])
    check(evaluations(pipeline, "baseline-unigram"), documents, np.tile(unigram, (size, 1)))
    # Kneser-Ney with one discount: a word counts below by how many others it follows.
    once, twice = (sum(count == n for count in pairs.values()) for n in (1, 2))
    discount = once / (once + 2 * twice)
    follows = Counter(b for _, b in pairs)
    for token in counts:
        follows[token] = max(follows[token], 1)  # the stream's first token follows nothing
    lower = np.array([(follows[token] + 1) / (sum(follows.values()) + size) for token in range(size)])
    table = np.tile(np.log(lower), (size, 1))
    for a in range(size):
        total, kinds = sum(pairs[a, b] for b in range(size)), sum((a, b) in pairs for b in range(size))
        if total:
            high = np.array([max(pairs[a, b] - discount, 0) for b in range(size)])
            table[a] = np.log((high + discount * kinds * lower) / total)
            best = max(range(size), key=lambda b: (pairs[a, b], -b))
            table[a, best] += 1e-12  # the first choice is the most frequent one
    found = evaluations(pipeline, "baseline-bigram")
    for (task, metric), row in found.items():
        if metric != "next-token accuracy" and task.startswith("held-out"):
            mine = of_source(documents)[task]
            nats = [
                -sum(table[a, b] for a, b in zip([d["end"], *d["tokens"][:-1]], d["tokens"], strict=True)) for d in mine
            ]
            value, error = expected(mine, nats, [0.0] * len(mine))[metric]
            assert (row["value"], row["stderr"]) == (pytest.approx(value, rel=1e-6), pytest.approx(error, rel=1e-6)), (
                metric
            )


def test_the_five_gram_baseline_sees_four_tokens_back(scored: tuple[Pipeline, str, Any]) -> None:
    pipeline, _, _ = scored
    size = Codec.load(pipeline.store, pipeline.plan["tokenizer"][0].ref).size
    ref, parts = pipeline.plan["pack"][0].ref, pipeline.plan["pack"][0].stage.plan()
    files = [f"{part}.bin" for source in ("pages", "plays") for part in parts if part.startswith(source)]
    stream = np.concatenate(
        [np.fromfile(Path(pipeline.store.url) / ref.folder / "train" / name, "<u2") for name in files]
    )
    documents = held_out(pipeline)
    end = Codec.load(pipeline.store, pipeline.plan["tokenizer"][0].ref).end_of_text
    tokens = [np.array([end, *document["tokens"]], dtype=np.int64) for document in documents]
    for task, mine in of_source(documents).items():
        nats = {
            order: -sum(
                float(one[0].sum())
                for one, document in zip(
                    NGram(order, size, stream.astype(np.int64)).score(tokens), documents, strict=True
                )
                if document in mine
            )
            for order in (4, 5)
        }
        bits = {
            order: total / math.log(2) / sum(document["n_bytes"] for document in mine) for order, total in nats.items()
        }
        found = evaluations(pipeline, "baseline-5-gram")[task, "bits a byte"]["value"]
        assert found == pytest.approx(bits[5], rel=1e-6)
        assert found != pytest.approx(bits[4], rel=1e-6)


def test_last_word_is_right_where_all_of_its_tokens_are_the_first_choice(scored: tuple[Pipeline, str, Any]) -> None:
    pipeline, run, table = scored
    codec = Codec.load(pipeline.store, pipeline.plan["tokenizer"][0].ref)
    texts = {row["id"]: row["text"] for row in rows(pipeline.store, "FROM corpus")}
    nats, right = [], []
    for document in held_out(pipeline):
        text = texts[document["doc_id"]]
        found = cloze_of(text)
        if found is None:
            continue
        context, answer = found
        passage = f"{context} {answer}"
        assert 40 < len(passage.split()) <= 120
        assert answer in context
        assert passage in " ".join(text.split())
        answer_tokens = codec.encode(f" {answer}")
        before = [*codec.encode(context)[-1:], *answer_tokens[:-1]]
        nats.append(-sum(table[a, b] for a, b in zip(before, answer_tokens, strict=True)))
        right.append(float(all(table[a].argmax() == b for a, b in zip(before, answer_tokens, strict=True))))
    n = len(nats)
    assert n >= 3
    found_rows = evaluations(pipeline, run)
    perplexity = found_rows["last-word cloze", "perplexity"]
    mean = sum(nats) / n
    error = math.sqrt(sum((x - mean) ** 2 for x in nats) / (n - 1) / n)
    assert perplexity["value"] == pytest.approx(math.exp(mean), rel=1e-3)
    assert perplexity["stderr"] == pytest.approx(math.exp(mean) * error, rel=1e-2)
    assert found_rows["last-word cloze", "accuracy"]["value"] == pytest.approx(sum(right) / n)
    assert {perplexity["n"], found_rows["last-word cloze", "accuracy"]["n"]} == {n}


def test_a_word_of_two_tokens_is_right_where_both_are() -> None:
    class Told:
        def score(self, documents: list[Any]) -> list[Scored]:
            greedy = ([False, True, True], [True, True, False], [True, False, True])
            return [Scored(np.array([-9.0, -1.0, -2.0]), np.array(row)) for row in greedy]

    answers = passage_answers([Passage(np.arange(4), 2)] * 3, Told())
    accuracy, perplexity = figures_of(BY_NAME["last-word cloze"], 0, "run", 1, Scores(answers), 0.0)
    assert accuracy["value"] == pytest.approx(1 / 3)
    assert accuracy["stderr"] == pytest.approx(math.sqrt(2 / 9 * 3 / 2 / 3))  # variance over n - 1, over n
    assert (perplexity["value"], perplexity["stderr"]) == (pytest.approx(math.exp(3)), 0.0)


def test_samples_follow_the_chain_greedily(scored: tuple[Pipeline, str, Any]) -> None:
    pipeline, run, table = scored
    codec = Codec.load(pipeline.store, pipeline.plan["tokenizer"][0].ref)
    samples = rows(pipeline.store, "FROM samples")
    assert [(row["run"], row["step"], row["prompt"]) for row in samples] == [(run, 3, "The river"), (run, 3, "A")]
    for row in samples:
        token, written = codec.encode(row["prompt"])[-1], []
        for _ in range(12):
            token = int(table[token].argmax())
            if token == codec.end_of_text:
                break
            written.append(token)
        assert row["text"] == codec.decode(written)


def test_ratio_and_mean_errors_by_hand() -> None:
    # Two documents: 3 of 2 and 5 of 6. Ratio 1, residuals 1 and -1: sqrt(2 / 1 * 2) / 8.
    assert rate(np.array([3.0, 5.0]), np.array([2.0, 6.0])) == (1.0, pytest.approx(0.25))
    assert math.isnan(rate(np.array([3.0]), np.array([2.0]))[1])
    scores = MaskedScores(*(np.array(column, np.float64) for column in ([4, 2], [1, 2], [2, 4], [1, 0])))
    answers = masked_answers(scores)
    found = {
        (row["task"], row["metric"]): row
        for name in ("hidden tokens", "next sentence")
        for row in figures_of(BY_NAME[name], 0, "run", 1, Scores(answers), 0.0)
    }
    assert found["hidden tokens", "accuracy"]["value"] == 0.5
    assert found["hidden tokens", "accuracy"]["n"] == 6
    assert found["hidden tokens", "bits a hidden token"]["value"] == pytest.approx(1 / math.log(2))
    assert found["hidden tokens", "perplexity a token"]["value"] == pytest.approx(math.e)
    # Residuals of the nats, 4 - 2 and 2 - 4: sqrt(2 / 1 * 8) / 6.
    assert found["hidden tokens", "bits a hidden token"]["stderr"] == pytest.approx(4 / 6 / math.log(2))
    label = found["next sentence", "accuracy"]
    assert (label["value"], label["stderr"], label["n"]) == (0.5, pytest.approx(0.5), 2)


def test_a_perplexity_that_has_no_float_is_infinite_and_said_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exponential(Figure(709.0, 0.5))[0] == pytest.approx(math.exp(709))
    assert exponential(Figure(710.0, 0.5))[0] == math.inf
    assert math.isnan(exponential(Figure(710.0, 0.5))[1])
    draw = Random(1)
    # DNA: a document is one word, of some thousand tokens.
    texts = ["".join(draw.choices("ACGT", k=3000)) for _ in range(8)]
    pipeline = pipeline_over(tmp_path, {"dna": texts}, sections=SETTINGS)
    publish(pipeline, chain(pipeline.recipe.tokenizer.vocabulary, seed=1, scale=2.0), tmp_path)
    pipeline.make("evaluate")
    infinite = [row for row in rows(pipeline.store, "FROM evaluations") if row["value"] == math.inf]
    assert {row["metric"] for row in infinite} == {"perplexity a word"}
    assert all(math.isnan(row["stderr"]) for row in infinite)
    from flows.reporting import publish_report

    page = Path(publish_report(pipeline)).read_text()
    assert '<td class="n">∞</td>' in page
    assert "may have no floating-point number, and is ∞" in page
    with pytest.raises(SystemExit):
        main(
            [
                "sql",
                "SELECT max(value) AS v, 'NaN'::DOUBLE AS w, [1.5, 'inf'::DOUBLE] AS l FROM evaluations",
                "--format",
                "json",
                "--set",
                f"store={pipeline.store.url}",
            ]
        )
    assert json.loads(capsys.readouterr().out) == [{"v": None, "w": None, "l": [1.5, None]}]


def test_scores_do_not_depend_on_what_the_machine_multiplies(scored: tuple[Pipeline, str, Any]) -> None:
    """The arithmetic is a setting, part of the key: fp32 unless bf16 is asked for, whatever the processor has."""
    pipeline, run, _ = scored
    (now,) = pipeline.plan["evaluate"]
    recipe = pipeline.recipe.model_copy(
        update={"evaluate": pipeline.recipe.evaluate.model_copy(update={"precision": "bf16"})}
    )
    other = Pipeline(recipe)
    (then,) = other.plan["evaluate"]
    assert now.stage.settings.model_dump()["precision"] == "fp32"
    assert now.ref != then.ref
    full = {key: row["value"] for key, row in evaluations(pipeline, run).items()}
    other.make("evaluate")
    rounded = {key: row["value"] for key, row in evaluations(pipeline, run).items()}
    Pipeline(pipeline.recipe).make("evaluate")  # what other tests look at
    assert full.keys() == rounded.keys()
    differences = [abs(rounded[key] / full[key] - 1) for key in full if key[1] == "bits a byte"]
    # bfloat16 has 8 bits: a logit of some units is off by some hundredths, a mean over hundreds of tokens by less.
    assert 0 < max(differences) < 0.02
