"""BERT by hand: what it is trained by, that masking differs from step to step, and what its evaluation counts."""

from __future__ import annotations

import math
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch

from flows.making import Pipeline
from flows.query import rows
from flows.recipe.loading import load_recipe
from models.bert import Bert, build
from models.objectives.masked_tokens import MaskedBatch, figures, loss
from models.presets import Shape
from tasks.tokens.tokenizer import Codec
from tasks.train.data import TrainingData, masking_vocabulary
from tasks.train.published import load_run
from tasks.train.runs import find_run
from tests.known import pipeline_over
from tests.test_export_bert import BERT
from tests.test_known_scores import prose


def masked_batch(sequences: int = 3, vocabulary: int = 40) -> MaskedBatch:
    draw = torch.Generator().manual_seed(4)

    def ids(*shape: int) -> torch.Tensor:
        return torch.randint(0, vocabulary, shape, generator=draw)

    weights = torch.tensor([[1.0, 1, 1], [1, 1, 0], [1, 0, 0]])[:sequences]
    types = (torch.arange(16) > 7).long().repeat(sequences, 1)
    return MaskedBatch(
        ids(sequences, 16),
        types,
        torch.tensor([[1, 5, 9]] * sequences),
        ids(sequences, 3),
        weights,
        torch.tensor([0, 1, 1])[:sequences],
    )


def test_the_loss_is_the_hidden_tokens_and_the_next_sentence(tmp_path: Path) -> None:
    model = build(Shape("bert", 1, 2, 16, context=16).architecture(40)).initialise(2)
    assert isinstance(model, Bert)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.2)
    batch = masked_batch()
    hidden = model.hidden(batch.ids, types=batch.types)
    tokens = 0.0
    for row in range(3):
        nats = []
        for place in range(3):
            if batch.weights[row, place]:
                logits = model.masked_logits(hidden[row : row + 1], batch.positions[row : row + 1])[0, place]
                nats.append(-float(torch.log_softmax(logits, 0)[batch.targets[row, place]]))
        tokens += sum(nats) / len(nats) / 3  # a sequence's mean, then the batch's
    pooled = torch.tanh(hidden[:, 0] @ model.pooler.weight.T + model.pooler.bias)
    labels = torch.log_softmax(pooled @ model.next_sentence.weight.T + model.next_sentence.bias, 1)
    label = -float(labels[torch.arange(3), batch.not_next].mean())
    assert float(loss(model, *batch)) == pytest.approx(tokens + label, abs=1e-5)
    reported = figures(model, *batch)
    assert float(reported["validation_loss"]) == pytest.approx(tokens, abs=1e-5)
    assert float(reported["next_sentence_accuracy"]) == float((labels.argmax(1) == batch.not_next).float().mean())


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    draw = Random(5)
    sources = {"plays": [prose(draw, 8) for _ in range(30)]}
    return pipeline_over(tmp_path_factory.mktemp("known-bert"), sources, sections=BERT, until="evaluate")


def data_of(pipeline: Pipeline, **changes: Any) -> TrainingData:
    settings = pipeline.recipe.trainings["pretrain"].model_copy(update=changes)
    codec = Codec.load(pipeline.store, pipeline.plan["tokenizer"][0].ref)
    return TrainingData(
        pipeline.store,
        pipeline.plan["pack"][0].ref,
        settings,
        vocabulary=masking_vocabulary(codec, settings.whole_words),
    )


def test_masking_differs_from_step_to_step_from_row_to_row_and_by_the_seed(pipeline: Pipeline) -> None:
    data = data_of(pipeline)
    places = {(step, row): tuple(data.batch_at(step)[2][row].tolist()) for step in (1, 2, 3) for row in (0, 1)}
    assert len(set(places.values())) == len(places)
    # Where the first segment ends and whether the next sentence follows are drawn before any token is looked at.
    drawn = {step: data.batch_at(step) for step in range(1, 25)}
    for row in (0, 1):
        assert len({int(batch[1][row].sum()) for batch in drawn.values()}) > 1
        assert {int(batch[5][row]) for batch in drawn.values()} == {0, 1}
    assert data_of(pipeline, seed=77).batch_at(1)[2].tolist() != data.batch_at(1)[2].tolist()
    assert torch.equal(data_of(pipeline).batch_at(2)[0], data.batch_at(2)[0])


def test_hidden_tokens_are_scored_as_the_network_guesses_them(pipeline: Pipeline) -> None:
    network, _ = load_run(pipeline.store, find_run(pipeline.store))
    assert isinstance(network, Bert)
    nats, right, hidden = 0.0, 0, 0
    with torch.inference_mode():
        for raw in data_of(pipeline, validation_sequences=9, seed=1).held_out():
            batch = MaskedBatch(*raw)
            logits = network.masked_logits(network.hidden(batch.ids, types=batch.types), batch.positions)
            logged = torch.log_softmax(logits, -1)
            for row, place in np.argwhere(batch.weights.numpy() > 0):
                target = int(batch.targets[row, place])
                nats -= float(logged[row, place, target])
                right += int(logged[row, place].argmax() == target)
                hidden += 1
    found = {
        row["metric"]: row
        for row in rows(pipeline.store, "FROM evaluations WHERE task = 'hidden tokens' AND run NOT LIKE 'baseline%'")
    }
    assert found["accuracy"]["value"] == pytest.approx(right / hidden)
    assert found["perplexity a token"]["value"] == pytest.approx(math.exp(nats / hidden), rel=1e-4)
    assert found["bits a hidden token"]["value"] == pytest.approx(nats / hidden / math.log(2), rel=1e-4)
    assert {row["n"] for row in found.values()} == {hidden}
    (pack,) = pipeline.plan["pack"]
    stream = np.concatenate(
        [
            np.fromfile(Path(pipeline.store.url) / pack.ref.folder / "train" / f"{part}.bin", "<u2")
            for part in pack.stage.plan()
        ]
    )
    codec = Codec.load(pipeline.store, pipeline.plan["tokenizer"][0].ref)
    counts = np.bincount(stream, minlength=codec.size) + 1
    plain = 0.0
    for raw in data_of(pipeline, validation_sequences=9, seed=1).held_out():
        batch = MaskedBatch(*raw)
        plain -= sum(
            math.log(counts[int(batch.targets[row, place])] / counts.sum())
            for row, place in np.argwhere(batch.weights.numpy() > 0)
        )
    (baseline,) = rows(
        pipeline.store,
        "SELECT value FROM evaluations WHERE run = 'baseline-unigram' AND metric = 'bits a hidden token'",
    )
    assert baseline["value"] == pytest.approx(plain / hidden / math.log(2))


def test_pseudo_perplexity_hides_each_token_alone(pipeline: Pipeline) -> None:
    """One token at a time, through the network's whole forward pass."""
    network, _ = load_run(pipeline.store, find_run(pipeline.store))
    assert isinstance(network, Bert)
    codec = Codec.load(pipeline.store, pipeline.plan["tokenizer"][0].ref)
    held_out = rows(
        pipeline.store, "SELECT doc_id, text FROM corpus JOIN held_out ON doc_id = id ORDER BY doc_id LIMIT 3"
    )
    context, per_document, right = network.arch.context, [], 0
    for row in held_out:
        tokens = codec.encode(row["text"])[: context - 2]
        nats = []
        for place in range(len(tokens)):
            ids = torch.tensor([[codec.size, *tokens, codec.size + 1]])
            ids[0, place + 1] = codec.size + 2
            with torch.no_grad():
                logged = torch.log_softmax(network(ids)[0, place + 1], 0)
            nats.append(-float(logged[tokens[place]]))
            right += int(logged.argmax()) == tokens[place]
        per_document.append(nats)
    path = Path(pipeline.store.url).parent / "recipe.toml"
    asked = Pipeline(load_recipe(str(path), ("evaluate.max_pseudo=3",)))
    asked.make("evaluate")
    found = {
        row["metric"]: row
        for row in rows(pipeline.store, "FROM evaluations WHERE task = 'pseudo-perplexity'", own=asked.own)
    }
    total, count = sum(map(sum, per_document)), sum(map(len, per_document))
    perplexity = found["pseudo-perplexity a token"]
    assert perplexity["value"] == pytest.approx(math.exp(total / count), rel=1e-3)
    assert perplexity["n"] == count
    assert found["accuracy"]["value"] == pytest.approx(right / count)
    rate = total / count
    error = math.sqrt(3 / 2 * sum((sum(nats) - rate * len(nats)) ** 2 for nats in per_document)) / count
    assert perplexity["stderr"] == pytest.approx(math.exp(rate) * error, rel=1e-2)
