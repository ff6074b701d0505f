"""Fine-tuning as a user meets it: tasks out of files and out of plays, tables, pages, kills, and one more seed."""

from __future__ import annotations

import csv
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

from demo.serve import cache_folder
from demo.works import fetch, scenes, texts
from flows.making import Pipeline
from flows.query import rows
from flows.recipe.loading import load_recipe
from flows.reporting import publish_finetuned
from tasks.finetune.plays import BUILTIN, GENRES, Document, kind_of, play_of, skeleton
from tasks.finetune.task import Example
from tasks.report.finetuned import Tuned, dropped, verdicts
from tests.conftest import PROJECT
from tests.known import recipe_file
from tests.test_known_scores import SETTINGS, prose
from warehouse.errors import SettingError

NODES = ("extract", "annotate", "sign", "band", "match", "tally", "repetition", "elect", "select")
TO_TOKENS = ("tokenizer", "split", "relatives", "pack")
TUNING = """
[labelled.tone]
form = "classification"
license = "CC0-1.0"
group = "from"
[labelled.tone.sets]
train = "FOLDER/train.csv"
test = "FOLDER/test.csv"
turned = "FOLDER/turned.csv"
[finetune.tuned]
tasks = ["tone"]
initial = "pretrain"
seeds = [1, 2]
epochs = 20
batch = 8
micro_batch = 4
learning_rate = 0.005
dropout = 0.0
language_model = 0.25
save_every = 1
[finetune.drawn]
tasks = ["tone"]
seeds = [1]
epochs = 1
[finetune.lstm]
tasks = ["tone"]
reader = "lstm"
lstm_width = 16
seeds = [1]
epochs = 30
learning_rate = 0.02
dropout = 0.0
[finetune.asked]
tasks = ["tone"]
initial = "pretrain"
reader = "prompt"
shots = 2
seeds = [1]
[finetune.bag]
tasks = ["tone"]
reader = "bag of words"
seeds = [1]
"""


LEAKED = "the fog is over the hill"


def write_sets(folder: Path) -> None:
    """A text is bright where it has the word sun and dark where it has the word fog; in the turned set it is the other way."""
    draw = Random(4)
    for name, count in (("train", 160), ("test", 24), ("turned", 24)):
        with (folder / f"{name}.csv").open("w", newline="") as stream:
            table = csv.writer(stream)
            table.writerow(["text", "label", "from"])
            for n in range(count):
                words = [draw.choice(["a", "hill", "tree", "field"]) for _ in range(4)]
                words.insert(draw.randrange(5), ("fog", "sun")[n % 2])
                text = LEAKED if (name, n) == ("test", 0) else f"{name} {' '.join(words)}"
                table.writerow([text, ("dark", "bright")[(n + (name == "turned")) % 2], f"{name} {n // 4}"])
            if name == "train":
                table.writerow([f"{LEAKED.capitalize()}!", "dark", "leak"])


def recipe_at(folder: Path) -> str:
    write_sets(folder)
    draw = Random(1)
    sources = {name: [prose(draw, 6) for _ in range(24)] for name in ("plays", "pages")}
    settings = SETTINGS.replace("context = 8", "context = 40").replace("width = 16", "width = 32") + TUNING.replace(
        "FOLDER", str(folder)
    )
    return str(recipe_file(folder, sources, settings))


def make(recipe: str, *overrides: str, nodes: Sequence[str] = ("label", "finetune")) -> Pipeline:
    made = Pipeline(load_recipe(recipe, overrides))
    for node in nodes:
        made.make(node)
    return made


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A recipe whose network is trained, and nothing fine-tuned."""
    recipe = recipe_at(tmp_path_factory.mktemp("finetune"))
    make(recipe, nodes=[*NODES, *TO_TOKENS, "pretrain"])
    return recipe


@pytest.fixture(scope="module")
def tuned(trained: str) -> Pipeline:
    return make(trained)


def test_a_task_is_learnt_and_its_opposite_is_failed(tuned: Pipeline) -> None:
    found = rows(
        tuned.store, "SELECT name, set, metric, seed, value, n, trained, start FROM finetuned WHERE main", own=tuned.own
    )
    values = {(row["name"], row["seed"], row["set"]): row["value"] for row in found}
    for name, seed in (("tuned", 1), ("tuned", 2), ("lstm", 1), ("bag", 1)):
        assert values[name, seed, "test"] > 0.9, name
        assert values[name, seed, "turned"] < 0.1, name
    assert values["drawn", 1, "test"] < 0.8
    assert {row["n"] for row in found} == {24}
    assert {row["trained"] for row in found if row["name"] != "asked"} == {160}
    assert {row["trained"] for row in found if row["name"] == "asked"} == {0}  # it is asked as it is
    assert {row["name"]: row["start"] for row in found} == {
        "tuned": "pretrain", "drawn": "random weights", "lstm": "lstm", "bag": "bag of words", "asked": "pretrain",
    }  # fmt: skip


def test_every_answer_is_a_row_beside_its_label(tuned: Pipeline) -> None:
    found = rows(
        tuned.store,
        'SELECT p.*, l.first, l.license, l.source, l."group" FROM predictions p JOIN labelled l USING (task, example_id)',
        own=tuned.own,
    )
    assert len(found) == 6 * 48
    for row in found:
        bright = "sun" in row["first"]
        assert row["gold"] == ("bright" if bright != (row["set"] == "turned") else "dark")
        assert row["correct"] == (row["answer"] == row["gold"])
        assert row["answer"] == ("bright", "dark")[row["scores"].index(max(row["scores"]))]
        assert row["license"] == "CC0-1.0"
    accuracy = sum(row["correct"] for row in found if row["name"] == "drawn" and row["set"] == "test") / 24
    (said,) = rows(
        tuned.store,
        "SELECT value, stderr FROM finetuned WHERE name = 'drawn' AND set = 'test' AND metric = 'accuracy'",
        own=tuned.own,
    )
    assert said["value"] == pytest.approx(accuracy)


def test_a_figure_says_of_what_it_is(tuned: Pipeline) -> None:
    query = "SELECT DISTINCT run, name, language_model, parameters, truncated, stderr FROM finetuned WHERE main AND set = 'test' AND seed = 1"
    found = {row["name"]: row for row in rows(tuned.store, query, own=tuned.own)}
    keys = {one.subject: one.ref.key for one in tuned.plan["finetune"]}
    assert {name: row["run"] for name, row in found.items()} == {name: keys[f"{name}:tone"] for name in found}
    assert {name: row["language_model"] for name, row in found.items()} == {
        "tuned": 0.25,
        "drawn": 0.5,
        "lstm": 0,
        "bag": 0,
        "asked": 0,
    }
    # 270 and three tokens, 40 positions, a block of width 32, a final LayerNorm, and a head of two classes.
    block = 4 * 32 * 33 + 32 * 4 * 33 + 4 * 32 * 33 - 4 * 32 + 32 + 4 * 32
    assert found["tuned"]["parameters"] == 273 * 32 + 40 * 32 + block + 2 * 32 + 2 * 33
    assert found["lstm"]["parameters"] == 273 * 16 + 4 * 16 * (16 + 16 + 2) + 2 * 17
    assert {row["truncated"] for row in found.values()} == {0.0}
    seeds = rows(
        tuned.store,
        "SELECT run, name, seed FROM predictions WHERE name = 'tuned' GROUP BY ALL ORDER BY seed",
        own=tuned.own,
    )
    assert [(row["run"], row["seed"]) for row in seeds] == [(keys["tuned:tone"], 1), (keys["tuned:tone"], 2)]


def test_as_many_examples_are_taken_as_are_asked_for(trained: str) -> None:
    made = make(trained, "finetune.bag.max_examples=30", "finetune.bag.max_tested=10", 'finetune.tuned.tasks=["tone"]')
    (row,) = rows(
        made.store, "SELECT n, trained FROM finetuned WHERE name = 'bag' AND main AND set = 'test'", own=made.own
    )
    assert (row["n"], row["trained"]) == (10, 30)


def test_what_is_tested_too_is_told_and_left_out(tuned: Pipeline) -> None:
    found = rows(tuned.store, "FROM labelled WHERE removed IS NOT NULL", own=tuned.own)
    assert [(row["set"], row["removed"], row["group"]) for row in found] == [("train", "test", "leak")]


def test_one_more_seed_is_one_more_fine_tuning(trained: str, tuned: Pipeline) -> None:
    again = make(trained, "finetune.tuned.seeds=[1, 2, 3]")
    (before,), (after,) = (
        [one.ref for one in each.plan["finetune"] if one.subject == "tuned:tone"] for each in (tuned, again)
    )
    assert before != after
    made = rows(
        again.store,
        "SELECT part, reused FROM work WHERE stage = 'finetune' AND key = $1 AND part IS NOT NULL",
        [after.key],
    )
    assert {row["part"]: row["reused"] for row in made} == {"seed-1": True, "seed-2": True, "seed-3": False}


def test_a_task_is_known_by_what_its_files_hold(tuned: Pipeline, tmp_path: Path) -> None:
    def key(folder: Path) -> str:
        made = Pipeline(load_recipe(str(Path(tuned.store.url).parent / "recipe.toml"), sets(folder)))
        return made.plan["label"][0].ref.key

    def sets(folder: Path) -> tuple[str, ...]:
        return tuple(f"labelled.tone.sets.{name}={folder / name}.csv" for name in ("train", "test", "turned"))

    write_sets(tmp_path)
    (known,) = [one.ref.key for one in tuned.plan["label"]]
    assert key(tmp_path) == known  # the same bytes in another folder
    with (tmp_path / "turned.csv").open("a") as stream:
        stream.write("one more,dark,x\n")
    assert key(tmp_path) != known


def parts_of(made: Pipeline, name: str) -> dict[str, list[str]]:
    (one,) = [one for one in made.plan["finetune"] if one.subject == name]
    query = "SELECT part, path, sha256 FROM parts WHERE stage = 'finetune' AND key = $1 ORDER BY path"
    found = rows(made.store, query, [one.ref.key], own=made.own)
    return {row["path"]: row["sha256"] for row in found}


def test_killed_in_the_middle_it_ends_in_the_same_bytes(tuned: Pipeline, tmp_path: Path) -> None:
    recipe = recipe_at(tmp_path)
    command = [sys.executable, "-m", "tests.drive", "finetune", recipe]
    kills = 0
    for attempt in range(12):
        process = subprocess.Popen(command, cwd=PROJECT, start_new_session=True, stdout=subprocess.DEVNULL)
        folder = tmp_path / "store" / "scratch" / "finetune"
        wanted = 3 + 7 * attempt
        while process.poll() is None and kills < 3:
            steps = [int(path.stem.removeprefix("step-")) for path in folder.glob("*/seed-*/step-*.json")]
            if steps and max(steps) >= wanted:
                os.killpg(process.pid, signal.SIGKILL)
                kills += 1
                break
            time.sleep(0.01)
        if process.wait() == 0:
            break
    assert kills >= 2
    assert process.returncode == 0
    again = Pipeline(load_recipe(recipe))
    for name in ("tuned:tone", "lstm:tone"):
        assert parts_of(again, name) == parts_of(tuned, name)
        assert len(parts_of(again, name)) >= 4
    assert not list(folder.glob("*/seed-*/step-*"))  # what it was resumed from is gone


def test_the_page_shows_each_set_and_says_what_pretraining_was_worth(tuned: Pipeline) -> None:
    address = publish_finetuned(tuned)
    page = Path(address).read_text()
    words = re.sub(r"<svg.*?</svg>", "", page, flags=re.DOTALL)
    assert re.search(r"tuned has a median accuracy of \d\.\d+, 0\.\d+ above drawn \(random weights\), more than", words)
    for name in ("test", "turned"):
        assert f"<h3>{name}</h3>" in words
    assert page.count("<svg") == 2
    assert "Out of its distribution" in words
    assert "answers" in words


def test_a_verdict_is_by_the_spread_of_seeds() -> None:
    pretrained, drawn = (
        Tuned("a", "pretrain", (0.7, 0.8, 0.75), 0.02, 50),
        Tuned("b", "random weights", (0.6, 0.72), 0.02, 50),
    )
    (said,) = verdicts([pretrained, drawn], "accuracy")
    assert (
        said
        == "a has a median accuracy of 0.750, 0.090 above b (random weights), not more than the seeds spread (0.120)."
    )
    (said,) = verdicts([pretrained, drawn._replace(values=(0.6, 0.61))], "accuracy")
    assert said.endswith("0.145 above b (random weights), more than the seeds spread (0.100).")


def test_a_drop_is_a_median_with_seeds_and_examples_in_its_interval() -> None:
    given = [
        {"name": "a", "seed": seed, "set": name, "value": value, "stderr": error}
        for seed, pair in ((1, (0.9, 0.7)), (2, (0.8, 0.7)))
        for name, value, error in (("test", pair[0], 0.03), ("yelp", pair[1], 0.04))
    ]
    (drop,) = dropped(given, "test", "yelp")
    assert drop.value == pytest.approx(0.15)
    assert drop.reach == pytest.approx(1.96 * (0.005 / 2 + 0.0025) ** 0.5)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        (
            'finetune.tuned.tasks=["tune"]',
            "finetune.tuned names tune, which is no task with labels; the nearest is tone",
        ),
        (
            "finetune.tuned.initial=pretrai",
            "finetune.tuned.initial is pretrai, which is no run; the nearest is pretrain",
        ),
        ("finetune.tuned.initial=pretrain@3", "a step that is not kept: set pretrain.pin_every"),
        ("finetune.lstm.initial=pretrain", "a lstm starts from nothing"),
        ("finetune.drawn.reader=prompt", "a prompt is put to a network that was trained"),
        ("finetune.drawn.shots=1", "shots are shown in prompts"),
        ('labelled.genre={form="classification", sets={train="a"}}', "labelled.genre cannot be called so"),
    ],
)
def test_a_fine_tuning_that_cannot_be_is_refused(trained: str, override: str, said: str) -> None:
    with pytest.raises(SettingError, match=re.escape(said)):
        load_recipe(trained, (override,))


# The tasks that come with the plays


@pytest.fixture(scope="module")
def documents() -> list[Document]:
    """The demo's works, page by page, as a crawl of them gives."""
    return [
        Document(f"http://works.example/works/{slug}/{n}.html", text, "works")
        for slug, (_, whole) in texts(fetch(cache_folder())).items()
        for n, (_, text) in enumerate(scenes(whole), 1)
    ]


def sets_of(found: Sequence[Example]) -> dict[str, set[str]]:
    groups: dict[str, set[str]] = {}
    for one in found:
        groups.setdefault(one.set, set()).add(one.group)
    return groups


def test_there_are_thirty_seven_plays_of_three_kinds(documents: list[Document]) -> None:
    works = {document.url.split("/")[4] for document in documents}
    plays = {play_of(work): kind_of(work) for work in works if kind_of(work)}
    # The Folio's catalogue has 14 comedies, 10 histories and 11 tragedies; Troilus and Pericles are not in it.
    assert Counter(plays.values()) == {"comedy": 14 + 1, "history": 10, "tragedy": 11 + 1}
    for work in works:
        if not kind_of(work):
            assert not re.search("hamlet|henry|tempest", work)


def test_a_play_is_wholly_of_one_set(documents: list[Document]) -> None:
    found = {name: list(BUILTIN[name].made(documents)) for name in ("genre", "reply", "editions")}
    for name, examples in found.items():
        groups = sets_of(examples)
        assert groups["train"]
        assert groups["test"]
        assert groups["train"].isdisjoint(groups["test"] | groups.get("dev", set())), name
        assert len({one.id for one in examples}) == len(examples)
    kinds = {
        kind: {one.group for one in found["genre"] if one.set == "test" and one.gold == place}
        for place, kind in enumerate(GENRES)
    }
    assert all(len(plays) >= 2 for plays in kinds.values())
    assert sets_of(found["genre"])["folio"] <= sets_of(found["genre"])["test"]


def test_a_reply_is_the_next_speech_and_stands_at_no_certain_place(documents: list[Document]) -> None:
    found = list(BUILTIN["reply"].made(documents))
    by_url = {document.url: " ".join(re.sub(r"\[[^\]]*\]", "", document.text).split()) for document in documents}
    for one in found[::97]:
        answer, others = one.choices[int(one.gold)], [text for n, text in enumerate(one.choices) if n != one.gold]
        assert len(set(one.choices)) == 4
        if one.set != "Milton":
            speaker = r"(?: \S+){1,5}? "
            assert re.search(
                speaker.join(re.escape(" ".join(text.split())) for text in (one.first, answer)), by_url[one.source]
            ), one.id
            assert not any(other in by_url[one.source] for other in others)
    shares = Counter(one.gold for one in found if one.set == "test")
    assert min(shares.values()) > 0.8 * max(shares.values())


def test_editions_that_are_the_same_share_their_words_and_others_do_not(documents: list[Document]) -> None:
    found = list(BUILTIN["editions"].made(documents))
    shares: dict[float, list[float]] = {0: [], 1: []}
    for one in found:
        first, second = (
            {skeleton(word) for word in re.findall(r"[A-Za-z]+", text)} for text in (one.first, one.second)
        )
        shares[one.gold].append(len(first & second) / min(len(first), len(second)))
    assert len(shares[0]) == pytest.approx(len(shares[1]), rel=0.05)
    assert sorted(shares[1])[len(shares[1]) // 20] > 0.4
    assert sorted(shares[0])[len(shares[0]) * 19 // 20] < 0.4
    assert skeleton("Iewell") == skeleton("jewel")
    assert skeleton("plucke") == skeleton("pluck")
    assert skeleton(["vnseason", "d"][0]) == skeleton("unseason")


SIGNATURES = """clip(self, lower, upper)
Trim values at input thresholds and no further.
pop()
Remove the last one of them all.
shift(self, periods, freq)
Move the index by a number of periods and so on.
"""


def test_a_summary_belongs_to_the_signature_above_it() -> None:
    given = [
        Document(
            f"http://docs.example/m{n}.html",
            SIGNATURES.replace("clip", f"clip{n}")
            .replace("shift", f"shift{n}")
            .replace("input", f"input {n}")
            .replace("periods", f"periods {n}"),
            "docs",
        )
        for n in range(12)
    ]
    found = list(BUILTIN["signature"].made(given))
    assert {one.first for one in found if "clip" in one.first} == {f"clip{n}(self, lower, upper)" for n in range(12)}
    summary = {
        "clip": "Trim values at input thresholds and no further.",
        "shift": "Move the index by a number of periods.",
    }
    for one in found:
        (name,) = [name for name in summary if one.first.startswith(name)]
        number = one.group.removeprefix("m")
        own = summary[name].replace("input", f"input {number}").replace("periods.", f"periods {number} and so on.")
        assert (one.second == own) == bool(one.gold)
    assert 0.2 < sum(one.gold for one in found) / len(found) < 0.8
    assert {one.set for one in found} == {"train", "dev", "test"}
