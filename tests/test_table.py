"""Every setting, view, column, command and option is looked at by a test, and docs/tested.md says by which."""

from __future__ import annotations

from tests.derived import DERIVED, derived
from tests.mutate import PROJECT, mistakes, watchers
from tests.table import PAGE, Sight, looks_at_column, looks_at_option, looks_at_setting, page, rows


def test_nothing_is_looked_at_by_no_test_and_the_page_is_current() -> None:
    found = rows()
    missing = [
        f"{chapter}: {name}" for chapter, entries in found.items() for name, tests in entries.items() if not tests
    ]
    assert missing == []
    assert PAGE.read_text() == page(found), "python -m tests.table writes it anew"
    assert len(found["Settings"]) > 170
    assert len(found["Columns"]) > 200


def test_what_documentation_derives_from_the_code_is_current() -> None:
    for file in DERIVED:
        assert (PROJECT / file).read_text() == derived(file), "python -m tests.derived writes it anew"


def test_a_setting_is_looked_at_where_it_is_named_with_its_section() -> None:
    owners = {"PackSettings"}
    for text in (
        "pack.validation_share=0.2",
        "x = 1\n[pack]\nvalidation_share = 0.1\n[model]\nlayers = 1",
        "pack = { validation_share = 0.1 }",
    ):
        assert looks_at_setting(Sight("t", [text]), "pack.validation_share", owners), text
    for text in (
        "validation_share=0.2",
        "[model]\nvalidation_share = 0.1",
        "[pack]\nother = 1\n[model]\nvalidation_share = 1",
    ):
        assert not looks_at_setting(Sight("t", [text]), "pack.validation_share", owners), text
    assert looks_at_setting(Sight("t", [], {"validation_share"}, {"PackSettings"}), "pack.validation_share", owners)
    assert not looks_at_setting(Sight("t", [], {"validation_share"}, {"Other"}), "pack.validation_share", owners)
    assert looks_at_setting(Sight("t", ["sources.works.weight=2"]), "sources.NAME.weight", {"Source"})
    assert looks_at_column(Sight("t", ["SELECT n_words FROM documents"]), "documents", "n_words")
    assert not looks_at_column(Sight("t", ["SELECT n_words FROM corpus"]), "documents", "n_words")
    assert looks_at_option(Sight("t", ["plan", "--gpus"]), "plan", "--gpus")
    assert not looks_at_option(Sight("t", ["--gpus"]), "plan", "--gpus")


def test_every_mistake_of_the_lists_can_be_put_into_the_code_and_has_tests_that_look() -> None:
    found = mistakes()
    assert len(found) >= 150
    assert len({mistake.what for mistake in found}) == len(found)
    for mistake in found:
        text = (PROJECT / mistake.file).read_text()
        assert text.count(mistake.old) == 1, f"{mistake.room}: {mistake.what}"
        compile(text.replace(mistake.old, mistake.new), mistake.file, "exec")
        assert all((PROJECT / test.partition("::")[0]).is_file() for test in watchers(mistake.file))
