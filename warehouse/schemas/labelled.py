"""Tables of labelled examples and of what fine-tuned networks make of them."""

from __future__ import annotations

import pyarrow as pa

from warehouse.schemas.field import INT, REAL, TEXT, field

TEXTS, REALS, TRUTH = pa.list_(TEXT), pa.list_(REAL), pa.bool_()

LABELLED = pa.schema(
    [
        field("task", TEXT, "the task", nullable=False),
        field("example_id", TEXT, "the example", nullable=False),
        field("set", TEXT, "train, dev, test, or another set that models are tested on", nullable=False),
        field("first", TEXT, "the text, or the first of a pair"),
        field("second", TEXT, "the other text of a pair, empty for none"),
        field("choices", TEXTS, "answers to choose among, null for none"),
        field("label", TEXT, "the class, the right choice, or the number, in words"),
        field("gold", REAL, "place of the class or of the right choice from 0, or the number"),
        field("group", TEXT, "what it shares with other examples, as a passage or a work; empty for nothing"),
        field("source", TEXT, "the document, or the set and the record of its file, that it is of"),
        field("license", TEXT, "licence of the examples, as stated"),
        field("removed", TEXT, "why it is not trained on: the set that has the same text; null where it is"),
    ]
)

PREDICTIONS = pa.schema(
    [
        field("run", TEXT, "key of the fine-tuning", nullable=False),
        field("name", TEXT, "the fine-tuning", nullable=False),
        field("task", TEXT, "the task", nullable=False),
        field("seed", INT, "seed of the head, of the order and of dropout", nullable=False),
        field("set", TEXT, "the set that was asked", nullable=False),
        field("example_id", TEXT, "the example", nullable=False),
        field("scores", REALS, "log-probability in nats of each class or choice, or the number"),
        field("answer", TEXT, "the class, choice or number that was given"),
        field("gold", TEXT, "the right one"),
        field("correct", TRUTH, "whether they are the same, null for numbers"),
    ]
)

FINETUNED = pa.schema(
    [
        field("run", TEXT, "key of the fine-tuning", nullable=False),
        field("name", TEXT, "the fine-tuning", nullable=False),
        field("task", TEXT, "the task", nullable=False),
        field("seed", INT, "seed of the head, of the order and of dropout", nullable=False),
        field("set", TEXT, "the set that was asked", nullable=False),
        field("metric", TEXT, "accuracy, f1, matthews, pearson or spearman", nullable=False),
        field("main", TRUTH, "whether the task is judged by it"),
        field("value", REAL, "the figure"),
        field("stderr", REAL, "its standard error over examples, or over what they share"),
        field("n", INT, "examples that were asked"),
        field("start", TEXT, "what it started from: the model, random weights, or the kind of a baseline"),
        field("language_model", REAL, "lambda: weight of the next-token loss beside the label's"),
        field("parameters", INT, "parameters of the network, or features of a bag of words"),
        field("trained", INT, "examples that were trained on"),
        field("truncated", REAL, "share of them whose text was longer than the context"),
    ]
)

TABLES: dict[str, pa.Schema] = {"labelled": LABELLED, "predictions": PREDICTIONS, "finetuned": FINETUNED}
