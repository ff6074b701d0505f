"""Bodies as servers send them: content codings undone within a limit."""

from __future__ import annotations

import zlib

import pyarrow as pa
import webencodings

ACCEPTED_CODINGS = "gzip, deflate"
_GZIP, _ZLIB, _RAW_DEFLATE = 31, 15, -15
_STEP_BYTES, _MOST_MEMBERS = 1 << 16, 10_000
# What servers write where the body is not coded at all: charsets, transfer encodings, nothing.
_NO_CODINGS = frozenset({"identity", "none", "null", "binary", "8bit", "7bit", "chunked", "text", "html", "utf8"})
_STREAMED = {"br": "brotli", "brotli": "brotli", "zstd": "zstd"}


class BodyRefused(Exception):
    """A body cannot be read, or not within its limit."""


def decoded_body(body: bytes, content_encoding: str, limit: int) -> bytes:
    """The body without its content codings, never more than ``limit`` bytes in memory. Raises BodyRefused."""
    for coding in reversed([word.strip().lower() for word in content_encoding.split(",") if word.strip()]):
        if coding in ("gzip", "x-gzip"):
            body = _inflated(body, _GZIP, limit)
        elif coding == "deflate":  # zlib by the standard, raw by the habit of some servers
            body = _inflated(body, _ZLIB if body[:1] == b"\x78" else _RAW_DEFLATE, limit)
        elif coding in _STREAMED:
            body = _unpacked(body, _STREAMED[coding], limit)
        elif coding not in _NO_CODINGS and webencodings.lookup(coding) is None:
            raise BodyRefused(f"the content coding {coding[:40]} was not asked for")
    if len(body) > limit:
        raise BodyRefused(f"the body has more than {limit} bytes")
    return body


def _unpacked(body: bytes, codec: str, limit: int) -> bytes:
    """A body that Brotli or Zstandard packed."""
    out = bytearray()
    try:
        with pa.CompressedInputStream(pa.BufferReader(body), codec) as stream:
            while len(out) <= limit and (piece := stream.read(_STEP_BYTES)):
                out += piece
    except OSError as error:
        raise BodyRefused(f"the compressed body is broken or cut off ({str(error)[:100]})") from error
    if len(out) > limit:
        raise BodyRefused(f"the decompressed body has more than {limit} bytes")
    return bytes(out)


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
