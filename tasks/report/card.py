"""card: a corpus described in the form of Hugging Face's data cards, from what the catalog shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import jinja2

from tasks import pii
from tasks.select.measured import SIGNALS
from tasks.select.policy import Policy
from warehouse import schemas

TEMPLATE = Path(__file__).with_name("card.md.j2")
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
SIZES = (
    (1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"), (10_000_000, "1M<n<10M"),
    (100_000_000, "10M<n<100M"), (1_000_000_000, "100M<n<1B"),
)  # fmt: skip
LARGEST_SIZE = "n>1B"
FUNNEL = """
    SELECT stage, rule, sum(documents_in - documents_out)::BIGINT AS taken, sum(bytes_in - bytes_out)::BIGINT AS bytes
    FROM funnel WHERE documents_in > documents_out GROUP BY ALL ORDER BY stage, taken DESC"""
PII = ", ".join(f"sum(pii_{name}_count)::BIGINT AS {name}" for name in pii.NAMES)
MAIN_LANGUAGE = 0.005  # share of the documents from which on a language is named in the card's head


class CardSource(NamedTuple):
    """What a recipe says of a source."""

    name: str
    origin: str
    license: str
    policy_name: str
    policy: Policy


def render(connection: duckdb.DuckDBPyConnection, name: str, key: str, sources: Sequence[CardSource]) -> str:
    """The card of the corpus that a catalog shows, as Markdown with a YAML head."""

    def rows(query: str) -> list[dict[str, Any]]:
        return list(connection.sql(query).to_arrow_table().to_pylist())

    documents = rows("SELECT count(*) AS n, coalesce(sum(octet_length(encode(text))), 0)::BIGINT AS bytes FROM corpus")[
        0
    ]
    languages = rows(
        "SELECT language, count(*) AS n, count(*) / sum(count(*)) OVER () AS share FROM corpus GROUP BY ALL ORDER BY n DESC, language"
    )
    template = jinja2.Environment(  # noqa: S701  # nosec B701 (Markdown)
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    ).from_string(TEMPLATE.read_text())
    return template.render(
        name=name,
        key=key,
        documents=documents,
        size=next((label for bound, label in SIZES if documents["n"] < bound), LARGEST_SIZE),
        licenses=sorted({source.license for source in sources if source.license}),
        sources=sources,
        policies={source.policy_name: source.policy for source in sources if source.policy_name},
        totals={row["source"]: row for row in rows("SELECT source, count(*) AS n, sum(octet_length(encode(text)))::BIGINT AS bytes FROM corpus GROUP BY ALL")},
        languages=languages,
        main_languages=[row["language"] for row in languages if row["share"] >= MAIN_LANGUAGE and len(row["language"]) <= 3],
        funnel=rows(FUNNEL),
        quantiles=_quantiles(rows),
        levels=QUANTILES,
        mixture=rows("FROM mixture"),
        classifiers=rows("FROM classifiers"),
        pii=rows(f"SELECT {PII} FROM signals JOIN corpus ON id = doc_id")[0],
        fields=[(field.name, str(field.type), field.metadata[b"meaning"].decode()) for field in schemas.CORPUS],
        contaminated=rows("SELECT count(*) AS n FROM contamination")[0]["n"],
    )  # fmt: skip


def _quantiles(rows: Any) -> list[Mapping[str, Any]]:
    """Each signal's quantiles over the documents of the corpus."""
    names = [signal for signal in SIGNALS if signal.name != "language"]
    asked = ", ".join(
        f'quantile_cont(signals."{signal.name}", {list(QUANTILES)}) AS "{signal.name}"' for signal in names
    )
    found = rows(f"SELECT {asked} FROM signals JOIN corpus ON id = doc_id")[0]
    return [
        {"name": signal.name, "unit": signal.unit, "values": found[signal.name]}
        for signal in names
        if found[signal.name]
    ]
