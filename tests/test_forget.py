"""A wish to forget: the documents go, only what held them is made anew, and every model that saw them is named."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastwarc.warc import ArchiveIterator, WarcRecordType

from flows.commands.forget import forget, purge_archives, waiting
from flows.graph import STAGES, plan_of
from flows.making import Pipeline
from flows.query import rows
from flows.recipe.loading import load_recipe
from tasks.crawl import purge
from tasks.crawl.purge import finish_purges, purged_member
from tasks.tokens.tokenizer import Codec
from tests.conftest import Run
from warehouse.artifact import Ref, load, read_manifest, verified_path
from warehouse.errors import GristmillError, StoreError
from warehouse.removals import removals
from warehouse.store import Store


def pipeline_of(run: Run, *overrides: str) -> Pipeline:
    return Pipeline(load_recipe("demo-tiny", (*run.overrides, *overrides)))


def make(run: Run, until: str = "pack", *overrides: str) -> Pipeline:
    """Makes every stage from extract on in this process."""
    pipeline = pipeline_of(run, *overrides)
    for name in STAGES[: STAGES.index(until) + 1]:
        pipeline.make(name)
    return pipeline


def tokens_as_text(pipeline: Pipeline) -> str:
    """All that the newest token arrays hold, as text."""
    import numpy as np

    (packed,), (tokenizer,) = pipeline.plan["pack"], pipeline.plan["tokenizer"]
    codec, manifest, texts = Codec.load(pipeline.store, tokenizer.ref), load(pipeline.store, packed.ref), []
    for part in manifest.parts:
        for file in part.files:
            if file.path.endswith(".bin"):
                path = verified_path(pipeline.store, packed.ref, file)
                texts.append(codec.decode(np.fromfile(path, part.statistics["dtype"]).tolist()))
    return "\n".join(texts)


def made_since(pipeline: Pipeline, before: int) -> dict[tuple[str, str], bool]:
    """(stage, part) -> whether it was taken over, of the work that was logged since."""
    found = rows(pipeline.store, "SELECT stage, part, reused FROM work WHERE part IS NOT NULL ORDER BY started_at")
    return {(row["stage"], row["part"]): row["reused"] for row in found[before:]}


def work_done(pipeline: Pipeline) -> int:
    return int(rows(pipeline.store, "SELECT count(*) AS n FROM work WHERE part IS NOT NULL")[0]["n"])


def test_forgetting_a_domain_leaves_no_token_of_it_and_makes_only_its_parts_anew(copied: Run) -> None:
    domain = f"127.0.0.1:{copied.ports[1]}"
    gone = rows(Store(str(copied.store)), f"SELECT doc_id, text FROM documents WHERE domain = '{domain}'")
    told = copied.here("forget", "demo-tiny", "--domain", domain, "--reason", "the owner asked")
    assert told.returncode == 0, told.stderr
    assert f"{len(gone):,} documents will be forgotten" in told.stdout
    assert "checkpoint" in told.stdout
    assert "to be forgotten" in copied.here("status", "demo-tiny").stdout
    before, old = work_done(pipeline_of(copied)), plan_of(replace(pipeline_of(copied).given, removals=()))
    pipeline = make(copied)
    assert not waiting(pipeline)
    assert "to be forgotten" not in copied.here("status", "demo-tiny").stdout
    text = tokens_as_text(pipeline)
    assert len(text) > 10_000
    ids = "', '".join(row["doc_id"] for row in gone)
    for table, column in (
        ("token_spans", "doc_id"),
        ("corpus", "id"),
        ("documents", "doc_id"),
        ("duplicates", "doc_id"),
    ):
        assert rows(pipeline.store, f"SELECT count(*) AS n FROM {table} WHERE {column} IN ('{ids}')") == [{"n": 0}]
    assert not any(row["text"][:200] in text for row in gone)
    (decided,) = rows(
        pipeline.store, "SELECT count(*) AS n, any_value(detail) AS why FROM decisions WHERE rule = 'forgotten'"
    )
    assert decided == {"n": len(gone), "why": "the owner asked"}
    for (stage, part), reused in made_since(pipeline, before).items():
        if stage in ("extract", "annotate", "sign", "select", "pack"):
            assert reused == part.startswith("works"), (stage, part)
    for name in ("quality", "tokenizer"):
        assert pipeline.plan[name][0].ref == old[name][0].ref


def test_checkpoints_that_saw_a_document_are_named_with_the_steps(copied: Run) -> None:
    store = Store(str(copied.store))
    (page, *_) = rows(store, "SELECT url FROM documents_at_step('latest', 3) ORDER BY url")
    wish = forget(pipeline_of(copied), "url", page["url"], "asked", retrain=False)
    from tasks.train.order import StoredOrder
    from warehouse.catalog import connect

    with connect(store, order=StoredOrder(store)) as connection:
        (seen,) = connection.sql(
            "SELECT min(step), count(*) FROM steps_of($url)", params={"url": page["url"]}
        ).fetchall()
    (run,) = [effect for effect in wish.effects if effect.what == "checkpoint"]
    assert (run.first_step, run.steps) == seen
    assert {effect.what for effect in wish.effects} == {"corpus part", "token shard", "checkpoint"}
    stored = rows(store, "SELECT what, first_step FROM affected WHERE what = 'checkpoint'")
    assert stored == [{"what": "checkpoint", "first_step": run.first_step}]


def test_a_forgotten_survivor_is_followed_by_the_next_of_its_cluster(tmp_path: Path) -> None:
    body = " ".join(f"word{n} of a text that is long enough to be kept" for n in range(40))
    lines = [
        json.dumps({"text": body + end, "url": f"http://x.example/{n}"})
        for n, end in enumerate(("", " more", " and more"))
    ]
    (tmp_path / "texts.jsonl").write_text("\n".join(lines))
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        f'name = "r"\nstore = "{tmp_path}/store"\n[sources.a.jsonl]\nfiles = ["{tmp_path}/texts.jsonl"]\n'
    )

    def kept() -> list[str]:
        pipeline = Pipeline(load_recipe(str(recipe)))
        for name in STAGES[1 : STAGES.index("select") + 1]:
            pipeline.make(name)
        return [row["url"] for row in rows(pipeline.store, "FROM corpus ORDER BY url")]

    assert kept() == ["http://x.example/2"]
    forget(Pipeline(load_recipe(str(recipe))), "url", "http://x.example/2", "asked", retrain=False)
    assert kept() == ["http://x.example/1"]
    forget(
        Pipeline(load_recipe(str(recipe))),
        "query",
        "SELECT doc_id FROM documents WHERE url LIKE '%/1'",
        "asked",
        retrain=False,
    )
    assert kept() == ["http://x.example/0"]


def test_a_survivor_in_another_source_is_elected_though_nothing_of_that_source_changed(tmp_path: Path) -> None:
    body = " ".join(f"word{n} of a text that is long enough to be kept" for n in range(40))
    recipe = tmp_path / "recipe.toml"
    text = f'name = "r"\nstore = "{tmp_path}/store"\n'
    for source, ending in (("a", " and more"), ("b", "")):
        (tmp_path / f"{source}.jsonl").write_text(
            json.dumps({"text": body + ending, "url": f"http://{source}.example/"})
        )
        text += f'[sources.{source}.jsonl]\nfiles = ["{tmp_path}/{source}.jsonl"]\n'
    recipe.write_text(text)

    def kept() -> list[str]:
        pipeline = Pipeline(load_recipe(str(recipe)))
        for name in STAGES[1 : STAGES.index("select") + 1]:
            pipeline.make(name)
        return [row["url"] for row in rows(pipeline.store, "FROM corpus ORDER BY url")]

    assert kept() == ["http://a.example/"]
    forget(Pipeline(load_recipe(str(recipe))), "domain", "a.example", "asked", retrain=False)
    assert kept() == ["http://b.example/"]


def test_forgetting_afterwards_gives_the_bytes_of_forgetting_before(copied: Run, tmp_path: Path) -> None:
    domain = f"127.0.0.1:{copied.ports[0]}"
    (page,) = rows(
        Store(str(copied.store)), f"SELECT url FROM documents WHERE domain = '{domain}' ORDER BY url LIMIT 1"
    )
    wish = forget(pipeline_of(copied), "url", page["url"], "asked", retrain=True)
    afterwards = make(copied, "select")
    fresh = Run(tmp_path / "fresh", copied.ports)
    shutil.copytree(copied.store / "removals", fresh.store / "removals")
    shutil.copytree(copied.store / "artifacts" / "crawl", fresh.store / "artifacts" / "crawl")
    before = make(fresh, "select")
    assert removals(before.store) == (wish,)
    for name in ("extract", "annotate", "match", "elect", "select"):
        for one, other in zip(afterwards.plan[name], before.plan[name], strict=True):
            assert load(afterwards.store, one.ref) == load(before.store, other.ref), name


def test_purged_responses_are_gone_from_the_archive_and_all_others_stay(copied: Run, monkeypatch: Any) -> None:
    store = Store(str(copied.store))
    (page,) = rows(
        store, "SELECT url, warc_path, substr(text, 100, 40) AS piece FROM documents WHERE source = 'works' LIMIT 1"
    )
    pipeline = pipeline_of(copied)
    wish = forget(pipeline, "url", page["url"], "asked", retrain=False)
    with monkeypatch.context() as patch:
        patch.setattr(purge, "_renew_records", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            purge_archives(store, wish)
    finish_purges(store)  # the next command goes on where that one was killed
    with open(copied.store / page["warc_path"], "rb") as stream:
        bodies = [record.reader.read() for record in ArchiveIterator(stream)]
    assert sum(b"purged: asked" in body for body in bodies) == 1
    _, stage, key, _ = page["warc_path"].split("/", 3)
    manifest = load(store, Ref(stage=stage, key=key))
    for file in manifest.files("warc"):
        verified_path(store, manifest.ref, file)
    shutil.rmtree(copied.store / "reuse")
    shutil.rmtree(copied.store / "artifacts" / "extract")
    again = make(copied, "extract")
    assert rows(again.store, f"SELECT rule FROM decisions WHERE url = '{page['url']}' AND stage = 'extract'") == [
        {"rule": "forgotten"}
    ]
    others = rows(again.store, "SELECT count(*) AS n FROM documents WHERE source = 'works'")[0]["n"]
    assert others == manifest.counts.kept - 1


@pytest.mark.parametrize("length", [180, 181, 182, 183, 250, 1000, 65_000, 70_000, 140_001, 200_000])
def test_a_purged_record_has_the_length_of_the_one_it_replaces(length: int) -> None:
    member = purged_member("a/b@1", "asked by its owner", length)
    assert len(member) == length
    (record,) = ArchiveIterator(io.BytesIO(member))
    assert record.record_type == WarcRecordType.metadata


def test_a_record_too_short_to_purge_is_named() -> None:
    with pytest.raises(StoreError, match="a/b@1"):
        purged_member("a/b@1", "asked", 40)


def test_another_policy_for_one_source_makes_only_its_parts(copied: Run) -> None:
    before = work_done(pipeline_of(copied))
    pipeline = make(copied, "select", "policies.books.rules.0.min=60")
    for (stage, part), reused in made_since(pipeline, before).items():
        if stage == "select":
            assert reused == part.startswith("reference"), part


def test_a_damaged_part_is_made_anew_and_not_taken_over(copied: Run) -> None:
    store = Store(str(copied.store))
    (signed,) = [stage.ref for stage in pipeline_of(copied).plan["sign"] if stage.subject == "works"]
    file = next(load(store, signed).files("signatures"))
    path = copied.store / signed.folder / file.path
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    (page,) = rows(store, "SELECT url FROM documents WHERE source = 'reference' LIMIT 1")
    forget(pipeline_of(copied), "url", page["url"], "asked", retrain=False)
    pipeline, before = pipeline_of(copied), work_done(pipeline_of(copied))
    for name in STAGES[: STAGES.index("sign") + 1]:
        pipeline.make(name)
    made = made_since(pipeline, before)
    assert made["sign", Path(file.path).stem] is False
    (again,) = [stage.ref for stage in pipeline.plan["sign"] if stage.subject == "works"]
    assert next(load(store, again).files("signatures")).sha256 == file.sha256


def test_a_purge_that_was_stopped_is_not_forgotten_by_the_next(copied: Run, monkeypatch: Any) -> None:
    store, pipeline = Store(str(copied.store)), pipeline_of(copied)
    pages = rows(store, "SELECT url FROM documents ORDER BY url LIMIT 2")
    wishes = [forget(pipeline, "url", page["url"], "asked", retrain=False) for page in pages]
    with monkeypatch.context() as patch:
        patch.setattr(purge, "_rewrite", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            purge_archives(store, wishes[0])
    purge_archives(store, wishes[1])
    assert not store.names("purges")
    bodies = []
    for path in copied.store.rglob("*.warc.gz"):
        with path.open("rb") as stream:
            bodies += [record.reader.read() for record in ArchiveIterator(stream)]
    assert sum(b"purged: asked" in body for body in bodies) == 2


def test_a_wish_that_is_repeated_is_the_same_wish(copied: Run) -> None:
    (page,) = rows(Store(str(copied.store)), "SELECT url FROM documents LIMIT 1")
    first = forget(pipeline_of(copied), "url", page["url"], "asked", retrain=False)
    assert forget(pipeline_of(copied), "url", page["url"], "asked", retrain=False) == first
    assert removals(pipeline_of(copied).store) == (first,)


def test_a_domain_is_meant_however_it_is_written(tmp_path: Path) -> None:
    lines = [
        json.dumps({"text": "some text", "url": url})
        for url in ("http://xn--bcher-kva.example/a", "http://x.example:81/b")
    ]
    (tmp_path / "texts.jsonl").write_text("\n".join(lines))
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        f'name = "r"\nstore = "{tmp_path}/store"\n[sources.a.jsonl]\nfiles = ["{tmp_path}/texts.jsonl"]\n'
    )
    pipeline = Pipeline(load_recipe(str(recipe)))
    pipeline.make("extract")
    for value in ("https://Bücher.example/shop", "x.example"):
        assert forget(pipeline, "domain", value, "asked", retrain=False).documents == 1
    assert forget(pipeline, "domain", "unknown.example", "asked", retrain=False).documents == 0


def test_a_wish_is_recorded_before_anything_was_crawled(tmp_path: Path) -> None:
    pipeline = pipeline_of(Run(tmp_path / "store", (1, 2)))
    assert forget(pipeline, "domain", "x.example", "asked", retrain=False).kept == {}


def test_a_query_of_a_wish_cannot_write(copied: Run, tmp_path: Path) -> None:
    harm = f"COPY (SELECT 1 AS doc_id) TO '{tmp_path}/harm.csv'; SELECT 'x' AS doc_id"
    with pytest.raises(GristmillError, match="one SELECT"):
        forget(pipeline_of(copied), "query", harm, "asked", retrain=False)
    assert not (tmp_path / "harm.csv").exists()


def test_forget_says_what_it_cannot_do(copied: Run) -> None:
    assert "forget takes one of" in copied.here("forget", "demo-tiny").stderr
    with pytest.raises(GristmillError, match="no document is known"):
        forget(pipeline_of(copied), "doc_id", "nothing", "asked", retrain=False)
    with pytest.raises(GristmillError, match="doc_id or url"):
        forget(pipeline_of(copied), "query", "SELECT 1 AS one", "asked", retrain=False)
    assert not removals(pipeline_of(copied).store)
    assert read_manifest(pipeline_of(copied).store, Ref(stage="extract", key="none")) is None
