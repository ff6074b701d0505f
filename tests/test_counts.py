"""Every row of every file is accounted for: kept, removed or failed, whatever the files are like."""

from __future__ import annotations

import gzip
import json
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from flows.making import Pipeline
from flows.query import rows
from flows.recipe.loading import load_recipe

WORDS = "The lock keeper writes the level of the river in a blue book every morning."
# A line of a file, and what becomes of it: a document, no text, or a failure.
LINES = st.sampled_from(
    [
        (json.dumps({"text": WORDS}), "kept"),
        (json.dumps({"text": WORDS + " Again."}), "kept"),
        (json.dumps({"text": ""}), "removed"),
        (json.dumps({"text": "   "}), "removed"),
        (json.dumps({"text": "\u0001\u0002\u0003\u0004"}), "removed"),
        (json.dumps({"text": 7}), "failed"),
        (json.dumps({"other": "x"}), "removed"),
        ("{broken", "failed"),
        ("[1, 2]", "failed"),
    ]
)
FILES = st.lists(
    st.tuples(st.lists(LINES, max_size=6), st.sampled_from(["plain", "gz", "doubled", "cut"])), min_size=1, max_size=5
)


@settings(max_examples=12, deadline=None)
@given(FILES)
def test_what_goes_in_is_kept_removed_or_failed(files: list[tuple[list[tuple[str, str]], str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        expected = exact = 0
        for number, (lines, form) in enumerate(files):
            body = "".join(line + "\n" for line, _ in lines).encode()
            name = Path(folder) / f"f{number}.jsonl"
            if form in ("gz", "cut"):
                packed = gzip.compress(body)
                name.with_suffix(".jsonl.gz").write_bytes(packed[:-9] if form == "cut" else packed)
            else:
                name.write_bytes(body)
            if form == "doubled":
                name.with_name(f"again{number}.jsonl").write_bytes(body)
            expected += len(lines) * (2 if form == "doubled" else 1)
            exact += form != "cut"
        recipe = Path(folder) / "r.toml"
        recipe.write_text(
            f'name="r"\nstore="{folder}/store"\nworkers=1\n[sources.s.jsonl]\nfiles=["{folder}/*.jsonl*"]\n'
        )
        pipeline = Pipeline(load_recipe(str(recipe)))
        pipeline.make("extract")
        (counts,) = rows(
            pipeline.store, "SELECT documents_in, kept, removed, failed FROM artifacts WHERE stage = 'extract'"
        )
        assert counts["documents_in"] == counts["kept"] + counts["removed"] + counts["failed"]
        if exact == len(files):
            assert counts["documents_in"] == expected
        else:  # what a file that is cut short has lost is one failure, by its name
            assert counts["documents_in"] <= expected + len(files) - exact
            assert counts["failed"] >= len(files) - exact
        (stored,) = rows(pipeline.store, "SELECT count(*) AS n FROM documents")
        (told,) = rows(
            pipeline.store, "SELECT count(*) AS n, count(*) FILTER (verdict = 'failed') AS failed FROM decisions"
        )
        assert stored["n"] == counts["kept"]
        assert (told["n"], told["failed"]) == (counts["removed"] + counts["failed"], counts["failed"])
