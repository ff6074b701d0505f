"""Tokenised sets as they are written, and back: every line there is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.suite.data import file_of
from tasks.suite.declared import TASKS
from tasks.suite.detokenize import NEWS, TREEBANK, WIKI, Style, detokenized, plain, tokenized
from tests.conftest import SHARED

WRITTEN = [
    (WIKI, " He had a guest @-@ starring role , in 2000 . ", "He had a guest-starring role, in 2000."),
    (WIKI, " It weighs 1 @,@ 200 kg ( 2 @.@ 5 t ) ; the owner 's \" name \" is Tom . ", "It weighs 1,200 kg (2.5 t); the owner's \"name\" is Tom."),
    (WIKI, " = = Career = = ", "= = Career = ="),
    (WIKI, " ", ""),
    (NEWS, "\" We let folks know we 're interested , \" he said at 6 p.m.", "\"We let folks know we're interested,\" he said at 6 p.m."),
    (NEWS, "It costs $ 550 ( £ 294 ) .", "It costs $550 (£294)."),
    (NEWS, "Sunoco Inc . , the company , said Mr. Smith did .", "Sunoco Inc ., the company, said Mr. Smith did."),
    (TREEBANK, "the company did n't say it 's <unk> by $ N million", "the company didn't say it's <unk> by $N million"),
]  # fmt: skip


@pytest.mark.parametrize(("style", "published", "written"), WRITTEN)
def test_lines_are_written_as_a_person_writes_them_and_come_back(style: Style, published: str, written: str) -> None:
    assert plain(published, style) == written
    assert tokenized(written, style) == published


def test_a_line_that_cannot_come_back_stays_as_it_was() -> None:
    # A word that ends in a full stop of its own: written alike, it would come back as two tokens.
    line = "all your packaging. and then some , too ."
    assert tokenized(detokenized(line, NEWS), NEWS) != line
    assert plain(line, NEWS) == line


@given(
    st.lists(
        st.sampled_from(
            [*"ab,.;:!?()[]\"'$%", "'s", "n't", "@-@", "@,@", "10", "5", "Mr.", "U.S.", "...", "we", "<unk>", ""]
        ),
        max_size=14,
    )
)
def test_no_line_is_written_in_a_way_that_loses_it(tokens: list[str]) -> None:
    line = " ".join(tokens)
    for style in (WIKI, NEWS, TREEBANK):
        for published in (line, f" {line} "):
            written = plain(published, style)
            assert written == published or tokenized(written, style) == published


@pytest.mark.parametrize(
    ("file", "style", "most"),
    [
        ("wikitext2/wiki.test.tokens", WIKI, 0.004),
        ("wikitext2/wiki.valid.tokens", WIKI, 0.01),
        ("wikitext2/wiki.test.raw", WIKI, 0.02),
        ("lm1b/news.en.heldout-00000-of-00050", NEWS, 0.015),
    ],
)
def test_every_line_of_a_set_comes_back_or_is_left_as_it_was(file: str, style: Style, most: float) -> None:
    if not SHARED.is_dir():
        pytest.skip("the shared data are not here")
    lines = (SHARED / "eval" / file).read_text(encoding="utf-8").removesuffix("\n").split("\n")
    written = [plain(line, style) for line in lines]
    left = sum(mine == line for mine, line in zip(written, lines, strict=True) if tokenized(line, style) != line)
    assert all(mine == line or tokenized(mine, style) == line for mine, line in zip(written, lines, strict=True))
    assert left / len(lines) <= most
    joined = sum(line.count(" ") - mine.count(" ") for mine, line in zip(written, lines, strict=True))
    assert joined / sum(line.count(" ") for line in lines) > 0.1  # and it does write most marks where they belong


def test_perplexities_are_divided_by_the_words_that_the_sets_papers_count() -> None:
    if not SHARED.is_dir():
        pytest.skip("the shared data are not here")
    for name, words in {"wikitext2": 245_569, "1bw": 159_658}.items():
        task = TASKS[name]
        questions = list(task.read(file_of(task.data[0], str(SHARED))))
        assert sum(int(question.fields["units"]) for question in questions) == words
        assert len(questions) == {"wikitext2": 60, "1bw": 6075}[name]
        assert all(question.fields["text"] for question in questions)
