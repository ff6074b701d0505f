"""The page of alignments: what each changed on what is held out, how reward and distance went, and answers before and after."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import jinja2

from tasks.report import charts
from tasks.report.asked import Asked

TEMPLATE = Path(__file__).with_name("aligned.html.j2")
SHOWN = 4  # prompts with their answers before and after
ROLLED = """
    SELECT name, step, avg(reward) AS reward, avg(kl) AS kl FROM rollouts WHERE name = ? AND step > 0 GROUP BY ALL ORDER BY step"""
WRITTEN = """
    SELECT b.prompt, b.text AS before, a.text AS after FROM rollouts b JOIN rollouts a USING (name, example_id)
    WHERE name = ? AND b.step = 0 AND a.step IS NULL ORDER BY md5(example_id) LIMIT ?"""


def render(connection: duckdb.DuckDBPyConnection, name: str) -> str:
    """The alignments that a catalog shows, as HTML that needs nothing beside it."""
    asked = Asked(connection)
    found = asked.rows("FROM aligned ORDER BY name, metric")
    names = list(dict.fromkeys(row["name"] for row in found))
    shown = [_alignment(asked, one, [row for row in found if row["name"] == one]) for one in names]
    return jinja2.Environment(autoescape=True).from_string(TEMPLATE.read_text()).render(name=name, alignments=shown)


def _alignment(asked: Asked, name: str, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    rolled = asked.rows(ROLLED, name)
    steps = [row["step"] for row in rolled]
    pictures = [
        charts.curves({title: (steps, [row[column] for row in rolled])}, {}, "batch of rollouts", title)
        for title, column in (("reward of an answer", "reward"), ("nats from where it started", "kl"))
        if len(rolled) > 1
    ]
    return {
        "name": name,
        "method": rows[0]["method"],
        "figures": [
            {
                "metric": row["metric"],
                "before": "" if row["before"] is None else f"{row['before']:.3f}",
                "after": f"{row['after']:.3f}",
                "stderr": f"{row['stderr']:.3f}",
                "n": f"{row['n']:,}",
            }
            for row in rows
        ],
        "pictures": pictures,
        "samples": asked.rows(WRITTEN, name, SHOWN),
    }
