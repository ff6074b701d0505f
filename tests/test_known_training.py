"""Training by hand: what a step predicts, from which documents, and what the optimiser is told."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from flows.making import Pipeline
from flows.query import connect, rows
from models.objectives.objective import Objective
from models.training.loop import Batch, Training
from models.training.order import BLOCK_SLOTS
from models.training.parallel import Parallel
from tasks.train.data import TrainingData
from tasks.train.job import Job
from tasks.train.order import DataOrder
from tasks.train.process import plan_of
from tasks.train.settings import PretrainSettings
from tests.known import pipeline_over
from tests.test_known_scores import prose
from tests.test_training import Seen
from warehouse.artifact import Ref, read_tables

SETTINGS = """
[extract]
part_bytes = 700
[tokenizer]
vocabulary = 270
[pack]
validation_share = 0.2
[model]
layers = 1
heads = 1
width = 8
context = 8
[pretrain]
seed = 9
steps = 12
batch = 4
micro_batch = 3
warmup_tokens = 128
decay_tokens = 256
learning_rate = 2e-3
final_learning_rate_share = 0.25
validation_sequences = 6
validate_every = 4
save_every = 5
log_every = 1
threads = 1
precision = "fp32"
"""


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """Two sources in several shards each, three to one, trained for twelve steps of four windows of eight tokens."""
    draw = Random(8)
    sources = {name: [prose(draw, draw.randint(1, 4)) for _ in range(20)] for name in ("plays", "pages")}
    tables = {"plays": "weight = 3.0", "pages": "weight = 1.0"}
    return pipeline_over(
        tmp_path_factory.mktemp("training"), sources, sections=SETTINGS, tables=tables, until="pretrain"
    )


def stream(pipeline: Pipeline, source: str, split: str) -> list[int]:
    """A source's tokens, read from the arrays by hand."""
    (pack,) = pipeline.plan["pack"]
    parts = sorted(part for part in pack.stage.plan() if part.startswith(source))
    folder = Path(pipeline.store.url) / pack.ref.folder / split
    return [int(token) for part in parts for token in np.fromfile(folder / f"{part}.bin", "<u2")]


def data_of(pipeline: Pipeline, **changes: Any) -> TrainingData:
    settings = PretrainSettings.model_validate(pipeline.recipe.trainings["pretrain"].model_dump() | changes)
    return TrainingData(pipeline.store, pipeline.plan["pack"][0].ref, settings)


def test_the_target_of_each_position_is_the_token_behind_it(pipeline: Pipeline) -> None:
    data = data_of(pipeline)
    for step in (1, 5, 12):
        ids, targets = data.batch_at(step)
        assert ids.shape == targets.shape == (4, 8)
        for row, window in enumerate(data.order.batch_at(step)):
            tokens = stream(pipeline, window.source, "train")
            assert ids[row].tolist() == tokens[window.start : window.start + 8]
            assert targets[row].tolist() == tokens[window.start + 1 : window.start + 9]


def test_held_out_windows_are_spread_over_each_source_by_its_weight(pipeline: Pipeline) -> None:
    batches = data_of(pipeline).held_out()
    assert [len(batch[0]) for batch in batches] == [3, 3]  # micro-batches
    found = torch.cat([torch.cat([batch[0], batch[1][:, -1:]], 1) for batch in batches]).tolist()
    expected = []
    for source, count in (("pages", 2), ("plays", 4)):  # round(6 / 4) and round(6 * 3 / 4), ties to even
        tokens = stream(pipeline, source, "validation")
        available = (len(tokens) - 1) // 8
        expected += [tokens[i * available // count * 8 :][:9] for i in range(count)]
    assert found == expected


def test_sources_are_drawn_by_their_weights(pipeline: Pipeline) -> None:
    order = DataOrder(pipeline.store, pipeline.plan["pack"][0].ref, pipeline.recipe.trainings["pretrain"]).order
    assert Counter(order.window(slot).source for slot in range(BLOCK_SLOTS)) == {"plays": 768, "pages": 256}
    other = data_of(pipeline, mixture={"plays": 0.0, "pages": 2.0}).order
    assert {other.window(slot).source for slot in range(BLOCK_SLOTS)} == {"pages"}
    assert data_of(pipeline, seed=10).order.batch_at(1) != order.batch_at(1)


def test_metrics_tell_the_schedule_of_the_recipe_and_the_run_its_tokens(pipeline: Pipeline) -> None:
    found = rows(pipeline.store, "SELECT step, name, value FROM metrics ORDER BY step")
    rates = {row["step"]: row["value"] for row in found if row["name"] == "learning_rate"}
    expected = {}
    for step in range(1, 13):
        tokens = step * 4 * 8
        cosine = 0.5 * (1 + math.cos(math.pi * min(1, (tokens - 128) / 128)))
        share = tokens / 128 if tokens <= 128 else 0.25 + 0.75 * cosine
        expected[step] = 2e-3 * share
    assert rates == pytest.approx(expected)
    assert [row["step"] for row in found if row["name"] == "validation_loss"] == [4, 8, 12]
    ((seen, steps),) = mill_query(
        pipeline,
        "SELECT (statistics->>'tokens_seen')::INT, (statistics->>'steps')::INT FROM artifacts WHERE stage = 'pretrain'",
    )
    assert (seen, steps) == (12 * 4 * 8, 12)
    first = next(row["value"] for row in found if row["name"] == "loss")
    assert first == pytest.approx(math.log(270), abs=0.1)  # weights of 0.02: every token is as likely


def mill_query(pipeline: Pipeline, query: str) -> list[tuple[Any, ...]]:
    with connect(pipeline.store) as connection:
        return connection.sql(query).fetchall()


def test_mixture_tells_epochs_by_hand(pipeline: Pipeline) -> None:
    found = {row["source"]: row for row in rows(pipeline.store, "FROM mixture")}
    for source, weight in (("plays", 0.75), ("pages", 0.25)):
        tokens = len(stream(pipeline, source, "train"))
        assert found[source]["weight"] == weight
        assert found[source]["tokens"] == tokens
        assert found[source]["epochs"] == pytest.approx(12 * 4 * 8 * weight / tokens)
        spans = rows(
            pipeline.store, f"SELECT count(*) AS n FROM token_spans WHERE split = 'train' AND source = '{source}'"
        )
        assert found[source]["documents"] == spans[0]["n"]


def owners(pipeline: Pipeline, source: str, start: int, length: int) -> list[tuple[str, int]]:
    """(document, tokens) of a stretch of a source's stream, token by token."""
    (pack,) = pipeline.plan["pack"]
    spans = read_tables(pipeline.store, pack.ref, "token_spans").to_pylist()
    mine = [span for span in spans if span["source"] == source and span["split"] == "train"]
    mine.sort(key=lambda span: (span["shard"], span["start"]))
    token_of = [span["doc_id"] for span in mine for _ in range(span["length"])]
    return list(Counter(token_of[start : start + length]).items())


def test_documents_at_a_step_are_those_whose_tokens_it_read_and_no_neighbour(pipeline: Pipeline) -> None:
    order = data_of(pipeline).order
    for step in (1, 6, 12):
        found = rows(pipeline.store, f"FROM documents_at_step('latest', {step})")
        expected = [
            (window.slot, window.source, *owner)
            for window in order.batch_at(step)
            for owner in owners(pipeline, window.source, window.start, 9)
        ]
        assert sorted((row["slot"], row["source"], row["doc_id"], row["tokens"]) for row in found) == sorted(expected)
        urls = {row["doc_id"]: (row["url"], row["title"]) for row in rows(pipeline.store, "FROM documents")}
        assert all((row["url"], row["title"]) == urls[row["doc_id"]] for row in found)


def test_steps_of_a_url_are_all_steps_that_read_it(pipeline: Pipeline) -> None:
    order = data_of(pipeline).order
    read: dict[str, set[int]] = {}
    for step in range(1, 13):
        for window in order.batch_at(step):
            for doc_id, _ in owners(pipeline, window.source, window.start, 9):
                read.setdefault(doc_id, set()).add(step)
    (run,) = pipeline.plan["pretrain"]
    shards = mill_query(
        pipeline, "SELECT source, count(DISTINCT shard) FROM token_spans WHERE split = 'train' GROUP BY ALL"
    )
    assert all(count > 1 for _, count in shards)  # a place in a shard is not one in its source's stream
    for doc_id, url in mill_query(pipeline, "SELECT doc_id, url FROM documents"):
        found = rows(pipeline.store, f"FROM steps_of('{url}')")
        assert {row["step"] for row in found} == read.get(doc_id, set())
        assert {(row["run"], row["doc_id"]) for row in found} <= {(run.ref.key, doc_id)}


class ThreeParameters(nn.Module):
    """Loss = mean over sequences of (w1 a + w2 b + c): the gradient is the mean of the inputs, and 1."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[0.5, -0.25]]))
        self.bias = nn.Parameter(torch.tensor([0.125]))

    def loss(self, inputs: Tensor) -> Tensor:
        return (inputs @ self.weight.T + self.bias).mean()

    def figures(self, inputs: Tensor) -> dict[str, Tensor]:
        return {"validation_loss": self.loss(inputs)}


# Of a network that brings its own.
OWN = Objective(lambda model, *batch: model.loss(*batch), lambda model, *batch: model.figures(*batch))


class Inputs:
    """Five sequences a step: with micro-batches of three the mean is of three and of two."""

    tokens = 100

    def batch_at(self, step: int) -> Batch:
        return (torch.tensor([[step, 1.0], [0, 2], [1, 0], [3, step], [1, 1]], dtype=torch.float32),)

    def sequences_at(self, step: int) -> int:
        return 5

    def tokens_after(self, step: int) -> int:
        return step * self.tokens

    def held_out(self) -> list[Batch]:
        return [(torch.tensor([[1.0, 1], [1, 1], [1, 1]]),), (torch.tensor([[5.0, 5]]),)]


HAND = {
    "steps": 4,
    "micro_batch": 3,
    "learning_rate": 0.1,
    "beta1": 0.8,
    "beta2": 0.6,
    "epsilon": 0.05,
    "weight_decay": 0.3,
    "clip": 1.5,
    "warmup_tokens": 200,
    "decay_tokens": 400,
    "final_learning_rate_share": 0.5,
    "decay": "linear",
    "validate_every": 4,
    "log_every": 1,
    "save_every": 100,
    "precision": "fp32",
}


def hand_plan(folder: Path, **changes: Any) -> Any:
    settings = PretrainSettings(**(HAND | changes))
    empty = Ref(stage="x", key="x")
    job = Job(store="s", run=empty, tokens=empty, tokenizer=empty, vocabulary=9, settings=settings, folder=folder)
    return plan_of(job, bf16=False)


@pytest.mark.parametrize("kind", ["adamw", "bert_adam"])
def test_three_parameters_take_the_steps_of_the_recipe_worked_by_hand(tmp_path: Path, kind: str) -> None:
    model, data, told = ThreeParameters(), Inputs(), dict[int, dict[str, float]]()

    class Watcher(Seen):
        def log(self, step: int, figures: dict[str, float]) -> None:
            told[step] = figures

    plan = hand_plan(tmp_path, optimizer=kind)
    cpu = torch.device("cpu")
    assert Training(model, OWN, plan, data, tmp_path, Watcher(), Parallel(), cpu).run()  # type: ignore[arg-type]
    w, m, v = np.array([0.5, -0.25, 0.125]), np.zeros(3), np.zeros(3)
    for step in range(1, 5):
        inputs = data.batch_at(step)[0].double().numpy()
        gradient = np.append(inputs.mean(0), 1.0)
        assert told[step]["loss"] == pytest.approx((inputs @ w[:2] + w[2]).mean(), abs=1e-5)
        norm = np.sqrt((gradient**2).sum())
        assert told[step]["gradient_norm"] == pytest.approx(norm, rel=1e-5)
        gradient = gradient * min(1.0, 1.5 / norm)
        tokens = step * 100
        rate = 0.1 * (tokens / 200 if tokens <= 200 else 0.5 + 0.5 * (1 - (tokens - 200) / 200))
        assert told[step]["learning_rate"] == pytest.approx(rate)
        m, v = 0.8 * m + 0.2 * gradient, 0.6 * v + 0.4 * gradient**2
        decay = np.array([0.3, 0.3, 0.0])  # matrices decay, biases do not
        if kind == "adamw":
            w = w * (1 - rate * decay)
            w = w - rate * (m / (1 - 0.8**step)) / (np.sqrt(v / (1 - 0.6**step)) + 0.05)
        else:
            w = w - rate * (m / (np.sqrt(v) + 0.05) + decay * w)
    found = np.append(model.weight.detach().numpy(), model.bias.detach().numpy())
    assert found == pytest.approx(w, abs=1e-5)
    # Three sequences of one batch and one of another: a mean over sequences, not over batches.
    assert told[4]["validation_loss"] == pytest.approx(
        (3 * (w[0] + w[1] + w[2]) + 5 * w[0] + 5 * w[1] + w[2]) / 4, abs=1e-5
    )
    assert set(told[3]) == {"loss", "gradient_norm", "tokens_per_second", "learning_rate"}


def test_muon_takes_its_own_rate_for_the_matrices_inside_blocks(tmp_path: Path) -> None:
    from models.training.optimizer import make_optimizers

    plan = hand_plan(tmp_path, optimizer="muon", muon_learning_rate=0.04)
    model = nn.Module()
    model.blocks = nn.ModuleList([nn.Linear(3, 2)])
    model.tokens = nn.Embedding(4, 3)
    adamw, muon = make_optimizers(model, plan.optimizer)
    assert [group["lr"] for group in muon.param_groups] == [0.04]
    assert [group["weight_decay"] for group in muon.param_groups] == [0.3]
    assert muon.param_groups[0]["params"] == [model.blocks[0].weight]
    assert {group["lr"] for group in adamw.param_groups} == {0.1}
    before = model.blocks[0].weight.detach().clone()
    model.blocks[0].weight.grad = torch.tensor([[3.0, 0, 0], [0, 1.0, 0]])
    muon.step()
    # The first update's momentum is along the gradient, whose singular values become about 1; 2 rows, 3 columns: no scale.
    moved = (before * (1 - 0.04 * 0.3) - model.blocks[0].weight.detach()) / 0.04
    assert torch.linalg.svdvals(moved) == pytest.approx([1.0, 1.0], abs=0.35)
    assert moved[0, 0] > 0.6
    assert moved[1, 1] > 0.6


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"seed": 77}, {"seed": 77}),
        ({"clip": 0.7}, {"clip": 0.7}),
        ({"micro_batch": 2}, {"micro_batch": 2}),
        ({"on_bad_step": "skip"}, {"on_bad_step": "skip"}),
        ({"spike_deviations": 4.5}, {"spike_deviations": 4.5}),
        ({"save_every": 17}, {"save_every": 17}),
        ({"keep_checkpoints": 5}, {"keep_checkpoints": 5}),
        ({"pin_every": 3}, {"pin_every": 3}),
        ({"validate_every": 19}, {"validate_every": 19}),
        ({"log_every": 21}, {"log_every": 21}),
        ({"compile": True}, {"compiled": True}),
        ({"steps": 31}, {"steps": 31}),
        ({"steps": 0, "tokens": 16 * 64 * 5, "batch": 16, "model": {"context": 64}}, {"steps": 5}),
    ],
)
def test_settings_of_training_reach_the_loop(tmp_path: Path, given: dict[str, Any], told: dict[str, Any]) -> None:
    plan = hand_plan(tmp_path, **given)
    assert {name: getattr(plan, name) for name in told} == told


def test_batches_ramp_from_the_first_size_over_the_tokens_of_the_recipe() -> None:
    settings = PretrainSettings(batch=8, first_batch=2, ramp_tokens=3 * 64 * 8, steps=10, model={"context": 64})  # type: ignore[arg-type]
    sizes = [settings.batches.size(step) for step in range(1, 12)]
    assert sizes[0] == 2
    assert sizes[-1] == 8
    assert sizes == sorted(sizes)
    ramped = next(step for step, size in enumerate(sizes, start=1) if size == 8)
    assert sum(sizes[: ramped - 1]) == pytest.approx(24, abs=8)
    assert settings.tokens_after(4) == 64 * sum(sizes[:4])
