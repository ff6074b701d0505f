"""The commit protocol: a file is whole or absent, on a folder and on an object store."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import PROJECT, free_port
from warehouse.errors import StoreError
from warehouse.store import Store

WRITER = """
import sys
from warehouse.store import Store
with Store(sys.argv[1]).writing("artifacts/x/part") as path:
    path.write_bytes(b"half")
    print("half", flush=True)
    import time; time.sleep(60)
"""


def test_file_killed_while_written_is_absent_and_its_remains_are_swept(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], cwd=PROJECT, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        writer.send_signal(signal.SIGKILL)
    store = Store(str(tmp_path))
    assert not store.exists("artifacts/x/part")
    assert store.names("artifacts/x") == []
    assert list((tmp_path / "artifacts/x").iterdir())
    store.sweep("artifacts")
    assert not list((tmp_path / "artifacts/x").iterdir())


def test_sweep_leaves_the_files_of_a_living_writer(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    with store.writing("a/b") as path:
        path.write_bytes(b"x")
        store.sweep("a")
        assert path.exists()
    assert store.read_bytes("a/b") == b"x"


def test_failed_block_commits_nothing(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    with pytest.raises(RuntimeError, match="no"), store.writing("a/b") as path:
        path.write_bytes(b"x")
        raise RuntimeError("no")
    assert store.names("a") == []
    assert not any(p.is_file() for p in tmp_path.rglob("*"))


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """A bucket on moto's server on loopback."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=free_port())
    server.start()
    host, port = server.get_host_and_port()
    old = dict(os.environ)
    os.environ.update(
        {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "x",
            "AWS_SECRET_ACCESS_KEY": "x",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
    )
    for name in ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"):
        os.environ.pop(name, None)
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    s3fs.S3FileSystem().mkdir("grist")
    yield "s3://grist/pipeline"
    server.stop()
    os.environ.clear()
    os.environ.update(old)


def test_object_store_keeps_the_same_protocol(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    store = Store(bucket)
    assert store.names("artifacts") == []
    with store.writing("artifacts/s/k/t/p.bin") as path:
        path.write_bytes(b"content")
    with pytest.raises(RuntimeError), store.writing("artifacts/s/k/t/q.bin") as path:
        path.write_bytes(b"half")
        raise RuntimeError
    assert store.names("artifacts/s/k/t") == ["p.bin"]
    assert (store.size("artifacts/s/k/t/p.bin"), store.size("artifacts/s/k/t/q.bin")) == (7, -1)
    assert store.local_copy("artifacts/s/k/t/p.bin", "d").read_bytes() == b"content"
    store.delete("artifacts/s/k/t/p.bin")
    assert not store.exists("artifacts/s/k/t/p.bin")


def test_artifacts_and_queries_work_on_an_object_store(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    import pyarrow as pa

    from tasks.core.stage import Input, run_stages
    from tasks.signals.stage import SCHEMA, Annotate, AnnotateSettings, measure
    from warehouse import log, schemas
    from warehouse.artifact import Counts, Manifest, PartWriter, Ref, read_tables, write_manifest
    from warehouse.catalog import connect

    store = Store(f"{bucket}/queries")
    ref = Ref(stage="extract", key="k")
    writer = PartWriter(store, ref, "p-00000")
    row = {
        "doc_id": "d",
        "url": "http://a.example/",
        "text": "The cat and the dog have to be with that of it.",
        "source": "s",
    }
    writer.table("documents", pa.Table.from_pylist([row], schema=schemas.DOCUMENTS))
    record = writer.commit(Counts(documents_in=1, kept=1), {})
    manifest = Manifest(
        stage="extract",
        subject="s",
        version=1,
        key="k",
        settings={},
        inputs={},
        counts=record.counts,
        rows=1,
        bytes=1,
        parts=(record,),
    )
    write_manifest(store, manifest, 1)
    (made,) = run_stages([Annotate(store, AnnotateSettings(), {"documents": Input.of(ref)}, "s")])
    assert read_tables(store, made.ref, "signals").schema.equals(SCHEMA)
    run = log.new_run(store, "test")
    log.note_stage(store, run, [ref])
    log.note_stage(store, run, [made.ref])
    with connect(store) as connection:
        assert connection.sql("SELECT doc_id, gopher_stop_word_count FROM signals").fetchall() == [
            ("d", measure(pa.array([row["text"]]))["gopher_stop_word_count"][0])
        ]


@pytest.mark.skipif(
    os.geteuid() == 0 and not Path("/proc/self/ns/mnt").exists(), reason="needs a file system that can be filled"
)
def test_full_disk_is_one_sentence_and_the_same_write_works_after(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(small)], capture_output=True, check=False
    ).returncode:
        pytest.skip("a small file system cannot be mounted here")
    try:
        store = Store(str(small))
        store.write_bytes("filler", b"x" * 200_000)
        with pytest.raises(StoreError, match="no space is left"):
            store.write_bytes("a/part", b"y" * 100_000)
        assert store.names("a") == []
        store.delete("filler")
        store.write_bytes("a/part", b"y" * 100_000)
        assert store.size("a/part") == 100_000
    finally:
        subprocess.run(["umount", str(small)], check=False)


def test_lock_of_a_killed_holder_is_free(tmp_path: Path) -> None:
    code = "import sys,time\nfrom warehouse.store import Store\nwith Store(sys.argv[1]).lock('x'):\n print('held', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=PROJECT, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        holder.kill()
    started = time.monotonic()
    with Store(str(tmp_path)).lock("x"):
        assert time.monotonic() - started < 30  # its holder would have kept it for 60


def test_crawls_archive_on_an_object_store_and_foreign_archives_are_read_from_one(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    from tasks.core.stage import run_stages
    from tasks.crawl.stage import content_input, crawl_to_use
    from tasks.extract.archive import ExtractArchive, WarcSettings
    from tasks.extract.page import ExtractSettings
    from tasks.extract.stage import Extract
    from tests.test_crawl import PAGES, Site
    from warehouse.artifact import load, read_tables

    site = Site()
    store = Store(f"{bucket}/crawled")
    crawl = crawl_to_use(store, site.settings(warc_bytes=20_000), "site", False)
    run_stages([crawl])
    site.server.shutdown()
    assert len(store.names(f"{crawl.ref.folder}/warc")) > 1
    settings = ExtractSettings(extractor="resiliparse")
    own = Extract(store, settings, {"pages": content_input(store, load(store, crawl.ref))}, "site")
    archives = WarcSettings(files=(f"{bucket}/crawled/{crawl.ref.folder}/warc/*.warc.gz",))
    foreign = ExtractArchive(Store(str(tmp_path / "local")), settings, archives, "foreign")
    for stage in (own, foreign):
        run_stages([stage])
        urls = set(read_tables(stage.store, stage.ref, "documents")["url"].to_pylist())
        assert urls >= {f"{site.root}/page/{n}" for n in range(PAGES)}
