"""Bodies as servers send them: content codings undone within a limit, charsets found."""

from __future__ import annotations

import codecs
import contextlib
import re
import zlib

from resiliparse.parse.encoding import detect_encoding

ACCEPTED_CODINGS = "gzip, deflate"
_GZIP, _ZLIB, _RAW_DEFLATE = 31, 15, -15
_STEP_BYTES, _MOST_MEMBERS = 1 << 16, 10_000
_HEAD_BYTES = 65_536  # what is looked at to find a charset
_META_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([A-Za-z0-9_:.-]{1,40})", re.IGNORECASE)
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_BAD, _BAD_SHARE = "\ufffd", 0.02  # characters that an encoding could not read, and the share that is put up with
_SUPERSETS = {
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "iso8859-11": "cp874",
    "tis-620": "cp874",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "gb2312": "gb18030",
    "gbk": "gb18030",
}
_NEVER_ON_THE_WEB = frozenset(
    {"utf-7", "idna", "punycode", "unicode-escape", "raw-unicode-escape", "undefined", "mbcs"}
)


class BodyRefused(Exception):
    """A body cannot be read, or not within its limit."""


def decoded_body(body: bytes, content_encoding: str, limit: int) -> bytes:
    """The body without its content codings, never more than ``limit`` bytes in memory. Raises BodyRefused."""
    for coding in reversed([word.strip().lower() for word in content_encoding.split(",") if word.strip()]):
        if coding in ("gzip", "x-gzip"):
            body = _inflated(body, _GZIP, limit)
        elif coding == "deflate":  # zlib by the standard, raw by the habit of some servers
            body = _inflated(body, _ZLIB if body[:1] == b"\x78" else _RAW_DEFLATE, limit)
        elif coding != "identity":
            raise BodyRefused(f"the content coding {coding[:40]} was not asked for")
    if len(body) > limit:
        raise BodyRefused(f"the body has more than {limit} bytes")
    return body


def _inflated(body: bytes, window_bits: int, limit: int) -> bytes:
    """A body of one or several members unpacked; a few bytes at a time, since each member's end copies what is left."""
    out, whole, members, begun, stream = bytearray(), 0, 0, False, zlib.decompressobj(window_bits)
    for at in range(0, len(body), _STEP_BYTES):
        left = body[at : at + _STEP_BYTES]
        while left:
            begun = True
            try:
                out += stream.decompress(left, limit + 1 - len(out))
            except zlib.error as error:
                if members:  # zeros or other padding after the last member
                    return bytes(out[:whole])
                raise BodyRefused(f"the compressed body is broken ({error})") from error
            if len(out) > limit:
                raise BodyRefused(f"the decompressed body has more than {limit} bytes")
            left = stream.unused_data
            if stream.eof:
                whole, members, begun, stream = len(out), members + 1, False, zlib.decompressobj(window_bits)
                if members > _MOST_MEMBERS:
                    raise BodyRefused(f"the compressed body has more than {_MOST_MEMBERS} members")
    if begun:
        raise BodyRefused("the compressed body is cut off")
    return bytes(out)


def decode(body: bytes, content_type: str) -> str:
    """A page as text: by its byte order mark, as UTF-8 where it is that, else by HTTP, meta element or detection."""
    for mark, marked in _MARKS:
        if body.startswith(mark):
            return body[len(mark) :].decode(marked, "replace")
    if not body.isascii():
        with contextlib.suppress(UnicodeDecodeError):
            return body.decode()  # other encodings hardly ever give valid UTF-8, and declarations are often wrong
    if b"\0" in body[:_HEAD_BYTES]:
        return body.decode(_wide_encoding(body[:_HEAD_BYTES]), "replace")
    meta = _META_CHARSET.search(body[:_HEAD_BYTES])
    for name in (declared_charset(content_type), meta.group(1).decode() if meta else "", _detected(body)):
        encoding = _codec(name)
        if encoding is not None and (text := body.decode(encoding, "replace")).count(_BAD) <= _BAD_SHARE * len(text):
            return text
    return body.decode("cp1252", "replace")


def declared_charset(content_type: str) -> str:
    """The charset of a Content-Type header, or an empty string."""
    for piece in content_type.split(";")[1:]:
        name, _, value = piece.partition("=")
        if name.strip().lower() == "charset":
            return value.strip(" \"'")
    return ""


def _codec(name: str) -> str | None:
    """A text encoding by any of its names; where the web writes one and means its superset, that (WHATWG Encoding)."""
    try:
        info = codecs.lookup(name)
    except (LookupError, ValueError):
        return None
    if not info._is_text_encoding or info.name in _NEVER_ON_THE_WEB:
        return None
    return _SUPERSETS.get(info.name, info.name)


def _detected(body: bytes) -> str:
    # Its html5_compatible names are wrong for some encodings (Korean becomes UTF-8), so the plain ones are asked for.
    return detect_encoding(body, max_len=_HEAD_BYTES, html5_compatible=False) or ""


def _wide_encoding(head: bytes) -> str:
    """UTF-16 or UTF-32 without a mark: from where the zero bytes are in mostly Latin text."""
    share = [head[place::4].count(0) / max(1, len(head[place::4])) for place in range(4)]
    if min(share[0], share[1]) > 0.9 and share[3] < 0.5:
        return "utf-32-be"
    if min(share[2], share[3]) > 0.9 and share[0] < 0.5:
        return "utf-32-le"
    if abs(share[0] + share[2] - share[1] - share[3]) > 0.4:
        return "utf-16-be" if share[0] + share[2] > share[1] + share[3] else "utf-16-le"
    return "utf-8"
