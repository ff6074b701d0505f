"""Every command and option does what it says, through the command line, with figures that a hand can check."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.commands.cli import main
from flows.making import Pipeline
from flows.query import rows
from flows.recipe.loading import load_recipe
from tests.conftest import PROJECT, Run, locked
from tests.test_which_run import said
from warehouse import log
from warehouse.store import Store


def planned(capsys: pytest.CaptureFixture[str], *options: str, preset: str = "gpt3-6.7b") -> dict[str, Any]:
    with pytest.raises(SystemExit) as ended:
        main(["plan", preset, "--format", "json", *options])
    assert ended.value.code == 0
    return dict(json.loads(capsys.readouterr().out))


def test_a_plan_by_hand(capsys: pytest.CaptureFixture[str]) -> None:
    """GPT-3 6.7B: 32 layers of 4,096 over 50,257 tokens and a context of 2,048."""
    plan = planned(
        capsys, "--gpus", "64", "--gpu", "h100", "--mfu", "0.5", "--micro-batch", "2", "--tokens", "1000000000", "--price", "3.5", "--no-recompute",
    )  # fmt: skip
    d, layers, vocabulary, context = 4096, 32, 50257, 2048
    parameters = layers * (12 * d * d + 13 * d) + (vocabulary + context) * d + 2 * d
    a_token = 6 * parameters + 12 * layers * d * context
    rate = 64 * 989e12 * 0.5 / a_token
    assert plan["parameters"] == parameters
    assert (plan["tokens"], plan["gpus"], plan["gpu"], plan["utilisation"], plan["micro_batch"]) == (
        10**9,
        64,
        "h100",
        0.5,
        2,
    )
    assert plan["flops"] == pytest.approx(6 * parameters * 1e9)
    assert plan["flops_with_attention"] == pytest.approx(a_token * 1e9)
    assert plan["tokens_per_second"] == pytest.approx(rate)
    assert plan["days"] == pytest.approx(1e9 / rate / 86400)
    assert plan["cost"] == pytest.approx(1e9 / rate / 3600 * 64 * 3.5)
    assert plan["state_bytes"] == pytest.approx(16 * parameters / 64)
    assert plan["memory_bytes"] == pytest.approx(
        plan["state_bytes"] + plan["gathered_bytes"] + plan["activation_bytes"]
    )
    assert plan["activation_bytes"] == pytest.approx(34 * 2 * context * d * layers)
    assert plan["fits"] == (plan["memory_bytes"] < 80e9)
    less = planned(capsys, "--gpus", "64", "--gpu", "h100", "--micro-batch", "2", "--recompute")
    assert less["activation_bytes"] == pytest.approx(2 * context * d * (4 * layers + 34))
    assert less["tokens"] == 300_000_000_000
    one = planned(capsys, "--gpus", "1", "--gpu", "a100")
    assert one["gathered_bytes"] == 0
    assert not one["fits"]


def test_a_plan_of_a_recipe_takes_its_changes(capsys: pytest.CaptureFixture[str]) -> None:
    plan = planned(capsys, "--set", "model.layers=3", "--set", "tokenizer.vocabulary=600", preset="demo-tiny")
    d = 32
    assert plan["parameters"] == 3 * (12 * d * d + 13 * d) + (600 + 64) * d + 2 * d
    assert plan["tokens"] == 40 * 4 * 64
    with pytest.raises(SystemExit):
        main(["plan", "gpt3-6.7b", "--gpus", "8"])
    table = capsys.readouterr().out
    assert re.search(r"cost\s+\$[\d,]+", table)
    assert re.search(r"tokens a second at 40% utilisation", table)


def test_sql_in_each_format_and_as_a_run_left_it(copied: Run) -> None:
    store = Store(str(copied.store))
    first = log.runs(store)[-1].id
    query = "SELECT count(*) AS n, 'a,\"b' AS text FROM corpus"
    before = json.loads(said(copied, "sql", query, "--format", "json", "--config", "demo-tiny"))[0]["n"]
    (row,) = csv.DictReader(io.StringIO(said(copied, "sql", query, "--format", "csv", "--config", "demo-tiny")))
    assert row == {"n": str(before), "text": 'a,"b'}
    copied.drive("policies.books.rules.0.min=400", until="select")
    assert json.loads(said(copied, "sql", query, "--format", "json", "-c", "demo-tiny"))[0]["n"] < before
    then = said(copied, "sql", query, "--format", "json", "-c", "demo-tiny", "--as-of", first[:20])
    assert json.loads(then)[0]["n"] == before
    out = copied.store.parent / "out.parquet"
    command = [
        sys.executable,
        "-m",
        "flows.commands.cli",
        "sql",
        query,
        "--format",
        "parquet",
        "--set",
        f"store={copied.store}",
    ]
    out.write_bytes(subprocess.run(command, cwd=PROJECT, capture_output=True, check=True).stdout)
    assert pq.read_table(pa.BufferReader(out.read_bytes())).num_rows == 1


def test_status_verify_ends_with_one_on_damage_and_names_it(copied: Run) -> None:
    whole = copied.here("status", "demo-tiny", "--verify")
    assert whole.returncode == 0
    assert "files have the bytes that their records name" in whole.stdout
    victim = next((copied.store / "artifacts" / "annotate").rglob("signals/*.parquet"))
    victim.write_bytes(victim.read_bytes()[:-1] + b"?")
    damaged = copied.here("status", "demo-tiny", "--verify")
    assert damaged.returncode == 1
    assert victim.name in damaged.stdout.replace("\n", "")
    assert victim.with_name(f"{victim.name}.corrupt").exists()
    assert "damaged" in copied.here("status", "demo-tiny").stdout
    assert copied.here("status", "demo-tiny").returncode == 0


def test_a_stage_with_a_file_gone_or_cut_short_does_not_count_as_made(copied: Run) -> None:
    recipe = load_recipe("demo-tiny", copied.overrides)
    assert Pipeline(recipe).is_made("annotate")
    victim = next((copied.store / "artifacts" / "annotate").rglob("signals/*.parquet"))
    content = victim.read_bytes()
    victim.write_bytes(content[:-1])
    assert not Pipeline(recipe).is_made("annotate")
    victim.unlink()
    assert not Pipeline(recipe).is_made("annotate")
    victim.write_bytes(content)
    assert Pipeline(recipe).is_made("annotate")


def test_forgetting_by_url_with_purge_and_retraining(copied: Run) -> None:
    store = Store(str(copied.store))
    (page,) = rows(store, "SELECT url, warc_path, warc_offset FROM documents ORDER BY url LIMIT 1")
    done = said(copied, "forget", "demo-tiny", "--url", page["url"], "--reason", "x", "--retrain", "--purge")
    assert "1 responses were purged from the archives" in done
    (removal,) = rows(store, "SELECT kind, value, documents FROM removals")
    assert removal == {"kind": "url", "value": page["url"], "documents": 1}
    assert page["url"].encode() not in (copied.store / page["warc_path"]).read_bytes()[page["warc_offset"] :][:200]
    # Retrained: the tokenizer that the whole corpus taught is not used on.
    assert "to make" in next(
        line for line in said(copied, "status", "demo-tiny").splitlines() if line.startswith("tokenizer")
    )


def test_forgetting_without_retraining_keeps_the_tokenizer(copied: Run) -> None:
    said(copied, "forget", "demo-tiny", "--domain", f"127.0.0.1:{copied.ports[1]}")
    assert "made" in next(
        line for line in said(copied, "status", "demo-tiny").splitlines() if line.startswith("tokenizer")
    )


def test_what_if_and_histogram_count_the_sources_they_name(finished: Run) -> None:
    store = Store(str(finished.store))
    words = ("what-if", "gopher", "--config", "demo-tiny", "--source", "works", "--set", "gopher_word_count.min=100")
    done = finished.gristmill(*words)  # in a wide terminal
    assert done.returncode == 0, done.stderr
    shown = done.stdout
    counted = {
        row["source"]: row["n"] for row in rows(store, "SELECT source, count(*) AS n FROM documents GROUP BY source")
    }
    kept = {row["source"]: row["n"] for row in rows(store, "SELECT source, count(*) AS n FROM corpus GROUP BY source")}
    lines = {
        line.split()[0]: line for line in reversed(shown.splitlines()) if line.strip() and line.split()[0] in counted
    }
    assert re.search(rf"^works\s+{counted['works']}\s+{kept['works']} → ", lines["works"])
    assert re.search(
        rf"^reference \(as it is\)\s+{counted['reference']}\s+{kept['reference']} → {kept['reference']}",
        lines["reference"],
    )
    short = rows(
        store,
        "SELECT count(*) AS n FROM signals JOIN documents USING (doc_id) WHERE source = 'works' AND gopher_word_count < 100",
    )
    rule = next(line for line in shown.splitlines() if line.startswith("gopher_word_count below 100"))
    assert int(rule.split()[-1]) == short[0]["n"]
    bars = said(finished, "histogram", "gopher_word_count", "--config", "demo-tiny")
    totals = re.findall(r"(\w+): ([\d,]+) kept, ([\d,]+) removed", bars)
    assert {name: (int(good), int(bad)) for name, good, bad in totals} == {
        name: (kept[name], counted[name] - kept[name]) for name in counted
    }


def test_card_report_export_and_import_name_what_they_wrote(copied: Run, tmp_path: Path) -> None:
    card = said(copied, "card", "demo-tiny").split("Card: ")[1].strip()
    assert Path(card).read_text().startswith("---")
    address = said(copied, "report", "demo-tiny").split("Report: ")[1].strip()
    assert "<svg" in Path(address).read_text()
    made = said(copied, "export", str(tmp_path / "out"), "--config", "demo-tiny")
    (run,) = rows(
        Store(str(copied.store)),
        "SELECT (statistics->>'parameters')::BIGINT AS n FROM artifacts WHERE stage = 'pretrain'",
    )
    assert f"a GPT2LMHeadModel of {run['n']:,} parameters" in made
    told = said(copied, "import", str(tmp_path / "out"), "--config", "demo-tiny")
    assert "1 layers, 32 wide, 512 tokens" in told


def test_crawl_reuse_does_nothing_and_run_fresh_crawls_again(
    copied: Run, shared_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PREFECT_LOGGING_LEVEL", "PREFECT_LOGGING_SERVER_LEVEL", "PREFECT_LOGGING_INTERNAL_LEVEL"):
        monkeypatch.delenv(name, raising=False)
    store = Store(str(copied.store))
    assert "nothing was done" in said(copied, "crawl", "demo-tiny", "--reuse")
    assert {row["crawl"] for row in rows(store, "SELECT DISTINCT crawl FROM urls")} == {"works-0001", "reference-0001"}
    with locked(shared_folder / "ports.lock"):
        done = copied.gristmill("run", "demo-tiny", "--fresh", "--verbose", overrides=("pretrain.steps=2",))
    assert done.returncode == 0, done.stderr[-2000:]
    assert {row["crawl"] for row in rows(store, "SELECT DISTINCT crawl FROM urls")} == {"works-0002", "reference-0002"}
    assert "Flow run" in done.stdout + done.stderr  # Prefect's own log


@pytest.mark.parametrize("command", ["corpus", "tokenizer", "pretrain", "evaluate", "crawl"])
def test_commands_of_one_flow_have_nothing_to_do_when_all_is_made(finished: Run, command: str) -> None:
    words = (command, "demo-tiny", "--verbose", *(("--reuse",) if command == "crawl" else ()))
    assert "Everything of the recipe demo-tiny is made; nothing was done." in said(finished, *words)


def test_the_tokenizer_command_packs_anew_where_only_that_is_to_be_made(copied: Run) -> None:
    changed = ("pack.validation_share=0.3",)
    before = {
        line.split()[0]: line for line in said(copied, "status", "demo-tiny", overrides=changed).splitlines() if line
    }
    assert " made" in before["tokenizer"]
    assert "to make" in before["pack"]
    done = copied.gristmill("tokenizer", "demo-tiny", overrides=changed)
    assert done.returncode == 0, done.stderr[-2000:]
    after = {
        line.split()[0]: line for line in said(copied, "status", "demo-tiny", overrides=changed).splitlines() if line
    }
    assert " made" in after["pack"]


def test_lineage_lists_the_documents_of_its_step_and_no_other(finished: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    store = Store(str(finished.store))
    for step in (1, 2, 40):
        listed = said(finished, "lineage", "--step", str(step), "--config", "demo-tiny").splitlines()[1:]
        found = rows(
            store, f"SELECT slot, tokens, url FROM documents_at_step('latest', {step}) ORDER BY slot, shard, start"
        )
        assert [(line.split()[0].replace(",", ""), line.split()[1]) for line in listed] == [
            (str(row["slot"]), str(row["tokens"])) for row in found
        ]
        assert all(row["url"] in line for row, line in zip(found, listed, strict=True))
        assert {row["slot"] for row in found} == set(range(4 * (step - 1), 4 * step))


def test_why_tells_rule_value_threshold_and_place(finished: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    store = Store(str(finished.store))
    (removed,) = rows(
        store,
        "SELECT url, rule, value, threshold FROM decisions WHERE rule LIKE 'gopher_word_count below%' ORDER BY url LIMIT 1",
    )
    story = said(finished, "why", removed["url"], "--config", "demo-tiny")
    assert f"removed by {removed['rule']}" in story
    assert f"value {removed['value']}" in story
    assert f"threshold {removed['threshold']}" in story
    assert "fetched, status 200" in story
    (kept,) = rows(
        store,
        "SELECT d.url, s.start, s.length, s.shard FROM token_spans s JOIN documents d USING (doc_id) WHERE split = 'train' ORDER BY d.url LIMIT 1",
    )
    story = said(finished, "why", kept["url"], "--config", "demo-tiny")
    assert f"train tokens {kept['start']} to {kept['start'] + kept['length']} of {kept['shard']}" in story
    (copy,) = rows(store, "SELECT url, detail FROM decisions WHERE rule = 'duplicate exact' ORDER BY url LIMIT 1")
    assert copy["detail"] in said(finished, "why", copy["url"], "--config", "demo-tiny")
