"""What a store remembers: whom a removal means, in which order, and what every view goes back to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from flows.query import rows
from models.draws import uniform
from tests.test_revisit import Shelf, crawl_anew, shelf  # noqa: F401
from warehouse.removals import Removal, record, removals
from warehouse.store import Store


def test_a_domain_means_itself_and_those_below_it_and_no_other() -> None:
    domains = ["a.example", "www.a.example", "x.y.a.example", "ba.example", "a.example.org", "a.example:8080", None]
    table = pa.table({"doc_id": [str(n) for n in range(7)], "url": ["u"] * 7, "domain": domains})
    wish = Removal(at="x", kind="domain", value="a.example", reason="x", domain="a.example")
    assert wish.concerns(table).tolist() == [True, True, True, False, False, True, False]
    of_a_port = wish.model_copy(update={"domain": "a.example:8080"})
    assert of_a_port.concerns(table).tolist() == [False] * 5 + [True, False]
    by_id = Removal(at="x", kind="doc_id", value="3", reason="x", doc_ids=("3",))
    assert by_id.concerns(table).tolist() == [False, False, False, True, False, False, False]


def test_removals_are_in_the_order_in_which_they_were_made(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    made = [Removal(at=f"2026-01-0{n}T00:00:00+00:00", kind="url", value=str(n), reason="x") for n in range(1, 9)]
    for wish in made[::-1]:
        record(store, wish)
    assert list(removals(store)) == made


def test_pages_are_the_fetches_of_all_crawls_that_go_on_from_one_another(shelf: Shelf, tmp_path: Path) -> None:  # noqa: F811
    for _ in range(4):
        crawl, _ = crawl_anew(tmp_path, shelf.settings(revisit_max_s=0.0))
    found = rows(crawl.store, "SELECT url, count(*) AS n, count(DISTINCT crawl) AS crawls FROM pages GROUP BY url")
    assert {(row["n"], row["crawls"]) for row in found} == {(4, 4)}


def test_every_view_that_is_promised_is_there_in_an_empty_store(tmp_path: Path) -> None:
    promised = """pages urls hosts documents signals repetition duplicates contamination evaluation_overlap decisions corpus
        token_spans metrics evaluations samples artifacts parts work funnel runs removals affected mixture classifiers"""
    for name in promised.split():
        assert rows(Store(str(tmp_path)), f"FROM {name}") == [], name


def test_draws_depend_on_seed_purpose_and_subject_alone() -> None:
    subjects = [f"document {n}" for n in range(1000)]
    drawn = uniform(1, "keep", subjects)
    assert np.array_equal(drawn, uniform(1, "keep", subjects))
    assert np.array_equal(drawn[::-1], uniform(1, "keep", subjects[::-1]))
    for other in (uniform(2, "keep", subjects), uniform(1, "hold out", subjects)):
        assert abs(np.corrcoef(drawn, other)[0, 1]) < 0.1
    assert abs(drawn.mean() - 0.5) < 0.03
    assert ((drawn >= 0) & (drawn < 1)).all()
