"""Duplicates: datasketch's own signatures, no merge without proof, the same clusters in any order."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any
from unicodedata import category, normalize

import numpy as np
import pyarrow as pa
import pytest
import regex
import xxhash
from datasketch import MinHash
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from benchmarks.corpora import named_licences
from tasks.core.stage import Input, MakeParts, Report, Stage, make_part, one_by_one, run_stages
from tasks.dedup import band, minhash
from tasks.dedup import texts as texts_module
from tasks.dedup.band import Band, BandSettings
from tasks.dedup.candidates import Keyed, ends_of, pairs_that_share
from tasks.dedup.match import Match, MatchSettings
from tasks.dedup.minhash import Scheme
from tasks.dedup.sign import Sign, SignSettings
from tasks.dedup.similarity import overlaps
from tasks.extract.page import doc_id_of
from tests.conftest import SHARED
from warehouse import log, schemas
from warehouse.artifact import Counts, Manifest, PartWriter, Ref, load, read_tables, write_manifest
from warehouse.store import Store

WORDS = [
    "the",
    "quick",
    "brown",
    "fox",
    "jumps",
    "over",
    "a",
    "lazy",
    "dog",
    "while",
    "seven",
    "wizards",
    "brew",
    "strange",
    "potions",
    "under",
    "the",
    "pale",
    "moon",
]


def texts(seed: int, families: int, copies: int) -> list[str]:
    """Families of texts of which some are edited copies."""
    draw = random.Random(seed)
    out = []
    for _ in range(families):
        base = draw.choices(WORDS, k=120)
        for copy in range(copies):
            words = list(base)
            for _ in range(copy * draw.randint(0, 3)):
                words[draw.randrange(len(words))] = draw.choice(WORDS)
            out.append(" ".join(words))
    return out


# Letters of scripts that part no words, by Unicode's own properties.
_WHOLE = regex.compile(
    r"(?V1)[\p{L}&&[\p{scx=Hani}\p{scx=Hira}\p{scx=Kana}\p{scx=Hang}\p{scx=Thai}\p{scx=Laoo}\p{scx=Khmr}\p{scx=Mymr}\p{scx=Tang}"
    r"\p{scx=Nshu}\p{scx=Yiii}]--[\u02bc\U00016fe3]]"
)
_UNSEEN = dict.fromkeys(
    [*map(ord, "\u00ad\u200b\u200c\u200d\u2060\ufeff"), *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)]
)


def words_of(text: str) -> list[str]:
    """The plain definition: runs of letters, digits and marks in lower case, letters of some scripts one by one."""
    words: list[str] = []
    kind = ""
    for character in normalize("NFC", normalize("NFC", text).lower()).translate(_UNSEEN):
        is_mark = category(character).startswith("M")
        if _WHOLE.match(character):
            words.append(character)
            kind = "whole"
        elif is_mark and not kind:
            continue
        elif is_mark or character.isalnum() or character == "_":
            if kind == "word" or is_mark:
                words[-1] += character
            else:
                words.append(character)
                kind = "word"
        else:
            kind = ""
    return words


def shingles(text: str) -> set[str]:
    """The plain definition: word 5-grams, or all of a shorter text."""
    words = words_of(text)
    return {" ".join(words[i : i + 5]) for i in range(max(1, len(words) - 4))}


def similarity(a: str, b: str) -> float:
    one, other = shingles(a), shingles(b)
    return len(one & other) / len(one | other)


def stored(store: Store, documents: list[tuple[str, str]], parts: int = 1, source: str = "s") -> Ref:
    """(url, text) documents as an artifact of so many parts."""
    ref, records = Ref(stage="extract", key=hashlib.sha256(repr((documents, parts, source)).encode()).hexdigest()), []
    for number in range(parts):
        rows = [
            {"doc_id": doc_id_of(url, text), "url": url, "text": text, "source": source, "n_chars": len(text)}
            for url, text in documents[number::parts]
        ]
        writer = PartWriter(store, ref, f"{source}-{number:05d}")
        writer.table("documents", pa.Table.from_pylist(rows, schema=schemas.DOCUMENTS))
        records.append(writer.commit(Counts(documents_in=len(rows), kept=len(rows)), {}))
    whole = {"counts": sum((record.counts for record in records), Counts()), "rows": 0, "bytes": 0}
    manifest = Manifest(
        stage="extract", subject=source, version=1, key=ref.key, settings={}, inputs={}, parts=tuple(records), **whole
    )
    write_manifest(store, manifest, None)
    return ref


def matched(store: Store, sources: dict[str, Ref], make_parts: MakeParts = one_by_one, **changes: Any) -> Ref:
    """Signs, bands and matches the documents of these artifacts."""
    inputs = {f"documents/{source}": Input.of(ref) for source, ref in sources.items()}
    signed = {}
    for source, ref in sources.items():
        (made,) = run_stages([Sign(store, SignSettings(), {"documents": Input.of(ref)}, source)], make_parts)
        signed[f"signatures/{source}"] = Input.of(made.ref)
    (banded,) = run_stages([Band(store, BandSettings(memory_mb=changes.get("memory_mb", 1024)), signed)], make_parts)
    inputs |= signed | {"candidates": Input.of(banded.ref)}
    (made,) = run_stages([Match(store, MatchSettings(**changes), inputs)], make_parts)
    log.note_stage(store, log.new_run(store, "test"), [made.ref])
    return made.ref


def clusters(folder: Path, documents: list[tuple[str, str]], parts: int = 1, **changes: Any) -> list[dict[str, Any]]:
    """The duplicates table of (url, text) documents stored in so many parts."""
    store = Store(str(folder))
    ref = matched(store, {"s": stored(store, documents, parts)}, **changes)
    return read_tables(store, ref, "duplicates").to_pylist()


AWKWARD = [
    "short", "", "  ", "...", "One, two!", "a b c d e", "a b c d e f", "_under_score_ 1234 x_1",
    "Ünïcödé İstanbul ΣΑΣ 日本語 text of some words ΑΣ", "ὈΔΥΣΣΕΎΣ ΟΔΟΣ", "ȺȾ" * 40, "\x00 nul \x7f",
    "x" * 5000, "é" * 63 + "a", "a" * 64, "a" * 63 + " b", "’" * 65 + "word", " ".join(["longword" * 30] * 7),
]  # fmt: skip


def reference_signature(text: str, hashes: int) -> Any:
    reference = MinHash(num_perm=hashes, scheme="affine32", hashfunc=xxhash.xxh32_intdigest)
    reference.update_batch([shingle.encode() for shingle in shingles(text)])
    return reference.hashvalues


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 3)), max_size=60), st.integers(1, 3))
@settings(deadline=None)
def test_candidates_are_all_that_share_a_key(documents: list[tuple[int, int]], window: int) -> None:
    """In the order of names each is paired with the next texts of its key; of equal texts the first stands for all."""
    spread = np.uint64(0x9E3779B97F4A7C15)
    keys, texts = (np.array([d[n] for d in documents], np.uint64) * spread for n in (0, 1))
    rows = np.arange(len(documents), dtype=np.uint64)
    groups: dict[int, dict[int, int]] = {}
    for row, (key, text) in enumerate(documents):
        groups.setdefault(key, {}).setdefault(text, row)
    expected = {
        (a, b)
        for heads in groups.values()
        for at, a in enumerate(heads.values())
        for b in list(heads.values())[at + 1 : at + 1 + window]
    }
    a, b = ends_of(pairs_that_share(Keyed(keys, texts, rows, rows), window))
    assert list(zip(a.tolist(), b.tolist(), strict=True)) == sorted(expected)


@pytest.mark.parametrize("hashes", [10, 112, 128, 200])
def test_signatures_are_bit_identical_to_datasketch(hashes: int) -> None:
    given_texts = [*texts(1, 5, 2), *AWKWARD]
    found = minhash.sketches(pa.array(given_texts), Scheme(hashes, 2, 5))
    assert found.signatures.dtype == np.uint32
    for text, signature in zip(given_texts, found.signatures, strict=True):
        assert (signature == reference_signature(text, hashes)).all(), text


ASSIGNED = st.characters(exclude_categories=["Cs", "Cn"])


@given(st.lists(st.text(ASSIGNED, max_size=200), max_size=6))
@settings(deadline=None)
def test_words_and_shingles_of_any_text_are_those_of_python(given_texts: list[str]) -> None:
    given_texts = [text.encode("utf-8", "replace").decode() for text in given_texts]
    found = minhash.shingle_hashes(pa.array(given_texts, pa.string()), 5)
    for row, text in enumerate(given_texts):
        expected = {xxhash.xxh32_intdigest(shingle.encode()) for shingle in shingles(text)}
        assert set(found.values[found.starts[row] : found.ends[row]].tolist()) == expected


def test_every_code_point_is_a_word_or_none_as_in_python() -> None:
    characters = [
        chr(code) for code in range(0x110000) if category(chr(code)) not in ("Cs", "Cn")
    ]  # of Python's Unicode
    given_texts = [" ".join(characters[i : i + 997]) for i in range(0, len(characters), 997)]
    found = minhash.shingle_hashes(pa.array(given_texts), 1)
    for row, text in enumerate(given_texts):
        expected = [xxhash.xxh32_intdigest(word.encode()) for word in words_of(text)] or [xxhash.xxh32_intdigest(b"")]
        assert found.values[found.starts[row] : found.ends[row]].tolist() == expected


def test_words_at_the_end_of_a_column_are_those_of_anywhere_in_it() -> None:
    """There the table decides, elsewhere the vector loop."""
    for code in range(1, 128):
        text = f"ab{chr(code)}cd"
        for column in ([text], [text, "x" * 500]):
            found = minhash.shingle_hashes(pa.array(column), 1)
            expected = {xxhash.xxh32_intdigest(word.encode()) for word in words_of(text)}
            assert set(found.values[found.starts[0] : found.ends[0]].tolist()) == expected, code


def test_texts_of_the_same_words_have_one_digest_and_others_another() -> None:
    given_texts = ["One two, three.", "one TWO three", "one two thre e", "", "...", "one two three\0", "o" * 8, "o" * 9]
    digests = [tuple(digest) for digest in minhash.sketches(pa.array(given_texts), Scheme()).digests.tolist()]
    assert digests[0] == digests[1] == digests[5]
    assert len(set(digests)) == 6


def test_texts_without_words_are_alike_only_where_their_bytes_are() -> None:
    given_texts = ["\u280b\u2815", "\u280b\u2815", "\u2815\u280b", "...", "--- ###", "", "words"]
    found = minhash.sketches(pa.array(given_texts), Scheme())
    names = [tuple(digest) for digest in found.digests.tolist()]
    assert names[0] == names[1]
    assert len(set(names)) == 6
    assert all(len(set(band)) == 6 for band in found.keys.tolist())


def test_no_cluster_joins_documents_without_a_verified_path(tmp_path: Path) -> None:
    documents = [(f"http://x.example/{i}", text) for i, text in enumerate(texts(2, 20, 4))]
    found = clusters(tmp_path, documents)
    by_id = {doc_id_of(url, text): shingles(text) for url, text in documents}
    assert found
    for row in found:
        others = [
            other["doc_id"]
            for other in found
            if other["cluster_id"] == row["cluster_id"] and other["doc_id"] != row["doc_id"]
        ]
        assert (
            max(len(by_id[row["doc_id"]] & by_id[other]) / len(by_id[row["doc_id"]] | by_id[other]) for other in others)
            >= 0.8
        )


def test_recall_against_brute_force(tmp_path: Path) -> None:
    documents = [(f"http://x.example/{i}", text) for i, text in enumerate(texts(3, 30, 4))]
    cluster = {row["doc_id"]: row["cluster_id"] for row in clusters(tmp_path, documents)}
    ids = [doc_id_of(url, text) for url, text in documents]
    pairs = [
        (i, j) for i in range(len(documents)) for j in range(i) if similarity(documents[i][1], documents[j][1]) >= 0.8
    ]
    together = sum(ids[i] in cluster and cluster[ids[i]] == cluster.get(ids[j]) for i, j in pairs)
    assert together / len(pairs) >= 0.98


def family_documents(draw: Any, families: int = 6) -> list[tuple[str, str]]:
    """Families of texts with edited and exact copies, some under one URL, in any order."""
    documents = [(f"http://x.example/{i}", text) for i, text in enumerate(texts(draw.randrange(1 << 30), families, 3))]
    for _ in range(4):
        url, text = draw.choice(documents)
        documents.append(draw.choice([(f"{url}/copy", text.upper()), (url, text.rsplit(" ", 3)[0])]))
    documents = list(dict.fromkeys(documents))
    draw.shuffle(documents)
    return documents


def bytes_of(store: Store, ref: Ref) -> list[tuple[str, str]]:
    """The files of what match made, as digests."""
    return [(file.path, file.sha256) for part in load(store, ref).parts for file in part.files]


class Threads:
    """Parts on several threads at once, in an order of their own."""

    def __call__(self, parts: Sequence[tuple[Stage, str]], report: Report) -> None:
        with ThreadPoolExecutor(3) as threads:
            for future in [threads.submit(make_part, stage, part) for stage, part in reversed(parts)]:
                future.result()


@given(st.randoms(use_true_random=False), st.integers(1, 5), st.integers(1, 3))
@settings(max_examples=12, deadline=None, phases=[Phase.explicit, Phase.generate])  # to shrink would take minutes
def test_duplicates_are_the_same_bytes_for_any_order_parts_sources_workers_and_memory(
    tmp_path_factory: pytest.TempPathFactory, draw: Any, parts: int, sources: int
) -> None:
    documents = family_documents(draw)
    plain = Store(str(tmp_path_factory.mktemp("plain")))
    expected = bytes_of(plain, matched(plain, {"s": stored(plain, documents)}))
    draw.shuffle(documents)
    other = Store(str(tmp_path_factory.mktemp("other")))
    split = {f"s{n}": stored(other, documents[n::sources], parts, f"s{n}") for n in range(sources)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(band, "BYTES_PER_DOCUMENT", draw.choice([96, 1 << 20]))  # all keys at once, or many ranges
        assert bytes_of(other, matched(other, split, Threads(), memory_mb=draw.choice([1, 64]))) == expected


@given(st.randoms(use_true_random=False), st.integers(2, 4))
@settings(max_examples=12, deadline=None, phases=[Phase.explicit, Phase.generate])  # to shrink would take minutes
def test_increments_give_the_bytes_of_one_run_and_taking_one_back_those_of_before(
    tmp_path_factory: pytest.TempPathFactory, draw: Any, increments: int
) -> None:
    documents = family_documents(draw)
    cuts = sorted(draw.sample(range(1, len(documents)), increments - 1))
    grown, sources, states = Store(str(tmp_path_factory.mktemp("grown"))), {}, []
    for number, (first, last) in enumerate(pairwise([0, *cuts, len(documents)])):
        sources[f"s{number}"] = stored(grown, documents[first:last], 1, f"s{number}")
        states.append(bytes_of(grown, matched(grown, dict(sources))))
    once = Store(str(tmp_path_factory.mktemp("once")))
    assert bytes_of(once, matched(once, {"s": stored(once, documents)})) == states[-1]
    fresh = Store(str(tmp_path_factory.mktemp("fresh")))  # what is known of the pairs of more documents must not show
    before = {
        name: stored(fresh, documents[first:last], 1, name)
        for name, (first, last) in zip(sources, pairwise([0, *cuts]), strict=False)
    }
    everything = {**before, "last": stored(fresh, documents[cuts[-1] :], 1, "last")}
    matched(fresh, everything)
    assert bytes_of(fresh, matched(fresh, before)) == states[-2]


def test_no_text_is_read_again_for_pairs_that_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(str(tmp_path))
    documents = [(f"http://x.example/{i}", text) for i, text in enumerate(texts(11, 10, 3))]
    first = {"a": stored(store, documents, 1, "a")}
    matched(store, first)
    read: list[int] = []
    hashed = texts_module.StoredShingles._hash
    monkeypatch.setattr(
        texts_module.StoredShingles, "_hash", lambda self, rows: (read.extend(rows.tolist()), hashed(self, rows))[1]
    )
    base = documents[0][1]
    added = [("http://x.example/new", f"{base} and something more")]
    matched(store, {**first, "b": stored(store, added, 1, "b")})
    family = set(range(3))
    assert read
    assert set(read) <= family | {len(documents)}


def test_a_chain_of_resemblances_joins_nothing(tmp_path: Path) -> None:
    words = [f"w{i}" for i in range(1000)]

    def shifted(start: int) -> str:
        return " ".join(words[start : start + 200 + start // 20])  # later ones are a little longer

    documents = [(f"http://x.example/{n}", shifted(n * 15)) for n in range(8)]
    neighbours = [similarity(a[1], b[1]) for a, b in pairwise(documents)]
    assert min(neighbours) > 0.8
    found = clusters(tmp_path, documents)
    by_id = {doc_id_of(url, text): text for url, text in documents}
    assert len({row["kept_doc_id"] for row in found}) > 1
    for row in found:
        assert similarity(by_id[row["doc_id"]], by_id[row["kept_doc_id"]]) >= 0.8


@pytest.mark.skipif(not SHARED.exists(), reason="needs the licences of ../shared/data")
def test_licences_go_only_where_the_kept_one_is_like_them(tmp_path: Path) -> None:
    named = named_licences(SHARED)
    documents = [(f"http://x.example/{name}", text) for name, text in named.items()]
    by_id = {doc_id_of(url, text): (url.rsplit("/", 1)[1], text) for url, text in documents}
    found = [row for row in clusters(tmp_path, documents) if row["rank"] > 0]
    assert len(found) > 50
    for row in found:
        (name, text), (kept, kept_text) = by_id[row["doc_id"]], by_id[row["kept_doc_id"]]
        assert similarity(text, kept_text) >= 0.8, (name, kept)


def test_texts_under_one_url_do_not_bind_what_is_like_them(tmp_path: Path) -> None:
    one, other = texts(12, 1, 1)[0], texts(13, 1, 1)[0]
    documents = [("http://x.example/a", one), ("http://x.example/a", other), ("http://x.example/b", other + " more")]
    found = {row["doc_id"]: row for row in clusters(tmp_path, documents)}
    ids = [doc_id_of(url, text) for url, text in documents]
    kept = {row["kept_doc_id"] for row in found.values()}
    texts_kept = [documents[ids.index(doc_id)][1] for doc_id in [*kept, *(i for i in ids if i not in found)]]
    assert any(similarity(text, other) > 0.8 for text in texts_kept) or any(text == one for text in texts_kept)
    assert "url" in {row["kind"] for row in found.values()}


def test_containment_joins_a_text_and_a_part_of_it(tmp_path: Path) -> None:
    text = texts(14, 1, 1)[0]
    documents = [("http://x.example/whole", text), ("http://x.example/part", " ".join(text.split()[:100]))]
    assert similarity(documents[0][1], documents[1][1]) > 0.75
    assert not clusters(tmp_path / "jaccard", documents, threshold=0.9)
    assert len(clusters(tmp_path / "containment", documents, threshold=0.9, similarity="containment")) == 2


def test_evidence_says_of_each_pair_how_like_it_is(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    documents = [(f"http://x.example/{i}", text) for i, text in enumerate(texts(15, 12, 4))]
    ref = matched(store, {"s": stored(store, documents)})
    by_id = {doc_id_of(url, text): text for url, text in documents}
    pairs = read_tables(store, ref, "duplicate_pairs").to_pylist()
    assert pairs
    for pair in pairs:
        assert pair["jaccard"] == pytest.approx(similarity(by_id[pair["a"]], by_id[pair["b"]]), abs=1e-12)
        assert (pair["verdict"] == "rejected") == (pair["jaccard"] < 0.8)
    assert {pair["verdict"] for pair in pairs} == {"exact", "near", "rejected"}


@given(st.lists(st.lists(st.integers(0, 40), min_size=1, max_size=30), min_size=2, max_size=6), st.integers(4, 400))
@settings(deadline=None)
def test_overlaps_of_sets_are_those_of_python(given_sets: list[list[int]], salt: int) -> None:
    values = np.array([n * salt for one in given_sets for n in one], np.uint32)
    ends = np.cumsum([len(one) for one in given_sets])
    starts = ends - [len(one) for one in given_sets]
    a, b = np.triu_indices(len(given_sets), 1)
    found = overlaps(values, starts, ends, a, b)
    sets = [set(one) for one in given_sets]
    expected = [(len(sets[i] & sets[j]), len(sets[i]), len(sets[j])) for i, j in zip(a, b, strict=True)]
    assert [tuple(row) for row in found.tolist()] == expected


def test_exact_and_url_duplicates_are_told_from_near_ones(tmp_path: Path) -> None:
    one, other = texts(5, 1, 1)[0], texts(6, 1, 1)[0]
    found = clusters(
        tmp_path,
        [
            ("http://x.example/a", one),
            ("http://x.example/b", one.upper() + "!"),
            ("http://x.example/c", other),
            ("http://x.example/d", other.rsplit(" ", 1)[0]),
        ],
    )
    assert sorted(row["kind"] for row in found) == ["exact", "exact", "near", "near"]
    assert {row["cluster_size"] for row in found} == {2}


def test_longest_document_of_a_cluster_is_preferred(tmp_path: Path) -> None:
    text = texts(7, 1, 1)[0]
    found = clusters(tmp_path, [("http://x.example/long", text), ("http://x.example/short", text.rsplit(" ", 2)[0])])
    assert {row["kept_doc_id"] for row in found} == {doc_id_of("http://x.example/long", text)}
