"""Identity: what the content of an artifact depends on is in its key and in its parts' names, and nothing else is."""

from __future__ import annotations

import copy
import types
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any, Literal, Union, get_args, get_origin

import pytest
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from flows.graph import STAGES
from flows.making import Pipeline
from tasks.core.stage import Input, Stage, StageSettings
from tests.known import pipeline_over
from tests.test_known_scores import SETTINGS, prose
from warehouse.errors import GristmillError

# Settings that are no part of a stage's identity under their own name, and where they are instead.
ELSEWHERE = {
    ("pretrain", "mixture"): "given by the sources' weights",
    ("overlap", "most_documents"): "only decontaminate counts documents",
    ("overlap", "cut"): "only select cuts",
    ("decontaminate", "cut"): "only select cuts",
    ("questions", "files"): "only the task's own file",
    ("answer", "tasks"): "one that is named twice is asked once; test_suite_pipeline.py asks others",
    ("answer", "shots"): "the same",
    ("answer", "seeds"): "the same",
    ("answer", "prompts"): "these tasks have one wording; test_suite_pipeline.py asks others",
    ("label", "form"): "a form has columns of its own; test_finetune.py reads each",
    ("label", "second"): "the same",
    ("label", "choices"): "the same",
    ("label", "number"): "the same",
    ("dialogue", "prompt"): "one of prompt, messages and transcripts is given; test_align.py reads each",
    ("dialogue", "messages"): "the same",
    ("dialogue", "transcripts"): "the same",
    ("align", "initial"): "the input says what it is",
    ("align", "dialogues"): "the same",
    ("align", "reward"): "the same; a program is in the key",
    ("align", "method"): "each has settings of its own; test_align.py makes each",
}
SETS = """
[quality]
positive = ["plays"]
negative = ["pages"]
[decontaminate.sets.quiz]
files = ["QUIZ"]
question = ["query"]
[suite]
tasks = ["two_digit_addition", "reversed_words"]
shots = [2]
synthetic = 6
[labelled.tone]
form = "classification"
metric = "f1"
labels = ["dark", "bright"]
columns = ["text", "label", "from"]
group = "from"
[labelled.tone.sets]
train = "LABELS"
test = "LABELS"
[finetune.tuned]
tasks = ["tone"]
initial = "pretrain"
[dialogues.talk]
prompt = "{q}"
system = "{s}"
answers = ["{a}"]
[dialogues.talk.sets]
train = "TALK"
[align.judge]
method = "reward"
initial = "pretrain"
dialogues = "talk"
[align.policy]
method = "ppo"
initial = "pretrain"
dialogues = "talk"
reward = "judge"
text = 0.5
"""
LABELS = "a fog\tdark\tx\na sun\tbright\ty\n"


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """A recipe that has every stage but a crawl, made up to the tokens."""
    folder, draw = tmp_path_factory.mktemp("identity"), Random(1)
    (folder / "quiz.jsonl").write_text('{"query": "' + prose(draw, 3) + '"}')
    (folder / "labels.tsv").write_text(LABELS)
    sources = {name: [prose(draw, 6) for _ in range(24)] for name in ("plays", "pages")}
    sections = SETS.replace("QUIZ", str(folder / "quiz.jsonl")).replace("LABELS", str(folder / "labels.tsv"))
    (folder / "talk.jsonl").write_text('{"q": "a", "s": "b", "a": "c"}')
    sections = sections.replace("TALK", str(folder / "talk.jsonl"))
    made = pipeline_over(folder, sources, "pack.subset=0.9", sections=SETTINGS + sections)
    for name in ("questions", "seek", "expose"):
        made.make(name)
    return made


NAMES = [name for name in STAGES if name not in ("crawl", "evaluate")]


def stages(pipeline: Pipeline, name: str) -> list[Stage]:
    return [artifact.stage for artifact in pipeline.plan[name]]


def test_every_stage_is_looked_at(pipeline: Pipeline) -> None:
    assert all(stages(pipeline, name) for name in NAMES)


def others(field: FieldInfo, value: Any) -> Iterator[Any]:
    """Values of a setting that differ from the one it has; not all of them need be valid."""
    kind = field.annotation
    if get_origin(kind) in (Union, types.UnionType):
        kind = next(argument for argument in get_args(kind) if argument is not type(None))
    if get_origin(kind) is Literal:
        yield from (choice for choice in get_args(kind) if choice != value)
    elif isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield from (value + 1, value - 1, value + 2, value * 2, 1)
    elif isinstance(value, float):
        yield from (value * 0.5 + 0.013, value + 1)
    elif isinstance(value, str):
        yield from (f"{value}x", "x")
    elif isinstance(value, tuple):
        yield from ((*value, *value[:1]), ("x",), value[:-1])
    elif isinstance(value, dict) and value and all(isinstance(inner, BaseModel) for inner in value.values()):
        first = next(iter(value.values()))
        for name, inner in reversed(type(first).model_fields.items()):  # where files lie comes first, and is no content
            for other in others(inner, getattr(first, name)):
                yield {key: one.model_dump() | {name: other} for key, one in value.items()}
    elif isinstance(value, dict):
        yield from (dict(list(value.items())[1:]), {"x": 1.0}, {2: 2}, {"x": 3}, {"x": "x"})
        yield from ({**value, name: 7} for name in list(value)[:1])
        yield from ({**value, name: f"{inner}x"} for name, inner in value.items() if isinstance(inner, str))
    elif isinstance(value, BaseModel):
        for name, inner in type(value).model_fields.items():
            for other in others(inner, getattr(value, name)):
                yield value.model_dump() | {name: other}
    elif value is None:
        yield from (1, 1.5, "x", ("x",))


def changed(stage: Stage, name: str, field: FieldInfo) -> StageSettings | None:
    """The stage's settings with another value of one, or None where nothing else is valid beside the others."""
    values = stage.settings.model_dump()
    for other in others(field, getattr(stage.settings, name)):
        try:
            made = type(stage.settings).model_validate(values | {name: other})
        except (ValidationError, ValueError, TypeError):
            continue
        if getattr(made, name) != getattr(stage.settings, name):
            return made
    return None


def is_operational(field: FieldInfo) -> bool:
    return isinstance(field.json_schema_extra, dict) and bool(field.json_schema_extra.get("operational"))


def twin(stage: Stage) -> Stage:
    """The same stage, to be changed."""
    made = copy.copy(stage)
    for name in list(vars(made)):  # what it has computed of what it was
        if isinstance(getattr(type(made), name, None), cached_property):
            del vars(made)[name]
    made.inputs = dict(stage.inputs)
    return made


@pytest.mark.parametrize("name", NAMES)
def test_each_setting_is_in_the_key_unless_it_only_says_how_to_run(pipeline: Pipeline, name: str) -> None:
    stage = stages(pipeline, name)[0]
    tried = 0
    for setting, field in type(stage.settings).model_fields.items():
        if (name, setting) in ELSEWHERE:
            continue
        settings = changed(stage, setting, field)
        assert settings is not None, f"no other value of {name}.{setting} was found: give one"
        other = twin(stage)
        other.settings = settings
        try:
            key = other.ref.key
        except GristmillError:  # files that a made-up value names are not there
            continue
        assert (key == stage.ref.key) == is_operational(field), setting
        tried += 1
    assert tried or not type(stage.settings).model_fields


@pytest.mark.parametrize("name", NAMES)
def test_version_subject_and_each_input_are_in_the_key(pipeline: Pipeline, name: str) -> None:
    for stage in stages(pipeline, name)[:1]:
        other = twin(stage)
        other.version = stage.version + 1  # type: ignore[misc]
        assert other.ref.key != stage.ref.key
        other = twin(stage)
        other.subject = f"{stage.subject}x"
        assert (other.ref.key != stage.ref.key) == stage.subject_is_content
        for role in stage.inputs:
            other = twin(stage)
            other.inputs[role] = Input(ref=stage.inputs[role].ref, identity="another")
            assert other.ref.key != stage.ref.key, role
            other = twin(stage)
            del other.inputs[role]
            assert other.ref.key != stage.ref.key, role


@pytest.mark.parametrize("name", NAMES)
def test_a_parts_name_knows_the_settings_and_the_version(pipeline: Pipeline, name: str) -> None:
    """Where a stage takes parts over: from the same settings, version and bytes alone."""
    stage = stages(pipeline, name)[0]
    part = stage.plan()[0]
    known = stage._part_name(part)
    if known is None:
        pytest.skip("its parts are not taken over")
    other = twin(stage)
    other.version = stage.version + 1  # type: ignore[misc]
    assert other._part_name(part) != known
    assert len({stage._part_name(part) for part in stage.plan()}) == len(stage.plan())
    seen = set()
    for setting, field in type(stage.settings).model_fields.items():
        settings = changed(stage, setting, field)
        if settings is None or (name, setting) in ELSEWHERE:
            continue
        other = twin(stage)
        other.settings = settings
        try:
            if other._part_name(part) != known:
                seen.add(setting)
                assert not is_operational(field), setting
        except (GristmillError, KeyError):  # a source or a file that is not there
            seen.add(setting)
    wanted = {setting for setting, field in type(stage.settings).model_fields.items() if not is_operational(field)}
    wanted -= {setting for stage_name, setting in ELSEWHERE if stage_name == name}
    # What duplicates become is an input of a selection's part, the elections, and no setting of it; so is what is held out.
    # A seed of a fine-tuning is a part of it.
    inputs = {"select": {"repeats", "remove_duplicates"}, "pack": {"validation_share"}, "finetune": {"seeds"}}
    assert wanted - seen == inputs.get(name, set())


def test_the_same_settings_written_otherwise_are_one_key(pipeline: Pipeline, tmp_path: Path) -> None:
    """The recipe's name, its store and its workers are no part of what is made."""
    recipe = pipeline.recipe.model_copy(update={"name": "another", "workers": 7})
    for name in NAMES:
        assert [stage.ref for stage in Pipeline(recipe).plan[name]] == [
            stage.ref for stage in stages(pipeline, name)
        ], name
