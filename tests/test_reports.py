"""Inputs as people reported them of other tools: tables, lists and folders as the world has them."""

from __future__ import annotations

import gzip
import json
import shutil
import zlib
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flows.graph import made_from
from flows.making import Pipeline
from flows.query import rows
from flows.recipe.loading import load_recipe
from tasks.extract.rows import at_path, day_of
from tests.conftest import SHARED
from tests.known import pipeline_over
from warehouse.errors import GristmillError

REPORTS = SHARED / "reports"
pytestmark = pytest.mark.skipif(not REPORTS.is_dir(), reason="the shared reports are not on this machine")


def made(folder: Path, report: str, recipe: str, monkeypatch: pytest.MonkeyPatch, until: str = "select") -> Pipeline:
    """The recipe of a report, run where it lies."""
    shutil.copytree(REPORTS / report, folder / report)
    monkeypatch.chdir(folder / report)
    pipeline = Pipeline(load_recipe(f"{recipe}.toml"))
    for node in made_from(until, beside=("crawl",)):
        pipeline.make(node)
    return pipeline


def asked(pipeline: Pipeline, query: str) -> list[dict[str, Any]]:
    return rows(pipeline.store, query)


def counts(pipeline: Pipeline) -> list[tuple[int, int, int, int]]:
    """documents_in, kept, removed, failed of each extraction."""
    found = asked(
        pipeline, "SELECT documents_in, kept, removed, failed FROM artifacts WHERE stage = 'extract' ORDER BY subject"
    )
    return [tuple(row.values()) for row in found]  # type: ignore[misc]


def test_rows_that_two_files_number_alike_are_different_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = made(tmp_path, "13-shard-ids", "recipe", monkeypatch)
    assert asked(pipeline, "SELECT count(*) AS n, count(DISTINCT url) AS names FROM corpus") == [{"n": 20, "names": 10}]
    assert asked(pipeline, "FROM duplicates") == []


@pytest.mark.parametrize(("recipe", "texts"), [("globs", 4), ("listed", 2)])
def test_files_of_one_name_in_two_folders_are_different_texts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: str, texts: int
) -> None:
    pipeline = made(tmp_path, "14-same-names", recipe, monkeypatch)
    assert asked(pipeline, "SELECT count(*) AS n FROM corpus") == [{"n": texts}]
    assert {row["text"].split()[0] for row in asked(pipeline, "FROM corpus")} == {"Austen", "Melville"}


def test_packed_texts_and_lines_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = made(tmp_path, "15-packed", "textgz", monkeypatch)
    ledger = gzip.decompress((REPORTS / "15-packed" / "ledger.txt.gz").read_bytes()).decode()
    assert [row["text"] for row in asked(pipeline, "SELECT text FROM documents")] == [ledger.strip()]
    assert [row["title"] for row in asked(pipeline, "SELECT title FROM documents")] == ["ledger"]
    monkeypatch.undo()
    pipeline = made(tmp_path / "zst", "15-packed", "zst", monkeypatch)
    lines = gzip.decompress((REPORTS / "15-packed" / "six.jsonl.gz").read_bytes()).splitlines()
    plain = [json.loads(line) for line in lines]
    assert {row["text"] for row in asked(pipeline, "SELECT text FROM documents")} == {row["text"] for row in plain}


@pytest.mark.parametrize("suffix", ["zst", "gz", "bz2", "xz"])
@pytest.mark.parametrize("kind", ["jsonl", "text"])
def test_a_packed_file_that_is_cut_short_says_so_and_gives_no_noise(tmp_path: Path, suffix: str, kind: str) -> None:
    import bz2
    import lzma

    from backports import zstd

    packed = {"zst": zstd.compress, "gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}[suffix]
    texts = [f"Row {n}. " + " ".join(f"word{(n * 7919 + k * 104729) % 9973}" for k in range(200)) for n in range(200)]
    body = "\n".join(json.dumps({"text": text, "id": str(n)}) for n, text in enumerate(texts)).encode()
    content = packed(body if kind == "jsonl" else "\n".join(texts).encode())
    for name, size in (("whole", len(content)), ("cut", len(content) * 2 // 3)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / f"t.{kind}.{suffix}").write_bytes(content[:size])
        (folder / "recipe.toml").write_text(
            f'name = "cut"\nstore = "{folder}/store"\n[sources.s.{kind}]\nfiles = ["{folder}/t.{kind}.{suffix}"]\n'
        )
        pipeline = Pipeline(load_recipe(str(folder / "recipe.toml")))
        pipeline.make("extract")
        found = {row["text"] for row in asked(pipeline, "SELECT text FROM documents")}
        failed = asked(pipeline, "SELECT url, detail FROM decisions WHERE verdict = 'failed'")
        if name == "whole":
            assert found == (set(texts) if kind == "jsonl" else {"\n".join(texts)})
            assert failed == []
        else:
            assert found <= set(texts)
            assert len(found) < len(texts)
            (row,) = failed
            assert "the packed file is broken" in row["detail"]
            assert row["url"].startswith(f"s:t.{kind}.{suffix}")


def test_text_in_a_binary_column_and_dates_that_are_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = made(tmp_path, "17-parquet", "binary", monkeypatch)
    stored = pq.read_table(REPORTS / "17-parquet" / "binary.parquet")
    assert pa.types.is_binary(stored.schema.field("text").type)
    expected = {value.decode() for value in stored["text"].to_pylist()}
    assert {row["text"] for row in asked(pipeline, "SELECT text FROM documents")} == expected
    monkeypatch.undo()
    pipeline = made(tmp_path / "epoch", "17-parquet", "epoch", monkeypatch)
    assert {row["date"] for row in asked(pipeline, "SELECT date FROM documents")} == {"2024-05-06"}


@pytest.mark.parametrize(
    ("date", "day"),
    [
        (1_715_000_000, "2024-05-06"),
        (1_715_000_000.5, "2024-05-06"),
        (1_715_000_000_000, "2024-05-06"),
        (1_715_000_000_000_000, "2024-05-06"),
        (-86_400, "1969-12-31"),
        ("2024-05-06T07:08:09Z", "2024-05-06"),
        (float("nan"), None),
        (float("inf"), None),
        (True, "True"),
        (None, None),
        ("", None),
    ],
)
def test_a_date_is_a_day(date: Any, day: str | None) -> None:
    assert day_of(date) == day


def test_damage_costs_its_rows_and_says_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = made(tmp_path, "17-parquet", "damaged", monkeypatch)
    whole = pq.read_table(REPORTS / "17-parquet" / "whole.parquet")
    assert counts(pipeline) == [(len(whole), 8, 0, 4)]
    failed = asked(pipeline, "SELECT url, detail FROM decisions WHERE verdict = 'failed' ORDER BY url")
    assert [row["url"] for row in failed] == [f"t:damaged.parquet@1, row {n}" for n in range(4)]
    assert all(row["detail"].startswith("damaged: ") for row in failed)
    monkeypatch.undo()
    pipeline = made(tmp_path / "cut", "17-parquet", "cut", monkeypatch)
    assert counts(pipeline) == [(len(whole) + 1, len(whole), 0, 1)]
    (row,) = asked(pipeline, "SELECT url, detail FROM decisions WHERE verdict = 'failed'")
    assert row["url"] == "t:cut.parquet"
    assert row["detail"].startswith("no Parquet file")


def test_files_without_rows_are_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for recipe, expected in (("empty-beside", [(12, 12, 0, 0)]), ("empty-source", [(0, 0, 0, 0), (12, 12, 0, 0)])):
        pipeline = made(tmp_path / recipe, "17-parquet", recipe, monkeypatch)
        assert counts(pipeline) == expected
        assert asked(pipeline, "SELECT count(*) AS n FROM corpus") == [{"n": 12}]
        monkeypatch.undo()
    with pytest.raises(GristmillError, match="the corpus is empty: no document was kept"):
        made(tmp_path / "alone", "17-parquet", "empty-alone", monkeypatch)


def test_tables_whose_columns_differ_are_read_each_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = made(tmp_path, "17-parquet", "drift", monkeypatch)
    assert counts(pipeline) == [(8, 8, 0, 0)]
    monkeypatch.undo()
    with pytest.raises(GristmillError, match=r"drift-c\.parquet has no column text: set text_column of the source t"):
        made(tmp_path / "text", "17-parquet", "drift-text", monkeypatch)


def test_a_json_array_is_called_one_and_odd_lines_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(GristmillError, match="the corpus is empty"):
        made(tmp_path, "25-jsonl-odd", "array", monkeypatch)
    pipeline = Pipeline(load_recipe("array.toml"))
    (row,) = asked(pipeline, "SELECT url, detail FROM decisions WHERE stage = 'extract'")
    assert row == {"url": "j:array.json", "detail": "a JSON array, and no lines of one object each"}
    monkeypatch.undo()
    for recipe, expected in (("bom", (4, 4, 0, 0)), ("odd", (7, 6, 0, 1))):
        pipeline = made(tmp_path / recipe, "25-jsonl-odd", recipe, monkeypatch)
        assert counts(pipeline) == [expected]
        monkeypatch.undo()


def test_equal_files_are_each_accounted_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = made(tmp_path, "27-equal-files", "run", monkeypatch)
    assert counts(pipeline) == [(4, 4, 0, 0)]
    (cluster,) = asked(pipeline, "SELECT DISTINCT cluster_size AS n FROM duplicates")
    assert cluster == {"n": 3}
    assert asked(pipeline, "SELECT count(*) AS n FROM corpus") == [{"n": 2}]


def test_equal_tables_and_archives_are_counted_too(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"text": "the same text", "url": "http://x.example/"}))
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(f'name = "equal"\nstore = "{tmp_path}/store"\n[sources.s.jsonl]\nfiles = ["{tmp_path}/*.jsonl", "{tmp_path}/a.jsonl"]\n')  # fmt: skip
    pipeline = Pipeline(load_recipe(str(recipe)))
    for node in made_from("select", beside=("crawl",)):
        pipeline.make(node)
    assert counts(pipeline) == [(3, 3, 0, 0)]
    assert asked(pipeline, "SELECT documents_in AS n, kept FROM artifacts WHERE stage = 'select'") == [
        {"n": 3, "kept": 1}
    ]


def test_columns_are_named_by_a_path(tmp_path: Path) -> None:
    assert at_path({"a": {"b": {"c": 1}}}, "a.b.c") == 1
    assert at_path({"a.b": 2, "a": {"b": 3}}, "a.b") == 2
    assert at_path({"a": 1}, "a.b") is None
    table = {
        "body": {"text": ["Nested one.", "Nested two."], "x": [1, 2]},
        "metadata": {"url": ["http://n.example/1", "http://n.example/2"]},
    }
    records = [{key: {k: v[n] for k, v in inner.items()} for key, inner in table.items()} for n in range(2)]
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "t.parquet")
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, records)))
    for kind in ("parquet", "jsonl"):
        recipe = tmp_path / f"{kind}.toml"
        recipe.write_text(
            f'name = "path"\nstore = "{tmp_path}/{kind}-store"\n[sources.s.{kind}]\nfiles = ["{tmp_path}/t.{kind}"]\n'
            'text_column = "body.text"\nurl_column = "metadata.url"\n'
        )
        pipeline = Pipeline(load_recipe(str(recipe)))
        pipeline.make("extract")
        found = {row["url"]: row["text"] for row in asked(pipeline, "SELECT url, text FROM documents")}
        assert found == {"http://n.example/1": "Nested one.", "http://n.example/2": "Nested two."}


def test_no_document_is_made_of_what_is_no_text(tmp_path: Path) -> None:
    draw, folder = Random(1), tmp_path / "in"
    folder.mkdir()
    words = " ".join(f"word{n}" for n in range(3000))
    noise = {
        "packed": gzip.compress(draw.randbytes(3000)),
        "random": draw.randbytes(4000),
        "pdf": b"%PDF-1.7\n" + zlib.compress(words.encode()),
        "utf16": b"".join(bytes([draw.randrange(256), 0]) for _ in range(2000)),
    }
    texts = {
        "german": "Größe und Straße, naïve Café. " * 40,
        "chinese": "人人生而自由，在尊严和权利上一律平等。" * 40,
        "arabic": "يولد جميع الناس أحرارا متساوين في الكرامة والحقوق. " * 40,
        "latin1": "Größe und Straße. " * 40,
        "odd": "a form feed\f and an escape\x1b[0m in " + "plain words of a terminal " * 20,
    }
    for name, content in noise.items():
        (folder / f"{name}.txt").write_bytes(content)
    for name, text in texts.items():
        (folder / f"{name}.txt").write_bytes(text.encode("latin-1" if name == "latin1" else "utf-8"))
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(f'name = "noise"\nstore = "{tmp_path}/store"\n[sources.s.text]\nfiles = ["{folder}/*.txt"]\n')
    pipeline = Pipeline(load_recipe(str(recipe)))
    pipeline.make("extract")
    found = {row["url"]: row["text"] for row in asked(pipeline, "SELECT url, text FROM documents")}
    assert found == {f"s:{name}.txt": text.strip() for name, text in texts.items()}
    refused = asked(pipeline, "SELECT url, rule, verdict, value, threshold FROM decisions ORDER BY url")
    assert {row["url"] for row in refused} == {f"s:{name}.txt" for name in noise}
    assert {(row["rule"], row["verdict"], row["threshold"]) for row in refused} == {("not text", "removed", 0.05)}
    assert min(row["value"] for row in refused) > 0.05


def test_a_word_again_and_again_is_no_relative(tmp_path: Path) -> None:
    pipeline = pipeline_over(
        tmp_path, {"s": [f"text {n} " + "word " * 30 for n in range(40)]}, "pack.validation_share=0.2"
    )
    assert asked(pipeline, "SELECT kept, removed FROM artifacts WHERE stage = 'pack'") == [{"kept": 40, "removed": 0}]
