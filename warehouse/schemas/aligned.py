"""Tables of conversations and of what alignments make of them."""

from __future__ import annotations

import pyarrow as pa

from warehouse.schemas.field import INT, REAL, TEXT, field

TEXTS, INTS = pa.list_(TEXT), pa.list_(INT)

DIALOGUES = pa.schema(
    [
        field("dialogues", TEXT, "the declared conversations", nullable=False),
        field("example_id", TEXT, "the conversation", nullable=False),
        field("set", TEXT, "train or test", nullable=False),
        field("roles", TEXTS, "who speaks, turn by turn: system, user or assistant"),
        field("turns", TEXTS, "what is said, up to the user's last turn"),
        field("answers", TEXTS, "answers to it"),
        field("ranks", INTS, "the place of each, 0 for the best; equal ones are ties"),
        field("group", TEXT, "what it shares with others, as a play; empty for nothing"),
        field("source", TEXT, "the document, or the set and the record of its file, that it is of"),
        field("license", TEXT, "licence of the conversations, as stated"),
    ]
)

ALIGNED = pa.schema(
    [
        field("run", TEXT, "key of the alignment", nullable=False),
        field("name", TEXT, "the alignment", nullable=False),
        field("method", TEXT, "sft, reward, ppo or dpo", nullable=False),
        field("metric", TEXT, "what was measured on what is held out", nullable=False),
        field("before", REAL, "of the network that it started from, null where that has none"),
        field("after", REAL, "of the one that it ended with"),
        field("stderr", REAL, "standard error of the latter over conversations, or over what they share"),
        field("n", INT, "conversations, pairs or texts"),
    ]
)

ROLLOUTS = pa.schema(
    [
        field("run", TEXT, "key of the alignment", nullable=False),
        field("name", TEXT, "the alignment", nullable=False),
        field(
            "step",
            INT,
            "batch of rollouts from 1; 0 is the network that it started from, null the one that it ended with",
        ),
        field("example_id", TEXT, "the conversation", nullable=False),
        field("prompt", TEXT, "what was asked"),
        field("text", TEXT, "what was answered"),
        field("reward", REAL, "its reward, the price of leaving the reference not counted; null where there is none"),
        field("kl", REAL, "nats by which the policy finds it likelier than the reference"),
        field("digest", TEXT, "digest of its tokens and of their log-probabilities"),
    ]
)

TABLES: dict[str, pa.Schema] = {"dialogues": DIALOGUES, "aligned": ALIGNED, "rollouts": ROLLOUTS}
