"""A corpus of thirteen rows whose every table is written down here, from the rows to the tokens."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

from flows.making import Pipeline
from flows.query import rows
from flows.recipe.loading import load_recipe
from tasks.tokens.alphabet import SPLIT
from tests.known import pipeline_over
from warehouse.artifact import read_tables

SECTIONS = """repeats = { 2 = 3 }
[policies.strict]
rules = [
    { signal = "gopher_word_count", min = 10, max = 45 },
    { signal = "gopher_mean_word_length", max = 3.5 },
]
[extract]
min_chars = 1
part_bytes = 300
[sign]
hashes = 128
bands = 64
rows = 2
shingle_words = 2
[tokenizer]
vocabulary = 262
[pack]
validation_share = 0.25
"""


def words(letter: str, count: int, **changed: str) -> str:
    """``count`` different words; ``w7="x"`` replaces the one of that number."""
    return " ".join(changed.get(f"w{n}", f"{letter}{n}") for n in range(count))


BOOKS = [words("a", 30), words("b", 30)]
CRAWL: list[Any] = [
    words("a", 30),  # 0: the words of books/0
    words("b", 31),  # 1: those of books/1 and one more: 29 of 30 shingles
    words("c", 41),  # 2
    words("c", 41, w20="x"),  # 3: 38 shingles of 42
    words("d", 41),  # 4
    words("d", 41, w5="x", w12="x", w20="x", w28="x", w35="x"),  # 5: 30 of 50, too few
    words("e", 9),  # 6: a word too few
    {"text": words("f", 20), "url": "http://crawl.example/same"},
    {"text": words("g", 25), "url": "http://crawl.example/same"},  # 8: another text at the same place
    {"text": words("g", 25), "url": "http://crawl.example/same"},  # 9: the same once more
    words("h", 10),  # 10: just enough words
]
PREFERRED = {
    "crawl/0": ("books/0", "exact", 1.0),
    "crawl/1": ("books/1", "near", 29 / 30),
    "crawl/3": ("crawl/2", "near", 38 / 42),
    "crawl/7": ("crawl/8", "url", 0.0),  # they share no word
}


def name_of(url: str, text: str) -> str:
    """A document's name in this file."""
    source, _, number = url.removeprefix("http://").replace(".example", "").partition("/")
    return f"{source}/{number}" if number != "same" else f"crawl/{7 if text.startswith('f') else 8}"


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    tables = {"books": "priority = 2\nweight = 3.0", "crawl": 'policy = "strict"\npriority = 1\nweight = 1.0'}
    return pipeline_over(
        tmp_path_factory.mktemp("known"), {"books": BOOKS, "crawl": CRAWL}, sections=SECTIONS, tables=tables
    )


@pytest.fixture(scope="module")
def names(pipeline: Pipeline) -> dict[str, str]:
    """doc_id -> name."""
    return {row["doc_id"]: name_of(row["url"], row["text"]) for row in rows(pipeline.store, "FROM documents")}


def test_documents_are_the_rows_each_once(pipeline: Pipeline, names: dict[str, str]) -> None:
    found = {names[row["doc_id"]]: row for row in rows(pipeline.store, "FROM documents")}
    texts = {f"books/{n}": text for n, text in enumerate(BOOKS)}
    texts |= {f"crawl/{n}": text if isinstance(text, str) else text["text"] for n, text in enumerate(CRAWL) if n != 9}
    assert {name: row["text"] for name, row in found.items()} == texts
    for name, row in found.items():
        source = name.split("/")[0]
        assert (row["source"], row["domain"]) == (source, f"{source}.example")
        assert (row["n_words"], row["n_chars"], row["n_bytes"]) == (len(texts[name].split()), *[len(texts[name])] * 2)
    assert rows(pipeline.store, "SELECT url, verdict, rule FROM decisions WHERE stage = 'extract'") == [
        {"url": "http://crawl.example/same", "verdict": "removed", "rule": "same URL and text"}
    ]


def test_signals_by_hand(pipeline: Pipeline, names: dict[str, str]) -> None:
    for row in rows(pipeline.store, "SELECT s.*, d.text FROM signals s JOIN documents d USING (doc_id)"):
        found = row["text"].split()
        assert row["gopher_word_count"] == len(found), names[row["doc_id"]]
        assert row["gopher_mean_word_length"] == pytest.approx(sum(map(len, found)) / len(found))


def test_clusters_and_their_evidence(pipeline: Pipeline, names: dict[str, str]) -> None:
    found = {names[row["doc_id"]]: row for row in rows(pipeline.store, "FROM duplicates")}
    pairs = {("books/0", "crawl/0"), ("books/1", "crawl/1"), ("crawl/2", "crawl/3"), ("crawl/8", "crawl/7")}
    assert set(found) == {name for pair in pairs for name in pair}
    for first, other in pairs:
        kept, kind, jaccard = PREFERRED[other]
        assert kept == first
        for rank, name in enumerate((first, other)):
            row = found[name]
            assert (names[row["kept_doc_id"]], row["cluster_size"], row["rank"], row["kind"]) == (first, 2, rank, kind)
            assert row["jaccard"] == pytest.approx(jaccard)
            assert row["cluster_id"] == min(found[first]["doc_id"], found[other]["doc_id"])
    evidence = {
        frozenset((names[row["a"]], names[row["b"]])): row for row in rows(pipeline.store, "FROM duplicate_pairs")
    }
    assert {pair: row["verdict"] for pair, row in evidence.items()} == {
        frozenset(("books/0", "crawl/0")): "exact",
        frozenset(("books/1", "crawl/1")): "near",
        frozenset(("crawl/2", "crawl/3")): "near",
        frozenset(("crawl/7", "crawl/8")): "url",
        frozenset(("crawl/4", "crawl/5")): "rejected",
    }
    for row in evidence.values():
        assert row["a"] < row["b"]
        assert (row["band"] == -1) == (row["verdict"] in ("url", "exact"))
    assert evidence[frozenset(("crawl/4", "crawl/5"))]["jaccard"] == pytest.approx(30 / 50)
    assert evidence[frozenset(("crawl/4", "crawl/5"))]["containment"] == pytest.approx(30 / 40)
    assert evidence[frozenset(("books/1", "crawl/1"))]["containment"] == 1.0


def test_decisions_name_rule_value_and_threshold(pipeline: Pipeline, names: dict[str, str]) -> None:
    found = {names[row["doc_id"]]: row for row in rows(pipeline.store, "FROM decisions WHERE stage = 'select'")}
    removed = {name: row for name, row in found.items() if row["verdict"] == "removed"}
    assert set(removed) == {"crawl/0", "crawl/1", "crawl/3", "crawl/6", "crawl/7"}
    assert len(found) == 12
    for name, (kept, kind, jaccard) in PREFERRED.items():
        row = removed[name]
        assert row["rule"] == f"duplicate {kind}"
        assert row["value"] == pytest.approx(jaccard)
        assert row["detail"] is not None
        assert names[row["detail"].removeprefix("kept: ")] == kept
        assert row["threshold"] is None
    short = removed["crawl/6"]
    assert (short["rule"], short["value"], short["threshold"]) == ("gopher_word_count below 10", 9, 10)
    assert short["rules"] == ["gopher_word_count below 10"]
    assert all(row["rule"] is None and row["rules"] == [] for name, row in found.items() if name not in removed)


def test_funnel_of_each_stage_by_hand(pipeline: Pipeline) -> None:
    steps = {(row["stage"], row["subject"], row["rule"]): row for row in rows(pipeline.store, "FROM funnel")}
    taken = {key: row["documents_in"] - row["documents_out"] for key, row in steps.items()}
    assert {key: n for key, n in taken.items() if n} == {
        ("extract", "crawl", "same URL and text"): 1,
        ("select", "", "gopher_word_count below 10"): 1,
        ("select", "", "duplicate url"): 1,
        ("select", "", "duplicate exact"): 1,
        ("select", "", "duplicate near"): 2,
    }
    select = [row for (stage, *_), row in steps.items() if stage == "select"]
    texts = [*BOOKS, *(text if isinstance(text, str) else text["text"] for n, text in enumerate(CRAWL) if n != 9)]
    assert (select[0]["documents_in"], select[0]["bytes_in"]) == (12, sum(map(len, texts)))
    gone = [CRAWL[0], CRAWL[1], CRAWL[3], CRAWL[6], CRAWL[7]["text"]]
    assert (select[-1]["documents_out"], select[-1]["bytes_out"]) == (7, sum(map(len, texts)) - sum(map(len, gone)))
    short = steps["select", "", "gopher_word_count below 10"]
    assert short["bytes_in"] - short["bytes_out"] == len(CRAWL[6])


def test_corpus_has_the_columns_of_fineweb_and_the_mixture(pipeline: Pipeline, names: dict[str, str]) -> None:
    found = {names[row["id"]]: row for row in rows(pipeline.store, "FROM corpus")}
    assert set(found) == {"books/0", "books/1", "crawl/2", "crawl/4", "crawl/5", "crawl/8", "crawl/10"}
    for name, row in found.items():
        source = name.split("/")[0]
        assert (row["source"], row["dump"]) == (source, source)
        assert row["weight"] == {"books": 0.75, "crawl": 0.25}[source]
        assert row["repeats"] == (3 if name in ("books/0", "books/1", "crawl/2", "crawl/8") else 1)
    spans = rows(pipeline.store, "FROM token_spans")
    lengths = {names[span["doc_id"]]: span["length"] for span in spans}
    for name, row in found.items():
        assert row["token_count"] == sum(
            {span["split"]: span["length"] for span in spans if names[span["doc_id"]] == name}.values()
        )
    assert set(lengths) == set(found)
    counts: dict[tuple[str, str], int] = {}
    for span in spans:
        key = names[span["doc_id"]], span["split"]
        counts[key] = counts.get(key, 0) + 1
    assert all(n == (found[name]["repeats"] if split == "train" else 1) for (name, split), n in counts.items())


def test_artifacts_count_what_went_in_and_what_came_out(pipeline: Pipeline) -> None:
    found = {
        (row["stage"], row["subject"]): (row["documents_in"], row["kept"], row["removed"], row["failed"])
        for row in rows(pipeline.store, "FROM artifacts")
    }
    assert found["extract", "books"] == (2, 2, 0, 0)
    assert found["extract", "crawl"] == (11, 10, 1, 0)
    assert found["match", ""] == (12, 12, 0, 0)
    assert found["select", ""] == (12, 7, 5, 0)
    assert found["pack", ""] == (7, 7, 0, 0)
    for row in rows(pipeline.store, "SELECT stage, key, rows, bytes FROM artifacts"):
        (part,) = rows(
            pipeline.store,
            "SELECT sum(rows)::BIGINT AS n, sum(bytes)::BIGINT AS size FROM parts WHERE key = ?",
            [row["key"]],
        )
        assert (row["rows"], row["bytes"]) == (part["n"], part["size"])


def test_the_tokenizer_learns_from_the_documents_that_are_drawn(pipeline: Pipeline, tmp_path: Path) -> None:
    def learnt(texts: list[str], vocabulary: int) -> dict[str, int]:
        plain = Tokenizer(models.BPE())
        plain.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        )
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        plain.train_from_iterator(
            texts, trainers.BpeTrainer(vocab_size=vocabulary - 1, initial_alphabet=alphabet, show_progress=False)
        )
        return plain.get_vocab()

    table = read_tables(pipeline.store, pipeline.plan["select"][0].ref, "corpus", ["id", "source", "text"])
    corpus = table["text"].to_pylist()
    sizes = [len(text.encode()) for text in corpus]
    # By hand: of each source, documents by the SHA-256 of (seed, purpose, id), as long as they fit into its equal share.
    half = sum(sizes) // 2
    sources = sorted(set(table["source"].to_pylist()))
    drawn = set()
    for source in sources:
        own = [n for n, name in enumerate(table["source"].to_pylist()) if name == source]
        room = half / len(sources)
        assert sum(sizes[n] for n in own) > room  # else the others would have what is left of it
        for n in sorted(
            own,
            key=lambda n: hashlib.sha256(repr((1, "tokenizer", table["id"][n].as_py())).encode()).digest()[:8][::-1],
        ):
            room -= sizes[n]
            if room < -0.5:
                break
            drawn.add(n)
    assert 0 < len(drawn) < len(corpus)
    for limit, texts in ((1 << 30, corpus), (half, [text for n, text in enumerate(corpus) if n in drawn])):
        recipe = Path(pipeline.store.url).parent / "recipe.toml"
        other = Pipeline(load_recipe(str(recipe), (f"tokenizer.train_bytes={limit}",)))
        other.make("tokenizer")
        folder = Path(pipeline.store.url) / other.plan["tokenizer"][0].ref.folder
        stored = json.loads((folder / "tokenizer" / "tokenizer.json").read_text())
        assert stored["model"]["vocab"] == learnt(texts, 262)
        assert stored["added_tokens"][-1]["content"] == "<|endoftext|>"
        assert stored["added_tokens"][-1]["id"] == len(stored["model"]["vocab"])
    pipeline.make("tokenizer")


@pytest.mark.parametrize(
    ("override", "removed"),
    [
        ("remove_duplicates=false", {"crawl/6"}),
        ("match.threshold=0.95", {"crawl/0", "crawl/1", "crawl/6", "crawl/7"}),
        ("match.threshold=0.6", {"crawl/0", "crawl/1", "crawl/3", "crawl/5", "crawl/6", "crawl/7"}),
        ("match.similarity=containment", {"crawl/0", "crawl/1", "crawl/3", "crawl/6", "crawl/7"}),
        ("policies.strict.rules.0.max=40", {"crawl/0", "crawl/1", "crawl/2", "crawl/3", "crawl/4", "crawl/5", "crawl/6", "crawl/7"}),
        ("policies.strict.rules.0.max=41", {"crawl/0", "crawl/1", "crawl/3", "crawl/6", "crawl/7"}),
        ("sources.crawl.priority=3", {"books/0", "books/1", "crawl/3", "crawl/6", "crawl/7"}),
        ("sign.bands=1", {"crawl/0", "crawl/1", "crawl/6", "crawl/7"}),  # one band of two numbers misses one pair in six
        ("sign.shingle_words=41", {"crawl/0", "crawl/6", "crawl/7"}),
    ],
)  # fmt: skip
def test_a_changed_setting_changes_what_is_removed(tmp_path: Path, override: str, removed: set[str]) -> None:
    tables = {"books": "priority = 2\nweight = 3.0", "crawl": 'policy = "strict"\npriority = 1\nweight = 1.0'}
    sources = {"books": BOOKS, "crawl": CRAWL}
    other = pipeline_over(tmp_path, sources, override, sections=SECTIONS, tables=tables, until="select")
    found = rows(
        other.store,
        "SELECT d.url, text FROM documents JOIN decisions d USING (doc_id) WHERE d.verdict = 'removed' AND d.stage = 'select'",
    )
    assert {name_of(row["url"], row["text"]) for row in found} == removed
