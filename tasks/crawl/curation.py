"""Link curation: URLs with scores from a table, taken from a threshold on (GPT-2, section 2.1)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds

from tasks.crawl.claims import Link
from tasks.crawl.scope import Refusal
from tasks.crawl.settings import CuratedLinks
from tasks.web.urls import canonical_url
from warehouse.errors import SettingError

FORMATS = {".parquet": "parquet", ".csv": "csv", ".jsonl": "json"}


def curated(settings: CuratedLinks) -> Iterator[Link]:
    """The table's URLs as links of depth 0, best scores first; those below the threshold carry their refusal.

    Raises SettingError where the table cannot be read.
    """
    path = Path(settings.file)
    columns = [settings.url_column, *([settings.score_column] if settings.score_column else [])]
    try:
        table = ds.dataset(path, format=_format(path))
        batches = table.to_batches(columns=columns)
        for batch in batches:
            rows = batch.to_pydict()
            scores = rows[settings.score_column] if settings.score_column else [settings.min_score] * batch.num_rows
            for url, score in zip(rows[settings.url_column], scores, strict=True):
                link = _link(url, score, settings)
                if link is not None:
                    yield link
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SettingError(f"the links of {path} cannot be read: {' '.join(str(error).split())[:300]}") from error


def _format(path: Path) -> str | ds.CsvFileFormat:
    if path.suffix == ".tsv":
        import pyarrow.csv

        return ds.CsvFileFormat(pyarrow.csv.ParseOptions(delimiter="\t"))
    if path.suffix not in FORMATS:
        raise ValueError(f"its name must end in .tsv, {', '.join(FORMATS)}")
    return FORMATS[path.suffix]


def _link(url: Any, score: float | None, settings: CuratedLinks) -> Link | None:
    try:
        canonical = canonical_url(str(url or ""))
    except ValueError:
        return None  # no web address: nothing that could be fetched or refused
    value = float(score) if score is not None else float("-inf")
    wanted = value >= settings.min_score  # what is no number is not
    refusal = None if wanted else Refusal("score too low", f"{score}, min_score {settings.min_score:g}")
    return Link(canonical, 0, priority=value if refusal is None else 0.0, refusal=refusal)
