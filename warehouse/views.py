"""Views that add to a stored table what other tables know, as SQL over the schemas ``stored`` and ``main``."""

from __future__ import annotations

# View name -> the query that adds what other tables know, over the stored table stored.<name>; in the order of creation.
JOINED_VIEWS: dict[str, str] = {
    "signals": """
        SELECT s.*, r.* EXCLUDE (doc_id)
        FROM stored.signals s LEFT JOIN main.repetition r USING (doc_id)""",
    "documents": """
        SELECT d.doc_id, d.url, d.domain, d.title, d.text, s.language, s.language_score, d.source, p.first.crawl AS crawl,
               coalesce(d.published, strftime(p.first.fetched_at, '%Y-%m-%d')) AS date, d.n_chars, d.n_bytes, d.n_words, d.language_hint, d.canonical,
               p.first.warc_path AS warc_path, p.first.warc_offset AS warc_offset, d.digest
        FROM stored.documents d
        LEFT JOIN stored.signals s USING (doc_id)
        LEFT JOIN stored.archived p ON p.digest = d.digest AND p.final_url = d.url""",
    "corpus": """
        SELECT c.* REPLACE (coalesce(t.length, c.token_count) AS token_count), w.weight
        FROM stored.corpus c
        LEFT JOIN stored.shares w USING (source)
        LEFT JOIN (SELECT doc_id, sum(length)::BIGINT AS length
                   FROM (SELECT doc_id, split, any_value(length) AS length FROM main.token_spans GROUP BY ALL) GROUP BY doc_id) t
               ON t.doc_id = c.id""",
    "metrics": """
        SELECT m.*, n.model FROM stored.all_metrics m LEFT JOIN stored.run_names n USING (run)""",
    # A baseline stands in the evaluation of each network that it was held against.
    "evaluations": """
        SELECT e.*, coalesce(m.name, e.run) AS model,
               stddev_samp(e.value) OVER (PARTITION BY e.run, e.step, e.task, e.shots, e.metric) AS spread
        FROM (SELECT DISTINCT * FROM stored.evaluations) e LEFT JOIN stored.model_names m USING (run, step)""",
    "answers": """
        SELECT a.*, coalesce(m.name, a.run) AS model FROM stored.answers a LEFT JOIN stored.model_names m USING (run, step)""",
    "samples": """
        SELECT s.*, m.name AS model FROM stored.samples s LEFT JOIN stored.model_names m USING (run, step)""",
}
# Where the body of a page was archived first.
ARCHIVED = """
    CREATE VIEW {place}.archived AS SELECT digest, final_url,
           arg_min({{crawl: crawl, fetched_at: fetched_at, warc_path: warc_path, warc_offset: warc_offset}}, (fetched_at, url)) AS first
    FROM {pages} WHERE record = 'response' AND error IS NULL AND status = 200 GROUP BY digest, final_url"""
# One name for each network, whatever else recipes call it.
MODEL_NAMES = """
    CREATE VIEW stored.model_names AS SELECT run, step, min(name) AS name FROM main.models GROUP BY ALL"""
# What each source gives to each run: its tokens, its share of what is drawn, and how often that goes through it.
# Before anything was trained, the shares that the recipe gives.
MIXTURE = """
    SELECT t.run, n.model, h.source, h.documents, h.tokens, t.weight / sum(t.weight) OVER (PARTITION BY t.run) AS weight,
           t.seen * t.weight / sum(t.weight) OVER (PARTITION BY t.run) / h.tokens AS epochs
    FROM (SELECT source, count(DISTINCT doc_id) AS documents, sum(length)::BIGINT AS tokens
          FROM token_spans WHERE split = 'train' GROUP BY source) h
    JOIN (SELECT r.run, r.source, r.weight, max(m.tokens) AS seen
          FROM stored.run_mixtures r JOIN main.models m USING (run) GROUP BY ALL
          UNION ALL SELECT NULL, source, weight, NULL FROM stored.shares WHERE NOT EXISTS (FROM stored.run_mixtures)) t USING (source)
    LEFT JOIN stored.run_names n USING (run)
    ORDER BY n.model, weight DESC, h.source"""
