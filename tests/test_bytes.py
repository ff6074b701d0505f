"""Bytes become text as in a browser: charsets, content codings, types that nobody says; what is no text becomes none."""

from __future__ import annotations

import gzip
import random
import subprocess
import time
import tracemalloc
import zlib
from pathlib import Path

import pyarrow as pa
import pytest

from tasks.extract.page import Extracted, ExtractSettings, PageRefused, Read, read_html, read_page
from tasks.web.charsets import decode, decoded
from tasks.web.http import BodyRefused, decoded_body
from tasks.web.sniffing import media_type, sniffed
from tasks.web.urls import canonical_url, in_charset
from tests.conftest import SHARED

REPORTS = SHARED / "reports"
SENTENCE = "The old bridge over the river was built of stone by masons who came from the hills. "
PAGE = f"<!DOCTYPE html><html><head><title>Bridge</title></head><body><p>{SENTENCE * 4}</p></body></html>"


def read(body: bytes, content_type: str = "text/html") -> Extracted | PageRefused | None:
    return read_html(Read("http://site.example/", len(body)), content_type, body, ExtractSettings()).found


# Codes and characters of the Encoding Standard's indexes; Python's codecs of these names read them otherwise or not at all.
CODES = [
    ("big5", "9EA9", "恢"),
    ("big5", "92B0", "兛"),
    ("big5", "877A", "㡵"),
    ("big5", "87BC", "剏"),
    ("big5", "A3E1", "€"),
    ("big5", "A145", "‧"),
    ("big5", "F9D8", "裏"),
    ("big5", "8862", "Ê̄"),
    ("euc-jp", "ADA1", "①"),
    ("euc-jp", "A1C1", "～"),
    ("euc-jp", "A1DD", "－"),
    ("euc-jp", "F9A1", "纊"),
    ("euc-jp", "8EB1", "ｱ"),
    ("euc-jp", "8FB0A1", "丂"),
    ("euc-jp", "8FA2B7", "～"),
    ("shift_jis", "8740", "①"),
    ("euc-kr", "8141", "갂"),
    ("gbk", "A3A0", "\u3000"),
    ("gb18030", "A6D9", "︐"),
    ("windows-1252", "80", "€"),
    ("iso-8859-1", "80", "€"),
    ("windows-874", "A1", "ก"),
    ("x-mac-cyrillic", "80", "А"),
    ("koi8-u", "A4", "є"),
]


@pytest.mark.parametrize(("label", "code", "character"), CODES)
def test_codes_are_read_as_the_encoding_standard_says(label: str, code: str, character: str) -> None:
    around = 60 * b"plain words "
    text = decode(around + bytes.fromhex(code) + b" and more", f"text/html; charset={label}")
    assert text == (around.decode() + character + " and more")


@pytest.mark.parametrize(
    ("name", "asked"), [("big5", "BIG5-HKSCS"), ("big5-sparse", "BIG5-HKSCS"), ("eucjp", "EUC-JP-MS"), ("eucjp-sparse", "EUC-JP-MS")]
)  # fmt: skip
@pytest.mark.skipif(not REPORTS.is_dir(), reason="the shared reports are not on this machine")
def test_reported_pages_in_supersets_are_read_as_iconv_reads_them(name: str, asked: str) -> None:
    path = Path(REPORTS) / "08-cjk-supersets" / f"{name}.html"
    meant = subprocess.run(["iconv", "-f", asked, "-t", "UTF-8", path], capture_output=True, check=True).stdout.decode()
    assert decode(path.read_bytes(), "text/html") == meant


def test_a_page_that_calls_itself_utf_16_in_ascii_is_utf_8() -> None:
    body = "<meta charset=utf-16><p>" + SENTENCE * 3
    assert decode(body.encode(), "") == body
    assert decode(body.replace("stone", "Stein für").encode("latin-1"), "") == body.replace("stone", "Stein für")


def test_an_encoding_that_is_named_and_wrong_is_not_believed() -> None:
    body = ("Ich möchte über die Brücke gehen, die schön ist. " * 20).encode("cp1252")
    assert "möchte über" in decode(b"<meta charset=euc-jp>" + body, "text/html; charset=euc-kr")


@pytest.mark.parametrize(
    "said", ["none", "utf-8", "UTF-8", "identity, identity", "iso-8859-1", "binary", "8bit", "", "identity"]
)
def test_what_is_no_content_coding_is_none(said: str) -> None:
    assert decoded_body(PAGE.encode(), said, 1 << 20) == PAGE.encode()


@pytest.mark.parametrize("said", ["compress", "x-secret"])
def test_a_content_coding_that_nobody_knows_is_named(said: str) -> None:
    with pytest.raises(BodyRefused, match=said):
        decoded_body(PAGE.encode(), said, 1 << 20)


PACKED = {
    "br": lambda body: pa.compress(body, "brotli", asbytes=True),
    "zstd": lambda body: pa.compress(body, "zstd", asbytes=True),
    "gzip": gzip.compress,
    "deflate": zlib.compress,
}


@pytest.mark.parametrize("coding", PACKED)
def test_packed_bodies_are_unpacked_within_their_limit_and_never_in_part(coding: str) -> None:
    body = (PAGE * 50).encode()
    packed = PACKED[coding](body)
    assert decoded_body(packed, coding, 1 << 20) == body
    assert decoded_body(packed, f"{coding}, identity", len(body)) == body
    with pytest.raises(BodyRefused, match="more than"):
        decoded_body(packed, coding, len(body) - 1)
    for end in (len(packed) // 2, len(packed) - 1):
        with pytest.raises(BodyRefused, match=r"cut off|broken"):
            decoded_body(packed[:end], coding, 1 << 20)
    with pytest.raises(BodyRefused):
        decoded_body(b"\x00 no such thing " * 9, coding, 1 << 20)


@pytest.mark.parametrize("coding", PACKED)
def test_a_small_body_that_unpacks_to_an_endless_one_takes_no_memory(coding: str) -> None:
    bomb = PACKED[coding](bytes(16 << 20))
    tracemalloc.start()
    with pytest.raises(BodyRefused, match="more than 100000 bytes"):
        decoded_body(bomb, coding, 100_000)
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


def test_a_packed_page_that_nobody_calls_packed_is_read_or_refused_and_is_never_noise() -> None:
    packed = gzip.compress((PAGE * 20).encode())
    found = read(packed)
    assert isinstance(found, Extracted)
    assert found.text.count("masons") == 80
    cut = read(packed[:-20])
    assert isinstance(cut, PageRefused)
    assert (cut.rule, cut.failed) == ("body", True)


# Beginnings and types, by the tables of the MIME Sniffing Standard, section 7.1.
BEGINNINGS = [
    (b"<!DOCTYPE html><title>x", "text/html"),
    (b"  \n\t<HTML lang=en>", "text/html"),
    (b"\xef\xbb\xbf<html>", "text/html"),
    (b"<p>words", "text/html"),
    (b"<!-- a comment -->", "text/html"),
    (b"<path d=1>", "text/plain"),
    (b"<b", "text/plain"),
    (b"<?xml version='1.0'?><html>", "text/xml"),
    (b"Words of a letter.\n", "text/plain"),
    ("Größe".encode("latin-1"), "text/plain"),
    (b"%PDF-1.7", "application/octet-stream"),
    (b"\x89PNG\r\n\x1a\n", "application/octet-stream"),
    (b"PK\x03\x04words", "application/octet-stream"),
    (b"words\x00words", "application/octet-stream"),
    (b"", "text/plain"),
]


@pytest.mark.parametrize(("body", "kind"), BEGINNINGS)
def test_a_body_without_a_type_is_what_it_begins_as(body: bytes, kind: str) -> None:
    assert sniffed(body) == kind
    assert [media_type(said, body) for said in ("", "unknown/unknown", "*/*", "nonsense")] == [kind] * 4


def test_a_type_that_is_said_is_believed() -> None:
    assert media_type("Text/HTML; Charset=UTF-8", b"%PDF-1.7") == "text/html"
    assert media_type("application/json", b"<html>") == "application/json"


def test_a_long_prologue_of_comments_takes_no_time() -> None:
    page = b"<!-- " + b"*" * 60 + b" -->\n"
    started = time.process_time()
    assert media_type("text/html", page * 50 + b"<!DOCTYPE html><html>") == "text/html"
    assert media_type("text/html", page * 50 + b"<rss version='2.0'>") == "text/xml"
    assert time.process_time() - started < 1


@pytest.mark.parametrize("label", ["iso-2022-kr", "hz-gb-2312", "iso-2022-cn", "replacement"])
def test_a_charset_that_browsers_do_not_read_says_nothing(label: str) -> None:
    body = ("<p>" + "Das alte Café an der Brücke ist schön. " * 9).encode("latin-1")
    assert "Café an der Brücke" in decode(body, f"text/html; charset={label}")


def test_plain_text_is_a_document_and_a_list_of_addresses_none() -> None:
    plain = read(b"A letter.\r\n\r\nIt says <b>this</b>.", "text/plain; charset=utf-8")
    assert plain == Extracted("A letter.\n\nIt says <b>this</b>.")
    untyped = read(PAGE.encode(), "")
    assert isinstance(untyped, Extracted)
    assert untyped.about.title == "Bridge"
    listed = read(b"http://site.example/a\nhttps://site.example/b\n", "text/plain")
    assert isinstance(listed, PageRefused)
    assert listed.rule == "not HTML"
    picture = read(b"\x89PNG\r\n\x1a\n", "")
    assert isinstance(picture, PageRefused)


def test_queries_are_asked_for_in_the_charset_of_the_page() -> None:
    assert in_charset("/find?w=причал#x", "windows-1251") == "/find?w=%EF%F0%E8%F7%E0%EB#x"
    assert in_charset("/find?w=причал", "utf-8") == "/find?w=причал"
    assert in_charset("/причал?a=%20b&c=d", "windows-1251") == "/причал?a=%20b&c=d"
    assert in_charset("/find?w=日", "windows-1251") == "/find?w=&%2326085;"
    assert canonical_url(in_charset("?w=日", "euc-jp"), "http://a.example/") == "http://a.example/?w=%C6%FC"


def test_the_encoding_of_a_page_is_that_in_which_it_was_read() -> None:
    russian = "Причал стоит у реки, и лодки лежат на берегу. " * 5
    assert decoded(russian.encode("cp1251"), "text/html; charset=windows-1251") == (russian, "windows-1251")
    assert decoded(russian.encode(), "text/html; charset=windows-1251") == (russian, "utf-8")
    assert decoded(russian.encode("koi8-r"), "")[1] == "koi8-r"


@pytest.mark.parametrize("seed", range(5))
def test_bytes_that_were_never_text_are_no_document(seed: int) -> None:
    found = read(random.Random(seed).randbytes(3000), "text/plain")
    text = found.text if isinstance(found, Extracted) else ""
    controls = sum(ord(sign) < 32 and sign not in "\t\n\v\f\r" for sign in text) + text.count("\ufffd")
    assert controls > 0.05 * len(text) or not text  # so that the rule «not text» takes it


def test_a_page_in_another_script_and_charset_comes_out_whole() -> None:
    words = "古い橋は川の上にあり、石で作られた。①から⑩まで番号がある。"
    html = f"<html><head><meta charset=euc-jp></head><body><p>{words * 5}</p></body></html>"
    body = html.encode("euc_jis_2004")
    assert read_page(decode(body, "text/html"), "http://a.example/").text == words * 5
