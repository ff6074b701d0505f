"""Texts that somebody else crawled or wrote enter the same tables, each accounted for."""

from __future__ import annotations

import gzip
import json
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from flows.recipe.sources import Source
from tasks.core.stage import Stage, run_stages
from tasks.extract.archive import ExtractArchive, WarcSettings
from tasks.extract.files import FEW_FILES
from tasks.extract.page import ExtractSettings
from tasks.extract.table import ExtractTable, TableSettings, TextSettings
from tasks.extract.warc import Record, body_of
from tasks.web.http import BodyRefused
from tests.conftest import SHARED
from tests.loopback import root_of, serve
from tests.test_crawl import Site, crawled
from warehouse.artifact import read_tables
from warehouse.errors import SettingError
from warehouse.store import Store

FAST = ExtractSettings(extractor="resiliparse", part_bytes=20_000)
CONFORMANCE = SHARED / "conformance" / "warc"
needs_archives = pytest.mark.skipif(not CONFORMANCE.is_dir(), reason="the shared archives are not on this machine")
ROWS = [
    {
        "text": f"Text {n}. " + "word " * 50,
        "url": f"http://fine.example/{n}",
        "id": str(n),
        "date": "2024-05-06T07:08:09Z",
    }
    for n in range(300)
]


def documents_of(stage: Stage) -> list[dict]:
    (made,) = run_stages([stage])
    assert made.counts.balanced
    return read_tables(stage.store, made.ref, "documents").to_pylist()


def table_of(store: Path, kind: str, *files: str, **changes: str) -> ExtractTable:
    return ExtractTable(Store(str(store)), FAST, kind, TableSettings(files=files, **changes), "table")  # type: ignore[arg-type]


def test_parquet_and_json_lines_of_the_same_rows_give_the_same_documents(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "rows.parquet", row_group_size=70)
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    (tmp_path / "packed.jsonl.gz").write_bytes(gzip.compress("\n".join(map(json.dumps, ROWS)).encode()))
    found = []
    for number, (kind, name) in enumerate(
        [("parquet", "rows.parquet"), ("jsonl", "rows.jsonl"), ("jsonl", "packed.jsonl.gz")]
    ):
        documents = documents_of(table_of(tmp_path / f"store{number}", kind, str(tmp_path / name)))
        found.append({row["doc_id"]: (row["url"], row["text"], row["published"]) for row in documents})
        assert len(documents) == len(ROWS)
    assert found[0] == found[1] == found[2]
    assert {published for _, _, published in found[0].values()} == {"2024-05-06"}


def test_columns_are_mapped_by_settings_and_a_missing_text_column_is_a_sentence(tmp_path: Path) -> None:
    rows = [{"content": "some words", "link": "http://a.example/x", "head": "A title"}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    named = {"text_column": "content", "url_column": "link", "title_column": "head"}
    (document,) = documents_of(table_of(tmp_path / "s", "parquet", str(tmp_path / "rows.parquet"), **named))
    assert (document["text"], document["url"], document["title"]) == ("some words", "http://a.example/x", "A title")
    with pytest.raises(SettingError, match="has no column text: set text_column of the source table to one of content"):
        documents_of(table_of(tmp_path / "s", "parquet", str(tmp_path / "rows.parquet")))


def test_lines_that_are_no_json_cost_themselves_only(tmp_path: Path) -> None:
    lines = [
        *map(json.dumps, ROWS[:5]),
        "{broken",
        "[1]",
        '{"url": "http://no.example/text"}',
        *map(json.dumps, ROWS[5:9]),
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    stage = table_of(tmp_path / "s", "jsonl", str(tmp_path / "rows.jsonl"))
    assert len(documents_of(stage)) == 9
    refused = read_tables(stage.store, stage.ref, "decisions").to_pylist()
    assert [row["verdict"] for row in refused] == ["failed"] * 3


def test_same_files_in_any_order_have_one_key_and_equal_texts_are_one_document(tmp_path: Path) -> None:
    for name, rows in (("a", ROWS[:50]), ("b", ROWS[50:100]), ("c", [*ROWS[100:150], ROWS[100]])):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    files = [str(tmp_path / f"{name}.jsonl") for name in "abc"]
    store = tmp_path / "s"
    forward, glob = table_of(store, "jsonl", *files), table_of(store, "jsonl", str(tmp_path / "*.jsonl"))
    assert forward.ref == table_of(store, "jsonl", *reversed(files)).ref == glob.ref
    assert len(documents_of(forward)) == 150


def parts_of(store: Path, kind: str, folder: Path) -> dict[str, str]:
    """Part -> digest of its documents, of all files of a folder, in a store that has no memory of an earlier run."""
    settings = (TextSettings if kind == "text" else TableSettings)(files=(f"{folder}/*",))
    stage = ExtractTable(Store(str(store)), FAST, kind, settings, "table")  # type: ignore[arg-type]
    (made,) = run_stages([stage])
    return {part.part: file.sha256 for part in made.parts for file in part.files if file.path.startswith("documents/")}


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "text"])
def test_one_more_file_adds_its_parts_and_changes_none(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    for number in range(5):
        rows = ROWS[number * 60 : (number + 1) * 60]
        before = parts_of(tmp_path / str(number), kind, folder) if number else {}
        if kind == "parquet":
            pq.write_table(pa.Table.from_pylist(rows), folder / f"{5 - number}.parquet")
        else:
            text = rows[0]["text"] if kind == "text" else "\n".join(map(json.dumps, rows))
            (folder / f"{5 - number}.{kind}").write_text(text)
        after = parts_of(tmp_path / f"{number}+", kind, folder)
        assert before.items() < after.items()


def test_of_very_many_small_files_one_more_changes_one_part_at_most(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    for number in range(FEW_FILES + 200):
        (folder / f"{number}.txt").write_text(f"Text {number}. " + "word " * 100)
    before = parts_of(tmp_path / "a", "text", folder)
    assert 5 < len(before) < 30  # of 264 files of 0.5 KB, in parts of 20 KB
    changed = set()
    for number in range(3):
        (folder / f"more-{number}.txt").write_text(f"Another {number}. " + "word " * 100)
        after = parts_of(tmp_path / f"b{number}", "text", folder)
        changed.add(len(before.items() - after.items()))
        before = after
    assert changed <= {0, 1}
    assert 1 in changed


def test_books_in_folders_are_documents_named_by_their_place(tmp_path: Path) -> None:
    for author, title in (("Austen", "Emma"), ("Austen", "Persuasion"), ("Melville", "Moby Dick")):
        (tmp_path / "books" / author).mkdir(parents=True, exist_ok=True)
        (tmp_path / "books" / author / f"{title}.txt").write_text(f"{title} by {author}. " + "It was. " * 100)
    texts = TextSettings(files=(str(tmp_path / "books" / "**" / "*.txt"),))
    documents = documents_of(ExtractTable(Store(str(tmp_path / "s")), FAST, "text", texts, "books"))
    assert {(row["url"], row["title"]) for row in documents} == {
        ("books:Austen/Emma.txt", "Emma"),
        ("books:Austen/Persuasion.txt", "Persuasion"),
        ("books:Melville/Moby Dick.txt", "Moby Dick"),
    }


@needs_archives
def test_common_crawl_records_as_warc_and_wet_become_documents_with_their_pages(tmp_path: Path) -> None:
    archives = WarcSettings(
        files=(str(CONFORMANCE / "whirlwind" / "*.warc.gz"), str(CONFORMANCE / "whirlwind" / "*.wet.gz"))
    )
    stage = ExtractArchive(Store(str(tmp_path)), FAST, archives, "cc")
    documents = documents_of(stage)
    assert len(documents) == 2
    assert len({row["url"] for row in documents}) == 1
    pages = read_tables(stage.store, stage.ref, "pages").to_pylist()
    assert {(row["status"], row["record"]) for row in pages} == {(200, "response")}
    assert {row["digest"] for row in pages} == {row["digest"] for row in documents}


@needs_archives
def test_malformed_archive_is_reported_and_what_follows_is_kept(tmp_path: Path) -> None:
    whole = (CONFORMANCE / "aut" / "warc" / "example.warc.gz").read_bytes()
    broken = bytearray(whole)
    broken[200_000:200_050] = bytes(50)
    (tmp_path / "broken.warc.gz").write_bytes(broken)
    (tmp_path / "whole.warc.gz").write_bytes(whole)
    made = {}
    for name in ("whole", "broken"):
        archives = WarcSettings(files=(str(tmp_path / f"{name}.warc.gz"),))
        stage = ExtractArchive(Store(str(tmp_path / name)), FAST, archives, "cc")
        made[name] = {row["url"] for row in documents_of(stage)}
        reported = [
            row
            for row in read_tables(stage.store, stage.ref, "decisions").to_pylist()
            if row["rule"] == "malformed record"
        ]
        assert bool(reported) == (name == "broken")
    assert made["broken"] <= made["whole"]
    assert len(made["whole"] - made["broken"]) <= 1


def test_own_archive_read_as_a_foreign_one_gives_the_same_texts(tmp_path: Path) -> None:
    site = Site()
    crawl, _ = crawled(tmp_path / "crawl", site.settings())
    site.server.shutdown()
    archives = WarcSettings(files=(str(tmp_path / "crawl" / crawl.ref.folder / "warc" / "*.warc.gz"),))
    documents = documents_of(ExtractArchive(Store(str(tmp_path / "s")), FAST, archives, "again"))
    assert {row["url"] for row in documents} >= {f"{site.root}/page/{n}" for n in range(60)}


def test_list_of_paths_is_read_over_http(tmp_path: Path) -> None:
    class Folder(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(tmp_path / "web"))  # type: ignore[arg-type]

    server = serve(Folder)
    site = Site()
    crawl, _ = crawled(tmp_path / "crawl", site.settings())
    site.server.shutdown()
    folder = tmp_path / "web" / "crawl-data"
    folder.mkdir(parents=True)
    (archive,) = (tmp_path / "crawl" / crawl.ref.folder / "warc").iterdir()
    (folder / "one.warc.gz").write_bytes(archive.read_bytes())
    (tmp_path / "warc.paths.gz").write_bytes(gzip.compress(b"crawl-data/one.warc.gz\n"))
    base = f"{root_of(server)}/"
    archives = WarcSettings(files=(str(tmp_path / "warc.paths.gz"),), base=base)
    stage = ExtractArchive(Store(str(tmp_path / "s")), FAST, archives, "cc")
    assert len(documents_of(stage)) >= 60
    assert read_tables(stage.store, stage.ref, "pages")["warc_path"][0].as_py() == f"{base}crawl-data/one.warc.gz"
    server.shutdown()


def test_source_has_one_origin_and_files_that_exist(tmp_path: Path) -> None:
    with pytest.raises(
        ValidationError, match="a source has one of crawl, warc, parquet, jsonl, text, this one has none"
    ):
        Source()
    with pytest.raises(SettingError, match="there is no file"):
        table_of(tmp_path, "jsonl", str(tmp_path / "*.nothing"))


def test_bodies_as_they_travelled_are_unpacked_and_unknown_codings_are_no_text() -> None:
    chunked = b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\n"
    packed = gzip.compress(b"hello world")
    in_chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(packed), packed)

    def read(body: bytes, coding: str = "", travel: str = "") -> bytes:
        return body_of(Record("response", 0, "", "", 200, "", coding, travel, body), 1000)

    assert read(chunked, travel="chunked") == b"hello world"
    assert read(b"hello world", travel="chunked") == b"hello world"  # the header stayed, the chunks went
    assert read(in_chunks, "gzip", "chunked") == read(packed, "gzip") == b"hello world"
    assert read(b"<html>plain</html>", "gzip") == b"<html>plain</html>"
    with pytest.raises(BodyRefused):
        read(bytes(range(200)), "br")


def test_hostile_rows_cost_themselves_only(tmp_path: Path) -> None:
    lines = [
        '{"text": "fine words", "title": "\\ud83d", "id": "\\udc00"}',
        "[" * 200_000,
        '{"text": "\\ud800 half", "url": "\\ud800"}',
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    assert len(documents_of(table_of(tmp_path / "a", "jsonl", str(tmp_path / "rows.jsonl")))) == 2
    whole = gzip.compress("\n".join(map(json.dumps, ROWS)).encode())
    (tmp_path / "cut.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    stage = table_of(tmp_path / "b", "jsonl", str(tmp_path / "cut.jsonl.gz"))
    assert documents_of(stage)
    assert read_tables(stage.store, stage.ref, "decisions").num_rows == 1
