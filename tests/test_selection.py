"""Selection is a policy over stored facts: changed, compared and explained without measuring anything anew."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from random import Random

import numpy as np
import pyarrow as pa
import pytest

from flows.commands.whatif import policy_named
from flows.graph import STAGES
from flows.making import Pipeline
from flows.query import rows
from flows.recipe.loading import load_recipe
from flows.reporting import publish_card
from tasks.select.facts import SelectSettings
from tasks.select.likeness import Likeness
from tasks.select.whatif import compare
from tests.conftest import Run
from warehouse.errors import GristmillError, SettingError

WORDS = [
    "river",
    "stone",
    "bridge",
    "mason",
    "hill",
    "water",
    "boat",
    "ferry",
    "keeper",
    "winter",
    "lamp",
    "road",
    "story",
    "village",
    "market",
]
GOOD = " and the {} was of {} that have {} to be with {}. "


def prose(draw: Random, sentences: int) -> str:
    return "".join(GOOD.format(*draw.choices(WORDS, k=4)) for _ in range(sentences)).strip()


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """Two sources of texts with what policies judge: short ones, noise, duplicates, personal data."""
    folder, draw = tmp_path_factory.mktemp("selection"), Random(1)
    books = [prose(draw, 12) for _ in range(40)]
    crawl = [prose(draw, draw.randint(2, 14)) for _ in range(60)]
    crawl += [crawl[n] for n in (3, 3, 3, 5)] + ["# # # ! " * 60, "x " * 5, "", "short # text"]
    crawl[0] += " Write to jo@example.org from 8.8.8.8."
    crawl[1] += "\nEnable javascript to go on reading."
    for name, texts in (("books", books), ("crawl", crawl)):
        lines = [json.dumps({"text": text, "url": f"http://{name}.example/{n}"}) for n, text in enumerate(texts)]
        if name == "crawl":  # a document of the other source: the same URL and text
            lines.append(json.dumps({"text": books[0], "url": "http://books.example/0"}))
        (folder / f"{name}.jsonl").write_text("\n".join(lines))
    recipe = folder / "recipe.toml"
    recipe.write_text(f"""
        name = "selection"
        store = "{folder / "store"}"
        repeats = {{ 2 = 2, 4 = 3 }}
        [sources.books]
        jsonl = {{ files = ["{folder / "books.jsonl"}"] }}
        license = "CC0-1.0"
        [sources.crawl]
        jsonl = {{ files = ["{folder / "crawl.jsonl"}"] }}
        policy = "strict"
        [policies.strict]
        description = "for this test"
        drop_lines = ["c4_javascript"]
        rules = [
            {{ signal = "gopher_word_count", min = 50, reference = "Gopher" }},
            {{ signal = "gopher_hash_word_ratio", max = 0.1, reference = "Gopher" }},
            {{ signal = "gopher_stop_word_count", min = 2, reference = "Gopher" }},
        ]
        [quality]
        positive = ["books"]
        negative = ["crawl"]
        [tokenizer]
        vocabulary = 300
        [pack]
        validation_share = 0.05
    """)
    made = Pipeline(load_recipe(str(recipe)))
    for stage in STAGES[STAGES.index("extract") : STAGES.index("pack") + 1]:
        made.make(stage)
    return made


def test_decisions_name_the_first_rule_and_every_rule_that_would_have(pipeline: Pipeline) -> None:
    found = rows(pipeline.store, "SELECT * FROM decisions JOIN signals USING (doc_id) WHERE stage = 'select'")
    assert any(len(row["rules"]) > 1 for row in found)
    for row in found:
        broken = [
            *["gopher_word_count below 50"] * (row["source"] == "crawl" and row["gopher_word_count"] < 50),
            *["gopher_hash_word_ratio above 0.1"] * (row["source"] == "crawl" and row["gopher_hash_word_ratio"] > 0.1),
            *["gopher_stop_word_count below 2"] * (row["source"] == "crawl" and row["gopher_stop_word_count"] < 2),
        ]
        assert [rule for rule in row["rules"] if not rule.startswith("duplicate")] == broken
        assert row["rule"] == next(iter(row["rules"]), None)
        assert (row["verdict"] == "removed") == bool(row["rules"])


def test_documents_are_counted_at_the_first_rule_that_they_break(pipeline: Pipeline) -> None:
    decided = rows(
        pipeline.store, "SELECT source, rule, rules FROM decisions WHERE stage = 'select' AND verdict = 'removed'"
    )
    first = Counter(row["rule"] for row in decided)
    of_crawl = Counter(row["rule"] for row in decided if row["source"] == "crawl")
    assert sum(len(row["rules"]) for row in decided) > len(decided)  # some break several
    funnel = rows(
        pipeline.store,
        "SELECT rule, sum(documents_in - documents_out)::INT AS n FROM funnel WHERE stage = 'select' AND documents_in > documents_out GROUP BY rule",
    )
    assert {row["rule"]: row["n"] for row in funnel} == first
    elect = pipeline.plan["elect"][0].stage
    now = elect.settings
    assert isinstance(now, SelectSettings)
    (crawl,) = [one for one in compare(pipeline.store, elect.inputs, now, now) if one.source == "crawl"]
    told = {rule: count for rule, count in crawl.now.by_rule().items() if count}
    assert {rule: count for rule, count in told.items() if "duplicate" not in rule} == {
        rule: count for rule, count in of_crawl.items() if "duplicate" not in rule
    }


def test_the_corpus_is_without_personal_data_and_without_the_lines_that_go(pipeline: Pipeline) -> None:
    texts = {row["url"]: row["text"] for row in rows(pipeline.store, "FROM corpus")}
    assert texts["http://crawl.example/0"].endswith("Write to <EMAIL> from <IP>.")
    assert not any("javascript" in text for text in texts.values())
    (counted,) = rows(pipeline.store, "SELECT sum(pii_email_count) AS email, sum(pii_ip_count) AS ip FROM signals")
    assert counted == {"email": 1, "ip": 1}


def test_what_if_keeps_exactly_what_the_selection_would(pipeline: Pipeline) -> None:
    elect = pipeline.plan["elect"][0].stage
    now = elect.settings
    assert isinstance(now, SelectSettings)
    for name, changes in (("strict", ["gopher_word_count.min=90"]), ("gopher", []), ("fineweb", []), ("gpt3", [])):
        policy = policy_named(pipeline, name, changes)
        then = now.model_copy(update={"policies": {**now.policies, "crawl": policy}})
        foreseen = Counter(
            (one.source, doc_id)
            for one in compare(pipeline.store, elect.inputs, now, then)
            for doc_id, kept in zip(one.doc_ids.to_pylist(), one.then.kept.tolist(), strict=True)
            if kept
        )
        recipe = pipeline.recipe.model_copy(
            update={
                "policies": {"tried": policy},
                "sources": {
                    **pipeline.recipe.sources,
                    "crawl": pipeline.recipe.sources["crawl"].model_copy(update={"policy": "tried"}),
                },
            }
        )
        tried = Pipeline(recipe)
        tried.make("elect")
        tried.make("select")
        made = Counter((row["source"], row["id"]) for row in rows(pipeline.store, "SELECT source, id FROM corpus"))
        assert made == foreseen, name
        Pipeline(pipeline.recipe).make("elect")
        Pipeline(pipeline.recipe).make("select")


def test_what_if_says_in_one_sentence_what_it_cannot_try(pipeline: Pipeline) -> None:
    with pytest.raises(SettingError, match="the nearest is gopher_word_count"):
        policy_named(pipeline, "strict", ["gopher_words_count.min=1"])
    with pytest.raises(SettingError, match="the nearest is min"):
        policy_named(pipeline, "strict", ["gopher_word_count.mini=1"])
    with pytest.raises(SettingError, match="cannot be"):
        policy_named(pipeline, "strict", ["gopher_word_count.min=many"])


def test_a_large_cluster_is_trained_on_more_often_and_counted_once(pipeline: Pipeline) -> None:
    clusters = Counter(
        row["cluster_size"] for row in rows(pipeline.store, "SELECT DISTINCT cluster_id, cluster_size FROM duplicates")
    )
    repeats = {row["id"]: row["repeats"] for row in rows(pipeline.store, "SELECT id, repeats FROM corpus")}
    assert sorted(times for times in repeats.values() if times > 1) == sorted(
        3 if size >= 4 else 2 for size in clusters.elements()
    )
    spans = rows(pipeline.store, "SELECT doc_id, count(*) AS n, min(split) AS split FROM token_spans GROUP BY doc_id")
    assert {row["doc_id"]: row["n"] for row in spans} == {
        row["doc_id"]: repeats[row["doc_id"]] if row["split"] == "train" else 1 for row in spans
    }
    assert len(rows(pipeline.store, "FROM corpus")) == len(repeats)


def test_the_classifier_is_measured_on_documents_that_it_did_not_see(pipeline: Pipeline) -> None:
    (row,) = rows(pipeline.store, "FROM classifiers")
    assert (row["positives"], row["negatives"]) == (40, 68)
    assert row["held_out"] == 4 + 7
    assert 0 <= row["auc"] <= 1
    scores = rows(pipeline.store, "SELECT min(quality_score) AS low, max(quality_score) AS high FROM signals")
    assert 0 <= scores[0]["low"] < scores[0]["high"] <= 1


def test_the_auc_is_no_better_than_chance_where_there_is_nothing_to_learn(tmp_path: Path) -> None:
    draw = Random(2)
    sources = []
    for name in ("books", "crawl"):  # words that no two texts share: they can be remembered, but not learnt from
        texts = [" ".join("".join(draw.choices("abcdefghij", k=9)) for _ in range(30)) for _ in range(300)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts))
        sources.append(f'[sources.{name}]\njsonl = {{ files = ["{tmp_path / name}.jsonl"] }}')
    (tmp_path / "recipe.toml").write_text(
        f'name = "chance"\nstore = "{tmp_path}/store"\n[quality]\npositive = ["books"]\nnegative = ["crawl"]\n'
        + "\n".join(sources)
    )
    pipeline = Pipeline(load_recipe(str(tmp_path / "recipe.toml")))
    pipeline.make("extract")
    (made,) = pipeline.make("quality")
    assert 0.3 < made.statistic("auc") < 0.7


def test_the_card_has_what_hugging_face_reads_and_what_readers_ask(pipeline: Pipeline) -> None:
    card = (Path(publish_card(pipeline))).read_text()
    head = re.match(r"---\n(.*?)\n---\n", card, re.DOTALL)
    assert head is not None
    for line in ("pretty_name: selection", "- en", "license: cc0-1.0", "- n<1K", "- text-generation"):
        assert line in head.group(1).splitlines()
    for rule in pipeline.recipe.policies["strict"].rules:
        assert f"| {rule.signal} |" in card
    assert "AUC" in card
    assert "| repeats | int32 |" in card
    assert not re.search(r"\|\n\n\|", card), "a table is torn"


def test_the_cards_quantiles_are_those_of_the_corpus_not_of_all_that_was_read(pipeline: Pipeline) -> None:
    card = Path(publish_card(pipeline)).read_text()
    words = rows(pipeline.store, "SELECT gopher_word_count AS n FROM signals WHERE doc_id IN (SELECT id FROM corpus)")
    everything = rows(pipeline.store, "SELECT gopher_word_count AS n FROM signals")
    expected, other = (
        [f"{value:.4g}" for value in np.quantile([row["n"] for row in each], [0.05, 0.25, 0.5, 0.75, 0.95])]
        for each in (words, everything)
    )
    assert expected != other
    assert f"| gopher_word_count | words | {' | '.join(expected)} |" in card


def test_mixture_says_tokens_and_weight_of_each_source(pipeline: Pipeline) -> None:
    found = {row["source"]: row for row in rows(pipeline.store, "FROM mixture")}
    tokens = rows(
        pipeline.store, "SELECT source, sum(length)::BIGINT AS n FROM token_spans WHERE split = 'train' GROUP BY source"
    )
    assert {name: row["tokens"] for name, row in found.items()} == {row["source"]: row["n"] for row in tokens}
    assert {row["weight"] for row in found.values()} == {0.5}


def test_commands_show_what_they_promise(finished: Run) -> None:
    shown = finished.here("what-if", "fineweb", "-c", "demo-tiny")
    assert shown.returncode == 0, shown.stderr
    assert "fineweb_left_duplicate_line_char_share above 0.01" in shown.stdout
    assert "are kept, and would not be" in shown.stdout
    bars = finished.here("histogram", "gopher_word_count", "-c", "demo-tiny")
    counts = [int(n.replace(",", "")) for n in re.findall(r": ([\d,]+) kept, ([\d,]+) removed", bars.stdout) for n in n]
    (documents,) = rows(
        Pipeline(load_recipe("demo-tiny", finished.overrides)).store, "SELECT count(*) AS n FROM documents"
    )
    assert sum(counts) == documents["n"]
    unknown = finished.here("histogram", "gopher_words", "-c", "demo-tiny")
    assert (unknown.returncode, "the nearest is gopher_word" in unknown.stderr) == (1, True)


def test_a_rule_on_a_score_that_nobody_learnt_is_an_error_before_anything_is_written(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    recipe = pipeline.recipe.model_copy(
        update={
            "store": str(tmp_path),
            "quality": type(pipeline.recipe.quality)(),
            "sources": {"crawl": pipeline.recipe.sources["crawl"].model_copy(update={"policy": "gpt3"})},
        }
    )
    other = Pipeline(recipe)
    for stage in STAGES[STAGES.index("extract") : STAGES.index("elect")]:
        other.make(stage)
    with pytest.raises(GristmillError, match=r"quality\.positive"):
        other.make("elect")


def test_duplicates_of_a_removed_document_stay_where_they_are_not_like_each_other(tmp_path: Path) -> None:
    words = [f"word{n}" for n in range(202)]
    variants = [words[:at] + words[at + 15 :] for at in (10, 60, 110, 160)]  # .89 like all words, .78 like each other
    texts = [" ".join(text) for text in (words, *variants, variants[0][:-1])]
    lines = [json.dumps({"text": text, "url": f"http://x.example/{n}"}) for n, text in enumerate(texts)]
    (tmp_path / "texts.jsonl").write_text("\n".join(lines))
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(f"""
        name = "removed"
        store = "{tmp_path}/store"
        [sources.a]
        jsonl = {{ files = ["{tmp_path}/texts.jsonl"] }}
        policy = "short"
        [policies.short]
        rules = [{{ signal = "gopher_word_count", max = 200 }}]
    """)
    pipeline = Pipeline(load_recipe(str(recipe)))
    for name in STAGES[1 : STAGES.index("select") + 1]:
        pipeline.make(name)
    found = rows(pipeline.store, "SELECT url, rule, value, detail FROM decisions WHERE stage = 'select' ORDER BY url")
    assert [row["rule"] for row in found] == ["gopher_word_count above 200", *[None] * 4, "duplicate near"]
    (first,) = rows(pipeline.store, "SELECT doc_id FROM documents WHERE url = 'http://x.example/1'")
    assert found[5]["detail"] == f"kept: {first['doc_id']}"
    assert found[5]["value"] == pytest.approx(182 / 183)


def test_one_url_and_one_text_go_from_member_to_member_and_nearness_does_not() -> None:
    pairs = pa.table(
        {
            "a": ["p", "p", "u", "e", "n"],
            "b": ["u", "e", "v", "f", "m"],
            "verdict": ["url", "exact", "url", "exact", "near"],
            "jaccard": [0.1, 1.0, 0.2, 1.0, 0.9],
        }
    )
    members = [("p", False), ("u", True), ("e", True), ("v", True), ("f", True), ("n", True), ("m", False), ("x", True)]
    found = Likeness([name for name, _ in members], pairs).elected(members)
    assert found == {"v": ("url", None, "u"), "f": ("exact", 1.0, "e"), "m": ("near", 0.9, "n")}
