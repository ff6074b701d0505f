"""One table says what is made from what: keys before anything is made, pins, and all that is derived from it."""

from __future__ import annotations

import ast
import inspect
import json
from pathlib import Path

import pytest

from flows.graph import NODES, STAGES, made_from
from flows.making import Pipeline
from flows.recipe.loading import load_recipe
from tasks.core.graph import Node, every, one, optional, resolve, same
from tasks.core.stage import Made, Report, Stage, StageSettings
from tests.conftest import PROJECT, Run
from tests.known import recipe_file
from warehouse.artifact import PartWriter, Ref, artifact_key, complete
from warehouse.errors import MissingArtifact
from warehouse.store import Store


class Letters(Stage):
    """Made up: as many letters as its settings say."""

    name, version = "letters", 3

    def plan(self) -> list[str]:
        return ["all"]

    def make(self, part: str, writer: PartWriter, report: Report) -> Made:
        return Made()


class Words(Letters):
    name, version = "words", 1


class Book(Letters):
    name, version = "book", 1


def settings(_: object) -> StageSettings:
    return StageSettings()


def some(subjects: tuple[str, ...]) -> list[Node[None]]:
    """Letters of each subject, words of each from its own letters, a book of all words and of the letters of b."""
    return [
        Node(Letters, lambda _: subjects, settings),
        Node(Words, lambda _: subjects, settings, {"of": same("letters")}),
        Node(
            Book,
            lambda _: ("",),
            settings,
            {"words": every("words"), "initial": every("letters", lambda _, subject: subject == "b")},
        ),
    ]


def test_keys_follow_from_subjects_settings_and_inputs_before_anything_is_made(tmp_path: Path) -> None:
    plan = resolve(some(("a", "b")), None, Store(str(tmp_path)), {})
    letters = {name: artifact_key("letters", 3, {"subject": name}, {}) for name in "ab"}
    words = {name: artifact_key("words", 1, {"subject": name}, {"of": letters[name]}) for name in "ab"}
    book = artifact_key("book", 1, {}, {"words/a": words["a"], "words/b": words["b"], "initial/b": letters["b"]})
    assert [artifact.ref.key for node in plan for artifact in plan[node]] == [*letters.values(), *words.values(), book]
    assert list(tmp_path.iterdir()) == []


def test_a_pin_stands_in_for_what_would_be_made_and_changes_what_follows_alone(tmp_path: Path) -> None:
    store, pin = Store(str(tmp_path)), Ref(stage="words", key="0" * 32)
    plan, pinned = (resolve(some(("a",)), None, store, pins) for pins in ({}, {"words": pin}))
    assert pinned["words"][0].ref == pin
    assert pinned["words"][0].stage.ref == plan["words"][0].ref
    assert pinned["letters"][0].ref == plan["letters"][0].ref
    assert pinned["book"][0].stage.inputs["words/a"].ref == pin
    assert pinned["book"][0].ref != plan["book"][0].ref


def test_an_only_artifact_that_is_not_there_is_an_error_and_an_optional_one_is_left_out(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    for read, subjects, given in ((optional("letters"), (), []), (optional("letters"), ("a",), ["x"])):
        nodes: list[Node[None]] = [
            Node(Letters, lambda _, s=subjects: s, settings),
            Node(Book, lambda _: ("",), settings, {"x": read}),
        ]
        assert list(resolve(nodes, None, store, {})["book"][0].stage.inputs) == given
    for subjects in ((), ("a", "b")):
        nodes = [
            Node(Letters, lambda _, s=subjects: s, settings),
            Node(Book, lambda _: ("",), settings, {"x": one("letters")}),
        ]
        with pytest.raises(ValueError, match="x is to be one artifact of letters"):
            resolve(nodes, None, store, {})


def test_the_table_is_in_topological_order_and_names_each_stage_once() -> None:
    assert len(set(STAGES)) == len(STAGES)
    for number, node in enumerate(NODES):
        for read in node.reads.values():
            assert read.node in STAGES[:number], (node.name, read.node)


def roles_of(stage: type[Stage]) -> set[str]:
    """The roles that a stage's class asks for: ``inputs["role"]``, or ``inputs[f"role/{...}"]``."""
    found = set[str]()
    for node in ast.walk(ast.parse(inspect.getsource(stage))):
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Attribute) and node.value.attr == "inputs":
            text = node.slice.values[0] if isinstance(node.slice, ast.JoinedStr) else node.slice
            if isinstance(text, ast.Constant):
                found.add(str(text.value).split("/")[0])
    return found


def test_every_role_that_a_stage_reads_is_given() -> None:
    asked = 0
    for node in NODES:
        if node.name in ("crawl", "pretrain"):  # made with an input of their own: the crawl before, imported weights
            continue
        roles = roles_of(node.stage)
        asked += len(roles)
        assert roles <= set(node.reads), node.name
    assert asked > 10


def test_flows_make_all_nodes_in_the_order_of_the_table() -> None:
    made = []
    for flow in ("crawl", "corpus", "tokenizer", "pretrain", "evaluate", "finetune", "align"):
        for node in ast.walk(ast.parse((PROJECT / "flows" / f"{flow}.py").read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "make":
                made.append(node.args[1].value)  # type: ignore[attr-defined]
    assert made == list(STAGES)


def test_what_a_stage_is_made_from_is_told_by_the_table() -> None:
    assert made_from("match") == ("crawl", "extract", "quality", "annotate", "sign", "band", "match")
    assert made_from("select", beside=("crawl",)) == STAGES[1 : STAGES.index("select") + 1]
    assert made_from("evaluate", "answer") == STAGES[: STAGES.index("label")]


def test_before_the_crawl_its_key_is_known_and_no_other(tmp_path: Path) -> None:
    pipeline = Pipeline(load_recipe("demo-tiny", (f"store={tmp_path}",)))
    plan = pipeline.plan
    assert list(plan) == ["crawl"]
    with pytest.raises(MissingArtifact, match="has not been crawled yet"):
        plan["select"]
    assert pipeline.own == {}
    assert not pipeline.is_made("crawl", "extract")


def test_a_plan_of_a_finished_run_is_all_there(finished: Run) -> None:
    pipeline = Pipeline(load_recipe("demo-tiny", finished.overrides))
    store = Store(str(finished.store))
    assert all(complete(store, artifact.ref) for node in pipeline.plan for artifact in pipeline.plan[node])
    assert pipeline.is_made(*STAGES)
    # The recipe has no evaluation sets, fine-tunes nothing and aligns nothing.
    without = ("overlap", "decontaminate", "label", "finetune", "dialogue", "align")
    assert list(pipeline.own) == [node for node in STAGES if node not in without]


def test_the_classifier_of_quality_reads_its_examples_and_duplicates_are_ranked_by_it(tmp_path: Path) -> None:
    texts = {name: ["some words"] for name in "abc"}
    for sections, examples, ranked in (
        ("", [], []),
        ('[quality]\npositive = ["a"]\nnegative = ["c"]', ["a", "c"], [*"abc"]),
    ):
        plan = Pipeline(load_recipe(str(recipe_file(tmp_path, texts, "\n" + sections)))).plan
        assert [[*artifact.stage.inputs] for artifact in plan["quality"]] == (
            [[f"documents/{name}" for name in examples]] if examples else []
        )
        (match,) = plan["match"]
        assert [role for role in match.stage.inputs if role.startswith("signals/")] == [f"signals/{n}" for n in ranked]
        assert ("quality" in plan["annotate"][0].stage.inputs) == bool(examples)


def test_inputs_in_manifests_are_those_of_the_table(tmp_path: Path) -> None:
    """The table as a user of a store finds it: the keys of two sources' artifacts in that of the corpus."""
    texts = {"a": ["some words of the first source " * 9], "b": ["other words of the second source " * 9]}
    pipeline = Pipeline(load_recipe(str(recipe_file(tmp_path, texts))))
    for node in made_from("select", beside=("crawl",)):
        pipeline.make(node)
    (select,) = pipeline.plan["select"]
    found = json.loads((tmp_path / "store" / select.ref.folder / "manifest.json").read_text())["inputs"]
    assert sorted(found) == [
        "documents/a", "documents/b", "elections", "repetition/a", "repetition/b", "signals/a", "signals/b"
    ]  # fmt: skip
