"""Questions to a store read its tables and nothing else, and what pages say reaches a terminal as text."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from flows.terminal import plain, shown, visible
from tests.conftest import PROJECT, Run
from tests.known import recipe_file

NASTY = "On \\[/b] maths \\[x^2\\] [red]red[/red] \x1b]0;title\x07\x1b[31m \u202etxt.exe\u202c \x9b2J [/] end"
WRITES = [
    "COPY (SELECT 1) TO '{path}'",
    "COPY (SELECT 1) TO '{store}/artifacts/x.parquet'",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '{store}/artifacts/x.parquet'",
    "EXPLAIN ANALYZE (FORMAT json) COPY (SELECT 1) TO '{store}/artifacts/x.parquet'",
    "PREPARE p AS COPY (SELECT 1) TO '{store}/artifacts/x.parquet'",
    "SELECT 1; COPY (SELECT 1) TO '{store}/artifacts/x.parquet'",
    "EXPORT DATABASE '{path}'",
    "ATTACH '{path}' AS other",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET enable_external_access = true",
    "SET allowed_directories = ['/']",
    "PRAGMA enable_external_access = true",
    "SET VARIABLE x = 1",
]
READS = [
    "SELECT * FROM read_csv('/etc/passwd', columns = {{'a': 'VARCHAR'}}, header = false)",
    "SELECT content FROM read_text('/etc/passwd')",
    "FROM read_blob('{secret}')",
    "FROM '{secret}'",
    "FROM glob('/etc/*')",
    "CREATE TABLE t AS FROM read_text('/etc/passwd')",
    "FROM query('FROM read_text(''/etc/passwd'')')",
    "FROM read_text('{store}/artifacts/../../secret.csv')",
    "FROM read_text('{store}/scratch/secret.csv')",
    "CREATE SECRET (TYPE s3, KEY_ID 'x', SECRET 'y')",
]


@pytest.fixture(scope="module")
def nasty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe over two texts whose title and URL try to be something else."""
    from tests.known import pipeline_over

    folder = tmp_path_factory.mktemp("nasty")
    rows = [
        {"text": f"{NASTY} some more words", "title": NASTY},
        {"text": "plain words of a plain text", "title": "plain"},
    ]
    pipeline_over(folder, {"pages": rows}, until="select")
    (folder / "secret.csv").write_text("a\nsecret\n")
    (folder / "store" / "scratch").mkdir(exist_ok=True)
    (folder / "store" / "scratch" / "secret.csv").write_text("a\nsecret\n")
    return folder / "recipe.toml"


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "flows.commands.cli", *words]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*words), cwd=PROJECT, capture_output=True, text=True, check=False)


def test_questions_touch_no_file_but_the_stores_tables(nasty: Path, tmp_path: Path) -> None:
    from contextlib import redirect_stdout

    from flows.commands.shell import answer
    from warehouse.errors import GristmillError
    from warehouse.store import Store

    folder, store = nasty.parent, Store(str(nasty.parent / "store"))
    before = sorted(path for path in folder.rglob("*"))
    for query in (*WRITES, *READS):
        text = query.format(path=tmp_path / "out", store=store.url, secret=folder / "secret.csv")
        with redirect_stdout(io.TextIOWrapper(io.BytesIO())) as out, pytest.raises(GristmillError) as refused:
            answer(store, text, "json", None)
        out.seek(0)
        assert "secret" not in out.read(), text
        assert "leak" not in str(refused.value)
    assert sorted(path for path in folder.rglob("*")) == before
    assert not list(tmp_path.iterdir())


def test_what_a_question_needs_still_works(nasty: Path, tmp_path: Path) -> None:
    config = ("--config", str(nasty))
    assert json.loads(run("sql", "SELECT count(*) AS n FROM corpus", "--format", "json", *config).stdout) == [{"n": 2}]
    made = run(
        "sql",
        "CREATE TABLE t AS SELECT 1 AS a; INSERT INTO t VALUES (2); SELECT sum(a)::INT AS s FROM t",
        "--format",
        "json",
        *config,
    )
    assert json.loads(made.stdout) == [{"s": 3}], made.stderr
    assert "physical_plan" in run("sql", "EXPLAIN SELECT doc_id FROM documents", *config).stdout
    assert "doc_id" in run("sql", "DESCRIBE documents", *config).stdout
    assert run("sql", "SUMMARIZE documents", *config).returncode == 0
    assert run("sql", "SHOW TABLES", *config).returncode == 0
    refused = run("sql", f"COPY (SELECT 1 AS a) TO '{tmp_path}/a.csv'", *config)
    assert refused.returncode == 1
    assert "--allow-files" in refused.stderr
    allowed = run("sql", f"COPY (SELECT 1 AS a) TO '{tmp_path}/a.csv'", "--allow-files", *config)
    assert allowed.returncode == 0, allowed.stderr
    assert (tmp_path / "a.csv").read_text() == "a\n1\n"


def test_a_store_in_a_folder_of_any_name_can_be_asked(nasty: Path, tmp_path: Path) -> None:
    odd = tmp_path / 'it\'s a Größe [1] "x"'
    shutil.copytree(nasty.parent / "store", odd / "store")
    words = ("sql", "SELECT count(*) AS n FROM corpus", "--format", "json", "--config", str(nasty))
    done = run(*words, "--set", f"store={odd / 'store'}")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [{"n": 2}]
    outside = run("sql", "FROM read_text('/etc/passwd')", "--config", str(nasty), "--set", f"store={odd / 'store'}")
    assert outside.returncode == 1
    assert "--allow-files" in outside.stderr
    hidden = run("sql", "/* x */ EXPLAIN ANALYZE COPY (SELECT 1) TO 'x'", "--config", str(nasty))
    assert hidden.returncode == 1
    assert "no question" in hidden.stderr


def test_a_long_answer_is_not_fetched_to_show_its_beginning(nasty: Path) -> None:
    done = run("sql", "SELECT i, repeat('x', 10000) AS t FROM range(1000000000000) r(i)", "--config", str(nasty))
    assert done.returncode == 0, done.stderr
    assert "the first 40 rows" in done.stdout
    many = run("sql", "SELECT i FROM range(100000) r(i)", "--format", "csv", "--config", str(nasty))
    assert many.stdout.splitlines()[-1] == "99999"
    none = run("sql", "SELECT i FROM range(0) r(i)", "--format", "csv", "--config", str(nasty))
    assert none.stdout.strip() == '"i"'
    assert (
        json.loads(run("sql", "SELECT i FROM range(0) r(i)", "--format", "json", "--config", str(nasty)).stdout) == []
    )


def on_a_terminal(words: list[str]) -> str:
    """What a command writes to a terminal, byte for byte."""
    parent, child = pty.openpty()
    with subprocess.Popen(
        words,
        cwd=PROJECT,
        stdout=child,
        stderr=child,
        env={**os.environ, "COLUMNS": "400", "NO_COLOR": "1", "TERM": "dumb"},
    ) as process:
        os.close(child)
        found = b""
        while True:
            try:
                piece = os.read(parent, 65536)
            except OSError:
                break
            if not piece:
                break
            found += piece
        assert process.wait(60) == 0, found
    os.close(parent)
    return found.decode()


FORBIDDEN = re.compile("[\x07\x1b\x9b\u202e\u202c]")


@pytest.mark.parametrize("form", ["table", "csv", "json"])
def test_what_a_title_says_reaches_the_terminal_as_text(nasty: Path, form: str) -> None:
    said = on_a_terminal(
        command("sql", "SELECT title FROM documents ORDER BY title", "--format", form, "--config", str(nasty))
    )
    assert FORBIDDEN.search(said) is None
    assert "[red]red[/red]" in said
    assert "\\[x^2\\]" in said.replace("\\\\", "\\")
    assert "1b" in said
    assert "202e" in said


def test_files_and_other_programs_get_the_bytes_that_are_there(nasty: Path) -> None:
    query = "SELECT title FROM documents WHERE title <> 'plain'"
    words = command("sql", query, "--format", "csv", "--config", str(nasty))
    raw = subprocess.run(words, cwd=PROJECT, capture_output=True, check=True).stdout.decode()
    assert raw.splitlines()[1].strip('"') == NASTY


def test_commands_that_show_documents_print_them_as_text(nasty: Path) -> None:
    why = on_a_terminal(command("why", "http://pages.example/0", "--config", str(nasty)))
    assert FORBIDDEN.search(why) is None
    assert "\\[/b] maths" in why
    assert "\\[x^2\\]" in why
    what_if = on_a_terminal(command("what-if", "gopher", "--config", str(nasty), "--source", "pages"))
    assert FORBIDDEN.search(what_if) is None
    assert "[red]red[/red]" in what_if


@given(st.text(max_size=60))
def test_any_text_is_printed_as_it_is(text: str) -> None:
    text = text.encode("utf-8", "replace").decode().expandtabs()
    out = io.StringIO()
    Console(file=out, width=10_000, color_system=None, highlight=False).print(plain(text), soft_wrap=True)
    assert out.getvalue().rstrip("\n") == visible(text).rstrip("\n")
    assert Text.from_markup(shown(text)).plain == visible(text)
    assert FORBIDDEN.search(visible(text)) is None


def test_a_model_that_writes_escape_sequences_writes_text(finished: Run) -> None:
    from flows.terminal import for_stream

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    assert for_stream("a\x1b[2Jb\tc\n", Terminal()) == "a\\x1b[2Jb\tc\n"
    assert for_stream("a\x1b[2Jb", io.StringIO()) == "a\x1b[2Jb"


def test_recipe_names_with_brackets_are_names(tmp_path: Path) -> None:
    path = recipe_file(tmp_path, {"a": ["one text of some words"]})
    path.write_text(path.read_text().replace('name = "known"', 'name = "x"'))
    done = run("status", str(path), "--set", "extract.nothing[/red]=1")
    assert done.returncode == 1
    assert "nothing[/red]" in done.stderr
    assert "Traceback" not in done.stderr
