"""Bytes as text, as browsers read them: by mark, as UTF-8, by what was declared, else by detection (WHATWG Encoding)."""

from __future__ import annotations

import codecs
import contextlib
import re

import webencodings
from resiliparse.parse.encoding import detect_encoding

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
# What a declaration in a page's own ASCII cannot mean (HTML Standard, 13.2.3.3): it says nothing, or the second.
_NOT_IN_A_META = {"utf-16be": "", "utf-16le": "", "x-user-defined": "windows-1252"}
# Encodings of the web that Python has under the name of a superset.
_PYTHON = {
    "big5": "big5hkscs",
    "euc-kr": "cp949",
    "gbk": "gb18030",
    "ibm866": "cp866",
    "iso-8859-8-i": "iso8859-8",
    "macintosh": "mac-roman",
    "shift_jis": "cp932",
    "windows-874": "cp874",
    "x-mac-cyrillic": "mac-cyrillic",
    "x-user-defined": "cp1252",
}
# Of the standard's index Big5, what Python's Big5-HKSCS does not have: a code, and the characters from there on.
_BIG5_RUNS = """
877A㡵𡵓𣚞𦀡㻬 87A1𥣞㫵竼龗𤅡𨤍𣇪𠪊𣉞䌊蒄龖鐯䤰蘓墖靊鈘秐稲晠権袝瑌篅枂稬剏遆㓦珄𥶹瓆鿇垳䤯呌䄱𣚎堘穲𧭥讏䚮𦺈䆁𥶙箮𢒼鿈𢓁𢓉𢓌鿉蔄𣖻䂴鿊䓡𪷿拁灮鿋
8E69箸 8E6F簆 8E7E糎 8EAB緒 8EB4縝 8ECD者 8ED0耨 8F57菁 8F69蒨 8F6E萏 8FCB覦覩 8FFE起 906D都 907A銹 90DC靜 90F1響 91BF鼖 9244蔃 92AF兙兛兝兞
92C8鍮 92D1瑹 9447浧 94CA禛 95D9邗 9644靝 96ED瀞 96FC嬨 9B76爁 9B78矗 9B7B纇 9BC6駖 9BDE釔 9BEC惞 9BF6澶 9C42輶 9C53侻 9C62營 9C68鄄 9C6B鷰 9C77菏
9CBC尐秣 9CD0婧 9D57輋 9D5A筑 9DC4拐 9EA9恢 9EEF痹 9EFD汊 9F60鬮 9F66鼗 9FCB僭 9FD8弌 A063蠏 A077拎 A0D5瑨 A0DF煢 A0E4牐
A3C0␀␁␂␃␄␅␆␇␈␉␊␋␌␍␎␏␐␑␒␓␔␕␖␗␘␙␚␛␜␝␞␟␡€ C6CF廴 C6D3无 C6D5癶 C6D7隶 C6DE〃仝 FA5F倩 FA66偽 FABD包 FAC5卄 FAD5卿 FB48嘅 FBB8婷
FBF3幵 FBF9廐 FC4F彘 FC6C悤 FCB9撐 FCE2晴 FCF1杞 FDB7沜渝 FDBB港 FDF1煮 FE52猪 FE6F瑜 FEAA瓩 FEDD砉
"""
_BIG5_BEYOND = {
    (int(run[:4], 16) + place).to_bytes(2, "big"): character
    for run in _BIG5_RUNS.split()
    for place, character in enumerate(run[4:])
}
# What Python reads as another character than browsers do.
_READ_OTHERWISE = {
    "big5": str.maketrans("•､‾∼♁☉¥¢£", "‧﹑¯～⊕⊙￥￠￡"),
    "gb18030": str.maketrans(
        "\ue5e5\ue78d\ue78e\ue78f\ue790\ue791\ue792\ue793\ue794\ue795\ue796\ue7c7\ue81e\ue826\ue82b\ue82c\ue832\ue843\ue854\ue864",
        "\u3000︐︒︑︓︔︕︖︗︘︙ḿ龴龵龶龷龸龹龺龻",
    ),
}
_EUC_JP_PAIR = re.compile(rb"\x8f[\xa1-\xfe]{2}|\x8e[\xa1-\xdf]|[\xa1-\xfe]{2}")
_NEVER_ON_THE_WEB = frozenset(
    {"utf-7", "idna", "punycode", "unicode-escape", "raw-unicode-escape", "undefined", "mbcs"}
)


def decode(body: bytes, content_type: str) -> str:
    """A page as text."""
    return decoded(body, content_type)[0]


def decoded(body: bytes, content_type: str) -> tuple[str, str]:
    """A page as text, and in what encoding it is (by the Encoding Standard's names, as far as it has one).

    By its byte order mark, as UTF-8 where it is that, else by HTTP, meta element or detection.
    """
    for mark, marked in _MARKS:
        if body.startswith(mark):
            return body[len(mark) :].decode(marked, "replace"), marked
    if not body.isascii():
        with contextlib.suppress(UnicodeDecodeError):
            return body.decode(), "utf-8"  # others hardly ever give valid UTF-8, and declarations are often wrong
    if b"\0" in body[:_HEAD_BYTES]:
        wide = _wide_encoding(body[:_HEAD_BYTES])
        return body.decode(wide, "replace"), wide
    for name in (_known(declared_charset(content_type)), _of_meta(body), _detected(body)):
        if name and (text := _read_as(body, name)).count(_BAD) <= _BAD_SHARE * len(text):
            return text, name
    return body.decode("cp1252", "replace"), "windows-1252"


def declared_charset(content_type: str) -> str:
    """The charset of a Content-Type header, or an empty string."""
    for piece in content_type.split(";")[1:]:
        name, _, value = piece.partition("=")
        if name.strip().lower() == "charset":
            return value.strip(" \"'")
    return ""


def _of_meta(body: bytes) -> str:
    meta = _META_CHARSET.search(body[:_HEAD_BYTES])
    name = _known(meta.group(1).decode()) if meta else ""
    return _NOT_IN_A_META.get(name, name)


def _known(label: str) -> str:
    """The standard's name for a label, Python's for one that the standard does not have; empty for what is none."""
    found = webencodings.lookup(label)
    if found is not None:  # "replacement" stands for encodings that browsers do not read
        return "" if found.name == "replacement" else str(found.name)
    try:
        info = codecs.lookup(label)
    except (LookupError, ValueError):
        return ""
    return info.name if info._is_text_encoding and info.name not in _NEVER_ON_THE_WEB else ""


def python_name(name: str) -> str:
    """Python's name of an encoding of the standard's."""
    return "euc_jp" if name == "euc-jp" else _PYTHON.get(name, name)


def _read_as(body: bytes, name: str) -> str:
    if name == "euc-jp":
        return _EUC_JP_PAIR.sub(_as_shift_jis, body).decode("utf-8", "replace")
    text = body.decode(python_name(name), "big5-beyond" if name == "big5" else "replace")
    otherwise = _READ_OTHERWISE.get("gb18030" if name == "gbk" else name)
    return text.translate(otherwise) if otherwise else text


def _as_shift_jis(pair: re.Match[bytes]) -> bytes:
    """A character of EUC-JP: by its place in the index jis0208, which Python has as Microsoft's Shift_JIS, or in jis0212."""
    code = pair.group()
    if len(code) == 3:
        return code.decode("euc_jp", "replace").replace("~", "～").encode()
    if code[0] == 0x8E:
        return code[1:].decode("cp932").encode()  # half-width katakana
    row, cell = code[0] - 0xA1, code[1] - 0xA1
    lead = row // 2 + (0x81 if row < 0x3E else 0xC1)
    trail = cell + (0x9F if row % 2 else 0x40 + (cell >= 0x3F))
    return bytes((lead, trail)).decode("cp932", "replace").encode()


def _big5_beyond(error: UnicodeError) -> tuple[str, int]:
    """What Python's Big5 does not read: a character of the standard's index, else a replacement character."""
    assert isinstance(error, UnicodeDecodeError)
    code = error.object[error.start : error.start + 2]
    if code in _BIG5_BEYOND:
        return _BIG5_BEYOND[code], error.start + 2
    return _BAD, error.start + (1 if code[1:].isascii() else 2)


codecs.register_error("big5-beyond", _big5_beyond)


def _detected(body: bytes) -> str:
    # Its html5_compatible names are wrong for some encodings (Korean becomes UTF-8), so the plain ones are asked for.
    return _known(detect_encoding(body, max_len=_HEAD_BYTES, html5_compatible=False) or "")


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
