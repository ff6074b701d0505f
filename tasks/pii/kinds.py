"""The kinds of personal data and secrets: what each looks like, and what proves that it is one."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from typing import NamedTuple


def _or(*words: str) -> bytes:
    """Alternatives of words of any script, also with a capital: bytes know no case beyond ASCII."""
    return b"".join(b"|" + form.encode() for word in words for form in dict.fromkeys((word, word.capitalize())))


AT, DOT, COLON, DIGIT, MARK, WIDE_AT = range(1, 7)  # what a byte can be the sign of
WIDE = b"\xef\xbc\xa0"  # the @ of full width, as Chinese and Japanese keyboards give it
Match = re.Match[bytes]

# Letters of UTF-8: those of two bytes are of scripts that part words; those of three may be a whole sentence.
_TWO, _THREE = rb"[\xc3-\xdf][\x80-\xbf]", rb"(?:\xe0[\xa4-\xbf]|[\xe1\xe4-\xed].|\xe3[\x81-\xbf])[\x80-\xbf]"
_LOCAL = (
    rb"(?:(?<![\w.+%@\x80-\xff-])(?:"
    + _THREE
    + rb"){1,20}|(?:(?<![\w.+%@-])|(?<=[\x80-\xbf]))(?:[\w.+%-]|"
    + _TWO
    + rb"){1,64})"
)
_LABEL = rb"(?:[A-Za-z0-9-]|" + _TWO + rb"|" + _THREE + rb"){1,63}"
_EMAIL = re.compile(
    _LOCAL
    + rb"(?:@|"
    + WIDE
    + rb")(?:"
    + _LABEL
    + rb"\.){1,8}((?:[A-Za-z]{2,24}|xn--[A-Za-z0-9-]{2,59}|(?:"
    + _TWO
    + rb"){2,20}))(?![\w-])(?!:[\w~./])"
)
_IP4 = re.compile(rb"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?!\w|\.\d)")
_IP6 = re.compile(rb"(?:(?<![\w:.])|(?<=IPv6:))[23][0-9A-Fa-f]{3}:(?:[0-9A-Fa-f]{0,4}:){1,6}[0-9A-Fa-f]{0,4}(?![\w:])")
# Pieces are possessive: a table of numbers is read once, and not in every way in which its digits could be grouped.
_PHONE = re.compile(
    # International: a plus sign, 00 or North America's 011, then a country's code.
    rb"(?<![\w+])(?:\+|(?<![.,])00 ?|(?<![.,])011[ -])(?=[1-9])\d{1,15}+(?:[ .-]?\(\d{1,4}\))?(?:[ ./-]{0,2}\d{1,8}+){0,7}(?!\w)"
    # North America: area, exchange and line, of which neither of the first two begins with 0 or 1.
    rb"|(?<![\w.+-])(?:1[ .-])?(?:\([2-9]\d\d\) ?|[2-9]\d\d[ .-])[2-9]\d\d[ .-]\d{4}(?!\w|[.-]\d)"
    # National with a trunk prefix, in groups.
    rb"|(?<![\w.,+-])(?:\(0[1-9]\d{0,4}\)|0[1-9]\d{0,4}+)[ ./-]{1,3}\d{2,8}+(?:[ .-]\d{2,5}+){0,4}(?!\w|[.,-]\d)"
    rb"|(?<![\w.+-])8 ?\(\d{3}\) ?\d{3}[ -]\d\d[ -]\d\d(?!\w)"
    # Behind a word that says so: any digits, in groups or not.
    rb"|(?<![\w.+-])\(?\d{2,15}+\)?(?:[ ./-]\d{1,8}+){0,5}(?!\w|[.,]\d)"
)
# Words for a telephone, right before a number, in the languages of most of the web.
_TELEPHONES = re.compile(
    rb"(?:(?<![\w\x80-\xff])(?:tel(?:e(?:ph?on|fax))?|t\xc3\xa9l|tlf|phone|mobile?|cell|cellulare|celular|handy|fax|whatsapp|hotline|gsm"
    rb"|m\xc3\xb3vil|telephone|t\xc3\xa9l\xc3\xa9phone|tel\xc3\xa9fono|telefono|telefoon|puhelin|\xc3\xa7ep|\xc4\x91i\xe1\xbb\x87n tho\xe1\xba\xa1i"
    rb"|telefon(?:nummer|sz\xc3\xa1mon|u|ie|e)?)"
    + _or(
        "тел",
        "телефон",
        "моб",
        "τηλ",
        "τηλέφωνο",
        "τηλέφωνο επικοινωνίας",
        "טל",
        "טלפון",
        "هاتف",
        "تلفن",
        "फ़ोन",
        "फोन",
        "โทร",
        "电话",
        "電話",
        "手机",
        "手機",
        "拨打",
        "致电",
        "热线",
        "联系电话",
        "携帯",
        "전화",
        "연락처",
    )
    + rb")(?:[\s:.,;()\[\]\"'#=/-]|nr|no|num|number|us|me|is|unter|au|al|auf|at){0,12}\Z",
    re.IGNORECASE,
)
# Verbs for using one, before a number in groups.
_CALLS = re.compile(
    rb"(?:(?<![\w\x80-\xff-])(?:call|ring|dial|text|reach|phone|appele[rz]|appelez-nous|joindre|chiam(?:are|ate|a)|llam(?:a|e|ar|ame)|ligue|zadzwo\xc5\x84|zavolejte|hubungi"
    rb"|rufen sie|melden|anrufen)(?![\w\x80-\xff-])"
    + _or("звоните", "позвоните", "τηλεφωνήστε")
    + rb")[^\d\n]{0,24}\Z",
    re.IGNORECASE,
)
_NO_TELEPHONES = re.compile(
    rb"(?<![A-Za-z])(?:isbn|issn|iso|iec|din|doi|order|invoice|ticket|case|docket|serial|part|sku|ref|no\.?|nr\.?|art\.?|pp?\.|vol\.?|\xe2\x84\x96|#|\$|\xe2\x82\xac|\xc2\xa3|siret|ean|upc|pmid|id)[\s:=.]{0,3}\Z",
    re.IGNORECASE,
)
_YEARS = re.compile(rb"\(?(?:1[5-9]|20)\d\d[-/ ](?:1[5-9]|20)\d\d")
_DAY = re.compile(
    rb"(?:0?[1-9]|[12]\d|3[01])[./-](?:0?[1-9]|1[0-2])[./-](?:19|20)?\d\d(?!\d)|(?:19|20)\d\d[./-](?:0[1-9]|1[0-2])[./-]\d\d"
)
PHONE_DIGITS = range(8, 16)
_NATIONAL_DIGITS = range(9, 12)
# Country calling codes (ITU-T E.164): of one and of two digits; every other one has three.
_ONE_DIGIT = "17"
_TWO_DIGITS = re.compile(r"2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]")
_THREE_DIGITS = re.compile(r"2[1-689]\d|3[578]\d|42[013]|5[09]\d|6[789]\d|8[058]\d|9[679]\d")
_PLAN_DIGITS = {"1": 11, "7": 11}  # digits of a whole number where the plan knows but one length

_VERSIONS = re.compile(
    rb"(?:(?<![\w\x80-\xff])(?:v|ver|versi\w*|releases?|rev(?:ision)?|sections?|secs?|chapter|clause|articles?|art\xc3\xadculo|rules?|oid|firmware|build|updates?"
    rb"|upgrade|patch|driver|kernel|(?-i:EC)|enzyme|abschnitt|kapitel|absatz|punkt|paragraph|secci\w*|punto|item|step|figure|table|app|aplicativo)|\xc2\xa7"
    + _or("пункт", "верси", "раздел", "版本", "版", "버전", "节", "章")
    + rb")[\w\x80-\xff]{0,8}[\s:=.,#(]{0,3}\Z|(?:[~^<>]=?|==)\s?\Z|\w-\Z",
    re.IGNORECASE,
)
_HOSTS = re.compile(
    rb"(?:\bip(?:v4)?\b|\bIP|host|server|serveur|servidor|addr|adres|ping|\bdns\b|client|gateway|router|proxy|remote|peer|login|ssh|\bIN\s+A\s|://|@"
    + _or("адрес", "сервер", "地址", "主机", "主機", "サーバ", "서버", "주소")
    + rb")[^\n]{0,24}\Z",
    re.IGNORECASE,
)
SMALL = 32  # an address of four numbers as small as those of versions is one only where something says so
_IBAN = re.compile(rb"(?<!\w)[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]{4}){2,7}(?:[ -]?[A-Z0-9]{1,3})?(?!\w)")
_CARD = re.compile(
    rb"(?<![\w.-])(?:\d{13,19}|\d{4}([ -])\d{4}\1\d{4}\1\d{4}(?:\1\d{3})?|\d{4}([ -])\d{6}\2\d{4,5})(?!\w|[.-]\d)"
)
# Issuers' prefixes and the lengths of their numbers (ISO/IEC 7812 and the networks' own rules).
_ISSUERS = re.compile(
    r"4(?:\d{12}|\d{15}|\d{18})|(?:5[1-5]\d\d|222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d{12}|3[47]\d{13}|3(?:0[0-5]|[68]\d)\d{11}"
    r"|6(?:011|5\d\d|4[4-9]\d)\d{12}|62\d{14,17}|35(?:2[89]|[3-8]\d)\d{12}|(?:50|5[6-8]|63|67)\d{14}|220[0-4]\d{12}"
)
_BODY = rb"(?:[A-Za-z0-9+/=:, \t\r\n\\]|-(?!----))"  # of a key in PEM
_KEY = re.compile(
    rb"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----(?:"
    + _BODY
    + rb"{4,16384}+-----END [A-Z ]{0,30}PRIVATE KEY-----|"
    + _BODY
    + rb"{32,16384}+)"
    rb"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36,255}\b|\bgithub_pat_\w{22,255}\b|\bglpat-[\w-]{20,255}"
    rb"|\bxox[abprs]-[A-Za-z0-9-]{10,250}|\bAIza[\w-]{35}(?![\w-])|\b[sr]k_(?:live|test)_[0-9A-Za-z]{16,255}\b"
    rb"|\bsk-[\w-]{20,250}|(?<![\w-])eyJ[\w-]{10,4096}\.[\w-]{10,4096}\.[\w-]{5,4096}"
    rb"|\bSG\.[\w-]{16,64}\.[\w-]{16,128}|\bwhsec_[\w+/=]{24,128}|\bpypi-[\w-]{50,400}|\bnpm_[A-Za-z0-9]{36}\b|\bhf_[A-Za-z0-9]{30,60}\b"
    rb"|\bkey-[0-9a-f]{32}\b|\bSK[0-9a-f]{32}\b|/services/T[0-9A-Z]{8,12}/B[0-9A-Z]{8,12}/\w{20,30}\b|\bdop_v1_[0-9a-f]{64}\b"
)
KEY_MARKS = (
    b"-----BEGIN ", b"AKIA", b"ASIA", b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_", b"github_pat_", b"glpat-", b"xoxa-", b"xoxb-",
    b"xoxp-", b"xoxr-", b"xoxs-", b"AIza", b"sk_live_", b"sk_test_", b"rk_live_", b"rk_test_", b"sk-", b"eyJ", b"SG.", b"whsec_", b"pypi-",
    b"npm_", b"hf_", b"key-", b"SK", b"/services/T", b"dop_v",
)  # fmt: skip
_ALIKE = re.compile(rb"(.)\1{7}|example|your|placeholder", re.IGNORECASE | re.DOTALL)
_LEAST_DIFFERENT = 9  # characters of a secret


@cache
def _top_level() -> frozenset[bytes]:
    """The top-level domains of the public suffix list, and those that are kept for examples and tests (RFC 2606)."""
    from tldextract import TLDExtract

    suffixes = TLDExtract(suffix_list_urls=(), cache_dir=None).tlds
    return frozenset(suffix.rpartition(".")[2].encode() for suffix in suffixes) | {b"example", b"test", b"invalid"}


def _before(match: Match, most: int = 64) -> bytes:
    return match.string[max(0, match.start() - most) : match.start()]


def _is_email(match: Match) -> bool:
    """The domain's last label is one that there is; nobody's own name is git."""
    local, _, domain = match.group().replace(WIDE, b"@").rpartition(b"@")
    last = match.group(1).lower()
    known = (
        last in _top_level()
        or last.startswith(b"xn--")
        or (not last.isascii() and last.decode().lower().encode() in _top_level())
    )
    return known and local.lower() != b"git" and not domain.startswith((b".", b"-")) and not local.endswith(b".")


def _is_public(match: Match) -> bool:
    """A global address that is no version, section or object identifier."""
    text = match.group()
    try:
        if not ipaddress.ip_address(text.decode()).is_global:
            return False
    except ValueError:
        return False
    if b":" in text:
        return True
    after = match.string[match.end() : match.end() + 12]
    if _VERSIONS.search(_before(match)) or re.match(rb"-[A-Za-z]|[-.](?:jar|zip|tar|deb|rpm|exe)|\)? \(\d{4}-", after):
        return False
    said = _HOSTS.search(_before(match)) or re.match("的主机|:\\d|/\\d".encode(), after)
    return bool(said) or any(int(number) >= SMALL for number in text.split(b"."))


def _is_iban(match: Match) -> bool:
    """ISO 13616: country and check digits moved to the end, letters as numbers, the whole is 1 modulo 97."""
    digits = match.group().decode().replace(" ", "").replace("-", "")
    moved = digits[4:] + digits[:4]
    return 15 <= len(digits) <= 34 and int("".join(str(int(character, 36)) for character in moved)) % 97 == 1


def _is_card(match: Match) -> bool:
    """ISO 7812: an issuer's prefix and length, and the digits satisfy Luhn's sum."""
    said = "".join(character for character in match.group().decode() if character.isdigit())
    digits = [int(character) for character in said]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    right = (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0
    return right and len(set(digits)) > 1 and _ISSUERS.fullmatch(said) is not None


def _is_phone(match: Match) -> bool:
    """International numbers by their country and length, others by their groups, and any behind a word for a telephone."""
    text, before = match.group(), _before(match)
    groups = re.findall(rb"\d+", text)
    digits = b"".join(groups).decode()
    if len(digits) not in PHONE_DIGITS or _NO_TELEPHONES.search(before) or _DAY.match(text) or _YEARS.match(text):
        return False
    is_called, grows = _TELEPHONES.search(before) is not None, len(groups) > 3 and _grows(groups)
    if text.startswith((b"+", b"00", b"011")):
        return not grows and _is_international(digits.removeprefix("011" if text.startswith(b"011") else "00"))
    if is_called:
        return True
    is_asked = len(groups) > 1 and not grows and _CALLS.search(before) is not None
    if re.fullmatch(rb"(?:1[ .-])?\(?[2-9]\d\d\)?[ .-]{0,2}[2-9]\d\d[ .-]\d{4}", text):
        return is_asked or text.startswith(b"1") or re.search(rb"[(.-]", text) is not None
    if is_asked or re.fullmatch(rb"8 ?\(\d{3}\) ?\d{3}[ -]\d\d[ -]\d\d", text):
        return True
    has_trunk = re.match(rb"\(?0[1-9]", text) is not None and len(digits) in _NATIONAL_DIGITS
    return has_trunk and not grows and len(groups) > 1 and len(groups[-1]) > 1


def _grows(groups: list[bytes]) -> bool:
    """Whether numbers are in order, as those of a draw or a scale are."""
    numbers = [int(group) for group in groups]
    return all(one < other for one, other in pairwise(numbers))


def _is_international(digits: str) -> bool:
    known = digits[0] in _ONE_DIGIT or _TWO_DIGITS.match(digits) is not None or _THREE_DIGITS.match(digits) is not None
    if digits[0] == "1" and (len(digits) < 2 or digits[1] in "01"):
        return False
    return known and len(digits) >= 9 and len(digits) == _PLAN_DIGITS.get(digits[0], len(digits))


def _is_key(match: Match) -> bool:
    """A secret is no word, no pattern to be filled in, and no sentence about keys."""
    text = match.group()
    if text.startswith(b"-----"):
        return True
    body = text.partition(b"-" if text.startswith(b"sk-") else b"_")[2] or text
    digits = sum(48 <= byte <= 57 for byte in text)
    return digits >= 2 and len(set(body)) >= _LEAST_DIFFERENT and _ALIKE.search(body) is None


class Kind(NamedTuple):
    """A kind of personal data: where it can be, what it looks like, and what proves it."""

    name: str
    where: int
    pattern: re.Pattern[bytes]
    proof: Callable[[Match], bool] | None
    meaning: str


# In the order in which they claim a place where several match.
KINDS = (
    Kind("key", MARK, _KEY, _is_key, "keys and tokens of well-known services, private keys"),
    Kind("email", AT, _EMAIL, _is_email, "e-mail addresses"),
    Kind("iban", DIGIT, _IBAN, _is_iban, "bank accounts (IBAN) with right check digits"),
    Kind("card", DIGIT, _CARD, _is_card, "payment cards whose digits satisfy Luhn's sum"),
    Kind("ip", DOT, _IP4, _is_public, "public IP addresses"),
    Kind("ip", COLON, _IP6, _is_public, "public IP addresses"),
    Kind(
        "phone",
        DIGIT,
        _PHONE,
        _is_phone,
        "telephone numbers: international, with a trunk prefix, as in North America, or called one",
    ),
)
NAMES = tuple(dict.fromkeys(kind.name for kind in KINDS))
PLACEHOLDERS = {name: f"<{name.upper()}>" for name in NAMES}
