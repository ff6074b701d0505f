"""What a tokenizer learns from: all sources by their shares, and no source for being the first."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from flows.graph import made_from
from flows.making import Pipeline
from flows.recipe.loading import load_recipe
from tasks.tokens.tokenizer import Codec, TokenizerSettings, drawn, shared_out
from warehouse.errors import GristmillError, SettingError

ENGLISH = "The lock keeper writes the level of the river in a blue book every morning before the first barge comes. "
GERMAN = (
    "Der Schleusenwärter schreibt jeden Morgen den Wasserstand des Flusses in ein blaues Buch, bevor der Kahn kommt. "
)


def corpus(**sources: list[int]) -> pa.Table:
    rows = [(f"{name}{n}", name, size) for name, sizes in sources.items() for n, size in enumerate(sizes)]
    return pa.table(dict(zip(("id", "source", "n_bytes"), map(list, zip(*rows, strict=True)), strict=True)))


def taken(table: pa.Table, **settings: object) -> dict[str, int]:
    """Bytes of each source that are drawn."""
    chosen = table.filter(pa.array(drawn(table, TokenizerSettings(**settings))))  # type: ignore[arg-type]
    sums = chosen.group_by("source").aggregate([("n_bytes", "sum")]).to_pylist()
    return {row["source"]: row["n_bytes_sum"] for row in sums}


def test_sources_have_equal_shares_unless_others_are_named() -> None:
    table = corpus(a=[10] * 100, b=[10] * 100)
    assert taken(table, train_bytes=400) == {"a": 200, "b": 200}
    assert taken(table, train_bytes=400, shares={"a": 3, "b": 1}) == {"a": 300, "b": 100}
    assert taken(table, train_bytes=400, shares={"b": 1}) == {"b": 400}
    assert taken(table, train_bytes=2000) == {"a": 1000, "b": 1000}
    assert taken(table, train_bytes=5000, shares={"a": 1}) == {"a": 1000}  # a source without a share has none
    assert taken(corpus(a=[10_000], b=[100] * 1000), train_bytes=5000) == {"b": 2500}  # never more than the room


def test_what_a_small_source_leaves_of_its_share_goes_to_the_others() -> None:
    assert taken(corpus(a=[10] * 100, b=[10] * 2, c=[10] * 100), train_bytes=620) == {"a": 300, "b": 20, "c": 300}
    assert shared_out({"a": 100, "b": 1000, "c": 1000}, {"a": 2, "b": 1, "c": 1}, 600) == {"a": 100, "b": 250, "c": 250}


def test_documents_are_drawn_by_their_names_from_the_whole_source() -> None:
    table = corpus(a=[10] * 1000)
    first = drawn(table, TokenizerSettings(train_bytes=2000))
    assert first.sum() == 200
    assert 60 < first[:500].sum() < 140  # half of 200, four standard deviations to both sides
    turned = table.take(pa.array(range(999, -1, -1)))
    assert (drawn(turned, TokenizerSettings(train_bytes=2000))[::-1] == first).all()
    assert (drawn(table, TokenizerSettings(train_bytes=2000, seed=2)) != first).any()


SIZES = st.dictionaries(st.sampled_from("abcde"), st.integers(0, 1000), min_size=1)


@given(SIZES, st.lists(st.floats(0, 10), min_size=5, max_size=5), st.integers(0, 5000))
@settings(deadline=None)
def test_shares_never_exceed_the_room_or_a_source(sizes: dict[str, int], shares: list[float], room: int) -> None:
    weights = dict(zip(sizes, shares, strict=False))
    found = shared_out(sizes, weights, room)
    assert set(found) == set(sizes)
    assert all(0 <= found[name] <= sizes[name] + 1e-6 for name in sizes)
    wanted = sum(size for name, size in sizes.items() if weights[name])
    assert sum(found.values()) == pytest.approx(min(room, wanted), abs=1e-3)


@pytest.mark.parametrize("shares", [{"a": -1.0}, {"a": 0.0}, {"a": float("nan")}, {"a": float("inf")}])
def test_shares_that_are_none_are_refused(shares: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        TokenizerSettings(shares=shares)


def test_two_languages_are_learnt_though_one_could_fill_the_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in (("aaa", ENGLISH), ("zzz", GERMAN)):
        words = text.split()
        rows = [" ".join(words[(k + j) % len(words)] for j in range(60 + k % 7)) + f" {k * k}" for k in range(400)]
        Path(f"{name}.jsonl").write_text(
            "\n".join(json.dumps({"id": f"{name}{k}", "text": row}) for k, row in enumerate(rows))
        )
    recipe = 'name="r"\nstore="store"\nworkers=1\nremove_duplicates=false\n' + "".join(
        f'[sources.{name}.jsonl]\nfiles=["{name}.jsonl"]\n' for name in ("aaa", "zzz")
    )
    Path("r.toml").write_text(recipe + "[tokenizer]\nvocabulary=400\ntrain_bytes=100000\n")
    pipeline = Pipeline(load_recipe("r.toml"))
    for node in made_from("tokenizer"):
        pipeline.make(node)
    codec = Codec.load(pipeline.store, pipeline.own["tokenizer"][0])
    english, german = (len(text.encode()) / len(codec.encode(text)) for text in (ENGLISH, GERMAN))
    assert np.isclose(english, german, rtol=0.35)
    assert german > 2.5
    with pytest.raises(GristmillError, match="the tokenizer has no text to learn from"):
        Pipeline(load_recipe("r.toml", ("tokenizer.train_bytes=10",))).make("tokenizer")
    Path("r.toml").write_text(recipe + "[tokenizer]\nshares={zzy=1.0}\n")
    with pytest.raises(SettingError, match=r"tokenizer\.shares names zzy, which is no source; the nearest is zzz"):
        load_recipe("r.toml")
