"""The stored tables: explicit Arrow schemas, each column with its meaning and unit.

A table is a contract between stages that do not import one another. The public views of the catalog are
built from these; ``views.py`` says where a view adds columns by a join. Each module ends with its ``TABLES``: those that a
stage writes as ``<table>/<part>.parquet`` and that a view of the same name shows.
"""

from __future__ import annotations

import pyarrow as pa

from warehouse.schemas import aligned, asked, corpus, crawl, labelled, record, repetition
from warehouse.schemas.aligned import *  # noqa: F403
from warehouse.schemas.asked import *  # noqa: F403
from warehouse.schemas.corpus import *  # noqa: F403
from warehouse.schemas.crawl import *  # noqa: F403
from warehouse.schemas.labelled import *  # noqa: F403
from warehouse.schemas.record import *  # noqa: F403
from warehouse.schemas.repetition import *  # noqa: F403

STORED: dict[str, pa.Schema] = {
    **crawl.TABLES,
    **corpus.TABLES,
    **repetition.TABLES,
    **record.TABLES,
    **asked.TABLES,
    **labelled.TABLES,
    **aligned.TABLES,
}
