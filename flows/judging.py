"""What a study is judged by: text from none of its corpora, and the answers of its models."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flows.making import Pipeline
from flows.query import rows
from warehouse.artifact import read_tables
from warehouse.errors import GristmillError

LEAST_DOCUMENTS = 20  # of held-out text that can judge
ANSWERS = "SELECT * EXCLUDE (prompt_text) FROM answers WHERE model = ?"


@dataclass(frozen=True)
class Judged:
    """One seed's models of one arm: learning rate -> its answers."""

    by_rate: Mapping[str, Sequence[Mapping[str, Any]]]


def judge_file(corpora: Sequence[Pipeline]) -> str:
    """A file of what every arm holds out and none trains on. Raises GristmillError where that is too little."""
    store = corpora[0].store
    held_out = [
        set(read_tables(store, corpus.plan["split"][0].ref, "held_out", ["doc_id"])["doc_id"].to_pylist())
        for corpus in corpora
    ]
    common = set.intersection(*held_out)
    table = read_tables(store, corpora[0].plan["select"][0].ref, "corpus", ["id", "text"])
    texts = sorted(
        (doc_id, text)
        for doc_id, text in zip(table["id"].to_pylist(), table["text"].to_pylist(), strict=True)
        if doc_id in common
    )
    if len(texts) < LEAST_DOCUMENTS:
        raise GristmillError(
            f"the corpora hold out {len(texts)} documents in common, which is too little to judge by: give a file of text from none "
            "of them with --judge, or raise pack.validation_share"
        )
    content = "\n".join(json.dumps({"id": doc_id, "text": text}, ensure_ascii=False) for doc_id, text in texts).encode()
    # On this machine, wherever the store is: questions are read from files, and known by their content.
    path = store.scratch("studies") / f"judge-{hashlib.sha256(content).hexdigest()[:16]}.jsonl"
    path.write_bytes(content)
    return str(path)


def judged(member: Pipeline) -> Judged:
    """The answers of one member of a pair."""
    names = list(member.recipe.trainings)
    return Judged(
        {name: rows(member.store, ANSWERS, [name], own=member.own, recipe=member.recipe.name) for name in names}
    )
