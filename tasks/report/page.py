"""report: one self-contained page about what the catalog shows. A view, not an artifact: it says what runs cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import duckdb
import jinja2

from tasks.report import answers, corpus, networks
from tasks.report.asked import Asked

TEMPLATE = Path(__file__).with_name("report.html.j2")


def render(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    stages: Sequence[str],
    mains: Mapping[str, str],
    suite: Mapping[str, str],
    published: answers.Published,
) -> str:
    """The report on what a catalog shows, as HTML that needs nothing beside it.

    ``stages`` are those of the graph in their order; ``mains``, task on held-out text -> the metric that is drawn of it;
    ``suite`` the same of published tasks, and ``published`` gives what papers report of one.
    """
    asked = Asked(connection)
    mixture, shares = corpus.mixture(asked)
    template = jinja2.Environment(autoescape=True).from_string(TEMPLATE.read_text())
    return template.render(
        name=name,
        run=asked.one("SELECT max(run) FROM runs") or "",
        cards=_cards(asked, stages),
        networks=networks.networks(asked),
        tasks=networks.pictures(asked, mains),
        scores=networks.scores(asked),
        answers=answers.scores(asked, suite, published),
        answers_picture=answers.picture(asked),
        examples=answers.examples(asked),
        samples=asked.rows("FROM samples ORDER BY model, prompt"),
        loss=networks.losses(asked),
        funnel=corpus.funnel(asked, stages),
        mixture=mixture,
        shares=shares,
        histograms=corpus.histograms(asked),
        cost=corpus.cost(asked, stages),
        protocol="Each held-out document is scored alone, the end-of-text token before it; the network sees it in windows of its context length, "
        "moved by half of it. The baselines are counted on all training tokens, once each. Perplexity a word divides by white-space "
        "separated words; where words are long it may have no floating-point number, and is ∞. The cloze asks for the last word of a "
        "passage, which occurred earlier in it. The overlap is the mean share of a document's 8-grams that stand in training text; clean is "
        f"what shares least. {corpus.decontamination(asked)}",
    )


def _cards(asked: Asked, stages: Sequence[str]) -> list[tuple[str, str]]:
    """The figures at the head of the page."""
    trained = asked.one(
        "SELECT coalesce(sum(tokens), 0)::BIGINT FROM (SELECT run, max(tokens) AS tokens FROM models GROUP BY run)"
    )
    return [
        (_count(sum(row["n"] for row in corpus.given(asked, stages))), "pages or texts given"),
        (_count(asked.one("SELECT count(*) FROM documents")), "documents extracted"),
        (_count(asked.one("SELECT count(*) FROM corpus")), "documents in the corpus"),
        (_count(asked.one("SELECT coalesce(sum(length), 0)::BIGINT FROM token_spans")), "tokens"),
        (_count(asked.one("SELECT coalesce(max(parameters), 0) FROM models")), "parameters"),
        (_count(trained), "tokens trained on"),
    ]


def _count(number: int) -> str:
    return f"{number / 1e6:,.2f} M" if number >= 1e6 else f"{number:,}"
