"""The report on a corpus: where its documents went, what they are like, its mixture, and what the work cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tasks.report import charts
from tasks.report.asked import Asked

HISTOGRAMS = (
    ("gopher_word_count", "words a document", True),
    ("gopher_stop_word_count", "distinct stop words (Gopher)", False),
    ("gopher_duplicate_line_share", "share of duplicate lines (Gopher)", False),
    ("language_score", "probability of the language", False),
    ("quality_score", "quality by the classifier", False),
    ("compression_ratio", "compressed bytes a byte", False),
    ("fineweb_short_line_share", "share of short lines (FineWeb)", False),
)
MOST_SOURCES_DRAWN = 12


def given(asked: Asked, stages: Sequence[str]) -> list[dict[str, Any]]:
    """What each source gave: what went into the first stage that counted its documents or pages."""
    return asked.rows(
        "SELECT subject AS source, arg_min(documents_in, list_position(?, stage))::BIGINT AS n FROM artifacts "
        "WHERE subject <> '' AND documents_in > 0 GROUP BY subject ORDER BY subject",
        list(stages),
    )


def funnel(asked: Asked, stages: Sequence[str]) -> str:
    """Bars from what each source gave, through every rule that took something, stage by stage, to the corpus."""
    sources = given(asked, stages)
    bars = [(f"{row['source']} gave", row["n"], 0) for row in sources] if len(sources) <= MOST_SOURCES_DRAWN else []
    left = sum(row["n"] for row in sources)
    if len(sources) != 1:
        bars.append(("all sources gave", left, 0))
    for row in asked.rows(
        "SELECT stage, rule, sum(documents_in - documents_out)::BIGINT AS taken "
        "FROM (SELECT *, row_number() OVER () AS place FROM funnel) "
        "GROUP BY stage, rule HAVING taken > 0 ORDER BY min(list_position(?, stage)), min(place)",
        list(stages),
    ):
        left -= row["taken"]
        bars.append((f"{row['stage']}: {row['rule']}", left, row["taken"]))
    texts = [f"{value:,}" + (f"  (−{taken:,})" if taken else "") for _, value, taken in bars]
    return charts.bars([label for label, *_ in bars], [value for _, value, _ in bars], "documents", texts)


def decontamination(asked: Asked) -> str:
    """What was done about text of evaluation sets, in a sentence."""
    found = asked.rows(
        "SELECT DISTINCT settings->>'words' AS words, json_keys(settings->'sets') AS sets FROM artifacts "
        "WHERE json_exists(settings, '$.sets') AND json_exists(settings, '$.words')"
    )
    if not found:
        return "No evaluation sets were given, so nothing was decontaminated."
    (taken,) = asked.rows(
        "SELECT count(DISTINCT c.doc_id) AS touched, count(DISTINCT c.doc_id) FILTER (d.rule = 'contaminated') AS gone "
        "FROM contamination c JOIN decisions d USING (doc_id)"
    )
    return (
        f"The corpus was decontaminated against {', '.join(found[0]['sets'])} by n-grams of {found[0]['words']} words: "
        f"{taken['touched']:,} documents held text of them, which was taken out; of {taken['gone']:,} nothing was left."
    )


def mixture(asked: Asked) -> tuple[list[dict[str, Any]], str]:
    """What each source is of each run's training text, as a table and a picture."""
    found = asked.rows("FROM mixture")
    table = [
        {
            "run": row["model"] or "",
            "source": row["source"],
            "documents": f"{row['documents']:,}",
            "tokens": f"{row['tokens']:,}",
            "weight": f"{row['weight']:.0%}",
            "epochs": "" if row["epochs"] is None else f"{row['epochs']:.2f}",
        }
        for row in found
    ]
    tokens = {row["source"]: row["tokens"] for row in found}
    bars = [(f"{source}, corpus", count / sum(tokens.values()), False) for source, count in tokens.items()]
    bars += [(f"{row['source']}, {row['model'] or 'training'}", row["weight"], True) for row in found]
    bars.sort(key=lambda bar: bar[0].rpartition(",")[0])
    labels, values, lit = zip(*bars, strict=True) if bars else ((), (), ())
    return table, charts.bars(labels, values, "share", [f"{value:.0%}" for value in values], highlight=lit)


def histograms(asked: Asked) -> list[str]:
    """How signals are spread, kept and removed documents apart, and the sizes of duplicate clusters."""
    bounds = asked.rows("""
        SELECT DISTINCT rule->>'signal' AS signal, unnest([(rule->>'min')::DOUBLE, (rule->>'max')::DOUBLE]) AS bound
        FROM (SELECT unnest(json_extract(settings, '$.policies.*.rules[*]')) AS rule FROM artifacts)""")
    pictures = []
    for signal, label, log in HISTOGRAMS:
        found = asked.rows(
            f"""SELECT d.source || if(c.id IS NOT NULL, '', ', removed') AS name, list(s."{signal}" ORDER BY s.doc_id) AS "values"
                FROM signals s JOIN documents d USING (doc_id) LEFT JOIN (SELECT DISTINCT id FROM corpus) c ON c.id = s.doc_id
                WHERE s."{signal}" IS NOT NULL GROUP BY ALL ORDER BY ALL"""
        )
        if not found:  # a signal that only some recipes measure
            continue
        drawn = [row["bound"] for row in bounds if row["signal"] == signal and row["bound"] is not None]
        pictures.append(charts.histogram({row["name"]: row["values"] for row in found}, label, log, drawn))
    clusters = asked.rows(
        "SELECT cluster_size AS size, count(DISTINCT cluster_id) AS n FROM duplicates GROUP BY ALL ORDER BY ALL"
    )
    if clusters:
        sizes, numbers = [row["size"] for row in clusters], [row["n"] for row in clusters]
        pictures.append(charts.counts(sizes, numbers, "documents in a duplicate cluster", "clusters"))
    return pictures


def cost(asked: Asked, stages: Sequence[str]) -> list[dict[str, str]]:
    """What making these artifacts took, whenever that was, in the order of the stages."""
    found = asked.rows(
        """SELECT a.stage, count(*) AS parts, sum(w.wall_s) AS wall, sum(w.cpu_s) AS cpu, max(w.peak_rss_bytes) AS memory,
                  any_value(b.bytes)::BIGINT AS stored
           FROM artifacts a JOIN work w ON w.key = a.key AND w.part IS NOT NULL
           JOIN (SELECT stage, sum(bytes) AS bytes FROM artifacts GROUP BY stage) b ON b.stage = a.stage
           GROUP BY a.stage ORDER BY min(list_position(?, a.stage))""",
        list(stages),
    )
    return [
        {
            "stage": row["stage"],
            "parts": f"{row['parts']:,}",
            "wall": f"{row['wall']:,.1f} s",
            "cpu": f"{row['cpu']:,.1f} s",
            "memory": f"{row['memory'] / 1e6:,.0f} MB",
            "stored": f"{row['stored'] / 1e6:,.1f} MB",
        }
        for row in found
    ]
