"""Small answers, archives and tables that would take gigabytes or minutes: each costs itself, within its limits."""

from __future__ import annotations

import gzip
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from tasks.core.confined import CRASH, MEMORY, TIME, Ended, Limits, Reader, Thing, read_confined
from tasks.core.process import descendants
from tasks.core.stage import make_part
from tasks.extract.archive import ExtractArchive, WarcSettings
from tasks.extract.page import ExtractSettings
from tasks.extract.table import ExtractTable, TableSettings
from tasks.web.http import BodyRefused, decoded_body
from tests.conftest import PROJECT
from warehouse.artifact import read_tables
from warehouse.store import Store

LIMITED = ExtractSettings(page_seconds=1.0, page_memory_bytes=400 << 20)
GOOD = (
    "<html><body><article><p>"
    + "A page that anybody may read, and that stays what it is. " * 8
    + "</p></article></body></html>"
)
BOMBS = {
    # Open formatting elements are opened anew in each paragraph (HTML, section 13.2.4.3): 4.3 GB of nodes.
    "formatting": "<p>" + "".join(f"<b a{n}>" for n in range(1500)) + "<p>x" * 1500,
    "closing": "<div></x>" * 80_000,
    "deep": "<div>" * 200_000,
    "attributes": "<p " + "".join(f"a{n}=1 " for n in range(100_000)) + ">x",
}


def warc(path: Path, pages: list[str]) -> Path:
    with path.open("wb") as out:
        writer = WARCWriter(out, gzip=True)
        for number, page in enumerate(pages):
            headers = StatusAndHeaders("200 OK", [("Content-Type", "text/html")], protocol="HTTP/1.1")
            body = io.BytesIO(page.encode())
            writer.write_record(
                writer.create_warc_record(f"http://site.example/{number}", "response", body, http_headers=headers)
            )
    return path


def extracted(stage: Any) -> tuple[dict[str, str], dict[str, tuple[str, str]]]:
    """(url -> text, url -> (verdict, rule)) of a stage."""
    records = [make_part(stage, part) for part in stage.plan()]
    texts, decisions = {}, {}
    for record in records:
        for row in read_tables(stage.store, stage.ref, "documents", parts=[record.part]).to_pylist():
            texts[row["url"]] = row["text"]
        for row in read_tables(stage.store, stage.ref, "decisions", parts=[record.part]).to_pylist():
            decisions[row["url"]] = (row["verdict"], row["rule"])
        counts = record.counts
        assert counts.documents_in == counts.kept + counts.removed + counts.failed
    return texts, decisions


@pytest.mark.parametrize("name", BOMBS)
def test_a_page_that_takes_too_much_fails_alone(tmp_path: Path, name: str) -> None:
    path = warc(tmp_path / "site.warc.gz", [GOOD, BOMBS[name], GOOD.replace("anybody", "everybody")])
    stage = ExtractArchive(Store(str(tmp_path / "store")), LIMITED, WarcSettings(files=(str(path),)), "site")
    clock = time.monotonic()
    texts, decisions = extracted(stage)
    assert {"http://site.example/0", "http://site.example/2"} <= set(texts)
    if name == "formatting":
        assert decisions == {"http://site.example/1": ("failed", MEMORY)}
    elif decisions:
        assert decisions["http://site.example/1"][0] in ("failed", "removed")
    assert time.monotonic() - clock < 60


def test_a_record_that_says_it_is_endless_ends_its_file_in_time(tmp_path: Path) -> None:
    path = warc(tmp_path / "site.warc.gz", [GOOD])
    plain = gzip.decompress(path.read_bytes())
    for length in (10**12, 10**18, 2**63, 2**64 + 7):
        lying = plain.replace(b"\r\nContent-Length: ", b"\r\nContent-Length: %d\r\nX-Was: " % length, 1)
        path.write_bytes(gzip.compress(lying))
        clock = time.monotonic()
        stage = ExtractArchive(
            Store(str(tmp_path / f"store-{length}")), LIMITED, WarcSettings(files=(str(path),)), "site"
        )
        extracted(stage)
        assert time.monotonic() - clock < 20


def test_a_table_of_one_long_text_many_times_holds_so_many_bytes(tmp_path: Path) -> None:
    text = pa.DictionaryArray.from_arrays(pa.array([0] * 20_000, pa.int32()), ["word " * 20_000])
    pq.write_table(pa.table({"text": text}), tmp_path / "t.parquet")
    assert (tmp_path / "t.parquet").stat().st_size < 200_000  # of 2 GB
    settings = LIMITED.model_copy(update={"max_part_bytes": 3_000_000})
    store = Store(str(tmp_path / "store"))
    stage = ExtractTable(store, settings, "parquet", TableSettings(files=(str(tmp_path / "t.parquet"),)), "many")
    (record,) = [make_part(stage, part) for part in stage.plan()]
    assert record.counts.documents_in == 20_000
    assert record.counts.kept == 1  # the others have the same URL and text, or are too large
    assert record.statistics["funnel"]["too large"][0] == 20_000 - 30


def test_a_line_without_end_is_one_failed_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.extract.rows.LONGEST_LINE", 1 << 20)
    good = json.dumps({"text": "the first text", "url": "http://a.example/"}).encode() + b"\n"
    last = json.dumps({"text": "the last text", "url": "http://b.example/"}).encode() + b"\n"
    with gzip.open(tmp_path / "t.jsonl.gz", "wb") as out:
        out.write(good)
        for _ in range(60):
            out.write(b" " * (1 << 20))
        out.write(b"\n" + last)
    stage = ExtractTable(
        Store(str(tmp_path / "store")), LIMITED, "jsonl", TableSettings(files=(str(tmp_path / "t.jsonl.gz"),)), "lines"
    )
    texts, decisions = extracted(stage)
    assert set(texts.values()) == {"the first text", "the last text"}
    assert list(decisions.values()) == [("failed", "malformed record")]


def test_text_that_is_not_utf8_costs_its_row(tmp_path: Path) -> None:
    offsets, data = pa.py_buffer(b"\0\0\0\0\4\0\0\0\10\0\0\0\14\0\0\0"), pa.py_buffer(b"good\xff\xfe\xfdxfine")
    text = pa.StringArray.from_buffers(3, offsets, data)
    pq.write_table(pa.table({"text": text, "id": ["a", "b", "c"]}), tmp_path / "t.parquet")
    stage = ExtractTable(
        Store(str(tmp_path / "store")), LIMITED, "parquet", TableSettings(files=(str(tmp_path / "t.parquet"),)), "rows"
    )
    texts, decisions = extracted(stage)
    assert texts == {"rows:a": "good", "rows:c": "fine"}
    assert decisions == {"rows:b": ("failed", "malformed record")}


def test_a_damaged_row_group_costs_itself(tmp_path: Path) -> None:
    words = [f"text number {n} " + "of some words " * 50 for n in range(3000)]
    pq.write_table(pa.table({"text": words}), tmp_path / "t.parquet", row_group_size=1000, compression="zstd")
    content = bytearray((tmp_path / "t.parquet").read_bytes())
    column = pq.ParquetFile(tmp_path / "t.parquet").metadata.row_group(1).column(0)
    start = column.dictionary_page_offset or column.data_page_offset
    content[start : start + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    (tmp_path / "t.parquet").write_bytes(content)
    settings = TableSettings(files=(str(tmp_path / "t.parquet"),))
    texts, decisions = extracted(ExtractTable(Store(str(tmp_path / "store")), LIMITED, "parquet", settings, "rows"))
    assert len(texts) == 2000
    assert set(decisions.values()) == {("failed", "malformed record")}


def test_empty_gzip_members_are_no_work_without_end() -> None:
    empty = gzip.compress(b"")
    for count in (300_000, 700_000):
        packed = gzip.compress(empty * count)
        clock = time.monotonic()
        with pytest.raises(BodyRefused, match="members"):
            decoded_body(packed, "gzip, gzip", 16 << 20)
        assert time.monotonic() - clock < 5
    assert decoded_body(gzip.compress(b"one ") + gzip.compress(b"two") + b"\0" * 9, "gzip", 100) == b"one two"
    several = b"".join(gzip.compress(bytes([65 + n % 26]) * 40_000) for n in range(300))
    assert len(decoded_body(several, "gzip", 1 << 24)) == 300 * 40_000


def numbers(kinds: list[str]) -> Any:
    """Things that return, hang, take memory, crash or raise."""
    for kind in kinds:
        yield Thing(kind, {"ok": lambda: "ok", "hang": hang, "eat": eat, "crash": crash}[kind])


def hang() -> str:
    while True:
        pass


def eat() -> str:
    return "x" * (1 << 30)


def crash() -> str:
    import ctypes

    return str(ctypes.string_at(0))


def endless(count: int) -> Any:
    for n in range(count):
        yield Thing(n, lambda: "ok")
    hang()


def test_what_ends_its_reader_is_passed_over_with_its_reason_and_its_name() -> None:
    limits = Limits(0.5, 100 << 20)
    kinds = ["ok", "hang", "ok", "eat", "crash", "ok", "ok"]
    found = list(read_confined(numbers, kinds, limits=limits))
    assert found == ["ok", Ended(TIME, "hang"), "ok", Ended(MEMORY, "eat"), Ended(CRASH, "crash"), "ok", "ok"]
    assert list(read_confined(endless, 3, limits=limits)) == ["ok", "ok", "ok", Ended(TIME)]
    with pytest.raises(KeyError, match="unknown"):
        list(read_confined(numbers, ["ok", "unknown"], limits=limits))
    many = ["ok"] * 500 + ["hang"] + ["ok"] * 500
    assert list(read_confined(numbers, many, limits=limits)) == ["ok"] * 500 + [Ended(TIME, "hang")] + ["ok"] * 500


def echo(kind: str) -> str:
    return {"hang": hang, "eat": eat, "crash": crash}.get(kind, lambda: kind)()


def test_a_reader_that_ended_is_there_again_for_the_next_call() -> None:
    reader: Reader[str] = Reader(echo, Limits(0.5, 100 << 20))
    said = [reader(kind) for kind in ("a", "hang", "b", "eat", "crash", "c")]
    assert said == ["a", Ended(TIME), "b", Ended(MEMORY), Ended(CRASH), "c"]
    reader.close()


def test_ctrl_c_for_the_whole_group_is_no_fault_of_what_is_read(tmp_path: Path) -> None:
    script = (
        "import os, signal, time\n"
        "from tasks.core.confined import Limits, Reader\n"
        "def slow(n):\n    open('reading', 'w').close()\n    time.sleep(1.5)\n    return n\n"
        "signal.signal(signal.SIGINT, lambda *_: None)\n"
        "reader = Reader(slow, Limits(5, 1 << 28))\n"
        "print(reader(7))\nreader.close()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        while not (tmp_path / "reading").exists():
            time.sleep(0.02)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
            for child in descendants(process.pid):
                os.kill(child, number)
            time.sleep(0.2)
        said, _ = process.communicate(timeout=60)
    assert said == "7\n"
