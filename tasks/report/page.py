"""report: one self-contained page about what the catalog shows. A view, not an artifact: it says what runs cost."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import duckdb
import jinja2

from tasks.report import charts

TEMPLATE = Path(__file__).with_name("report.html.j2")
HISTOGRAMS = (
    ("gopher_word_count", "words a document", True),
    ("gopher_stop_word_count", "distinct stop words (Gopher)", False),
    ("gopher_duplicate_line_share", "share of duplicate lines (Gopher)", False),
    ("language_score", "probability of the language", False),
    ("quality_score", "quality by the classifier", False),
    ("compression_ratio", "compressed bytes a byte", False),
    ("fineweb_short_line_share", "share of short lines (FineWeb)", False),
)
NAMES = {"baseline-unigram": "unigram", "baseline-bigram": "bigram", "baseline-5-gram": "interpolated 5-gram"}


FUNNEL_STAGES = ("crawl", "extract", "select")
MOST_SOURCES_DRAWN = 12
# What each source gave: the pages that its crawl knows, or the rows, records or files that it holds.
GIVEN = """
    SELECT subject, sum(documents_in)::BIGINT AS documents_in FROM artifacts
    WHERE stage = 'crawl' OR stage = 'extract' AND subject NOT IN (SELECT subject FROM artifacts WHERE stage = 'crawl')
    GROUP BY subject"""


class _Page:
    """Queries and pictures over one connection."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def rows(self, query: str) -> list[dict[str, Any]]:
        return list(self._connection.sql(query).to_arrow_table().to_pylist())

    def one(self, query: str) -> Any:
        found = self._connection.sql(query).fetchall()
        return found[0][0] if found else None

    def cards(self) -> list[tuple[str, str]]:
        tokens = self.one("SELECT coalesce(sum(length), 0)::BIGINT FROM token_spans")
        return [
            (_count(self.one(f"SELECT coalesce(sum(documents_in), 0)::BIGINT FROM ({GIVEN})")), "pages or texts given"),
            (_count(self.one("SELECT count(*) FROM documents")), "documents extracted"),
            (_count(self.one("SELECT count(*) FROM corpus")), "documents in the corpus"),
            (_count(tokens), "tokens"),
            (_count(self._statistic("parameters")), "parameters"),
            (_count(self._statistic("tokens_seen")), "tokens trained on"),
        ]

    def _statistic(self, name: str) -> int:
        """A figure of the training run."""
        return int(self.one(f"SELECT (statistics->>'{name}')::BIGINT FROM artifacts WHERE stage = 'pretrain'") or 0)

    def scores(self) -> list[dict[str, Any]]:
        found = self.rows(
            "SELECT *, run NOT LIKE 'baseline-%' AS ours FROM evaluations ORDER BY task, metric, "
            "CASE WHEN metric LIKE '%accuracy' THEN -value ELSE value END"
        )
        return [
            {
                "task": row["task"],
                "metric": row["metric"],
                "of_source": "," in row["task"],
                "ours": row["ours"],
                "n": f"{row['n']:,}",
                "value": _figure(row["value"]),
                "model": "this model" if row["ours"] else NAMES.get(row["run"], row["run"]),
                "stderr": _figure(row["stderr"]),
            }
            for row in found
        ]

    def bits(self) -> tuple[str, str]:
        """The picture of bits a byte, or of bits a hidden token, and the verdict in words."""
        unit = "bits a hidden token" if self._masked else "bits a byte"
        found = self.rows(
            f"SELECT run, value, stderr FROM evaluations WHERE metric = '{unit}' AND task NOT LIKE '%,%' ORDER BY value"
        )
        values = {NAMES.get(row["run"], "this model"): row["value"] for row in found}
        names = [NAMES.get(row["run"], "this model") for row in found]
        picture = charts.bars(
            names,
            [row["value"] for row in found],
            unit,
            [f"{row['value']:.3f}" for row in found],
            [0.0 if math.isnan(row["stderr"]) else row["stderr"] for row in found],
            [name == "this model" for name in names],
        )
        ours = values.pop("this model")
        words = [
            f"{abs(other - ours):.3f} {'fewer' if ours < other else 'more'} than the {name} ({other:.3f})"
            for name, other in values.items()
        ]
        return picture, f"The model needs {ours:.3f} {unit} of held-out text: {', '.join(words)}."

    @property
    def _masked(self) -> bool:
        """Whether the model fills gaps instead of writing on."""
        return bool(self.one("SELECT count(*) FROM evaluations WHERE metric = 'bits a hidden token'"))

    def loss(self) -> str:
        run = self.one("SELECT max(run) FROM evaluations WHERE run NOT LIKE 'baseline-%'")
        found = self.rows(f"""SELECT name, step, arg_max(value, "at") AS value FROM metrics
                              WHERE run = '{run}' AND name IN ('loss', 'validation_loss') GROUP BY ALL ORDER BY step""")
        lines = {
            label: (
                [row["step"] for row in found if row["name"] == name],
                [row["value"] for row in found if row["name"] == name],
            )
            for name, label in (("loss", "training batch"), ("validation_loss", "held out"))
        }
        levels = {
            NAMES[row["run"]]: math.log(row["value"])
            for row in self.rows(
                "SELECT run, value FROM evaluations WHERE task IN ('held-out text', 'hidden tokens') "
                "AND metric = 'perplexity a token' AND run LIKE 'baseline-%'"
            )
        }
        return charts.curves(lines, levels, "step", "nats a token")

    def funnel(self) -> str:
        """Bars from what each source gave, through every rule that took something, to the corpus."""
        given = self.rows(f"SELECT subject AS source, documents_in AS n FROM ({GIVEN}) ORDER BY source")
        bars = [(f"{row['source']} gave", row["n"], 0) for row in given] if len(given) <= MOST_SOURCES_DRAWN else []
        left = sum(row["n"] for row in given)
        if len(given) != 1:
            bars.append(("all sources gave", left, 0))
        for stage in FUNNEL_STAGES:
            for row in self.rows(
                "SELECT rule, sum(documents_in - documents_out)::BIGINT AS taken FROM (SELECT *, row_number() OVER () AS place FROM funnel) "
                f"WHERE stage = '{stage}' GROUP BY rule HAVING taken > 0 ORDER BY min(place)"
            ):
                left -= row["taken"]
                bars.append((f"{stage}: {row['rule']}", left, row["taken"]))
        texts = [f"{value:,}" + (f"  (−{taken:,})" if taken else "") for _, value, taken in bars]
        return charts.bars([label for label, *_ in bars], [value for _, value, _ in bars], "documents", texts)

    def decontamination(self) -> str:
        """What was done about text of evaluation sets, in a sentence."""
        found = self.rows(
            "SELECT settings->>'words' AS words, json_keys(settings->'sets') AS sets FROM artifacts WHERE stage = 'decontaminate'"
        )
        if not found:
            return "No evaluation sets were given, so nothing was decontaminated."
        (taken,) = self.rows(
            "SELECT count(DISTINCT c.doc_id) AS touched, count(DISTINCT c.doc_id) FILTER (d.rule = 'contaminated') AS gone "
            "FROM contamination c JOIN decisions d USING (doc_id) WHERE d.stage = 'select'"
        )
        return (
            f"The corpus was decontaminated against {', '.join(found[0]['sets'])} by n-grams of {found[0]['words']} words: "
            f"{taken['touched']:,} documents held text of them, which was taken out; of {taken['gone']:,} nothing was left."
        )

    def mixture(self) -> tuple[list[dict[str, Any]], str]:
        found = self.rows("FROM mixture")
        table = [
            {
                "source": row["source"],
                "documents": f"{row['documents']:,}",
                "tokens": f"{row['tokens']:,}",
                "weight": f"{row['weight']:.0%}",
                "epochs": f"{row['epochs']:.2f}",
            }
            for row in found
        ]
        total = sum(row["tokens"] for row in found)
        labels = [f"{row['source']}, {kind}" for row in found for kind in ("corpus", "training")]
        values = [value for row in found for value in (row["tokens"] / total, row["weight"])]
        return table, charts.bars(
            labels,
            values,
            "share",
            [f"{value:.0%}" for value in values],
            highlight=[i % 2 == 1 for i in range(len(values))],
        )

    def histograms(self) -> list[str]:
        bounds = self.rows("""
            SELECT DISTINCT rule->>'signal' AS signal, unnest([(rule->>'min')::DOUBLE, (rule->>'max')::DOUBLE]) AS bound
            FROM (SELECT unnest(json_extract(settings, '$.policies.*.rules[*]')) AS rule FROM artifacts WHERE stage = 'select')""")
        pictures = []
        for signal, label, log in HISTOGRAMS:
            found = self.rows(
                f"""SELECT d.source || if(d.verdict = 'kept', '', ', removed') AS name, list(s."{signal}" ORDER BY doc_id) AS "values"
                    FROM signals s JOIN decisions d USING (doc_id) WHERE d.stage = 'select' AND s."{signal}" IS NOT NULL
                    GROUP BY ALL ORDER BY ALL"""
            )
            if not found:  # a signal that only some recipes measure
                continue
            drawn = [row["bound"] for row in bounds if row["signal"] == signal and row["bound"] is not None]
            pictures.append(charts.histogram({row["name"]: row["values"] for row in found}, label, log, drawn))
        clusters = self.rows(
            "SELECT cluster_size AS size, count(DISTINCT cluster_id) AS n FROM duplicates GROUP BY ALL ORDER BY ALL"
        )
        if clusters:
            pictures.append(
                charts.counts(
                    [row["size"] for row in clusters],
                    [row["n"] for row in clusters],
                    "documents in a duplicate cluster",
                    "clusters",
                )
            )
        return pictures

    def cost(self) -> list[dict[str, str]]:
        found = self.rows("""
            SELECT a.stage, count(*) AS parts, sum(w.wall_s) AS wall, sum(w.cpu_s) AS cpu, max(w.peak_rss_bytes) AS memory,
                   any_value(b.bytes)::BIGINT AS stored
            FROM artifacts a JOIN work w ON w.key = a.key AND w.part IS NOT NULL
            JOIN (SELECT stage, sum(bytes) AS bytes FROM artifacts GROUP BY stage) b ON b.stage = a.stage
            GROUP BY a.stage ORDER BY min(w.started_at)""")
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


def render(connection: duckdb.DuckDBPyConnection, name: str) -> str:
    """The report on what a catalog shows, as HTML that needs nothing beside it."""
    page = _Page(connection)
    bits, verdict = page.bits()
    mixture, shares = page.mixture()
    template = jinja2.Environment(autoescape=True).from_string(TEMPLATE.read_text())
    return template.render(
        name=name,
        run=page.one("SELECT max(run) FROM runs") or "",
        cards=page.cards(),
        bits=bits,
        verdict=verdict,
        scores=page.scores(),
        samples=page.rows("FROM samples"),
        loss=page.loss(),
        funnel=page.funnel(),
        mixture=mixture,
        shares=shares,
        histograms=page.histograms(),
        cost=page.cost(),
        protocol="Each held-out document is scored alone, the end-of-text token before it; the network sees it in windows of its context length, "
        "moved by half of it. The baselines are counted on all training tokens, once each. Perplexity a word divides by white-space "
        "separated words; where words are long it may have no floating-point number, and is ∞. The cloze asks for the last word of a "
        f"passage, which occurred earlier in it. {page.decontamination()}",
    )


def _count(number: int) -> str:
    return f"{number / 1e6:,.2f} M" if number >= 1e6 else f"{number:,}"


def _figure(value: float) -> str:
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞"
    return f"{value:,.3f}" if abs(value) < 100 else f"{value:,.0f}" if abs(value) < 1e6 else f"{value:.2e}"
