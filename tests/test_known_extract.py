"""Extraction by hand: what of a page is text, what of an archive is a document, and when a file is another one."""

from __future__ import annotations

import io
import os
from pathlib import Path

from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from tasks.core.stage import make_part
from tasks.extract.archive import ExtractArchive, WarcSettings
from tasks.extract.files import FilesSettings, external_files
from tasks.extract.page import ExtractSettings, read_page
from warehouse.artifact import read_tables
from warehouse.store import Store

PROSE = (
    "This paragraph says something in whole sentences, which go on for a while, so that nobody takes it for a menu. "
)


def text_of(body: str) -> str:
    return read_page(f"<html><head><title>A title</title></head><body>{body}</body></html>", "http://a.example/").text


def test_what_is_written_for_browsers_without_scripts_is_no_text() -> None:
    text = text_of(
        f"<article><p>{PROSE * 3}</p><noscript>{PROSE.replace('paragraph', 'notice')}</noscript><p>{PROSE * 2}</p></article>"
    )
    assert "notice" not in text
    assert text.count("This paragraph") == 5


def test_boilerplate_is_known_by_its_name_in_any_case() -> None:
    def says(name: str) -> bool:
        said = PROSE.replace("paragraph", "boilerplate")
        text = text_of(
            f'<article><p>{PROSE * 4}</p><div class="{name}"><p>{said}</p></div><p>{PROSE * 4}</p></article>'
        )
        assert text.count("This paragraph") == 8
        return "boilerplate" in text

    assert says("chapter")
    assert says("CHAPTER")
    for name in ("footer", "Footer", "FOOTER", "pageFooter", "Site-Footer", "NavBar", "navbar"):
        assert not says(name), name


def test_the_block_behind_the_article_is_not_its_last_one() -> None:
    first, behind = f"<p>{PROSE * 3}</p>", PROSE.replace("paragraph", "neighbour")
    text = text_of(f"<main><article>{first}{first}</article></main><p>{behind}</p><p>{behind}</p>")
    assert text.count("This paragraph") == 6
    assert "neighbour" not in text


def test_an_opening_sentence_with_a_date_in_it_is_text() -> None:
    opening = "On 12 March 2019 the bridge was closed, and nobody knew for how long."  # short, and a sentence
    text = text_of(f"<article><h1>A title</h1><p>{opening}</p><p>{PROSE * 3}</p></article>")
    assert text.startswith(opening)
    assert "Posted" not in text_of(f"<article><h1>A title</h1><p>Posted 12 March 2019</p><p>{PROSE * 3}</p></article>")


def test_a_revisit_record_is_a_fetch_and_no_document(tmp_path: Path) -> None:
    path = tmp_path / "a.warc.gz"
    with path.open("wb") as out:
        writer = WARCWriter(out, gzip=True)
        headers = StatusAndHeaders("200 OK", [("Content-Type", "text/html")], protocol="HTTP/1.1")
        body = f"<html><body><p>{PROSE * 3}</p></body></html>".encode()
        writer.write_record(
            writer.create_warc_record("http://a.example/1", "response", io.BytesIO(body), http_headers=headers)
        )
        writer.write_record(
            writer.create_revisit_record(
                "http://a.example/2", "sha1:X", "http://a.example/1", "2026-01-01T00:00:00Z", http_headers=headers
            )
        )
    stage = ExtractArchive(Store(str(tmp_path / "s")), ExtractSettings(), WarcSettings(files=(str(path),)), "a")
    (record,) = [make_part(stage, part) for part in stage.plan()]
    assert (record.counts.documents_in, record.counts.kept) == (1, 1)
    pages = read_tables(stage.store, stage.ref, "pages", parts=[record.part]).to_pylist()
    assert [(row["url"], row["record"], row["status"]) for row in pages] == [
        ("http://a.example/1", "response", 200),
        ("http://a.example/2", "revisit", 200),
    ]


def test_a_file_that_changed_without_changing_its_size_is_another_one(tmp_path: Path) -> None:
    path, folder = tmp_path / "a.txt", str(tmp_path / "store")
    settings = FilesSettings(files=(str(path),))
    path.write_text("one text")
    (first,) = external_files(Store(folder), settings)
    assert external_files(Store(folder), settings)[0].digest == first.digest
    path.write_text("two text")
    os.utime(path, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns + 5_000_000))
    (second,) = external_files(Store(folder), settings)
    assert second.size == first.size
    assert second.digest != first.digest


def test_a_body_is_too_large_from_one_byte_beyond_the_limit(tmp_path: Path) -> None:
    body = f"<html><body><p>{PROSE * 3}</p></body></html>".encode()
    with (tmp_path / "a.warc.gz").open("wb") as out:
        headers = StatusAndHeaders("200 OK", [("Content-Type", "text/html")], protocol="HTTP/1.1")
        writer = WARCWriter(out, gzip=True)
        writer.write_record(
            writer.create_warc_record("http://a.example/1", "response", io.BytesIO(body), http_headers=headers)
        )
    archives = WarcSettings(files=(str(tmp_path / "a.warc.gz"),))
    for limit, kept in ((len(body), 1), (len(body) - 1, 0)):
        stage = ExtractArchive(Store(str(tmp_path / str(limit))), ExtractSettings(max_html_bytes=limit), archives, "a")
        (record,) = [make_part(stage, part) for part in stage.plan()]
        assert record.counts.kept == kept
        assert record.statistics["funnel"]["too large"][0] == 1 - kept
