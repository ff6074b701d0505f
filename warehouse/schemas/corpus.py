"""Tables from documents to tokens."""

from __future__ import annotations

import pyarrow as pa

from warehouse.schemas.field import INT, REAL, TEXT, field

DOCUMENTS = pa.schema(
    [
        field("doc_id", TEXT, "digest of canonical URL and text", nullable=False),
        field("url", TEXT, "the URL that answered, in canonical form", nullable=False),
        field("domain", TEXT, "host, with the port where it is not the scheme's"),
        field("title", TEXT, "the page's title"),
        field("text", TEXT, "main text, paragraphs by newlines", nullable=False),
        field("source", TEXT, "name of the source in the recipe", nullable=False),
        field("published", TEXT, "the page's own date, ISO 8601, where it states one"),
        field("language_hint", TEXT, "ISO 639 code of the language that the page says it is in"),
        field("canonical", TEXT, "the address that the page says it has"),
        field("digest", TEXT, "SHA-256 of the response body: the link to pages"),
        field("n_chars", INT, "Unicode code points of text"),
        field("n_bytes", INT, "bytes of text in UTF-8"),
        field("n_words", INT, "white-space separated words of text"),
    ]
)

DECISIONS = pa.schema(
    [
        field("doc_id", TEXT, "the document, or for a page without text the digest of its URL alone", nullable=False),
        field("verdict", TEXT, "kept, removed or failed", nullable=False),
        field("stage", TEXT, "the stage that decided", nullable=False),
        field("rule", TEXT, "the rule that decided, null where kept"),
        field("value", REAL, "the value that the rule saw"),
        field("threshold", REAL, "the bound that it was held against"),
        field("url", TEXT, "the page"),
        field("source", TEXT, "name of the source in the recipe"),
        field("detail", TEXT, "what a number cannot say: an error, the kept duplicate"),
        field("rules", pa.list_(TEXT), "every rule that would have removed it, the deciding one first"),
    ]
)

CLASSIFIER = pa.schema(
    [
        field("coefficient", pa.float32(), "weight of the bucket that is the row's number"),
        field("log_share", pa.float32(), "natural logarithm of the bucket's share of the curated texts' words"),
    ]
)

CLASSIFIERS = pa.schema(
    [
        field("positive", pa.list_(TEXT), "sources whose documents are good examples"),
        field("negative", pa.list_(TEXT), "sources whose documents are not"),
        field("positives", INT, "documents drawn from the first"),
        field("negatives", INT, "documents drawn from the second"),
        field("held_out", INT, "documents of both that nothing was learnt from"),
        field("auc", REAL, "area under the ROC curve on those"),
        field("intercept", REAL, "of the logistic regression"),
    ]
)

ELECTIONS = pa.schema(
    [
        field("part", TEXT, "part of the documents that it is in", nullable=False),
        field("doc_id", TEXT, "a document of a cluster", nullable=False),
        field("kept_doc_id", TEXT, "the document that stands for it"),
        field("kind", TEXT, "its strongest link into the cluster: url, exact or near"),
        field("jaccard", REAL, "its largest verified similarity to a member"),
        field("elsewhere", TEXT, "source that the very same document is taken from, where that is another part"),
        field("repeats", pa.int32(), "how often it stands in the training tokens, where it is kept"),
    ]
)

CORPUS = pa.schema(
    [
        field("text", TEXT, "main text", nullable=False),
        field("id", TEXT, "doc_id", nullable=False),
        field("url", TEXT, "canonical URL"),
        field("dump", TEXT, "the corpus it came through: the source's name"),
        field("date", TEXT, "the page's own date, where it states one"),
        field("language", TEXT, "ISO 639 code"),
        field("language_score", REAL, "probability of that language, 0 to 1"),
        field("token_count", INT, "estimate: UTF-8 bytes / 4, replaced by the exact count in the view once packed"),
        field("source", TEXT, "name of the source in the recipe"),
        field(
            "repeats",
            pa.int32(),
            "how often it stands in the training tokens: 1, or more after a large duplicate cluster",
        ),
    ]
)

TOKEN_SPANS = pa.schema(
    [
        field("doc_id", TEXT, "the document", nullable=False),
        field("shard", TEXT, "token array below the artifact", nullable=False),
        field("start", INT, "first token in the shard", nullable=False),
        field("length", INT, "tokens, the end-of-text token included", nullable=False),
        field("split", TEXT, "train or validation"),
        field("source", TEXT, "name of the source in the recipe"),
        field("n_bytes", INT, "UTF-8 bytes of the text"),
        field("n_words", INT, "white-space separated words"),
    ]
)

HELD_OUT = pa.schema(
    [
        field("doc_id", TEXT, "a document that is held out of training", nullable=False),
        field("source", TEXT, "name of the source in the recipe"),
        field("group_id", TEXT, "what it is held out with: a group that its source declares, or its smallest relative"),
    ]
)

HELD_OUT_GRAMS = pa.schema(
    [
        field("doc_id", TEXT, "a document that is held out", nullable=False),
        field("gram", pa.uint64(), "name of an 8-gram of its words, once a document"),
    ]
)

TABLES: dict[str, pa.Schema] = {
    "documents": DOCUMENTS,
    "decisions": DECISIONS,
    "classifiers": CLASSIFIERS,
    "corpus": CORPUS,
    "held_out": HELD_OUT,
    "token_spans": TOKEN_SPANS,
}
