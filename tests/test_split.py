"""What is held out was not trained on: not by itself, not by its group, not by a document that holds much of it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from random import Random
from typing import Any

import pytest

from flows.making import Pipeline
from flows.query import rows
from flows.recipe.loading import load_recipe
from tasks.tokens.split import declared_group
from tests.known import pipeline_over, recipe_file
from tests.test_known_scores import SETTINGS, WORDS, prose
from warehouse.errors import SettingError

SHARE = 0.3


def drawn(name: str) -> bool:
    """Whether a group of this name is held out: the draw written out."""
    digest = hashlib.sha256(f"(0, 'split', {name!r})".encode()).digest()
    return (int.from_bytes(digest[:8], "little") >> 11) / 2**53 < SHARE


def grams(text: str) -> set[tuple[str, ...]]:
    words = ["".join(c for c in word if c.isalnum()).lower() for word in text.split()]
    words = [word for word in words if word]
    return {tuple(words[n : n + 8]) for n in range(len(words) - 7)}


def splits(pipeline: Pipeline) -> dict[str, str]:
    """URL -> train, validation, or nothing for what is in neither."""
    found = rows(
        pipeline.store,
        "SELECT url, split FROM corpus LEFT JOIN (SELECT DISTINCT doc_id, split FROM token_spans) ON doc_id = id",
    )
    return {row["url"]: row["split"] or "" for row in found}


@pytest.mark.parametrize(
    ("rule", "group"),
    [
        ("host", "a.example:80"),
        ("folder", "http://a.example:80/works/hamlet_gut"),
        (r"/works/(\w+?)(_gut)?/", "hamlet"),
        (r"/works/\w+", "/works/hamlet_gut"),
        (r"/plays/(\w+)", ""),
        (r"/works/(x)?", ""),
        ("", ""),
    ],
)
def test_a_group_is_what_the_source_says_of_a_url(rule: str, group: str) -> None:
    assert declared_group("http://a.example:80/works/hamlet_gut/3.html", rule) == group


def test_names_that_are_no_urls_have_no_host_and_a_pattern_is_checked(tmp_path: Path) -> None:
    assert declared_group("plays:scene 3", "host") == ""
    assert declared_group("plays:scene 3", "plays:(.+) ") == "scene"
    with pytest.raises(SettingError, match=r"sources\.plays\.group is no regular expression"):
        load_recipe(str(recipe_file(tmp_path, {"plays": ["x"]}, SETTINGS, {"plays": 'group = "("'})))


def test_documents_of_a_group_are_held_out_together(tmp_path: Path) -> None:
    draw = Random(2)
    texts = [{"text": prose(draw, 6), "url": f"http://plays.example/{n // 3}/{n}"} for n in range(60)]
    pipeline = pipeline_over(
        tmp_path, {"plays": texts}, sections=SETTINGS, tables={"plays": r"group = 'example/(\d+)/'"}
    )
    found = splits(pipeline)
    assert found == {row["url"]: "validation" if drawn(f"plays:{n // 3}") else "train" for n, row in enumerate(texts)}
    assert set(found.values()) == {"train", "validation"}
    groups = {row["group_id"] for row in rows(pipeline.store, "FROM held_out")}
    assert groups == {f"plays:{n}" for n in range(20) if drawn(f"plays:{n}")}
    # Without groups each document is drawn by its own id.
    alone = Pipeline(load_recipe(str(tmp_path / "recipe.toml"), ("sources.plays.group=''",)))
    for node in ("split", "relatives", "pack"):
        alone.make(node)
    ids = rows(alone.store, "SELECT id, url FROM corpus")
    assert splits(alone) == {row["url"]: "validation" if drawn(row["id"]) else "train" for row in ids}


def test_documents_that_were_found_alike_are_one_group_though_both_are_kept(tmp_path: Path) -> None:
    draw = Random(4)
    texts = [prose(draw, 40) for _ in range(20)]
    # Almost the same: all but the last twenty words.
    pairs = [" ".join([*text.split()[:-20], *draw.choices(WORDS, k=20)]) for text in texts]
    pipeline = pipeline_over(tmp_path, {"plays": [*texts, *pairs]}, "match.threshold=0.99", sections=SETTINGS)
    found = splits(pipeline)
    fates = [(found[f"http://plays.example/{n}"], found[f"http://plays.example/{n + 20}"]) for n in range(20)]
    assert set(fates) == {("train", "train"), ("validation", "validation")}
    ids = {row["url"]: row["id"] for row in rows(pipeline.store, "SELECT id, url FROM corpus")}
    apart = Pipeline(
        load_recipe(str(tmp_path / "recipe.toml"), ("match.threshold=0.99", "pack.related_similarity=0.99"))
    )
    for node in ("split", "relatives", "pack"):
        apart.make(node)
    assert splits(apart) != found
    for n, (fate, _) in enumerate(fates):
        both = sorted(ids[f"http://plays.example/{k}"] for k in (n, n + 20))
        assert (fate == "validation") == drawn(both[0])


@pytest.fixture(scope="module")
def related(tmp_path_factory: pytest.TempPathFactory) -> tuple[Pipeline, list[str]]:
    """40 documents and after each a second one: an anthology that quotes so and so much of it, too little for a duplicate."""
    folder, draw = tmp_path_factory.mktemp("related"), Random(8)
    texts = []
    for n in range(40):
        text = " ".join(draw.choices(WORDS, k=120))
        quoted = " ".join(text.split()[: (60, 30, 20, 0)[n % 4]])
        texts += [text, f"{quoted} {' '.join(draw.choices(WORDS, k=300))}".strip()]
    return pipeline_over(folder, {"plays": texts}, "evaluate.max_documents=99", sections=SETTINGS, until="split"), texts


def test_what_holds_much_of_a_held_out_document_is_not_trained_on_and_says_why(
    related: tuple[Pipeline, list[str]],
) -> None:
    pipeline, texts = Pipeline(related[0].recipe), related[1]
    for node in ("tokenizer", "relatives", "pack"):
        pipeline.make(node)
    found = splits(pipeline)
    ids = {row["url"]: row["id"] for row in rows(pipeline.store, "SELECT id, url FROM corpus")}
    held = {n: grams(text) for n, text in enumerate(texts) if drawn(ids[f"http://plays.example/{n}"])}
    removed = {row["url"]: row for row in rows(pipeline.store, "FROM decisions WHERE stage = 'relatives'")}
    expected = {}
    for n, text in enumerate(texts):
        url, mine = f"http://plays.example/{n}", grams(text)
        share = max(
            (max(len(mine & one) / len(one), len(mine & one) / len(mine)) for one in held.values()), default=0.0
        )
        fate = "validation" if n in held else "" if share >= 0.2 else "train"
        assert found[url] == fate, (n, share)
        if not fate:
            expected[url] = share
    assert len(expected) >= 5
    assert {url: row["value"] for url, row in removed.items()} == pytest.approx(expected)
    assert {(row["rule"], row["threshold"], row["verdict"]) for row in removed.values()} == {
        ("relative of held-out text", 0.2, "removed")
    }
    (funnel,) = rows(pipeline.store, "FROM funnel WHERE stage = 'relatives'")
    assert funnel["documents_in"] - funnel["documents_out"] == len(expected)
    (pack,) = rows(pipeline.store, "SELECT documents_in, kept, removed FROM artifacts WHERE stage = 'pack'")
    assert pack == {"documents_in": 80, "kept": 80 - len(expected), "removed": len(expected)}
    url = next(iter(expected))
    assert any(row["stage"] == "relatives" for row in rows(pipeline.store, f"FROM why('{url}')"))
    # Another share removes others: the setting reaches its place.
    config = str(Path(pipeline.store.url).parent / "recipe.toml")
    strict = Pipeline(load_recipe(config, ("pack.related_share=0.1",)))
    for node in ("relatives", "pack"):
        strict.make(node)
    assert len(rows(strict.store, "FROM decisions WHERE stage = 'relatives'")) > len(expected)


def test_the_overlap_that_is_left_stands_beside_every_score(related: tuple[Pipeline, list[str]]) -> None:
    pipeline, texts = Pipeline(related[0].recipe), related[1]
    for node in ("relatives", "tokenizer", "pack", "pretrain", "evaluate"):
        pipeline.make(node)
    found = splits(pipeline)
    urls = {row["url"]: row["id"] for row in rows(pipeline.store, "SELECT id, url FROM corpus")}
    trained: set[tuple[str, ...]] = set()
    for n, text in enumerate(texts):
        if found[f"http://plays.example/{n}"] == "train":
            trained |= grams(text)
    held_out = [n for n in range(len(texts)) if found[f"http://plays.example/{n}"] == "validation"]
    held = sorted((urls[f"http://plays.example/{n}"], grams(texts[n])) for n in held_out)
    shares = [len(mine & trained) / len(mine) for _, mine in held]
    assert max(shares) > 0
    clean = sum(share <= 0.05 for share in shares) / len(shares)
    scores: list[dict[str, Any]] = rows(pipeline.store, "FROM evaluations WHERE task = 'held-out text'", recipe="known")
    assert scores
    for row in scores:
        assert row["overlap"] == pytest.approx(sum(shares) / len(shares))
        assert row["share_clean"] == pytest.approx(clean)
        assert (row["clean_value"] is None) == (clean == 0)
    config = str(Path(pipeline.store.url).parent / "recipe.toml")
    whole = Pipeline(load_recipe(config, ("evaluate.max_documents=99", "evaluate.clean_overlap=1.0")))
    whole.make("evaluate")
    for row in rows(whole.store, "FROM evaluations WHERE task = 'held-out text'", recipe="known"):
        assert (row["share_clean"], row["clean_value"]) == (1.0, row["value"])


def test_of_many_groups_one_is_held_out_at_least(tmp_path: Path) -> None:
    draw = Random(2)
    texts = [{"text": prose(draw, 6), "url": f"http://plays.example/{n // 2}/{n}"} for n in range(40)]
    changes = ("pack.validation_share=0.001", r"sources.plays.group='example/(\d+)/'")
    pipeline = pipeline_over(tmp_path, {"plays": texts}, *changes, sections=SETTINGS)
    digests = {n: hashlib.sha256(f"(0, 'split', 'plays:{n}')".encode()).digest()[:8] for n in range(20)}
    first = min(digests, key=lambda n: int.from_bytes(digests[n], "little") >> 11)
    held = {row["url"] for row in rows(pipeline.store, "SELECT url FROM held_out JOIN corpus ON id = doc_id")}
    assert held == {f"http://plays.example/{first}/{2 * first}", f"http://plays.example/{first}/{2 * first + 1}"}


def test_a_group_that_is_much_of_its_source_is_never_held_out(tmp_path: Path) -> None:
    draw = Random(2)
    texts = [{"text": prose(draw, 6), "url": f"http://plays.example/{n // 4}/{n}"} for n in range(24)]
    pipeline = pipeline_over(tmp_path, {"plays": texts}, sections=SETTINGS, tables={"plays": 'group = "folder"'})
    assert rows(pipeline.store, "FROM held_out") == []  # a group is a sixth: the ends of documents are held out instead
    assert {row["n"] for row in rows(pipeline.store, "SELECT count(DISTINCT split) AS n FROM token_spans GROUP BY doc_id")} == {2}  # fmt: skip
