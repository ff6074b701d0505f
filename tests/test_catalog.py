"""The SQL surface: every view with its columns, every document accounted for, every token traced to its bytes."""

from __future__ import annotations

import itertools
import threading
from pathlib import Path

import pytest
from fastwarc.warc import ArchiveIterator

from flows.query import connect, rows
from tasks.extract.page import read_page
from tasks.web.charsets import decode
from tests.conftest import Run
from warehouse import log
from warehouse.catalog import connect as connect_catalog
from warehouse.errors import MissingArtifact
from warehouse.store import Store

# DESIGN's public columns.
COLUMNS = {
    "pages": "url final_url status fetched_at content_type body_bytes depth referrer crawl warc_path warc_offset digest error",
    "documents": "doc_id url domain title text language language_score source crawl date n_chars n_words warc_path warc_offset",
    "signals": "doc_id",
    "duplicates": "doc_id cluster_id cluster_size kept_doc_id kind jaccard",
    "contamination": "doc_id benchmark example_id ngram context",
    "decisions": "doc_id verdict stage rule value threshold",
    "corpus": "text id url dump date language language_score token_count source weight",
    "token_spans": "doc_id shard start length",
    "metrics": "run step name value at",
    "evaluations": "run step task shots metric value stderr n clean_value share_clean",
    "artifacts": "stage key inputs settings rows bytes",
    "parts": "stage key part path rows bytes sha256",
    "work": "stage key part started_at wall_s cpu_s peak_rss_bytes reused",
    "funnel": "stage rule documents_in documents_out bytes_in bytes_out",
}


@pytest.fixture(scope="module")
def store(finished: Run) -> Store:
    return Store(str(finished.store))


@pytest.mark.parametrize("empty", [True, False])
def test_every_view_has_its_columns_in_an_empty_and_in_a_full_store(store: Store, tmp_path: Path, empty: bool) -> None:
    with connect(Store(str(tmp_path)) if empty else store) as connection:
        for view, columns in COLUMNS.items():
            found = connection.sql(f"FROM {view} LIMIT 0").columns
            assert set(columns.split()) <= set(found), view
            if view not in ("metrics", "work"):
                connection.sql(f"FROM history.{view} LIMIT 0").fetchall()


def test_every_page_is_accounted_for(store: Store) -> None:
    (row,) = rows(
        store,
        """
        SELECT (SELECT count(*) FROM pages WHERE status = 200) AS pages, (SELECT count(*) FROM documents) AS documents,
               (SELECT count(*) FROM decisions WHERE stage = 'extract') AS refused,
               (SELECT count(*) FROM decisions WHERE stage = 'select') AS decided,
               (SELECT count(*) FROM decisions WHERE verdict = 'kept') AS kept, (SELECT count(*) FROM corpus) AS corpus,
               (SELECT count(DISTINCT doc_id) FROM token_spans) AS packed,
               (SELECT count(*) FROM decisions WHERE stage = 'relatives') AS related""",
    )
    assert row["pages"] == row["documents"] + row["refused"]
    assert row["decided"] == row["documents"]
    assert row["kept"] == row["corpus"] == row["packed"] + row["related"]
    assert rows(store, "FROM decisions WHERE verdict <> 'kept' AND rule IS NULL") == []


def test_funnel_of_select_leads_from_all_documents_to_the_corpus(store: Store) -> None:
    steps = rows(store, "FROM funnel WHERE stage = 'select'")
    assert steps[0]["documents_in"] == rows(store, "SELECT count(*) AS n FROM documents")[0]["n"]
    assert all(
        a["documents_out"] == b["documents_in"] and a["bytes_out"] == b["bytes_in"]
        for a, b in itertools.pairwise(steps)
    )
    corpus = rows(store, "SELECT count(*) AS n, sum(strlen(text))::BIGINT AS size FROM corpus")[0]
    assert (steps[-1]["documents_out"], steps[-1]["bytes_out"]) == (corpus["n"], corpus["size"])


def test_mirrored_pages_are_removed_as_duplicates_of_a_kept_one(store: Store) -> None:
    removed = rows(store, "SELECT url, detail FROM decisions WHERE rule = 'duplicate exact'")
    assert removed
    kept = {row["id"] for row in rows(store, "SELECT id FROM corpus")}
    assert all(row["detail"].removeprefix("kept: ") in kept for row in removed)


def test_token_of_a_step_is_traced_to_the_bytes_of_the_archived_response(store: Store) -> None:
    found = rows(store, "FROM documents_at_step('latest', 7)")
    assert sum(row["tokens"] for row in found) == 4 * 65  # batch x (context and one target)
    assert (
        rows(store, "FROM documents_at_step('latest', 0)") == rows(store, "FROM documents_at_step('latest', 41)") == []
    )
    row = found[0]
    with (Path(store.url) / row["warc_path"]).open("rb") as stream:
        stream.seek(row["warc_offset"])
        record = next(iter(ArchiveIterator(stream)))
        assert record.headers["WARC-Target-URI"] == row["url"]
        text = read_page(decode(record.reader.read(), "text/html"), row["url"]).text.strip()
    assert rows(store, "SELECT text FROM documents WHERE doc_id = ?", [row["doc_id"]])[0]["text"] == text


def test_steps_of_a_url_lead_back_to_it(store: Store) -> None:
    url = rows(store, "FROM documents_at_step('latest', 7)")[0]["url"]
    steps = [row["step"] for row in rows(store, f"FROM steps_of('{url}')")]
    assert 7 in steps
    assert all(
        url in {row["url"] for row in rows(store, f"FROM documents_at_step('latest', {step})")} for step in steps[:3]
    )


def test_why_tells_the_story_of_a_kept_and_of_a_removed_page(store: Store) -> None:
    kept = rows(store, "SELECT url FROM corpus ORDER BY url LIMIT 1")[0]["url"]
    assert next(row["stage"] for row in rows(store, f"FROM why('{kept}')")) == "crawl"
    assert rows(store, f"FROM why('{kept}')")[-1]["stage"] == "pack"
    removed = rows(
        store, "SELECT url, rule FROM decisions WHERE verdict = 'removed' AND stage = 'select' ORDER BY url LIMIT 1"
    )[0]
    story = rows(store, f"FROM why('{removed['url']}')")
    assert any(removed["rule"] in row["what"] for row in story)


def test_earlier_run_can_still_be_seen(finished: Run, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(finished.store, copy)
    store = Store(str(copy))
    first = log.runs(store)[-1].id
    before = rows(store, "SELECT count(*) AS n FROM corpus")[0]["n"]
    Run(copy, finished.ports).drive("policies.books.rules.0.min=400", until="select")
    after = rows(store, "SELECT count(*) AS n FROM corpus")[0]["n"]
    assert after < before
    with connect_catalog(store, as_of=first) as connection:
        assert connection.sql("SELECT count(*) FROM corpus").fetchall() == [(before,)]
        assert connection.sql("SELECT count(DISTINCT key) FROM history.corpus").fetchall() == [(2,)]
    with pytest.raises(MissingArtifact, match="no run begins with nothing"), connect_catalog(store, as_of="nothing"):
        pass


def test_queries_run_side_by_side(store: Store) -> None:
    answers: list[int] = []
    threads = [
        threading.Thread(target=lambda: answers.append(rows(store, "SELECT count(*) AS n FROM documents")[0]["n"]))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 4
    assert len(set(answers)) == 1


def test_baselines_stand_beside_the_model(store: Store) -> None:
    found = rows(
        store, "SELECT run, value, stderr FROM evaluations WHERE task = 'held-out text' AND metric = 'bits a byte'"
    )
    values = {row["run"]: row["value"] for row in found}
    assert len(values) == 4
    assert values["baseline-5-gram"] < values["baseline-bigram"] < values["baseline-unigram"]
    assert all(row["stderr"] > 0 for row in found)
