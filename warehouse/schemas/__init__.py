"""The stored tables: explicit Arrow schemas, each column with its meaning and unit.

A table is a contract between stages that do not import one another. The public views of the catalog are
built from these; ``catalog.py`` says where a view adds columns by a join.
"""

from __future__ import annotations

import pyarrow as pa

from warehouse.schemas.corpus import (
    CLASSIFIER,
    CLASSIFIERS,
    CORPUS,
    DECISIONS,
    DOCUMENTS,
    ELECTIONS,
    HELD_OUT,
    HELD_OUT_GRAMS,
    TOKEN_SPANS,
)
from warehouse.schemas.crawl import HOSTS, PAGES, URLS
from warehouse.schemas.record import (
    AFFECTED,
    ARTIFACTS,
    EVALUATIONS,
    FUNNEL,
    METRICS,
    MODELS,
    PARTS,
    REMOVALS,
    RUN_MIXTURES,
    RUNS,
    SAMPLES,
    WORK,
)
from warehouse.schemas.repetition import (
    CANDIDATES,
    CONTAMINATION,
    DUPLICATE_PAIRS,
    DUPLICATES,
    EVALUATION_OVERLAP,
    GRAM_HITS,
    GRAMS_SEEN,
    RECURRING,
    RECURRING_TEXT,
    REPEATED_WINDOWS,
    REPETITION,
    SIGNATURES,
)

__all__ = [
    "AFFECTED",
    "ARTIFACTS",
    "CANDIDATES",
    "CLASSIFIER",
    "CLASSIFIERS",
    "CONTAMINATION",
    "CORPUS",
    "DECISIONS",
    "DOCUMENTS",
    "DUPLICATES",
    "DUPLICATE_PAIRS",
    "ELECTIONS",
    "EVALUATIONS",
    "EVALUATION_OVERLAP",
    "FUNNEL",
    "GRAMS_SEEN",
    "GRAM_HITS",
    "HELD_OUT",
    "HELD_OUT_GRAMS",
    "HOSTS",
    "METRICS",
    "MODELS",
    "PAGES",
    "PARTS",
    "RECURRING",
    "RECURRING_TEXT",
    "REMOVALS",
    "REPEATED_WINDOWS",
    "REPETITION",
    "RUNS",
    "RUN_MIXTURES",
    "SAMPLES",
    "SIGNATURES",
    "STORED",
    "TOKEN_SPANS",
    "URLS",
    "WORK",
]

# The stored tables that a stage writes as <table>/<part>.parquet, by the name of the table.
STORED: dict[str, pa.Schema] = {
    "pages": PAGES,
    "urls": URLS,
    "hosts": HOSTS,
    "documents": DOCUMENTS,
    "decisions": DECISIONS,
    "classifiers": CLASSIFIERS,
    "signatures": SIGNATURES,
    "duplicates": DUPLICATES,
    "duplicate_pairs": DUPLICATE_PAIRS,
    "repetition": REPETITION,
    "recurring_text": RECURRING_TEXT,
    "contamination": CONTAMINATION,
    "evaluation_overlap": EVALUATION_OVERLAP,
    "corpus": CORPUS,
    "held_out": HELD_OUT,
    "token_spans": TOKEN_SPANS,
    "evaluations": EVALUATIONS,
    "samples": SAMPLES,
}
