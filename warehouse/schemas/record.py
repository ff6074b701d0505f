"""Tables of training, of evaluation, and of what was done."""

from __future__ import annotations

import pyarrow as pa

from warehouse.schemas.field import INT, REAL, TEXT, TIME, field

METRICS = pa.schema(
    [
        field("run", TEXT, "key of the training run", nullable=False),
        field("step", INT, "optimiser steps done"),
        field("name", TEXT, "loss, learning_rate, gradient_norm, tokens_per_second, validation_loss, …"),
        field("value", REAL, "in nats a token for losses"),
        field("at", TIME, "when it was measured"),
    ]
)

EVALUATIONS = pa.schema(
    [
        field("run", TEXT, "key of the training run, or the name of a baseline", nullable=False),
        field("step", INT, "step of the checkpoint, null for a baseline"),
        field("task", TEXT, "what was asked"),
        field("shots", INT, "demonstrations in the prompt"),
        field("metric", TEXT, "what was measured"),
        field("value", REAL, "the score"),
        field("stderr", REAL, "standard error over documents or examples"),
        field("n", INT, "documents or examples"),
        field("clean_value", REAL, "the score on clean examples alone, null where not measured or where there is none"),
        field("share_clean", REAL, "share of them, null where not measured"),
        field("dirty_value", REAL, "the score on the others"),
        field("overlap", REAL, "mean share of the 8-grams of what was asked that stand in training text"),
        field("chance", REAL, "accuracy of a guess among the choices, null where nothing is chosen"),
        field("prompt", TEXT, "which of the task's prompts, null for what has none"),
        field("seed", INT, "seed of the demonstrations, null where none is shown"),
        field("protocol", TEXT, "how it was asked: window, stride, what stands before, normaliser"),
    ]
)

SAMPLES = pa.schema(
    [
        field("run", TEXT, "key of the training run"),
        field("step", INT, "step of the checkpoint"),
        field("prompt", TEXT, "given to the model"),
        field("text", TEXT, "what it wrote"),
    ]
)

MODELS = pa.schema(
    [
        field("run", TEXT, "key of the training run, or of the imported network", nullable=False),
        field("name", TEXT, "what the recipe calls it: the run, or run@step for a checkpoint that it pinned"),
        field("parent", TEXT, "name of what it started from, null for weights drawn at random"),
        field("objective", TEXT, "what it was trained for"),
        field("parameters", INT, "weights and biases, tied ones once"),
        field("tokens", INT, "tokens that the run had trained on, without those of its parent"),
        field("flops", REAL, "floating-point operations that they took: (6 N + 12 L d T) a token"),
        field("step", INT, "optimiser steps done, null for an imported network"),
        field("key", TEXT, "artifact that holds the weights", nullable=False),
    ]
)

RUN_MIXTURES = pa.schema(
    [
        field("run", TEXT, "key of the training run"),
        field("source", TEXT, "the source"),
        field("weight", REAL, "its share of the sequences, any scale"),
    ]
)

FUNNEL = pa.schema(
    [
        field("stage", TEXT, "the stage"),
        field("subject", TEXT, "source, where the stage runs once a source"),
        field("rule", TEXT, "rule, in the order of its application"),
        field("documents_in", INT, "documents before it"),
        field("documents_out", INT, "documents after it"),
        field("bytes_in", INT, "bytes before it"),
        field("bytes_out", INT, "bytes after it"),
    ]
)

ARTIFACTS = pa.schema(
    [
        field("stage", TEXT, "the stage"),
        field("key", TEXT, "the artifact's key"),
        field("subject", TEXT, "source"),
        field("inputs", TEXT, "JSON: name -> key"),
        field("settings", TEXT, "JSON"),
        field("statistics", TEXT, "JSON: figures of an artifact of one part, such as the tokens that a run saw"),
        field("rows", INT, "rows of all tables"),
        field("bytes", INT, "bytes of all files"),
        field("documents_in", INT, "documents that went in"),
        field("kept", INT, "kept"),
        field("removed", INT, "removed"),
        field("failed", INT, "failed"),
    ]
)

PARTS = pa.schema(
    [
        field("stage", TEXT, "the stage"),
        field("key", TEXT, "the artifact's key"),
        field("part", TEXT, "the part"),
        field("path", TEXT, "file below the store"),
        field("rows", INT, "rows"),
        field("bytes", INT, "bytes"),
        field("sha256", TEXT, "digest of the file"),
    ]
)

WORK = pa.schema(
    [
        field("stage", TEXT, "the stage"),
        field("key", TEXT, "the artifact's key"),
        field("part", TEXT, "the part, null for a whole stage run"),
        field("started_at", TIME, "when it began"),
        field("wall_s", REAL, "seconds that passed"),
        field("cpu_s", REAL, "processor seconds, children included"),
        field("peak_rss_bytes", INT, "largest resident memory of the process that made it"),
        field("reused", pa.bool_(), "nothing was made: it was there"),
    ]
)

RUNS = pa.schema(
    [
        field("run", TEXT, "id: UTC start time and recipe"),
        field("recipe", TEXT, "recipe"),
        field("started_at", TEXT, "ISO 8601"),
        field("stage", TEXT, "the stage"),
        field("key", TEXT, "artifact"),
    ]
)

REMOVALS = pa.schema(
    [
        field("identity", TEXT, "digest of what is forgotten and why"),
        field("at", TEXT, "when that was asked, ISO 8601"),
        field("kind", TEXT, "url, domain, doc_id or query"),
        field("value", TEXT, "which"),
        field("reason", TEXT, "why"),
        field("documents", INT, "documents that were known then"),
    ]
)

AFFECTED = pa.schema(
    [
        field("identity", TEXT, "of the removal"),
        field("what", TEXT, "corpus part, token shard or checkpoint"),
        field("stage", TEXT, "the stage"),
        field("key", TEXT, "artifact that held or saw forgotten documents"),
        field("part", TEXT, "part of it"),
        field("documents", INT, "forgotten documents in it"),
        field("tokens", INT, "their tokens"),
        field(
            "first_step", INT, "of a training run, the first that saw one; 0 where the weights that it starts from did"
        ),
        field("steps", INT, "how many did"),
    ]
)

TABLES: dict[str, pa.Schema] = {
    "evaluations": EVALUATIONS,
    "samples": SAMPLES,
}
