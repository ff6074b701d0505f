"""Bad input: one clear sentence, exit status 1, nothing lost, and the same command works once the cause is gone."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PROJECT, Run, free_port


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    message = done.stderr.strip()
    assert message.startswith("gristmill:")
    assert message.count("\n") == 0
    for word in words:
        assert word in message, message


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("pretrain.stepz=3", ("there is no setting pretrain.stepz", "the nearest is pretrain.steps")),
        ("sources.works.crawl.seed=1", ("the nearest is sources.works.crawl.seeds",)),
        ("nonsense=1", ("there is no setting nonsense",)),
        ("pretrain.steps=soon", ("pretrain.steps", "'soon'")),
        ('pretrain={parallel="fsdp", optimizer="muon"}', ("muon needs whole matrices",)),
        ("model.depth=-1", ("model.depth", "-1")),
        ("model.depth=200", ("model.depth", "200")),
        ("model.preset=gpt9", ("there is no preset gpt9", "the nearest is gpt")),
        ("model.heads=3", ("width 32 is not a multiple of heads 3",)),
        ("policies.books.rules.0.signal=gopher_words", ("the nearest is gopher_word_count",)),
        ("sources.works.policy=book", ("sources.works.policy is book", "the nearest is books")),
        ("sign.bands=99", ("bands x rows is 792",)),
        ("policies.books.rules.9.min=80", ("there is no setting policies.books.rules.9.min",)),
        ("repeats.1=2", ("repeats must name cluster sizes",)),
        ("store=", ("the setting store cannot be ''",)),
        ("store.x=1", ("there is no setting store.x",)),
        ("store=nonsense://x", ("the store nonsense://x cannot be opened",)),
        ("pretrain.steps", ("has no value",)),
        ('sources.works.crawl.seeds=["ftp://x.example/"]', ("not an http or https URL",)),
    ],
)
def test_wrong_setting_is_named(finished: Run, override: str, words: tuple[str, ...]) -> None:
    refused(finished.here("status", "demo-tiny", overrides=(override,)), *words)


def test_unknown_recipe_names_those_there_are(finished: Run) -> None:
    refused(finished.here("status", "dmeo"), "there is no recipe dmeo", "demo-tiny")


def test_broken_toml_is_named_with_its_line(finished: Run, tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text("name = \n")
    refused(finished.here("status", str(tmp_path / "x.toml")), "is not valid TOML", "line 1")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("status", "--nope"), "No such option: --nope"),
        (("nope",), "No such command 'nope'"),
        (("generate", "demo-tiny", "--prompt", "x", "--tokens", "0"), "greater than or equal to 1"),
        (("generate", "demo-tiny"), "--prompt"),
    ],
)
def test_wrong_usage_is_one_sentence(finished: Run, words: tuple[str, ...], said: str) -> None:
    refused(finished.here(*words), said)


def test_recipe_that_is_no_utf8_is_named(finished: Run, tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_bytes(b'name = "\xff"\n')
    refused(finished.here("status", str(tmp_path / "x.toml")), "is not valid TOML", "utf-8")


def test_query_that_fails_is_one_sentence(finished: Run) -> None:
    refused(finished.here("forget", "demo-tiny", "--query", "SELECT nope FROM documents"), "a query", "nope")


def test_two_sources_of_one_host_are_refused(tmp_path: Path) -> None:
    refused(
        Run(tmp_path / "s", (7, 7)).here("status", "demo-tiny"),
        "works and reference both crawl 127.0.0.1:7",
        "make them one source",
    )


def test_seed_that_does_not_resolve(tmp_path: Path) -> None:
    run = Run(tmp_path / "s", (1, 2))
    arguments = (
        "sources.works.demo_site=''",
        'sources.works.crawl.seeds=["http://nowhere.invalid/"]',
        "sources.works.crawl.retries=0",
        "sources.works.crawl.contact=me@example.org",
        "sources.reference.demo_site=''",
        'sources.reference.crawl.seeds=["http://nobody.invalid/"]',
        "sources.reference.crawl.retries=0",
        "sources.reference.crawl.contact=me@example.org",
    )
    refused(
        run.here("crawl", "demo-tiny", overrides=arguments),
        "could be fetched from http://no",
        "check its seeds",
    )


def test_port_in_use(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused(Run(tmp_path / "s", (port, free_port())).here("crawl", "demo-tiny"), f"port {port} is in use")


def test_empty_corpus_says_where_to_look_and_the_command_works_once_loosened(finished: Run, tmp_path: Path) -> None:
    store = tmp_path / "copy"
    shutil.copytree(finished.store, store)
    run = Run(store, finished.ports)
    strict = ("policies.books.rules.0.min=1000000", "policies.documentation.rules.1.min=90000")
    refused(run.here("corpus", "demo-tiny", overrides=strict), "the corpus is empty", "FROM funnel")
    assert run.here("corpus", "demo-tiny").returncode == 0


def test_store_that_is_a_file_or_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    refused(Run(tmp_path / "file", (1, 2)).here("run", "demo-tiny"), "is not a folder", "--set store=URL")
    if Path("/proc/version").exists():
        refused(Run(Path("/proc/gristmill"), (1, 2)).here("run", "demo-tiny"), "store")


def test_missing_artifacts_name_the_command_that_makes_them(tmp_path: Path) -> None:
    run = Run(tmp_path / "none", (1, 2))
    refused(run.here("corpus", "demo-tiny"), "has not been crawled yet", "gristmill crawl")
    refused(run.here("generate", "demo-tiny", "--prompt", "x"), "gristmill")
    refused(run.here("report", "demo-tiny"), "no evaluated model yet")


def test_wrong_sql_is_answered_by_the_database_in_one_sentence(finished: Run) -> None:
    done = finished.here("sql", "SELEC 1", "--config", "demo-tiny")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "syntax error" in done.stderr
    refused(finished.here("sql", "SELECT 1", "--format", "xml", "--config", "demo-tiny"), "there is no format xml")


def test_unknown_page_and_step(finished: Run) -> None:
    refused(finished.here("why", "http://127.0.0.1:1/nothing", "--config", "demo-tiny"), "it was not crawled")
    refused(
        finished.here("lineage", "--run", "zzz", "--step", "1", "--config", "demo-tiny"),
        "no training run zzz",
    )


def test_checkpoint_of_another_tokenizer_is_refused(finished: Run) -> None:
    from tasks.train.published import load_model
    from warehouse import log
    from warehouse.artifact import Ref
    from warehouse.errors import GristmillError
    from warehouse.store import Store

    store = Store(str(finished.store))
    current = log.current(store)
    assert load_model(store, current["pretrain"][0], current["tokenizer"][0]).parameter_count() > 10_000
    with pytest.raises(GristmillError, match="was trained with the tokenizer"):
        load_model(store, current["pretrain"][0], Ref(stage="tokenizer", key="0" * 32))


def test_commands_that_only_look_work(finished: Run) -> None:
    assert "Everything is made" in finished.here("status", "demo-tiny").stdout
    assert finished.here("generate", "demo-tiny", "--prompt", "The ", "--tokens", "5").stdout.startswith("The ")
    url = f"http://127.0.0.1:{finished.ports[1]}/"
    assert "fetched, status 200" in finished.here("why", url, "--config", "demo-tiny").stdout
    assert "train" not in finished.here("lineage", "--step", "3", "--config", "demo-tiny").stderr
    for fmt, start in (("csv", '"n"'), ("json", "["), ("table", "n")):
        done = finished.here("sql", "SELECT 1 AS n", "--format", fmt, "--config", "demo-tiny")
        assert done.stdout.strip().startswith(start)


def test_shell_answers_queries(finished: Run) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "flows.commands.cli",
            "sql",
            "--config",
            "demo-tiny",
            "--set",
            f"store={finished.store}",
        ],
        cwd=PROJECT,
        input="SELECT 41 + 1 AS answer;\nSELEC;\nSELECT 2\n+ 2 AS four;\n",
        capture_output=True,
        text=True,
        check=True,
    )
    assert "42" in done.stdout
    assert "syntax error" in done.stdout
    assert "four" in done.stdout
