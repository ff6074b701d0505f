"""Text of evaluation sets leaves the corpus as GPT-3's authors meant it to, and what was found can be read."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.graph import STAGES
from flows.making import Pipeline
from flows.query import rows
from flows.recipe.loading import load_recipe
from tasks.decontaminate.cut import CutSettings, without_stretches
from tasks.text.buffers import buffers
from tasks.text.grams import find, grams_of, index_of, normalised
from tests.conftest import SHARED
from warehouse.errors import SettingError

WORDS = [f"word{n}" for n in range(4000)]


def passage(draw: Random, words: int) -> str:
    return " ".join(draw.choices(WORDS, k=words))


def made(
    folder: Path, texts: list[str], examples: list[dict[str, Any]], *overrides: str, until: str = "select"
) -> Pipeline:
    """A corpus of texts, decontaminated against examples with the fields query and gold."""
    lines = [json.dumps({"text": text, "url": f"http://x.example/{n}"}) for n, text in enumerate(texts)]
    (folder / "texts.jsonl").write_text("\n".join(lines))
    (folder / "set.jsonl").write_text("\n".join(json.dumps(example) for example in examples))
    recipe = folder / "recipe.toml"
    recipe.write_text(
        f'name = "r"\nstore = "{folder}/store"\n[sources.a.jsonl]\nfiles = ["{folder}/texts.jsonl"]\n'
        f'[decontaminate.sets.quiz]\nfiles = ["{folder}/set.jsonl"]\nquestion = ["query"]\nanswer = ["gold"]\n'
    )
    pipeline = Pipeline(load_recipe(str(recipe), overrides))
    for name in STAGES[1 : STAGES.index(until) + 1]:
        pipeline.make(name)
    return pipeline


@given(
    st.lists(st.text(alphabet="ab ,.'É’\n", max_size=60), max_size=4),
    st.lists(st.text(alphabet="ab ,.É", max_size=40), max_size=3),
)
@settings(deadline=None)
def test_ngrams_are_found_where_the_plain_definition_has_them(texts: list[str], sought: list[str]) -> None:
    def plain(text: str) -> list[tuple[str, ...]]:
        words = normalised(text)
        return [tuple(words[i : i + 3]) for i in range(len(words) - 2)]

    index = index_of(grams_of(*buffers(pa.array(sought, pa.string())), 3)[0], 3)
    wanted = {gram for text in sought for gram in plain(text)}
    assert len(index.names) == len(wanted)
    hits = find(*buffers(pa.array(texts, pa.string())), index)
    expected = [(n, gram) for n, text in enumerate(texts) for gram in plain(text) if gram in wanted]
    stretches = [texts[n].encode()[a:b].decode() for n, a, b in zip(hits.text, hits.start, hits.stop, strict=True)]
    assert [(int(n), tuple(normalised(stretch))) for n, stretch in zip(hits.text, stretches, strict=True)] == expected


def test_a_quoted_question_goes_with_its_margin_and_the_rest_stays(tmp_path: Path) -> None:
    draw = Random(1)
    question, answer, around = passage(draw, 30), passage(draw, 20), [passage(draw, 200) for _ in range(4)]
    quoted = f"{around[0]} {question.upper().replace(' ', ', ', 3)}! {around[1]}"
    texts = [quoted, f"{around[2]}\n{answer}", around[3]]
    pipeline = made(
        tmp_path, texts, [{"query": question, "gold": answer}, {"query": "too short to contaminate", "gold": "x"}]
    )
    found = rows(
        pipeline.store,
        "SELECT url, field, ngram, context, c.start, c.stop FROM contamination c JOIN documents USING (doc_id) ORDER BY url",
    )
    assert [(row["url"][-1], row["field"]) for row in found] == [("0", "question"), ("1", "answer")]
    assert found[0]["ngram"] == question
    assert found[1]["ngram"] == answer
    assert around[0][-40:] in found[0]["context"]
    kept = {row["url"][-1]: row["text"] for row in rows(pipeline.store, "FROM corpus")}
    assert kept["0"] == quoted[: found[0]["start"] - 200].strip() + "\n\n" + quoted[found[0]["stop"] + 200 :].strip()
    assert kept["1"] == texts[1][: found[1]["start"] - 200].strip()
    assert kept["2"] == texts[2]
    overlap = {
        row["field"]: row["share"] for row in rows(pipeline.store, "FROM evaluation_overlap WHERE example_id = '0'")
    }
    assert overlap == {"question": 1.0, "answer": 1.0}
    assert rows(pipeline.store, "SELECT share FROM evaluation_overlap WHERE example_id = '1'") == [{"share": None}] * 2


def test_a_phrase_of_the_language_is_ignored_unless_its_documents_are_copies(tmp_path: Path) -> None:
    draw = Random(2)
    common, copied = passage(draw, 13), passage(draw, 13)
    spread = [f"{passage(draw, 120)} {common} {passage(draw, 120)}" for _ in range(11)]
    one = f"{passage(draw, 120)} {copied} {passage(draw, 120)}"
    pipeline = made(tmp_path, [*spread, *(f"{one} copy{n}" for n in range(12))], [{"query": common, "gold": copied}])
    found = rows(pipeline.store, "SELECT DISTINCT ngram FROM contamination")
    assert found == [{"ngram": copied}]
    assert sum(common in row["text"] for row in rows(pipeline.store, "FROM corpus")) == 11


def test_a_document_in_too_many_pieces_goes_as_a_whole(tmp_path: Path) -> None:
    draw = Random(3)
    questions = [passage(draw, 13) for _ in range(10)]

    def with_questions(count: int) -> str:
        return " ".join(f"{passage(draw, 150)} {question}" for question in questions[:count]) + " " + passage(draw, 150)

    texts = [with_questions(9), with_questions(10)]
    pipeline = made(tmp_path, texts, [{"query": question} for question in questions])
    assert [row["url"][-1] for row in rows(pipeline.store, "FROM corpus")] == ["0"]
    (gone,) = rows(pipeline.store, "SELECT url, rule FROM decisions WHERE stage = 'select' AND verdict = 'removed'")
    assert (gone["url"][-1], gone["rule"]) == ("1", "contaminated")


def test_pieces_follow_the_plain_definition() -> None:
    text, settings_ = "a" * 300 + "X" * 10 + "b" * 399 + "Y" + "c" * 500, CutSettings()
    assert without_stretches(text, [(300, 310), (709, 710)], settings_) == "c" * 300
    assert without_stretches(text, [(300, 310)], settings_) == "b" * 199 + "Y" + "c" * 500
    assert without_stretches("a" * 100, [(0, 10)], settings_) == ""


def test_a_set_without_the_fields_that_are_named_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="quiz"):
        made(tmp_path, ["some text"], [{"other": "field"}], until="overlap")


def test_changed_margins_cut_anew_and_search_nothing(tmp_path: Path) -> None:
    draw = Random(4)
    question = passage(draw, 20)
    arguments = (tmp_path, [f"{passage(draw, 200)} {question} {passage(draw, 200)}"], [{"query": question}])
    before = made(*arguments)
    after = made(*arguments, "decontaminate.cut.margin_chars=0")
    for name in ("overlap", "decontaminate"):
        assert before.plan[name][0].ref == after.plan[name][0].ref
    assert before.plan["select"][0].ref != after.plan["select"][0].ref


@pytest.mark.skipif(not SHARED.exists(), reason="needs the real books and evaluation sets of ../shared/data")
def test_books_lose_the_passages_of_real_evaluation_sets_and_little_else(tmp_path: Path) -> None:
    with tarfile.open(SHARED / "prose" / "classic-books.tar.xz") as archive:
        members = (member for member in archive if member.name.endswith(".md") and member.size > 300_000)
        streams = (archive.extractfile(member) for _, member in zip(range(3), members, strict=False))
        books = [stream.read().decode() for stream in streams if stream is not None]
    examples = [json.loads(line) for line in (SHARED / "eval" / "lambada_openai.jsonl").read_text().splitlines()[:400]]
    draw = Random(5)
    quoted = [example["context"] for example in draw.sample(examples, 6)]
    for n, text in enumerate(quoted):
        place = draw.randrange(50_000, len(books[n % 3]) - 50_000)
        books[n % 3] = f"{books[n % 3][:place]}\n\n{text}\n\n{books[n % 3][place:]}"
    pipeline = made(
        tmp_path, books, [{"query": example["context"], "gold": example["continuation"]} for example in examples]
    )
    wanted = {tuple(normalised(text)[i : i + 13]) for text in quoted for i in range(len(normalised(text)) - 12)}
    texts = [row["text"] for row in rows(pipeline.store, "FROM corpus")]
    assert len(texts) == 3
    for text in texts:
        words = normalised(text)
        assert not any(tuple(words[i : i + 13]) in wanted for i in range(len(words) - 12))
    assert sum(map(len, texts)) > sum(map(len, books)) - 6 * 2_000
    assert len(rows(pipeline.store, "SELECT DISTINCT example_id FROM contamination")) >= len(set(quoted))
