"""What a long history costs a question: ``python -m benchmarks.sql``. See docs/benchmarks.md."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shutil
import sys
import tempfile
from functools import partial
from pathlib import Path

from benchmarks.harness import Row, measure, side_by_side, write_results
from flows.graph import made_from
from flows.making import Pipeline
from flows.recipe.loading import load_recipe
from warehouse import log
from warehouse.artifact import Manifest, Ref
from warehouse.log import RUNS, WORK, RunRecord
from warehouse.store import Store

RUNS_BEFORE, PARTS, PARTS_AN_ARTIFACT = 2_000, 20_000, 40
WORDS = [
    "the",
    "mill",
    "turns",
    "and",
    "every",
    "grain",
    "that",
    "goes",
    "in",
    "is",
    "accounted",
    "for",
    "by",
    "those",
    "who",
    "ask",
    "what",
    "became",
    "of",
    "it",
]
QUERY = "SELECT count(*) AS n FROM corpus"
TEXT = (
    "`gristmill status` and `gristmill sql` on a store in which one recipe was made once, and on the same store after {runs:,} "
    "runs of other recipes that made {artifacts:,} artifacts of {parts:,} parts; a flow has started since, which bundles what runs "
    "noted. `documents` are the runs. `times` is against the store without them."
)


def make_store(folder: Path) -> Path:
    """A recipe over forty short texts, made up to its corpus; returns the recipe's file."""
    rows = [json.dumps({"text": " ".join(WORDS[n % 20 :] * 3 + [str(n)])}) for n in range(40)]
    (folder / "texts.jsonl").write_text("\n".join(rows))
    recipe = folder / "recipe.toml"
    store = f'store = "{folder / "store"}"'
    recipe.write_text(f'name = "asked"\n{store}\n[sources.texts.jsonl]\nfiles = ["{folder / "texts.jsonl"}"]\n')
    pipeline = Pipeline(load_recipe(str(recipe)))
    for node in made_from("select", beside=("crawl",)):
        pipeline.make(node)
    return recipe


def grow(recipe: Path) -> int:
    """Adds the history of other recipes: copies of the extraction with many parts, and what their runs noted."""
    loaded = load_recipe(str(recipe))
    store, root = Store(loaded.store), Path(loaded.store)
    (extract,) = Pipeline(loaded).plan["extract"]
    made = Manifest.model_validate_json(store.read_bytes(f"{extract.ref.folder}/manifest.json"))
    (part,) = made.parts
    work = json.loads(next(iter(sorted((root / WORK).iterdir()))).read_bytes())
    artifacts = PARTS // PARTS_AN_ARTIFACT
    for number in range(artifacts):
        ref = Ref(stage="extract", key=f"{number:032x}")
        parts = []
        for index in range(PARTS_AN_ARTIFACT):
            name, files = f"part-{index:05d}", []
            for file in part.files:
                path = f"{file.path.split('/')[0]}/{name}.parquet"
                target = root / ref.folder / path
                target.parent.mkdir(parents=True, exist_ok=True)
                os.link(root / extract.ref.folder / file.path, target)
                files.append(file.model_copy(update={"path": path}))
            parts.append(part.model_copy(update={"part": name, "files": tuple(files)}))
        content = made.model_copy(update={"key": ref.key, "parts": tuple(parts)}).model_dump_json(indent=1)
        (root / ref.folder / "manifest.json").write_text(content)
    for number in range(RUNS_BEFORE):
        at = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC) + datetime.timedelta(hours=number)
        run_id, keys = f"{at:%Y%m%dT%H%M%S.%f}-other", [f"{number % artifacts:032x}"]
        record = RunRecord(id=run_id, recipe="other", started_at=at.isoformat(), stages={"extract": keys})
        (root / RUNS / f"{run_id}.json").write_text(record.model_dump_json(indent=1))
        for index in range(PARTS // RUNS_BEFORE):
            row = work | {"key": keys[0], "started_at": at.isoformat()}
            (root / WORK / f"{run_id}-{index}.json").write_text(json.dumps(row))
    log.tidy(store)
    return artifacts


def ask(recipe: Path, words: list[str], documents: int) -> Row:
    """One command in a process of its own."""
    script = "import json, sys\nfrom flows.commands.cli import app\napp(args=sys.argv[1:], standalone_mode=False)\nprint(json.dumps({}))"
    cost = measure([sys.executable, "-c", script, *words])
    return cost | {"documents": documents, "bytes": 0}


def main() -> None:
    """Times both commands on both stores."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        few, many = Path(name) / "few", Path(name) / "many"
        few.mkdir()
        recipe = make_store(few)
        shutil.copytree(few, many)
        grown = many / "recipe.toml"
        grown.write_text(recipe.read_text().replace(f'store = "{few}', f'store = "{many}'))
        artifacts = grow(grown)
        systems = {}
        for label, path, runs in (("made once", recipe, 1), (f"{RUNS_BEFORE:,} runs", grown, RUNS_BEFORE)):
            systems[f"status, {label}"] = partial(ask, path, ["status", str(path)], runs)
            systems[f"sql, {label}"] = partial(ask, path, ["sql", QUERY, "--config", str(path)], runs)
        rows = side_by_side(systems, arguments.repeats)
    alone = {row["system"].split(",")[0]: row["seconds"] for row in rows if "made once" in row["system"]}
    for row in rows:
        row["times"] = row["seconds"] / alone[row["system"].split(",")[0]]
    text = TEXT.format(runs=RUNS_BEFORE, artifacts=artifacts, parts=PARTS)
    extra = {"times": "times", "documents a second": lambda _: "", "MB a second": lambda _: ""}
    write_results("sql", "Asking after a long history", text, rows, extra, arguments.json)


if __name__ == "__main__":
    main()
