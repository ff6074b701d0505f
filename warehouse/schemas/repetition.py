"""Tables of what stands more than once, or must not stand in a corpus at all."""

from __future__ import annotations

import pyarrow as pa

from warehouse.schemas.field import INT, REAL, TEXT, field

# Behind these columns stand the band keys, band_00 and so on: 64 bits that stand for the band's numbers.
SIGNATURES = pa.schema(
    [
        field("doc_id", TEXT, "the document", nullable=False),
        field("doc_key", pa.uint64(), "64 bits that stand for doc_id, which order documents", nullable=False),
        field("url_key", pa.uint64(), "64 bits that stand for the canonical URL", nullable=False),
        field("url_check", pa.uint64(), "64 more", nullable=False),
        field("text_key", pa.uint64(), "64 bits that stand for the words: equal for exact duplicates", nullable=False),
        field("text_check", pa.uint64(), "64 more", nullable=False),
        field("n_shingles", INT, "word n-grams, repeated ones counted each time", nullable=False),
        field("n_chars", INT, "Unicode code points of the text"),
    ]
)

# Pairs of documents that share a key. A row number counts the signatures of all sources, in the order of their names.
CANDIDATES = pa.schema(
    [field("a", INT, "row of one", nullable=False), field("b", INT, "row of the other", nullable=False)]
)

DUPLICATES = pa.schema(
    [
        field("doc_id", TEXT, "the document", nullable=False),
        field("cluster_id", TEXT, "smallest doc_id of the cluster"),
        field("cluster_size", INT, "documents in the cluster"),
        field("kept_doc_id", TEXT, "the first of the cluster by source priority, quality, length, doc_id"),
        field("kind", TEXT, "strongest link into the cluster: url, exact or near"),
        field("jaccard", REAL, "largest verified Jaccard similarity to a member"),
        field("rank", INT, "place in the cluster's order of preference, 0 first"),
    ]
)

DUPLICATE_PAIRS = pa.schema(
    [
        field("a", TEXT, "doc_id, smaller", nullable=False),
        field("b", TEXT, "doc_id, larger", nullable=False),
        field("band", pa.int32(), "first LSH band that they share, -1 for url and exact pairs"),
        field("jaccard", REAL, "exact Jaccard similarity of their shingles"),
        field("containment", REAL, "share of the smaller one's shingles that the other has"),
        field("verdict", TEXT, "url, exact, near or rejected"),
    ]
)

# What recurs in a source: lines or paragraphs, and windows of words with the place where each stands first.
RECURRING = pa.schema(
    [
        field("name", pa.uint64(), "64 bits that stand for the text", nullable=False),
        field("documents", INT, "documents that have it", nullable=False),
    ]
)

REPEATED_WINDOWS = pa.schema(
    [
        field("name", pa.uint64(), "64 bits that stand for the words", nullable=False),
        field("doc_key", pa.uint64(), "64 bits that stand for the document that has them first", nullable=False),
        field("word", INT, "where in it, in words", nullable=False),
    ]
)

RECURRING_TEXT = pa.schema(
    [
        field("doc_id", TEXT, "the document", nullable=False),
        field("kind", TEXT, "recurring_line, recurring_paragraph or repeated_span", nullable=False),
        field("start", INT, "first character of it in the text", nullable=False),
        field("stop", INT, "the one behind its last", nullable=False),
    ]
)

REPETITION = pa.schema(
    [
        field("doc_id", TEXT, "the document", nullable=False),
        field("recurring_line_char_share", REAL, "share of characters in lines that many documents of the source have"),
        field("recurring_paragraph_char_share", REAL, "the same of paragraphs that several have"),
        field("repeated_span_char_share", REAL, "the same of runs of 50 words or more that stand elsewhere first"),
        field("recurring_edge_char_share", REAL, "the same of lines of the head and the end that several have"),
    ]
)

CONTAMINATION = pa.schema(
    [
        field("doc_id", TEXT, "the document"),
        field("benchmark", TEXT, "evaluation set"),
        field("example_id", TEXT, "example in it"),
        field(
            "field",
            TEXT,
            "question or answer: which of the two was found; reworded where its words stand in another order",
        ),
        field("ngram", TEXT, "the words that both have, as they were compared"),
        field("context", TEXT, "the document's text around them"),
        field("start", INT, "first character of them in the document's text"),
        field("stop", INT, "the one behind their last"),
    ]
)

EVALUATION_OVERLAP = pa.schema(
    [
        field("benchmark", TEXT, "evaluation set"),
        field("example_id", TEXT, "example in it"),
        field("field", TEXT, "question or answer"),
        field("n_grams", INT, "its distinct n-grams (GPT-2: of 8 words)"),
        field("found", INT, "how many of them stand in any document"),
        field("share", REAL, "the same as a share, null for a text too short to have any"),
    ]
)

GRAM_HITS = pa.schema(
    [
        field("doc_id", TEXT, "the document", nullable=False),
        field("gram", pa.uint64(), "64 bits that stand for the n-gram", nullable=False),
        field("start", INT, "first byte of it in the document's text", nullable=False),
        field("stop", INT, "the byte behind its last", nullable=False),
    ]
)

GRAMS_SEEN = pa.schema([field("gram", pa.uint64(), "64 bits that stand for an n-gram that a part has", nullable=False)])

TABLES: dict[str, pa.Schema] = {
    "signatures": SIGNATURES,
    "duplicates": DUPLICATES,
    "duplicate_pairs": DUPLICATE_PAIRS,
    "repetition": REPETITION,
    "recurring_text": RECURRING_TEXT,
    "contamination": CONTAMINATION,
    "evaluation_overlap": EVALUATION_OVERLAP,
}
