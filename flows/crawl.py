"""The flow `crawl`: seeds to archived pages."""

from __future__ import annotations

from prefect import flow

from flows.orchestration.engine import make, pipeline_of, run_name, show_summary, task_runner
from flows.query import rows
from flows.recipe.loading import DEFAULT_CONFIG
from flows.recipe.settings import Recipe


@flow(name="crawl", flow_run_name=run_name, task_runner=task_runner())
def crawl(config: str = DEFAULT_CONFIG, recipe: Recipe | None = None, fresh: bool = True, run_id: str = "") -> None:
    """Crawls every source of a recipe.

    Args:
        config: path of a recipe, or the name of one in configs/
        recipe: all settings; wins over config
        fresh: start the next crawl in number even where an earlier one is complete
        run_id: the run that the artifacts are noted under; a new one where empty

    """
    pipeline = pipeline_of(config, recipe, run_id, fresh_crawl=fresh)
    make(pipeline, "crawl")
    found = rows(
        pipeline.store,
        "SELECT crawl, count(*) AS n, count(*) FILTER (WHERE status = 200) AS ok, sum(body_bytes) AS size FROM pages "
        "WHERE crawl IN (SELECT crawl FROM urls) GROUP BY ALL",
        own=pipeline.own,
    )
    show_summary(
        "crawl-summary",
        "\n".join(
            f"- **{row['crawl']}**: {row['n']:,} fetches, {row['ok']:,} pages, {row['size']:,} bytes" for row in found
        ),
    )
