"""Table macros that answer the questions people ask of a corpus: from a step to URLs, and back."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Macro:
    """One table macro; ``needs_order`` where it asks for the order of training data."""

    sql: str
    needs_order: bool = False


# The documents of a run that is not the newest may stand in no view any more: they are looked up among all that were made.
DOCUMENTS_AT_STEP = Macro(
    needs_order=True,
    sql="""
CREATE MACRO documents_at_step(run, step) AS TABLE
WITH w AS (SELECT unnest(training_documents(run, step), recursive := true)),
     d AS (SELECT doc_id, any_value(url) AS url, any_value(title) AS title, any_value(digest) AS digest
           FROM history.documents WHERE doc_id IN (SELECT doc_id FROM w) GROUP BY doc_id)
SELECT w.slot, w.doc_id, d.url, d.title, w.source, w.shard, w.start, w.length AS tokens,
       p.first.warc_path AS warc_path, p.first.warc_offset AS warc_offset
FROM w LEFT JOIN d USING (doc_id) LEFT JOIN history.archived p ON p.digest = d.digest AND p.final_url = d.url
ORDER BY w.slot, w.shard, w.start
""",
)

# The argument's name differs from every column's: a macro's parameter would shadow nothing, a column would shadow it.
STEPS_OF = Macro(
    needs_order=True,
    sql="""
CREATE MACRO steps_of(page_url) AS TABLE
FROM (SELECT a.run, a.model, s.doc_id, unnest(training_steps(a.run, s.doc_id), recursive := true)
      FROM (SELECT DISTINCT doc_id FROM history.documents WHERE url = page_url) s
      CROSS JOIN (SELECT run, min(name) AS model FROM models WHERE step IS NOT NULL AND NOT contains(name, '@') GROUP BY run) a)
ORDER BY model, step
""",
)

WHY = Macro(
    sql="""
CREATE MACRO why(page_url) AS TABLE
WITH named AS (SELECT doc_id, url FROM documents WHERE url = page_url
               OR url IN (SELECT final_url FROM pages WHERE url = page_url))
SELECT 1 AS place, 'crawl' AS stage, coalesce(error, 'fetched, status ' || status) AS what,
       concat_ws(' ', crawl, fetched_at::VARCHAR, warc_path, '@', warc_offset) AS detail
FROM pages WHERE url = page_url OR final_url = page_url
UNION ALL
SELECT 1, 'crawl', verdict || ' by ' || rule, detail FROM urls WHERE url = page_url AND rule IS NOT NULL
UNION ALL
SELECT 2, 'extract', 'document ' || doc_id, concat_ws(' ', n_words, 'words,', language, round(language_score, 3), title)
FROM documents WHERE doc_id IN (SELECT doc_id FROM named)
UNION ALL
SELECT 3, 'match', kind || ' duplicate in a cluster of ' || cluster_size,
       'preferred: ' || coalesce((SELECT any_value(url) FROM documents k WHERE k.doc_id = kept_doc_id), kept_doc_id)
FROM duplicates WHERE doc_id IN (SELECT doc_id FROM named)
UNION ALL
SELECT 4, stage, verdict || coalesce(' by ' || rule, ''),
       concat_ws(', ', 'value ' || round(value, 4), 'threshold ' || threshold, detail)
FROM decisions WHERE doc_id IN (SELECT doc_id FROM named) OR url = page_url
UNION ALL
SELECT 5, 'pack', split || ' tokens ' || start || ' to ' || (start + length) || ' of ' || shard, length || ' tokens'
FROM token_spans WHERE doc_id IN (SELECT doc_id FROM named)
ORDER BY place
"""
)

MACROS = (DOCUMENTS_AT_STEP, STEPS_OF, WHY)
