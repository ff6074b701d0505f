"""Every script: near-duplicates, contamination and signals of texts whose words no space parts, and of two ways to write one."""

from __future__ import annotations

import random
import re
import tarfile
import unicodedata
from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.pages import visible
from flows.graph import made_from
from flows.making import Pipeline
from flows.query import rows
from flows.recipe.loading import load_recipe
from tasks.dedup.minhash import Scheme, sketches
from tasks.dedup.vectors import LANES
from tasks.dedup.words import room_for, text_buffers
from tasks.select.policy import Policy, Rule
from tasks.signals.stage import measure
from tasks.text.grams import normalised
from tasks.text.normal import Places, in_normal_form
from tasks.web.charsets import decode
from tests.conftest import SHARED
from tests.test_dedup import similarity, words_of
from warehouse.errors import SettingError

WHOLE = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\p{Thai}]")
CHARSETS = {
    "Japanese": ("euc-jp", "shift_jis"), "Korean": ("euc-kr", "cp949"), "Thai": ("tis-620", "cp874"), "Traditional Chinese": ("big5",),
    "Russian": ("windows-1251", "koi8-r"), "Greek": ("iso-8859-7", "windows-1253"),
}  # fmt: skip
ZH = "昨日上午，港口的防波堤加高工程正式开工。镇长在仪式上说，去年冬天的洪水冲坏了三段堤岸，许多人家的地窖进了水。新的堤岸将比原来高出两尺，用山上采来的石头砌成。"
EDITS = {"昨日上午": "昨天上午", "镇长": "市长", "三段": "四段", "两尺": "三尺", "石头": "岩石"}


@pytest.fixture(scope="module")
def documents() -> dict[str, list[str]]:
    """Language -> real texts of about as much to say, none of them another one's copy."""
    if not SHARED.is_dir():
        pytest.skip("needs the real texts in ../shared/data")
    pages: dict[str, list[str]] = defaultdict(list)
    with tarfile.open(SHARED / "conformance" / "charset-samples" / "chardet-tests.tar.gz") as archive:
        for member in archive:
            folder = member.name.split("/")[-2].lower() if member.isfile() else ""
            for language, charsets in CHARSETS.items():
                if folder.startswith(charsets):
                    pages[language].append(
                        visible(decode(archive.extractfile(member).read(), f"; charset={charsets[0]}"))
                    )  # type: ignore[union-attr]
    with tarfile.open(SHARED / "html" / "site-debian-handbook-5-languages.tar.xz") as archive:
        for member in archive:
            if member.name.endswith(".html"):
                language = next(
                    piece for piece in Path(member.name).parts if re.fullmatch(r"[a-z]{2}(-[A-Z]{2})?", piece)
                )
                pages[language].append(visible(archive.extractfile(member).read().decode("utf-8", "replace")))  # type: ignore[union-attr]
    found = {}
    for language, texts in pages.items():
        whole = "\n".join(texts)
        size = 700 if len(WHOLE.findall(whole[:50_000])) > 10_000 and language != "Thai" else 1500
        pieces = [whole[at : at + size] for at in range(0, len(whole) - size, size)]
        random.Random(1).shuffle(pieces)
        found[language] = pieces[:120]
    return found


def words_to_edit(text: str) -> list[str]:
    """White space, words, and of scripts without it two letters at a time: about a word."""
    pieces: list[str] = []
    for piece in re.findall(r"\s+|\S+", text):
        pieces += re.findall(r"..?", piece) if WHOLE.search(piece) else [piece]
    return pieces


def edited(text: str, share: float, draw: random.Random, pool: list[str]) -> str:
    pieces = words_to_edit(text)
    places = [at for at, piece in enumerate(pieces) if not piece.isspace()]
    for at in draw.sample(places, max(1, int(share * len(places)))):
        pieces[at] = draw.choice(pool)
    return "".join(pieces)


def recall(texts: list[str], share: float) -> float:
    """The share of texts of which a copy with so many words replaced shares a band with it."""
    pool = [piece for piece in words_to_edit("".join(texts)[:20_000]) if not piece.isspace()]
    draw = random.Random(2)
    one, other = (
        sketches(pa.array(column), Scheme()).keys for column in (texts, [edited(t, share, draw, pool) for t in texts])
    )
    return float((one == other).any(axis=0).mean())


def test_near_duplicates_are_found_in_every_script_as_in_english(documents: dict[str, list[str]]) -> None:
    english = {share: recall(documents["en-US"], share) for share in (0.02, 0.04)}
    assert english[0.02] > 0.95
    for language, texts in documents.items():
        if len(texts) > 15:
            for share, of_english in english.items():
                assert recall(texts, share) >= of_english - 0.15, (language, share)  # 120 texts: two standard errors
    assert {"zh-CN", "Japanese", "Korean", "Thai", "de-DE"} <= {
        name for name, texts in documents.items() if len(texts) > 15
    }


def test_texts_of_one_script_that_are_not_alike_share_no_band(documents: dict[str, list[str]]) -> None:
    for language in ("zh-CN", "Japanese", "Korean", "Thai", "en-US"):
        texts = documents[language]
        for band in sketches(pa.array(texts), Scheme()).keys.tolist():
            first: dict[int, str] = {}
            for key, text in zip(band, texts, strict=True):
                other = first.setdefault(key, text)
                assert similarity(text, other) > 0.5, (language, text[:80], other[:80])  # some pages quote each other


def test_a_chinese_story_with_five_small_edits_is_a_candidate() -> None:
    story = ZH * 4
    other = story
    for old, new in EDITS.items():
        other = other.replace(old, new, 1)
    one, two = sketches(pa.array([story, other]), Scheme()).keys.T
    assert (one == two).any()


@given(st.text(st.sampled_from("Ⱥ一aก ำ한ｱ𠀀é_-"), max_size=400))
@settings(deadline=None)
def test_words_fit_into_the_memory_that_is_kept_for_them(text: str) -> None:
    room = room_for(text_buffers(pa.array([text]))[1])
    words = " ".join(words_of(text)).encode()
    assert len(words) + 1 + LANES <= len(room.words)
    assert len(words_of(text)) + 1 <= len(room.starts)
    assert (
        sketches(pa.array([text] * 3), Scheme(), keep_hashes=True).digests
        == sketches(pa.array([text]), Scheme()).digests
    ).all()


SAMPLES = {
    "accents": "Café crème brûlée à la carte, déjà vu, naïveté et Ångström: ﬁn.",
    "Vietnamese": "Tiếng Việt có sáu thanh điệu và nhiều nguyên âm được viết với hai dấu.",
    "Korean": "서울의 봄은 짧고 강물은 천천히 흐른다.",
    "Greek": "Ὁ Σίσυφος ἐκύλιε τὸν λίθον ἄνω πρὸς τὸ ὄρος.",
    "Hindi": "यह पुल पत्थर का बना है और \u0958रीब सौ साल पुराना है।",
    "Japanese": "ガラスのビンがパリのポストの上にある。",
}


@pytest.mark.parametrize("name", SAMPLES)
def test_two_ways_to_write_a_text_are_one_text(name: str) -> None:
    text = " ".join([SAMPLES[name]] * 3)
    ways = sorted({text, unicodedata.normalize("NFC", text), unicodedata.normalize("NFD", text)})
    assert len(ways) > 1
    found = sketches(pa.array(ways), Scheme(), keep_hashes=True)
    assert (found.signatures == found.signatures[0]).all()
    assert (found.keys == found.keys[:, :1]).all()
    assert (found.digests == found.digests[0]).all()


@given(st.text(max_size=60), st.text(st.sampled_from("aé字́가각ᆨ한ệ̣̂क़़ "), max_size=20))
@settings(deadline=None)
def test_a_stretch_of_a_text_in_normal_form_is_found_in_the_text_as_it_was(before: str, text: str) -> None:
    text = before + text
    (row,), others = (
        in_normal_form(pa.chunked_array([[text]]))[0].to_pylist(),
        in_normal_form(pa.chunked_array([[text]]))[1],
    )
    assert row == unicodedata.normalize("NFC", text)
    assert bool(others) == (row != text)
    places, encoded, normalised_bytes = (
        Places(text),
        text.encode("utf-8", "surrogatepass"),
        row.encode("utf-8", "surrogatepass"),
    )
    ends = np.array([len(row[:n].encode("utf-8", "surrogatepass")) for n in range(len(row) + 1)])
    for start in range(len(row)):
        first, last = places.before(ends[start : start + 1], ends[start + 1 : start + 2])[:, 0]
        there = encoded[first:last].decode("utf-8", "surrogatepass")
        assert row[start] in unicodedata.normalize("NFC", there)
    assert (places.before(ends[:1], ends[-1:])[:, 0] == [0, len(encoded)]).all() or not normalised_bytes


QUESTION = "某渔村的防波堤原高十二尺，冬天的洪水之后加高了两尺，请问几年之后海水会与防波堤一样高？"
RECIPE = """
name = "r"
store = "store"
[sources.s.jsonl]
files = ["pages.jsonl"]
[extract]
normal_form = {}
[decontaminate.cut]
margin_chars = 0
min_piece_chars = 1
[decontaminate.sets.quiz]
files = ["quiz.jsonl"]
question = ["question"]
"""


@pytest.mark.parametrize("normal_form", [True, False])
def test_a_question_is_found_in_any_script_and_form(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, normal_form: bool
) -> None:
    questions = {
        "zh": QUESTION,
        "vi": "Làng chài có đê chắn sóng cao mười hai thước, mùa đông sau trận lũ được nâng thêm hai thước nữa, hỏi sau mấy năm nước biển bằng mặt đê?",
    }
    filler = {"zh": ZH, "vi": "Sáng hôm qua công trình nâng đê ở bến cảng đã bắt đầu. "}
    monkeypatch.chdir(tmp_path)
    form = "NFD" if normal_form else "NFC"
    lines = [
        f'{{"url": "http://a.example/{name}", "text": "{filler[name] * 9}{unicodedata.normalize("NFD", asked)} {filler[name] * 9}"}}'
        for name, asked in questions.items()
    ]
    Path("pages.jsonl").write_text("\n".join(lines))
    Path("quiz.jsonl").write_text(
        "\n".join(f'{{"question": "{unicodedata.normalize(form, asked)}"}}' for asked in questions.values())
    )
    Path("r.toml").write_text(RECIPE.format(str(normal_form).lower()))
    pipeline = Pipeline(load_recipe("r.toml"))
    for node in made_from("select"):
        pipeline.make(node)
    corpus = {row["url"][-2:]: row["text"] for row in rows(pipeline.store, "SELECT url, text FROM corpus")}
    assert set(corpus) == {"zh", "vi"}
    for name in questions:
        around = unicodedata.normalize("NFC", filler[name] * 9).strip()
        left = "\n".join(line for line in unicodedata.normalize("NFC", corpus[name]).split("\n") if line)
        assert re.fullmatch(f"{re.escape(around)}\\n[？?]? ?{re.escape(around)}", left), left
    stored = "".join(row["text"] for row in rows(pipeline.store, "SELECT text FROM documents"))
    assert unicodedata.is_normalized("NFC", stored) == normal_form


def test_words_of_n_grams_by_hand() -> None:
    assert normalised("The “old” bridge, don't!") == ["the", "old", "bridge", "dont"]
    assert normalised("港口，Port 2号 สวัสดี 서울") == ["港", "口", "port", "2", "号", "ส", "วั", "ส", "ดี", "서", "울"]


def test_what_means_nothing_for_a_script_is_nothing() -> None:
    found = {
        name: measure(pa.array([text]))
        for name, text in {
            "zh": ZH,
            "hi": SAMPLES["Hindi"],
            "ru": "Старый мост стоит у реки. " * 3,
            "en": "The bridge is old. " * 3,
        }.items()
    }
    value = {
        name: {signal: float(column[0]) for signal, column in one.items() if signal != "language"}
        for name, one in found.items()
    }
    assert value["zh"]["gopher_word_count"] == len(regex.findall(r"\p{Han}", ZH))
    absent = {name: {signal for signal, number in one.items() if number != number} for name, one in value.items()}
    assert absent["en"] == set()
    assert absent["ru"] == {"gopher_stop_word_count", "redpajama_stop_word_share"}
    assert absent["hi"] == absent["ru"] | {
        "c4_terminal_line_share", "c4_sentence_count", "redpajama_all_caps_word_share", "redpajama_capital_letter_share",
    }  # fmt: skip
    assert absent["zh"] >= absent["hi"] | {
        "gopher_mean_word_length",
        "gopher_top_2_gram_char_share",
        "gopher_duplicate_10_gram_char_share",
    }
    assert "gopher_duplicate_line_share" not in absent["zh"]
    for text, is_null in (("words of English 一二 ", True), ("a word of English 一 ", False)):  # 2 and 1 of 5 words
        value_of = float(measure(pa.array([text * 9]))["gopher_mean_word_length"][0])
        assert (value_of != value_of) == is_null


def test_a_rule_judges_no_document_whose_signal_is_null() -> None:
    table = pa.table({"doc_id": ["a", "b", "c"], "gopher_mean_word_length": pa.array([1.0, None, 5.0], pa.float64())})
    rule = {"signal": "gopher_mean_word_length"}
    for bounds, broken in (
        ({"min": 3.0}, [True, False, False]),
        ({"max": 3.0}, [False, False, True]),
        ({"top_share": 0.5}, [True, False, False]),
        ({"pareto": 9.0}, [False, False, False]),
    ):
        policy = Policy(rules=(Rule(**rule, **bounds),))
        cutoffs = policy.cutoffs(lambda name: table[name])
        assert [check.broken.tolist() for check in policy.checks(table, 1, cutoffs)] == [broken], bounds
    with pytest.raises(SettingError, match="was not measured"):
        Policy(rules=(Rule(signal="quality_score", min=0.5),)).checks(
            pa.table({"doc_id": ["a"], "quality_score": pa.nulls(1, pa.float64())}), 1, {}
        )
