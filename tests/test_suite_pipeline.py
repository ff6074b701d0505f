"""Tasks through the pipeline: questions, what of them stands in the corpus, answers, scores, comparison, and the page."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from random import Random
from typing import Any

import pytest

from flows.commands.cli import main
from flows.making import Pipeline
from flows.query import rows
from flows.recipe.loading import load_recipe
from flows.reporting import publish_report
from tasks.suite.exposure import words_of_task
from tasks.tokens.tokenizer import Codec
from tests.known import chain, pipeline_over, publish, recipe_file
from warehouse.errors import SettingError

WORDS = [
    "river",
    "stone",
    "bridge",
    "mason",
    "water",
    "keeper",
    "winter",
    "village",
    "market",
    "story",
    "cedar",
    "lantern",
    "harbor",
    "meadow",
    "copper",
    "engine",
]
NODES = ("questions", "seek", "expose", "answer")
SETTINGS = """
[tokenizer]
vocabulary = 300
[pack]
validation_share = 0.1
related_share = 1.0
[model]
layers = 1
heads = 1
width = 16
context = 512
[pretrain]
steps = 3
batch = 2
precision = "fp32"
[evaluate]
max_documents = 4
max_clozes = 4
sample_tokens = 4
[suite]
tasks = ["piqa", "triviaqa"]
files = { piqa = "FOLDER/piqa.jsonl", triviaqa = "FOLDER/trivia.jsonl" }
"""


LEXICON = [
    "".join(Random(n).choices("bcdfghklmnprstvw", k=3) + Random(-n).choices("aeiou", k=4)) for n in range(1, 3000)
]


def sentence(draw: Random, words: int = 16) -> str:
    return " ".join(draw.choices(LEXICON, k=words))


def set_of(draw: Random, count: int) -> list[dict[str, Any]]:
    return [
        {"goal": sentence(draw), "sol1": sentence(draw, 4), "sol2": sentence(draw, 4), "label": number % 2}
        for number in range(count)
    ]


def asked_pipeline(folder: Path, documents: list[str], questions: list[dict[str, Any]], *overrides: str) -> Pipeline:
    (folder / "piqa.jsonl").write_text("\n".join(map(json.dumps, questions)))
    trivia = [
        {"question_id": f"t{n}", "question": f"Who built the {word}?", "answer": {"value": "Ann", "aliases": ["Anne"]}}
        for n, word in enumerate(WORDS[:6])
    ]
    (folder / "trivia.jsonl").write_text("\n".join(map(json.dumps, trivia)))
    sections = SETTINGS.replace("FOLDER", str(folder))
    made = pipeline_over(folder, {"pages": documents}, *overrides, sections=sections)
    codec = Codec.load(made.store, made.plan["tokenizer"][0].ref)
    publish(made, chain(codec.size, context=512, seed=7, scale=0.7), folder)
    return made


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Pipeline, list[dict[str, Any]]]:
    """Twelve questions, of which some stand in the corpus: copied, over a page break, in a long book, in Chinese, on every page."""
    folder, draw = tmp_path_factory.mktemp("planted"), Random(5)
    questions = set_of(draw, 12)
    questions[4] |= {
        "goal": "从前有一个年轻的石匠住在河边的小村庄里每天清晨去桥上工作",
        "sol1": "他造了一座新桥",
        "sol2": "他卖了鱼",
    }
    phrase = "terms of use and privacy policy of this site apply to all of its pages"
    questions[6]["goal"] = f"{sentence(draw, 3)} {phrase}"
    documents = [f"{sentence(draw, 60)}. {phrase}." for _ in range(30)]
    half = len(questions[1]["goal"].split()) - 3
    words = questions[1]["goal"].split()
    clause = questions[3]["goal"].split()[2:15]
    # In other words: no eight of them in a row, other endings, another order.
    questions[5]["goal"] = (
        "the patient keeper carried seventeen lanterns across the frozen harbour before midnight while merchants argued about copper"
    )
    planted = {
        3: questions[0]["goal"],
        4: f"{' '.join(words[:half])}\n\n— 117 —\n\f\n{' '.join(words[half:])}",
        5: f"我读过一个故事：{questions[4]['goal']}。后来下雪了。",
        6: f"It has been told that {', '.join(clause).upper()}; or so they say.",
        7: "Before midnight, across a frozen harbour, seventeen lanterns were carrying a patient keeper; copper was argued of by merchants.",
    }
    for number, text in planted.items():  # in two pages each, of which one may be held out
        documents[number] += f" {text}"
        documents[number + 12] += f" {text}"
    for _ in range(2):
        book = [sentence(draw, 50) for _ in range(6000)]  # 300,000 words
        book.insert(4321, questions[2]["goal"])
        documents.append(". ".join(book))
    made = asked_pipeline(folder, documents, questions)
    for node in ("evaluate", *NODES):
        made.make(node)
    return made, questions


def test_planted_questions_are_found_shown_and_leave_the_clean_score(
    planted: tuple[Pipeline, list[dict[str, Any]]],
) -> None:
    made, questions = planted
    exposed = {row["example_id"]: row for row in rows(made.store, "FROM exposed WHERE task = 'piqa'")}
    dirty = {name for name, row in exposed.items() if row["dirty"]}
    assert dirty == {"0", "1", "2", "3", "4", "5"}  # 6 is a phrase of thirty pages, and the others are nowhere
    assert {row["words"] for row in exposed.values()} == {13}
    shown = rows(made.store, "SELECT c.*, d.text FROM contamination c JOIN corpus d ON d.id = c.doc_id")
    assert {row["example_id"] for row in shown if row["benchmark"] == "piqa"} == dirty
    for row in shown:
        found = row["text"][row["start"] : row["stop"]]
        assert found in row["context"]
        goal = re.sub(r"\W", "", questions[int(row["example_id"])]["goal"]).lower()
        assert (re.sub(r"\W", "", row["ngram"]) in goal) == (row["field"] == "question")
    assert {row["example_id"] for row in shown if row["field"] == "reworded"} == {"5"}
    assert exposed["5"]["found"] == 0
    assert exposed["5"]["reworded"] >= 1
    answers = {row["example_id"]: row for row in rows(made.store, "FROM answers WHERE task = 'piqa'")}
    assert {name for name, row in answers.items() if row["dirty"]} == dirty
    accuracy = rows(made.store, "FROM evaluations WHERE task = 'piqa' AND metric = 'accuracy'")[0]
    clean = [row["correct"] for name, row in answers.items() if name not in dirty]
    assert accuracy["n"] == 12
    assert accuracy["share_clean"] == pytest.approx(6 / 12)
    assert accuracy["clean_value"] == pytest.approx(sum(clean) / 6)
    assert accuracy["dirty_value"] == pytest.approx(
        sum(row["correct"] for name, row in answers.items() if name in dirty) / 6
    )
    assert accuracy["value"] == pytest.approx((6 * accuracy["clean_value"] + 6 * accuracy["dirty_value"]) / 12)
    assert accuracy["chance"] == 0.5


def test_a_thousand_questions_that_stand_nowhere_are_clean(tmp_path: Path) -> None:
    """Their only n-grams in the corpus are a phrase of eleven pages; one page fewer, and it tells something."""
    draw = Random(11)
    phrase = "for more information about this and other topics please see the index of the manual"
    questions = set_of(draw, 1000)
    for row in questions[::10]:
        row["goal"] = f"{phrase} {row['goal']}"
    documents = [sentence(draw, 40) + (f" {phrase}." if number < 11 else ".") for number in range(40)]
    made = asked_pipeline(tmp_path, documents, questions)
    for node in NODES[:3]:
        made.make(node)
    assert rows(made.store, "SELECT count(*) AS n FROM exposed WHERE dirty AND task = 'piqa'") == [{"n": 0}]
    assert rows(made.store, "FROM contamination") == []
    again = tmp_path / "ten"
    again.mkdir()
    fewer = asked_pipeline(again, [*documents[:10], *documents[11:]], questions)
    for node in NODES[:3]:
        fewer.make(node)
    assert rows(fewer.store, "SELECT count(*) AS n FROM exposed WHERE dirty AND task = 'piqa'") == [{"n": 100}]


def test_what_is_held_out_makes_no_question_dirty(
    planted: tuple[Pipeline, list[dict[str, Any]]], tmp_path: Path
) -> None:
    """Two questions, each the beginning of a document: one that is held out, one that is trained on."""
    made, _ = planted
    spans = rows(made.store, "SELECT split, text FROM token_spans JOIN corpus ON id = doc_id ORDER BY doc_id")
    goals = {}
    for split in ("validation", "train"):
        text = next(row["text"] for row in spans if row["split"] == split and len(row["text"].split()) < 500)
        goals[split] = " ".join(text.split()[:16])
    asked = [{"goal": goal, "sol1": "yes", "sol2": "no", "label": 0} for goal in goals.values()]
    (tmp_path / "two.jsonl").write_text("\n".join(map(json.dumps, asked)))
    path = str(Path(made.store.url).parent / "recipe.toml")
    again = Pipeline(load_recipe(path, ('suite.tasks=["piqa"]', f'suite.files.piqa="{tmp_path}/two.jsonl"')))
    try:
        for node in NODES[:3]:
            again.make(node)
        found = rows(made.store, "SELECT example_id, dirty FROM exposed ORDER BY example_id", own=again.own)
    finally:  # the store's newest questions are those of the other tests again
        restored = Pipeline(made.recipe)
        for node in NODES[:3]:
            restored.make(node)
    assert [row["dirty"] for row in found] == [False, True]


def test_n_is_the_fifth_percentile_of_the_lengths_between_eight_and_thirteen() -> None:
    assert words_of_task([*range(1, 101)]) == 8  # the fifth is five words long
    assert words_of_task([9] * 100) == 9
    assert words_of_task([40] * 100) == 13
    assert words_of_task([9, *[40] * 18]) == 9
    assert words_of_task([9, *[40] * 99]) == 13


def test_every_figure_of_a_task_stands_in_sql_with_how_it_was_asked(
    planted: tuple[Pipeline, list[dict[str, Any]]],
) -> None:
    made, _ = planted
    found = rows(made.store, "FROM evaluations WHERE prompt IS NOT NULL")
    assert {row["task"] for row in found} == {"piqa", "triviaqa"}
    piqa = {row["metric"]: row for row in found if row["task"] == "piqa"}
    assert len(piqa) == 9
    assert piqa["accuracy"]["protocol"].startswith("window 512, end-of-text before it, by token; Brown et al. 2020")
    assert (piqa["accuracy"]["shots"], piqa["accuracy"]["seed"], piqa["accuracy"]["prompt"]) == (0, None, "published")
    trivia = {row["metric"]: row for row in found if row["task"] == "triviaqa"}
    assert set(trivia) == {"exact match", "f1"}
    assert trivia["exact match"]["chance"] is None
    questions = rows(made.store, "FROM questions WHERE task = 'piqa' ORDER BY example_id")
    assert len(questions) == 12
    assert {row["license"] for row in questions} == {"as the user's own"}
    assert json.loads(questions[0]["fields"])["question"] in questions[0]["text"]
    answer = rows(made.store, "FROM answers WHERE task = 'piqa' AND example_id = '0'")[0]
    assert answer["prompt_text"] == f"Question: {json.loads(questions[0]['fields'])['question']}\nAnswer:"
    assert answer["gold"] in answer["choices"]
    assert answer["cluster"] == "0"
    assert answer["shown"] == 0
    assert answer["model"] == "pretrain"


def test_the_report_shows_scores_examples_and_what_is_dirty(planted: tuple[Pipeline, list[dict[str, Any]]]) -> None:
    made, questions = planted
    page = Path(publish_report(made)).read_text()
    section = page[page.index("How does it answer?") : page.index("What does it write?")]
    accuracy = rows(made.store, "FROM evaluations WHERE task = 'piqa' AND metric = 'accuracy'")[0]
    row = re.search(r"<td>piqa</td>.*?</tr>", section, re.DOTALL)
    assert row is not None
    cells = re.findall(r"<td[^>]*>(.*?)</td>", row.group())
    assert cells[2:5] == ["accuracy", "pretrain", f"{accuracy['value']:.3f}"]
    assert cells[7:11] == ["12", "0.500", f"{accuracy['clean_value']:.3f}", "50.0%"]
    assert questions[0]["goal"] in section
    assert "chosen" in section
    assert "wanted: Ann" in section


def test_what_is_asked_again_is_reused_and_one_more_task_asks_that_alone(
    planted: tuple[Pipeline, list[dict[str, Any]]],
) -> None:
    made, _ = planted
    again = Pipeline(made.recipe)
    before = again.plan["answer"][0].ref
    assert again.is_made(*NODES)
    ways = again.plan["answer"][0].stage.plan()
    assert ways == ["piqa-0-shot-published", "triviaqa-0-shot-published"]
    more = Pipeline(
        made.recipe.model_copy(
            update={"suite": made.recipe.suite.model_copy(update={"shots": (0, 2, "few"), "prompts": 2})}
        )
    )
    assert more.plan["answer"][0].ref != before
    for node in NODES:
        more.make(node)
    work = rows(
        made.store,
        "SELECT part, bool_or(reused) AS reused FROM work WHERE stage = 'answer' AND part IS NOT NULL AND key = ? GROUP BY part",
        [more.plan["answer"][0].ref.key],
    )
    assert {row["part"] for row in work if row["reused"]} == set(ways)
    assert len(work) == 2 * 2 * 3
    spread = rows(
        made.store,
        "SELECT DISTINCT spread, stddev_samp(value) OVER (PARTITION BY shots) AS own FROM evaluations WHERE task = 'piqa' AND metric = 'accuracy'",
    )
    assert len(spread) >= 1
    assert all(row["spread"] == pytest.approx(row["own"]) for row in spread)
    shown = rows(
        made.store,
        "SELECT shots, max(shown) AS most, any_value(seed) AS seed FROM answers WHERE task = 'piqa' GROUP BY shots ORDER BY shots",
    )
    assert [(row["shots"], row["seed"]) for row in shown] == [(0, None), (2, 1), (50, 1)]
    assert shown[1]["most"] <= 2
    assert 0 < shown[2]["most"] < 11  # as many as fit 512 tokens


def test_settings_of_the_suite_that_cannot_be_are_refused(tmp_path: Path) -> None:
    path = recipe_file(tmp_path, {"pages": ["a"]}, SETTINGS.replace("FOLDER", str(tmp_path)))
    for override, sentence in {
        'suite.tasks=["hellaswga"]': "there is no suite or task hellaswga; the nearest is hellaswag",
        "suite.shots=[-1]": "a number of demonstrations is 0 or more, or few",
        "suite.shot=1": "there is no setting suite.shot; the nearest is suite.shots",
    }.items():
        with pytest.raises(SettingError, match=re.escape(sentence)):
            load_recipe(str(path), (override,))


def test_a_task_whose_data_nobody_can_have_asks_for_a_file(tmp_path: Path) -> None:
    path = recipe_file(tmp_path, {"pages": ["a"]}, SETTINGS.replace("FOLDER", str(tmp_path)))
    (tmp_path / "piqa.jsonl").write_text("{}")
    recipe = load_recipe(str(path), ('suite.tasks=["cbt_cn"]',))
    with pytest.raises(SettingError, match=re.escape("give a file of yours with suite.files.cbt_cn=PATH")):
        _ = Pipeline(recipe).plan["questions"]
    # Of a suite those are left out, and said to be.
    suite = load_recipe(str(path), ('suite.tasks=["gpt2"]', 'suite.files={ ptb = "mine.txt" }')).suite
    assert suite.left_out == ["cbt_cn", "cbt_ne", "enwik8", "text8", "wikitext103", "summaries"]
    assert [task.name for task in suite.declared][:3] == ["lambada_openai", "wikitext2", "ptb"]


def test_the_command_asks_a_suite(
    planted: tuple[Pipeline, list[dict[str, Any]]], capsys: pytest.CaptureFixture[str]
) -> None:
    made, _ = planted
    path = Path(made.store.url).parent / "recipe.toml"
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", str(path), "--suite", "piqa", "--shots", "0", "--limit", "5"])
    said = capsys.readouterr()
    assert ended.value.code == 0, said.err
    assert "Licences of what is asked: your own: piqa" in said.out
    found = rows(made.store, "SELECT count(*) AS n, count(DISTINCT task) AS tasks FROM answers")
    assert found == [{"n": 5, "tasks": 1}]
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", str(path), "--suite", "nothing"])
    assert ended.value.code == 1
    assert "there is no suite or task nothing" in capsys.readouterr().err


def test_each_setting_of_the_suite_reaches_what_is_asked(planted: tuple[Pipeline, list[dict[str, Any]]]) -> None:
    made, questions = planted
    path = str(Path(made.store.url).parent / "recipe.toml")

    def asked(*overrides: str) -> list[dict[str, Any]]:
        changed = Pipeline(load_recipe(path, ('suite.tasks=["piqa"]', *overrides)))
        for node in NODES:
            changed.make(node)
        return rows(made.store, "FROM answers ORDER BY example_id, seed")

    usual = asked()
    assert len(asked("suite.max_questions=5")) == 5
    assert {row["example_id"] for row in asked("suite.max_questions=5")} <= {row["example_id"] for row in usual}
    bare = asked("suite.begin=false")
    assert {row["prompt_digest"] for row in bare}.isdisjoint(row["prompt_digest"] for row in usual)
    assert bare[0]["log_likelihoods"] == pytest.approx(usual[0]["log_likelihoods"])  # and to a chain it is all one
    assert asked("suite.precision=bf16")[0]["log_likelihoods"] != usual[0]["log_likelihoods"]
    assert {row["prompt"] for row in asked("suite.prompts=3")} == {"published", "short", "plain"}
    twice = asked("suite.seeds=[1, 2]", "suite.shots=[2]")
    assert {row["seed"] for row in twice} == {1, 2}
    assert twice[0]["prompt_digest"] != twice[1]["prompt_digest"]
    made_anew = asked('suite.tasks=["two_digit_addition"]', "suite.synthetic=7", "suite.synthetic_seed=3")
    assert len(made_anew) == 7
    other = asked('suite.tasks=["two_digit_addition"]', "suite.synthetic=7", "suite.synthetic_seed=4")
    assert [row["gold"] for row in made_anew] != [row["gold"] for row in other]
    words = asked('suite.tasks=["reversed_words"]', "suite.synthetic=5")
    corpus = " ".join(row["text"] for row in rows(made.store, "SELECT text FROM corpus")).lower()
    assert all(row["gold"] in corpus for row in words)  # words of the corpus itself
    (Path(path).parent / "text.txt").write_text(" ".join(row["goal"] for row in questions) * 3)
    texts = {}
    for stride in (0, 32, 512):
        (texts[stride],) = asked(
            'suite.tasks=["enwik8"]',
            'suite.files.enwik8="FOLDER/text.txt"'.replace("FOLDER", str(Path(path).parent)),
            f"suite.stride={stride}",
        )
        (protocol,) = rows(made.store, "SELECT DISTINCT protocol FROM evaluations WHERE task = 'enwik8'")
        assert f"stride {stride or 256}," in protocol["protocol"]
    assert texts[0]["bytes"] == len((Path(path).parent / "text.txt").read_bytes())
    assert texts[0]["characters"] == len((Path(path).parent / "text.txt").read_text())
    assert texts[0]["words"] == len((Path(path).parent / "text.txt").read_text().split())
    # A folder that is to be looked through must be there; what is known already is not looked for.
    assert load_recipe(path, ("suite.mirror=sets",)).suite.question_settings().mirror == "sets"


def test_what_an_answer_row_says_follows_from_its_log_likelihoods(
    planted: tuple[Pipeline, list[dict[str, Any]]],
) -> None:
    made, _ = planted
    again = Pipeline(made.recipe)
    for node in NODES:
        again.make(node)
    for row in rows(
        made.store,
        """SELECT step, log_likelihoods, unconditional, tokens, choices, answer, gold, correct, correct_by_none, correct_by_token,
                  correct_by_character, correct_by_byte, correct_by_context, bits_a_byte, probability, margin, prompt_digest
           FROM answers WHERE task = 'piqa'""",
    ):
        nats, choices = row["log_likelihoods"], row["choices"]
        gold = choices.index(row["gold"])
        by = {
            "none": nats,
            "token": [one / size for one, size in zip(nats, row["tokens"], strict=True)],
            "character": [one / len(text) for one, text in zip(nats, choices, strict=True)],
            "byte": [one / len(text.encode()) for one, text in zip(nats, choices, strict=True)],
            "context": [one - other for one, other in zip(nats, row["unconditional"], strict=True)],
        }
        for name, values in by.items():
            assert row[f"correct_by_{name}"] == (values.index(max(values)) == gold)
        assert row["correct"] == row["correct_by_token"]
        assert row["answer"] == choices[by["token"].index(max(by["token"]))]
        assert row["bits_a_byte"] == pytest.approx(-nats[gold] / math.log(2) / len(f" {row['gold']}".encode()))
        assert row["probability"] == pytest.approx(1 / sum(math.exp(one - nats[gold]) for one in nats))
        assert row["margin"] == pytest.approx(by["token"][gold] - by["token"][1 - gold])
        assert row["step"] == 3
        assert len(row["prompt_digest"]) == 16
    for row in rows(
        made.store,
        "SELECT answer, gold, accepted, exact_match, f1, rouge_1, rouge_2, rouge_l, correct_filtered, correct_last_token FROM answers WHERE task = 'triviaqa'",
    ):
        assert row["accepted"] == ["Ann", "Anne"]
        assert row["exact_match"] == float(row["answer"].lower().strip(".") in ("ann", "anne"))
        assert row["f1"] >= row["exact_match"]
        assert {row[name] for name in ("rouge_1", "rouge_2", "rouge_l", "correct_filtered", "correct_last_token")} == {
            None
        }


def test_where_an_n_gram_was_found_is_kept(planted: tuple[Pipeline, list[dict[str, Any]]]) -> None:
    made, questions = planted
    again = Pipeline(made.recipe)
    for node in NODES:
        again.make(node)
    hits = rows(
        made.store,
        "SELECT doc_id, n, bag, gram, start, stop, text FROM question_hits h JOIN corpus c ON c.id = h.doc_id",
    )
    wanted = [re.sub(r"\W", "", f"{row['goal']}{row[side]}").lower() for row in questions for side in ("sol1", "sol2")]
    for row in hits:
        found = re.sub(r"\W", "", row["text"].encode()[row["start"] : row["stop"]].decode()).lower()
        assert row["bag"] or any(found in one for one in wanted)
        assert row["n"] in ((7,) if row["bag"] else (10, 13))  # of triviaqa's short questions all words are looked for
        assert row["gram"] > 0
    exposed = {
        row["example_id"]: row
        for row in rows(made.store, "SELECT example_id, grams, found FROM exposed WHERE task = 'piqa'")
    }
    for name, row in exposed.items():
        whole = len(f"{questions[int(name)]['goal']} {questions[int(name)]['sol1']}".split())
        assert row["found"] <= row["grams"]
        if questions[int(name)]["goal"].isascii():
            assert row["grams"] == whole - 12
    # Of the copied goal all of its n-grams are found, but those that go on into the answer.
    assert exposed["0"]["found"] == len(questions[0]["goal"].split()) - 12
    assert {row["role"] for row in rows(made.store, "SELECT DISTINCT role FROM questions")} == {"asked"}
