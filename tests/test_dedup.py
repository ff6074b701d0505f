"""Duplicates: datasketch's own signatures, no merge without proof, the same clusters in any order."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import xxhash
from datasketch import MinHash
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.dedup import minhash
from tasks.dedup.match import Match, MatchSettings
from tasks.dedup.sign import Sign, SignSettings
from tasks.extract.page import doc_id_of
from tasks.stage import Input, run_stages
from warehouse import schemas
from warehouse.artifact import Counts, Manifest, PartWriter, Ref, read_tables, write_manifest
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


def clusters(folder: Path, documents: list[tuple[str, str]], parts: int = 1, **changes: Any) -> list[dict[str, Any]]:
    """The duplicates table of (url, text) documents stored in so many parts."""
    store, ref = Store(str(folder)), Ref(stage="extract", key="k")
    records = []
    for number in range(parts):
        rows = [
            {"doc_id": doc_id_of(url, text), "url": url, "text": text, "source": "s", "n_chars": len(text)}
            for url, text in documents[number::parts]
        ]
        writer = PartWriter(store, ref, f"s-{number:05d}")
        writer.table("documents", pa.Table.from_pylist(rows, schema=schemas.DOCUMENTS))
        records.append(writer.commit(Counts(documents_in=len(rows), kept=len(rows)), {}))
    counts = sum((record.counts for record in records), Counts())
    write_manifest(
        store,
        Manifest(
            stage="extract",
            subject="s",
            version=1,
            key="k",
            settings={},
            inputs={},
            counts=counts,
            rows=0,
            bytes=0,
            parts=tuple(records),
        ),
        None,
    )
    (signed,) = run_stages([Sign(store, SignSettings(), {"documents": Input.of(ref)}, "s")])
    inputs = {"documents/s": Input.of(ref), "signatures/s": Input.of(signed.ref)}
    (made,) = run_stages([Match(store, MatchSettings(**changes), inputs)])
    return read_tables(store, made.ref, "duplicates").to_pylist()


def test_signatures_are_bit_identical_to_datasketch() -> None:
    for text in [*texts(1, 5, 2), "short", "", "Ünïcödé İstanbul ΣΑΣ 日本語 text of some words"]:
        reference = MinHash(num_perm=128, scheme="affine32", hashfunc=xxhash.xxh32_intdigest)
        for shingle in minhash.shingles(text):
            reference.update(shingle.encode())
        (ours,) = minhash.signatures([minhash.shingles(text)])
        assert ours.dtype == np.uint32
        assert (ours == reference.hashvalues).all()


def test_text_shorter_than_a_shingle_is_one_shingle() -> None:
    assert minhash.shingles("One, two!") == {"one two"}
    assert minhash.shingles("a b c d e") == {"a b c d e"}
    assert len(minhash.shingles("a b c d e f")) == 2


def test_no_cluster_joins_documents_without_a_verified_path(tmp_path: Path) -> None:
    documents = [(f"http://x.example/{i}", text) for i, text in enumerate(texts(2, 20, 4))]
    found = clusters(tmp_path, documents)
    by_id = {doc_id_of(url, text): minhash.shingles(text) for url, text in documents}
    assert found
    for row in found:
        others = [
            other["doc_id"]
            for other in found
            if other["cluster_id"] == row["cluster_id"] and other["doc_id"] != row["doc_id"]
        ]
        assert max(minhash.jaccard(by_id[row["doc_id"]], by_id[other]) for other in others) >= 0.8


def test_recall_against_brute_force(tmp_path: Path) -> None:
    documents = [(f"http://x.example/{i}", text) for i, text in enumerate(texts(3, 30, 4))]
    sets = [minhash.shingles(text) for _, text in documents]
    cluster = {row["doc_id"]: row["cluster_id"] for row in clusters(tmp_path, documents)}
    ids = [doc_id_of(url, text) for url, text in documents]
    pairs = [(i, j) for i in range(len(sets)) for j in range(i) if minhash.jaccard(sets[i], sets[j]) >= 0.8]
    together = sum(ids[i] in cluster and cluster[ids[i]] == cluster.get(ids[j]) for i, j in pairs)
    assert together / len(pairs) >= 0.98


@given(st.randoms(), st.integers(1, 5))
@settings(max_examples=8, deadline=None)
def test_clusters_do_not_depend_on_order_or_parts(
    tmp_path_factory: pytest.TempPathFactory, draw: Any, parts: int
) -> None:
    documents = [(f"http://x.example/{i}", text) for i, text in enumerate(texts(4, 6, 3))]
    expected = clusters(tmp_path_factory.mktemp("a"), documents)
    shuffled = list(documents)
    draw.shuffle(shuffled)
    assert clusters(tmp_path_factory.mktemp("b"), shuffled, parts) == expected


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
