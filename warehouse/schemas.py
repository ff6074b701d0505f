"""The stored tables: explicit Arrow schemas, each column with its meaning and unit.

A table is a contract between stages that do not import one another. The public views of the catalog are
built from these; ``catalog.py`` says where a view adds columns by a join.
"""

from __future__ import annotations

import pyarrow as pa


def _field(name: str, kind: pa.DataType, meaning: str, nullable: bool = True) -> pa.Field:
    return pa.field(name, kind, nullable=nullable, metadata={"meaning": meaning})


_text, _int, _real, _time = pa.string(), pa.int64(), pa.float64(), pa.timestamp("us", tz="UTC")

PAGES = pa.schema(
    [
        _field("url", _text, "the URL asked for", nullable=False),
        _field("final_url", _text, "the same, or for a redirect where it leads"),
        _field("status", pa.int32(), "HTTP status, null where nothing answered"),
        _field("fetched_at", _time, "when the answer arrived"),
        _field("content_type", _text, "the Content-Type header"),
        _field("body_bytes", _int, "bytes of the body as transferred"),
        _field("depth", pa.int32(), "links from a seed"),
        _field("referrer", _text, "the page whose link was followed"),
        _field("crawl", _text, "the crawl's name and sequence number"),
        _field("warc_path", _text, "the archive file, below the store"),
        _field("warc_offset", _int, "byte offset of the response or revisit record in it"),
        _field("digest", _text, "SHA-256 of the body without its content coding; of a page that is kept"),
        _field("error", _text, "why there is no answer, or why it is not kept: a network error, or a rule"),
        _field("record", _text, "response, or revisit where the page was the same as the last time"),
        _field("etag", _text, "the ETag header"),
        _field("last_modified", _text, "the Last-Modified header"),
        _field("seconds", _real, "from the request to the end of the answer"),
    ]
)

URLS = pa.schema(
    [
        _field("url", _text, "a URL that the crawl knows, in canonical form", nullable=False),
        _field("host", _text, "its host, with the port where it is not the scheme's"),
        _field("verdict", _text, "kept, removed or failed", nullable=False),
        _field("rule", _text, "what removed it, or why it failed, or why it was not asked anew"),
        _field("detail", _text, "more about that"),
        _field("depth", pa.int32(), "links from a seed"),
        _field("hops", pa.int32(), "redirects that led to it"),
        _field("referrer", _text, "the page whose link was followed"),
        _field("priority", _real, "the highest is fetched first"),
        _field("final_url", _text, "the same, or for a redirect where it leads"),
        _field("status", pa.int32(), "HTTP status of the last answer"),
        _field("content_type", _text, "the Content-Type header"),
        _field("body_bytes", _int, "bytes of the body as transferred"),
        _field("decoded_bytes", _int, "bytes of the body without its content coding"),
        _field("digest", _text, "SHA-256 of the body without its content coding"),
        _field("warc_path", _text, "the archive file that holds the body, maybe of an earlier crawl"),
        _field("warc_offset", _int, "byte offset of the response record in it"),
        _field("etag", _text, "the ETag header"),
        _field("last_modified", _text, "the Last-Modified header"),
        _field("visited_at", _time, "when it was last asked for"),
        _field("changed_at", _time, "when it was first seen as it is"),
        _field("next_visit_at", _time, "from when on a crawl looks at it again"),
        _field("visits", pa.int32(), "how often it was asked for"),
        _field("changes", pa.int32(), "how often it had changed"),
        _field("crawl", _text, "the crawl's name and sequence number"),
        _field("bucket", _int, "a number from the URL alone, by which pages are dealt to parts"),
    ]
)

HOSTS = pa.schema(
    [
        _field("host", _text, "a host that was asked", nullable=False),
        _field("pages", _int, "fetches from it"),
        _field("bytes", _int, "bytes of their bodies"),
        _field("robots_status", pa.int32(), "HTTP status of its robots.txt, null where there was none to be had"),
        _field("robots_txt", _text, "its robots.txt as last read"),
        _field("soft_404", pa.bool_(), "it answers pages that cannot be as if they were"),
        _field("left_alone", _text, "why it was not asked any more"),
        _field("crawl", _text, "the crawl's name and sequence number"),
    ]
)

DOCUMENTS = pa.schema(
    [
        _field("doc_id", _text, "digest of canonical URL and text", nullable=False),
        _field("url", _text, "the URL that answered, in canonical form", nullable=False),
        _field("domain", _text, "host, with the port where it is not the scheme's"),
        _field("title", _text, "the page's title"),
        _field("text", _text, "main text, paragraphs by newlines", nullable=False),
        _field("source", _text, "name of the source in the recipe", nullable=False),
        _field("published", _text, "the page's own date, ISO 8601, where it states one"),
        _field("language_hint", _text, "ISO 639 code of the language that the page says it is in"),
        _field("canonical", _text, "the address that the page says it has"),
        _field("digest", _text, "SHA-256 of the response body: the link to pages"),
        _field("n_chars", _int, "Unicode code points of text"),
        _field("n_bytes", _int, "bytes of text in UTF-8"),
        _field("n_words", _int, "white-space separated words of text"),
    ]
)

DECISIONS = pa.schema(
    [
        _field("doc_id", _text, "the document, or for a page without text the digest of its URL alone", nullable=False),
        _field("verdict", _text, "kept, removed or failed", nullable=False),
        _field("stage", _text, "the stage that decided", nullable=False),
        _field("rule", _text, "the rule that decided, null where kept"),
        _field("value", _real, "the value that the rule saw"),
        _field("threshold", _real, "the bound that it was held against"),
        _field("url", _text, "the page"),
        _field("source", _text, "name of the source in the recipe"),
        _field("detail", _text, "what a number cannot say: an error, the kept duplicate"),
        _field("rules", pa.list_(_text), "every rule that would have removed it, the deciding one first"),
    ]
)

CLASSIFIER = pa.schema(
    [
        _field("coefficient", pa.float32(), "weight of the bucket that is the row's number"),
        _field("log_share", pa.float32(), "natural logarithm of the bucket's share of the curated texts' words"),
    ]
)

CLASSIFIERS = pa.schema(
    [
        _field("positive", pa.list_(_text), "sources whose documents are good examples"),
        _field("negative", pa.list_(_text), "sources whose documents are not"),
        _field("positives", _int, "documents drawn from the first"),
        _field("negatives", _int, "documents drawn from the second"),
        _field("held_out", _int, "documents of both that nothing was learnt from"),
        _field("auc", _real, "area under the ROC curve on those"),
        _field("intercept", _real, "of the logistic regression"),
    ]
)

# Behind these columns stand the band keys, band_00 and so on: 64 bits that stand for the band's numbers.
SIGNATURES = pa.schema(
    [
        _field("doc_id", _text, "the document", nullable=False),
        _field("doc_key", pa.uint64(), "64 bits that stand for doc_id, which order documents", nullable=False),
        _field("url_key", pa.uint64(), "64 bits that stand for the canonical URL", nullable=False),
        _field("url_check", pa.uint64(), "64 more", nullable=False),
        _field("text_key", pa.uint64(), "64 bits that stand for the words: equal for exact duplicates", nullable=False),
        _field("text_check", pa.uint64(), "64 more", nullable=False),
        _field("n_shingles", _int, "word n-grams, repeated ones counted each time", nullable=False),
        _field("n_chars", _int, "Unicode code points of the text"),
    ]
)

# Pairs of documents that share a key. A row number counts the signatures of all sources, in the order of their names.
CANDIDATES = pa.schema(
    [_field("a", _int, "row of one", nullable=False), _field("b", _int, "row of the other", nullable=False)]
)

DUPLICATES = pa.schema(
    [
        _field("doc_id", _text, "the document", nullable=False),
        _field("cluster_id", _text, "smallest doc_id of the cluster"),
        _field("cluster_size", _int, "documents in the cluster"),
        _field("kept_doc_id", _text, "the first of the cluster by source priority, quality, length, doc_id"),
        _field("kind", _text, "strongest link into the cluster: url, exact or near"),
        _field("jaccard", _real, "largest verified Jaccard similarity to a member"),
        _field("rank", _int, "place in the cluster's order of preference, 0 first"),
    ]
)

DUPLICATE_PAIRS = pa.schema(
    [
        _field("a", _text, "doc_id, smaller", nullable=False),
        _field("b", _text, "doc_id, larger", nullable=False),
        _field("band", pa.int32(), "first LSH band that they share, -1 for url and exact pairs"),
        _field("jaccard", _real, "exact Jaccard similarity of their shingles"),
        _field("containment", _real, "share of the smaller one's shingles that the other has"),
        _field("verdict", _text, "url, exact, near or rejected"),
    ]
)

# What recurs in a source: lines or paragraphs, and windows of words with the place where each stands first.
RECURRING = pa.schema(
    [
        _field("name", pa.uint64(), "64 bits that stand for the text", nullable=False),
        _field("documents", _int, "documents that have it", nullable=False),
    ]
)

REPEATED_WINDOWS = pa.schema(
    [
        _field("name", pa.uint64(), "64 bits that stand for the words", nullable=False),
        _field("doc_key", pa.uint64(), "64 bits that stand for the document that has them first", nullable=False),
        _field("word", _int, "where in it, in words", nullable=False),
    ]
)

RECURRING_TEXT = pa.schema(
    [
        _field("doc_id", _text, "the document", nullable=False),
        _field("kind", _text, "recurring_line, recurring_paragraph or repeated_span", nullable=False),
        _field("start", _int, "first character of it in the text", nullable=False),
        _field("stop", _int, "the one behind its last", nullable=False),
    ]
)

REPETITION = pa.schema(
    [
        _field("doc_id", _text, "the document", nullable=False),
        _field(
            "recurring_line_char_share", _real, "share of characters in lines that many documents of the source have"
        ),
        _field("recurring_paragraph_char_share", _real, "the same of paragraphs that several have"),
        _field("repeated_span_char_share", _real, "the same of runs of 50 words or more that stand elsewhere first"),
    ]
)

ELECTIONS = pa.schema(
    [
        _field("part", _text, "part of the documents that it is in", nullable=False),
        _field("doc_id", _text, "a document of a cluster", nullable=False),
        _field("kept_doc_id", _text, "the document that stands for it"),
        _field("kind", _text, "its strongest link into the cluster: url, exact or near"),
        _field("jaccard", _real, "its largest verified similarity to a member"),
        _field("elsewhere", _text, "source of an earlier part that holds the very same document"),
        _field("repeats", pa.int32(), "how often it stands in the training tokens, where it is kept"),
    ]
)

CONTAMINATION = pa.schema(
    [
        _field("doc_id", _text, "the document"),
        _field("benchmark", _text, "evaluation set"),
        _field("example_id", _text, "example in it"),
        _field("field", _text, "question or answer: which of the two was found"),
        _field("ngram", _text, "the words that both have, as they were compared"),
        _field("context", _text, "the document's text around them"),
        _field("start", _int, "first character of them in the document's text"),
        _field("stop", _int, "the one behind their last"),
    ]
)

EVALUATION_OVERLAP = pa.schema(
    [
        _field("benchmark", _text, "evaluation set"),
        _field("example_id", _text, "example in it"),
        _field("field", _text, "question or answer"),
        _field("n_grams", _int, "its distinct n-grams (GPT-2: of 8 words)"),
        _field("found", _int, "how many of them stand in any document"),
        _field("share", _real, "the same as a share, null for a text too short to have any"),
    ]
)

GRAM_HITS = pa.schema(
    [
        _field("doc_id", _text, "the document", nullable=False),
        _field("gram", pa.uint64(), "64 bits that stand for the n-gram", nullable=False),
        _field("start", _int, "first byte of it in the document's text", nullable=False),
        _field("stop", _int, "the byte behind its last", nullable=False),
    ]
)

GRAMS_SEEN = pa.schema(
    [_field("gram", pa.uint64(), "64 bits that stand for an n-gram that a part has", nullable=False)]
)

CORPUS = pa.schema(
    [
        _field("text", _text, "main text", nullable=False),
        _field("id", _text, "doc_id", nullable=False),
        _field("url", _text, "canonical URL"),
        _field("dump", _text, "the corpus it came through: the source's name"),
        _field("date", _text, "the page's own date, where it states one"),
        _field("language", _text, "ISO 639 code"),
        _field("language_score", _real, "probability of that language, 0 to 1"),
        _field("token_count", _int, "estimate: UTF-8 bytes / 4, replaced by the exact count in the view once packed"),
        _field("source", _text, "name of the source in the recipe"),
        _field("weight", _real, "share of the training mixture given to its source"),
        _field(
            "repeats",
            pa.int32(),
            "how often it stands in the training tokens: 1, or more after a large duplicate cluster",
        ),
    ]
)

TOKEN_SPANS = pa.schema(
    [
        _field("doc_id", _text, "the document", nullable=False),
        _field("shard", _text, "token array below the artifact", nullable=False),
        _field("start", _int, "first token in the shard", nullable=False),
        _field("length", _int, "tokens, the end-of-text token included", nullable=False),
        _field("split", _text, "train or validation"),
        _field("source", _text, "name of the source in the recipe"),
        _field("n_bytes", _int, "UTF-8 bytes of the text"),
        _field("n_words", _int, "white-space separated words"),
    ]
)

METRICS = pa.schema(
    [
        _field("run", _text, "key of the training run", nullable=False),
        _field("step", _int, "optimiser steps done"),
        _field("name", _text, "loss, learning_rate, gradient_norm, tokens_per_second, validation_loss, …"),
        _field("value", _real, "in nats a token for losses"),
        _field("at", _time, "when it was measured"),
    ]
)

EVALUATIONS = pa.schema(
    [
        _field("run", _text, "key of the training run, or the name of a baseline", nullable=False),
        _field("step", _int, "step of the checkpoint, null for a baseline"),
        _field("task", _text, "what was asked"),
        _field("shots", _int, "demonstrations in the prompt"),
        _field("metric", _text, "what was measured"),
        _field("value", _real, "the score"),
        _field("stderr", _real, "standard error over documents or examples"),
        _field("n", _int, "documents or examples"),
        _field("clean_value", _real, "the score on uncontaminated examples, null where not measured"),
        _field("share_clean", _real, "share of them, null where not measured"),
    ]
)

SAMPLES = pa.schema(
    [
        _field("run", _text, "key of the training run"),
        _field("step", _int, "step of the checkpoint"),
        _field("prompt", _text, "given to the model"),
        _field("text", _text, "what it wrote"),
    ]
)

FUNNEL = pa.schema(
    [
        _field("stage", _text, "the stage"),
        _field("subject", _text, "source, where the stage runs once a source"),
        _field("rule", _text, "rule, in the order of its application"),
        _field("documents_in", _int, "documents before it"),
        _field("documents_out", _int, "documents after it"),
        _field("bytes_in", _int, "bytes before it"),
        _field("bytes_out", _int, "bytes after it"),
    ]
)

ARTIFACTS = pa.schema(
    [
        _field("stage", _text, "the stage"),
        _field("key", _text, "the artifact's key"),
        _field("subject", _text, "source"),
        _field("inputs", _text, "JSON: name -> key"),
        _field("settings", _text, "JSON"),
        _field("rows", _int, "rows of all tables"),
        _field("bytes", _int, "bytes of all files"),
        _field("documents_in", _int, "documents that went in"),
        _field("kept", _int, "kept"),
        _field("removed", _int, "removed"),
        _field("failed", _int, "failed"),
    ]
)

PARTS = pa.schema(
    [
        _field("stage", _text, "the stage"),
        _field("key", _text, "the artifact's key"),
        _field("part", _text, "the part"),
        _field("path", _text, "file below the store"),
        _field("rows", _int, "rows"),
        _field("bytes", _int, "bytes"),
        _field("sha256", _text, "digest of the file"),
    ]
)

WORK = pa.schema(
    [
        _field("stage", _text, "the stage"),
        _field("key", _text, "the artifact's key"),
        _field("part", _text, "the part, null for a whole stage run"),
        _field("started_at", _time, "when it began"),
        _field("wall_s", _real, "seconds that passed"),
        _field("cpu_s", _real, "processor seconds, children included"),
        _field("peak_rss_bytes", _int, "largest resident memory of the process that made it"),
        _field("reused", pa.bool_(), "nothing was made: it was there"),
    ]
)

RUNS = pa.schema(
    [
        _field("run", _text, "id: UTC start time and recipe"),
        _field("recipe", _text, "recipe"),
        _field("started_at", _text, "ISO 8601"),
        _field("stage", _text, "the stage"),
        _field("key", _text, "artifact"),
    ]
)

REMOVALS = pa.schema(
    [
        _field("identity", _text, "digest of what is forgotten and why"),
        _field("at", _text, "when that was asked, ISO 8601"),
        _field("kind", _text, "url, domain, doc_id or query"),
        _field("value", _text, "which"),
        _field("reason", _text, "why"),
        _field("documents", _int, "documents that were known then"),
    ]
)

AFFECTED = pa.schema(
    [
        _field("identity", _text, "of the removal"),
        _field("what", _text, "corpus part, token shard or checkpoint"),
        _field("stage", _text, "the stage"),
        _field("key", _text, "artifact that held or saw forgotten documents"),
        _field("part", _text, "part of it"),
        _field("documents", _int, "forgotten documents in it"),
        _field("tokens", _int, "their tokens"),
        _field("first_step", _int, "of a training run, the first that saw one"),
        _field("steps", _int, "how many did"),
    ]
)

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
    "token_spans": TOKEN_SPANS,
    "evaluations": EVALUATIONS,
    "samples": SAMPLES,
}
