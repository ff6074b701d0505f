"""The flow `tokenizer`: a corpus to a vocabulary and token arrays."""

from __future__ import annotations

from prefect import flow

from flows.orchestration.engine import make, pipeline_of, run_name, show_summary, task_runner
from flows.query import rows
from flows.recipe.loading import DEFAULT_CONFIG
from flows.recipe.settings import Recipe


@flow(name="tokenizer", flow_run_name=run_name, task_runner=task_runner())
def tokenizer(config: str = DEFAULT_CONFIG, recipe: Recipe | None = None, run_id: str = "") -> None:
    """Trains the tokenizer on the newest corpus of a recipe, holds documents out, and packs the corpus.

    Args:
        config: path of a recipe, or the name of one in configs/
        recipe: all settings; wins over config
        run_id: the run that the artifacts are noted under; a new one where empty

    """
    pipeline = pipeline_of(config, recipe, run_id)
    make(pipeline, "tokenizer")
    make(pipeline, "split")
    make(pipeline, "relatives")
    make(pipeline, "pack")
    found = rows(
        pipeline.store,
        "SELECT source, split, count(*) AS documents, sum(length)::BIGINT AS tokens, sum(n_bytes) / sum(length) AS per "
        "FROM token_spans GROUP BY ALL ORDER BY ALL",
        own=pipeline.own,
    )
    show_summary(
        "tokens",
        "\n".join(
            [
                "| source | split | documents | tokens | bytes a token |",
                "|---|---|---|---|---|",
                *(
                    f"| {r['source']} | {r['split']} | {r['documents']:,} | {r['tokens']:,} | {r['per']:.2f} |"
                    for r in found
                ),
            ]
        ),
    )
