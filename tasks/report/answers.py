"""The report on tasks: what models answered, beside a guess and what the papers report, with a few examples to read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tasks.report import charts
from tasks.report.asked import Asked

EXAMPLES = 3  # of a task's questions that are shown
PROMPT_CHARS = 1500  # of a long prompt the end is shown
Published = Callable[[str, str, int], list[Any]]


def scores(asked: Asked, mains: Mapping[str, str], published: Published) -> list[dict[str, Any]]:
    """A row a task, number of demonstrations and model: its main metric. ``published`` gives the papers' rows of a task."""
    found = []
    for row in asked.rows(
        "FROM evaluations WHERE prompt IS NOT NULL AND run IN (SELECT run FROM models) ORDER BY task, shots, model, prompt, seed"
    ):
        if row["metric"] != mains.get(row["task"]):
            continue
        papers = published(row["task"], row["metric"], row["shots"])
        found.append(
            {
                "task": row["task"],
                "asked": _asked(row),
                "metric": row["metric"],
                "model": row["model"],
                "value": f"{row['value']:.3f}",
                "stderr": f"{row['stderr']:.3f}",
                "spread": "" if row["spread"] is None else f"{row['spread']:.3f}",
                "n": f"{row['n']:,}",
                "chance": "" if row["chance"] is None else f"{row['chance']:.3f}",
                "clean": "" if row["clean_value"] is None else f"{row['clean_value']:.3f}",
                "dirty": "" if row["share_clean"] is None else f"{1 - row['share_clean']:.1%}",
                "published": ", ".join(f"{one.model} {one.value:.3f}" for one in papers[:1] + papers[-1:]),
                "protocol": row["protocol"],
            }
        )
    return found


def _asked(row: Mapping[str, Any]) -> str:
    shots = f"{row['shots']} shown" if row["shots"] else "none shown"
    return ", ".join([shots, *([row["prompt"]] if row["prompt"] != "published" else [])])


def picture(asked: Asked) -> str:
    """Accuracies of the tasks that have a choice, with the chance of a guess; empty where there is none."""
    rows = asked.rows(
        """SELECT task, shots, model, value, stderr, chance FROM evaluations
           WHERE run IN (SELECT run FROM models) AND metric = 'accuracy' AND chance IS NOT NULL AND prompt = 'published' AND
                 (seed IS NULL OR seed = (SELECT min(seed) FROM evaluations WHERE prompt IS NOT NULL))
           ORDER BY task, shots, model"""
    )
    if not rows:
        return ""
    labels = [f"{row['task']}, {row['shots']} shown: {row['model']}" for row in rows]
    texts = [f"{row['value']:.3f} (a guess {row['chance']:.3f})" for row in rows]
    lit = [row["value"] - row["chance"] > 2 * row["stderr"] for row in rows]
    return charts.bars(labels, [row["value"] for row in rows], "accuracy", texts, [row["stderr"] for row in rows], lit)


def examples(asked: Asked) -> list[dict[str, Any]]:
    """A few questions with the prompt as it was put, what each choice got, and the answer."""
    found = []
    rows = asked.rows(
        """FROM answers WHERE run IN (SELECT run FROM models) AND prompt_text IS NOT NULL
           QUALIFY row_number() OVER (PARTITION BY run, step, task ORDER BY shots DESC, prompt, seed, example_id) <= ?
           ORDER BY task, model, example_id""",
        EXAMPLES,
    )
    for row in rows:
        shown = row["prompt_text"]
        nats = row["log_likelihoods"] or []
        tokens = row["tokens"] or []
        choices = [
            {
                "text": text,
                "nats": f"{logged:.2f}",
                "a_token": f"{logged / count:.2f}",
                "gold": text == row["gold"],
                "chosen": text == row["answer"],
            }
            for text, logged, count in zip(row["choices"] or [], nats, tokens, strict=False)
        ]
        found.append(
            {
                "task": row["task"],
                "model": row["model"],
                "shots": row["shots"],
                "prompt": ("…" if len(shown) > PROMPT_CHARS else "") + shown[-PROMPT_CHARS:],
                "choices": choices,
                "answer": row["answer"],
                "gold": row["gold"],
                "right": row["correct"],
            }
        )
    return found
