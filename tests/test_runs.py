"""A recipe trains any number of networks: what each starts from, what it is asked as, and what it changes for others."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from flows.commands.cli import main
from flows.making import Pipeline
from flows.query import rows
from flows.recipe.loading import load_recipe
from flows.reporting import publish_report
from tasks.evaluate import declared
from tasks.train.published import load_run
from tasks.train.runs import find_run
from tests.known import pipeline_over, recipe_file
from tests.test_known_scores import SETTINGS, prose
from warehouse import log
from warehouse.artifact import load
from warehouse.errors import MissingArtifact, SettingError
from warehouse.store import Store

RUNS = """
[runs.small]
steps = 8
pin_every = 4
[runs.more]
initial = "small"
steps = 4
mixture = { plays = 1.0 }
[runs.wide]
steps = 2
[runs.wide.model]
width = 32
"""
WEIGHTS = {"plays": "weight = 3.0", "pages": "weight = 1.0"}


def sources() -> dict[str, list[str]]:
    draw = Random(3)
    return {name: [prose(draw, draw.randint(3, 9)) for _ in range(30)] for name in ("plays", "pages")}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """Three runs in one recipe, the second of which goes on from the first on one source alone."""
    folder = tmp_path_factory.mktemp("runs")
    return pipeline_over(folder, sources(), sections=SETTINGS + RUNS, until="evaluate", tables=WEIGHTS)


def asked(pipeline: Pipeline, query: str) -> list[dict[str, Any]]:
    return rows(pipeline.store, query, recipe="known")


def first_weights(pipeline: Pipeline, run: str, step: int) -> dict[str, torch.Tensor]:
    key = log.merged(log.runs(pipeline.store)).trained[run]
    return load_file(Path(pipeline.store.url) / f"artifacts/pretrain/{key}/pinned/step-{step:08d}.safetensors")


def test_models_are_the_runs_and_what_they_pin(trained: Pipeline) -> None:
    found = asked(trained, "SELECT name, parent, objective, tokens, step, parameters FROM models ORDER BY name")
    small = 12 * 16 * 16 + 13 * 16 + 2 * 16 + 16 * (270 + 8)  # 12 d^2 + 13 d a block, the last LayerNorm, embeddings
    wide = 12 * 32 * 32 + 13 * 32 + 2 * 32 + 32 * (270 + 8)
    expected = [("more", "small", 4, small), ("small", None, 8, small), ("small@4", None, 4, small)]
    expected += [("wide", None, 2, wide)]
    assert [(row["name"], row["parent"], row["step"], row["parameters"]) for row in found] == expected
    assert [row["tokens"] for row in found] == [row["step"] * 2 * 8 for row in found]
    assert {row["objective"] for row in found} == {"next token"}
    assert [row["key"] for row in asked(trained, "SELECT key FROM models WHERE name = 'wide'")] == [
        trained.plan["pretrain"][2].ref.key
    ]
    (flops,) = asked(trained, "SELECT flops FROM models WHERE name = 'small'")
    assert flops["flops"] == (6 * small + 12 * 1 * 16 * 8) * 128


def test_a_run_goes_on_from_the_weights_of_the_one_it_starts_from(trained: Pipeline, tmp_path: Path) -> None:
    sections = SETTINGS + RUNS.replace("steps = 4\n", "steps = 0\ntokens = 0\n")
    pipeline = pipeline_over(tmp_path, sources(), sections=sections, until="pretrain", tables=WEIGHTS)
    start, _ = load_run(pipeline.store, find_run(pipeline.store, "small", "known"))
    untouched, step = load_run(pipeline.store, find_run(pipeline.store, "more", "known"))
    assert step == 0
    for name, value in start.state_dict().items():
        assert torch.equal(value, untouched.state_dict()[name]), name
    onward, step = load_run(trained.store, find_run(trained.store, "more", "known"))
    assert step == 4
    assert not torch.equal(onward.tokens.weight, start.tokens.weight)
    # Another first network is another second one; what it is called is not.
    assert trained.plan["pretrain"][1].ref != pipeline.plan["pretrain"][1].ref


def test_a_run_is_known_by_its_content_and_not_by_its_name(tmp_path: Path) -> None:
    def keys(text: str) -> dict[str, str]:
        recipe = load_recipe(str(recipe_file(tmp_path, sources(), SETTINGS + text, WEIGHTS)))
        return {one.subject: one.ref.key for one in Pipeline(recipe).plan["pretrain"]}

    before, after = keys(RUNS), keys(RUNS.replace("small", "little"))
    assert list(before.values()) == list(after.values())
    assert list(after) == ["little", "more", "wide"]
    assert list(keys("[pretrain.model]\n".replace("[pretrain.model]", ""))) == ["pretrain"]


def test_each_run_is_traced_to_the_documents_of_its_steps(trained: Pipeline) -> None:
    every = {run: asked(trained, f"FROM documents_at_step('{run}', 2)") for run in ("small", "more", "small@4")}
    assert {row["source"] for row in every["more"]} == {"plays"}
    assert every["small"] == every["small@4"]
    assert [row["doc_id"] for row in every["more"]] != [row["doc_id"] for row in every["small"]]
    url = every["more"][0]["url"]
    steps = {(row["model"], row["step"]) for row in asked(trained, f"FROM steps_of('{url}')")}
    assert ("more", 2) in steps
    for model, step in steps:
        seen = asked(trained, f"SELECT url FROM documents_at_step('{model}', {step})")
        assert url in {row["url"] for row in seen}
    assert asked(trained, "FROM documents_at_step('more', 5)") == []  # it has four


def test_a_run_that_goes_on_from_one_that_saw_a_document_is_affected_by_its_removal(
    trained: Pipeline, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    shutil.copytree(trained.store.url, store)
    keys = log.merged(log.runs(trained.store)).trained
    seen = {
        run: {row["url"] for step in range(1, 9) for row in asked(trained, f"FROM documents_at_step('{run}', {step})")}
        for run in ("small", "more")
    }
    (url, *_) = sorted(seen["small"] - seen["more"])
    config = str(Path(trained.store.url).parent / "recipe.toml")
    with pytest.raises(SystemExit, match="0"):
        main(["forget", config, "--url", url, "--reason", "test", "--set", f"store={store}"])
    found = rows(Store(str(store)), "SELECT key, first_step, steps, documents FROM affected WHERE what = 'checkpoint'")
    by_key = {row["key"]: row for row in found}
    assert by_key[keys["small"]]["first_step"] >= 1
    assert (by_key[keys["more"]]["first_step"], by_key[keys["more"]]["steps"]) == (0, 0)
    assert by_key[keys["more"]]["documents"] == 1


def test_a_pinned_checkpoint_is_scored_and_answers_as_a_model_of_its_own(
    trained: Pipeline, capsys: pytest.CaptureFixture[str]
) -> None:
    pinned, step = load_run(trained.store, find_run(trained.store, "small@4", "known"))
    assert step == 4
    stored = first_weights(trained, "small", 4)
    assert all(torch.equal(value, stored[name]) for name, value in pinned.state_dict().items() if name in stored)
    bits = {
        row["model"]: row
        for row in asked(trained, "FROM evaluations WHERE metric = 'bits a byte' AND task = 'held-out text'")
    }
    assert set(bits) == {
        "small", "small@4", "more", "wide", "baseline-unigram", "baseline-bigram", "baseline-5-gram"
    }  # fmt: skip
    assert bits["small@4"]["step"] == 4
    assert bits["small@4"]["value"] != bits["small"]["value"]
    assert {row["n"] for row in bits.values()} == {9}
    assert {row["model"] for row in asked(trained, "FROM samples")} == {"small", "small@4", "more", "wide"}
    config = str(Path(trained.store.url).parent / "recipe.toml")
    last, _ = load_run(trained.store, find_run(trained.store, "small", "known"))
    assert not torch.equal(last.tokens.weight, pinned.tokens.weight)
    for run in ("small@4", "small", "wide"):
        with pytest.raises(SystemExit, match="0"):
            main(["generate", config, "--run", run, "--prompt", "The ", "--temperature", "0", "--tokens", "20"])
        assert capsys.readouterr().out.startswith("The ")
    with pytest.raises(MissingArtifact, match="pins no checkpoint of step 3; it pins 4"):
        find_run(trained.store, "small@3", "known")
    with pytest.raises(MissingArtifact, match="names no step"):
        find_run(trained.store, "small@last", "known")


def test_latest_is_the_run_whose_training_began_last(trained: Pipeline, tmp_path: Path) -> None:
    # Those that start from nothing are trained before the one that goes on from the first.
    assert find_run(trained.store, recipe="known").key == log.merged(log.runs(trained.store)).trained["more"]
    pipeline = pipeline_over(tmp_path, sources(), sections=SETTINGS + RUNS, until="pretrain", tables=WEIGHTS)
    config = str(tmp_path / "recipe.toml")
    changed = Pipeline(load_recipe(config, ("runs.wide.steps=3",)))
    changed.make("pretrain")
    assert find_run(pipeline.store, recipe="known").key == changed.plan["pretrain"][2].ref.key


def test_what_is_asked_of_models_is_of_the_sources_that_are_named(tmp_path: Path) -> None:
    pipeline = pipeline_over(tmp_path, sources(), sections=SETTINGS + RUNS, until="pretrain", tables=WEIGHTS)
    one = Pipeline(load_recipe(str(tmp_path / "recipe.toml"), ("evaluate.sources=['pages']",)))
    one.make("evaluate")
    tasks = {row["task"] for row in asked(pipeline, "SELECT DISTINCT task FROM evaluations")}
    assert {task for task in tasks if "," in task} == {"held-out text, pages"}
    assert asked(pipeline, "SELECT count(DISTINCT model) AS n FROM evaluations") == [{"n": 7}]


def test_a_run_is_planned_before_it_is_trained(trained: Pipeline, capsys: pytest.CaptureFixture[str]) -> None:
    config = str(Path(trained.store.url).parent / "recipe.toml")
    counted = {row["name"]: row["parameters"] for row in asked(trained, "FROM models")}
    for words, run in ((("--run", "small"), "small"), ((), "wide"), (("--run", "more"), "more")):
        with pytest.raises(SystemExit, match="0"):
            main(["plan", config, "--format", "json", *words])
        plan = json.loads(capsys.readouterr().out)
        # The vocabulary that a recipe asks for may be more than a small corpus fills.
        assert plan["parameters"] == counted[run]
        assert plan["tokens"] == {"small": 128, "wide": 32, "more": 64}[run]
    with pytest.raises(SystemExit, match="1"):
        main(["plan", config, "--run", "smal"])
    assert "the recipe has no run smal; the nearest is small" in capsys.readouterr().err


def test_a_run_that_makes_nothing_new_notes_nothing_and_another_weight_is_noted(tmp_path: Path) -> None:
    pipeline = pipeline_over(tmp_path, sources(), sections=SETTINGS, until="pretrain", tables=WEIGHTS)
    before = log.runs(pipeline.store)
    again = Pipeline(pipeline.recipe)
    for node in ("extract", "select", "tokenizer", "pack", "pretrain"):
        again.make(node)
    assert log.runs(pipeline.store) == before
    assert {row["weight"] for row in asked(pipeline, "SELECT DISTINCT weight FROM corpus")} == {0.75, 0.25}
    other = Pipeline(load_recipe(str(tmp_path / "recipe.toml"), ("sources.plays.weight=1.0",)))
    other.make("select")
    assert len(log.runs(pipeline.store)) == len(before) + 1
    assert {row["weight"] for row in asked(pipeline, "SELECT DISTINCT weight FROM corpus")} == {0.5}


def test_a_baseline_is_counted_once_for_all_networks_of_a_recipe(trained: Pipeline) -> None:
    made = asked(
        trained,
        "SELECT part, count(*) FILTER (NOT reused) AS made, count(*) FILTER (reused) AS shared FROM work "
        "WHERE stage = 'evaluate' AND contains(part, '-by-baseline-') GROUP BY part",
    )
    assert len(made) == 6  # two tasks, three baselines
    assert {(row["made"], row["shared"]) for row in made} == {(1, 3)}


def test_metrics_and_mixture_say_which_run(trained: Pipeline) -> None:
    assert {row["model"] for row in asked(trained, "SELECT DISTINCT model FROM metrics")} == {"small", "more", "wide"}
    mixture = {(row["model"], row["source"]): row for row in asked(trained, "FROM mixture")}
    assert {key: row["weight"] for key, row in mixture.items()} == {
        ("small", "plays"): 0.75,
        ("small", "pages"): 0.25,
        ("wide", "plays"): 0.75,
        ("wide", "pages"): 0.25,
        ("more", "plays"): 1.0,
    }
    (tokens,) = asked(
        trained, "SELECT sum(length)::BIGINT AS n FROM token_spans WHERE source = 'plays' AND split = 'train'"
    )
    assert mixture["small", "plays"]["epochs"] == pytest.approx(128 * 0.75 / tokens["n"])
    assert mixture["more", "plays"]["epochs"] == pytest.approx(64 / tokens["n"])


def test_the_report_compares_the_runs(trained: Pipeline) -> None:
    page = Path(publish_report(trained)).read_text()
    for name, parent in (("small", "random weights"), ("small@4", "random weights"), ("more", "small")):
        assert f"<td>{name}</td><td>{parent}</td><td>next token</td>" in page
    assert re.search(r"<td>more</td><td>plays</td>", page)
    assert '<td class="n">' in page
    for run in ("small", "more", "wide"):
        assert f"{run}, training batch" in page


def test_a_changed_weight_changes_the_order_of_training_and_no_tokenizer(trained: Pipeline) -> None:
    config = str(Path(trained.store.url).parent / "recipe.toml")
    changed = Pipeline(load_recipe(config, ("sources.plays.weight=1.0",)))
    for node in ("select", "tokenizer", "pack"):
        assert changed.plan[node][0].ref == trained.plan[node][0].ref, node
    before, after = ([one.ref for one in made.plan["pretrain"]] for made in (trained, changed))
    assert [a == b for a, b in zip(before, after, strict=True)] == [False, False, False]
    assert [one.subject for one in changed.plan["pretrain"]] == ["small", "more", "wide"]


def test_a_new_task_makes_its_own_parts_and_leaves_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = pipeline_over(tmp_path, sources(), sections=SETTINGS, until="evaluate", tables=WEIGHTS)
    before = {part.part for part in load(pipeline.store, pipeline.plan["evaluate"][0].ref).parts}
    task = declared.Task(
        "first words",
        "next token",
        lambda text: text.documents()[:3],
        {"bits a byte": declared.metrics.bits_a_byte},
        limits=("max_documents",),
        main="bits a byte",
    )
    monkeypatch.setattr(declared, "TASKS", (*declared.TASKS, task))
    again = Pipeline(pipeline.recipe)
    again.make("evaluate")
    made = {part.part for part in load(again.store, again.plan["evaluate"][0].ref).parts}
    new = made - before
    assert new == {
        "first-words-0-shot",
        *(f"first-words-0-shot-by-baseline-{n}" for n in ("unigram", "bigram", "5-gram")),
    }
    key = again.plan["evaluate"][0].ref.key
    work = asked(again, f"SELECT part, reused FROM work WHERE key = '{key}' AND part IS NOT NULL")
    assert {row["part"] for row in work if not row["reused"]} == new
    assert {row["part"] for row in work if row["reused"]} == before
    found = asked(again, "SELECT model, n FROM evaluations WHERE task = 'first words'")
    assert {row["n"] for row in found} == {3}
    assert "first words: bits a byte" in Path(publish_report(again)).read_text()


def faulty(change: Callable[[str], str]) -> str:
    return SETTINGS + change(RUNS)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda text: text.replace('"small"', '"more"'), "the run more starts from itself: more from more"),
        (lambda text: text.replace("[runs.wide]", "[runs.latest]").replace("runs.wide.", "runs.latest."), "cannot be called latest"),
        (lambda text: text.replace("plays = 1.0", "play = 1.0"), "runs.more.mixture names play, which is no source"),
        (lambda text: text + '\n[runs.more.model]\nwidth = 8\n', "the run more starts from small and has its network"),
        (lambda text: text.replace("steps = 8", "step = 8"), "there is no setting runs.small.step; the nearest is runs.small.steps"),
    ],
)  # fmt: skip
def test_runs_that_cannot_be_are_refused_in_a_sentence(
    tmp_path: Path, change: Callable[[str], str], sentence: str
) -> None:
    with pytest.raises(SettingError, match=re.escape(sentence)):
        load_recipe(str(recipe_file(tmp_path, sources(), faulty(change), WEIGHTS)))


def test_a_recipe_whole_says_the_same_as_its_page(tmp_path: Path) -> None:
    """Prefect stores a recipe as JSON with every setting written out."""
    recipe = load_recipe(str(recipe_file(tmp_path, sources(), SETTINGS + RUNS, WEIGHTS)))
    again = type(recipe).model_validate(json.loads(recipe.model_dump_json()))
    assert again.trainings == recipe.trainings
    assert recipe.trainings["more"].seed == recipe.trainings["small"].seed + 1
    assert recipe.trainings["wide"].model.width == 32
    assert recipe.trainings["wide"].batch == 2
    # What goes on from another has that one's network, whatever the recipe's is.
    onward = load_recipe(str(tmp_path / "recipe.toml"), ("runs.wider.initial=wide",))
    assert onward.trainings["wider"].model == recipe.trainings["wide"].model
