"""What manifests say, as rows of the views ``artifacts``, ``parts``, ``funnel``, ``models`` and ``mixture``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from warehouse.artifact import Manifest


def artifact_row(manifest: Manifest) -> dict[str, Any]:
    """A row of ``artifacts``."""
    counts = manifest.counts
    return {
        "stage": manifest.stage,
        "key": manifest.key,
        "subject": manifest.subject,
        "inputs": json.dumps(manifest.inputs),
        "settings": json.dumps(manifest.settings),
        "statistics": json.dumps(manifest.parts[0].statistics if len(manifest.parts) == 1 else {}),
        "rows": manifest.rows,
        "bytes": manifest.bytes,
        **counts.model_dump(),
    }


def part_rows(manifest: Manifest) -> Iterator[dict[str, Any]]:
    """A row of ``parts`` for each file."""
    for part in manifest.parts:
        for file in part.files:
            yield {
                "stage": manifest.stage,
                "key": manifest.key,
                "part": part.part,
                "path": f"{manifest.ref.folder}/{file.path}",
                "rows": file.rows,
                "bytes": file.bytes,
                "sha256": file.sha256,
            }


def model_rows(manifest: Manifest, names: Mapping[str, Sequence[str]]) -> Iterator[dict[str, Any]]:
    """The networks of an artifact: an imported one, or what a run ends with and pins; ``names``, key -> what runs it is called."""
    if manifest.stage not in ("import", "pretrain"):
        return
    said = manifest.parts[0].statistics
    known = {"run": manifest.key, "key": manifest.key, "parameters": said.get("parameters")}
    known |= {"objective": said.get("objective")}
    if manifest.stage == "import":
        yield known | {"name": min(names[manifest.key])}
        return
    start = manifest.inputs.get("initial")
    parent = None if start is None else min(names.get(start, [start]))
    tokens_at = said.get("tokens_at", {str(said["steps"]): said.get("tokens_seen")})
    for run in names.get(manifest.key, [manifest.key]):
        for step, tokens in tokens_at.items():
            name = run if int(step) == said["steps"] else f"{run}@{step}"
            flops = None if tokens is None else tokens * float(said.get("flops_per_token", "nan"))
            yield known | {"name": name, "parent": parent, "tokens": tokens, "flops": flops, "step": int(step)}


def mixture_rows(manifest: Manifest) -> Iterator[dict[str, Any]]:
    """What a training run draws from which source."""
    if manifest.stage == "pretrain":
        for source, weight in manifest.settings["mixture"].items():
            yield {"run": manifest.key, "source": source, "weight": weight}


def funnel_rows(manifest: Manifest) -> Iterator[dict[str, Any]]:
    """The funnel of one artifact: each rule takes what the one before it left.

    Parts report ``bytes_in`` and ``funnel``: rule -> [documents, bytes] taken, in the order of the rules.
    """
    taken: dict[str, list[int]] = {}
    for part in manifest.parts:
        for rule, (documents, size) in part.statistics.get("funnel", {}).items():
            before = taken.get(rule, [0, 0])
            taken[rule] = [before[0] + documents, before[1] + size]
    documents_left = manifest.counts.documents_in
    bytes_left = sum(part.statistics.get("bytes_in", 0) for part in manifest.parts)
    for rule, (documents, size) in taken.items():
        row = {
            "stage": manifest.stage,
            "subject": manifest.subject,
            "rule": rule,
            "documents_in": documents_left,
            "bytes_in": bytes_left,
        }
        documents_left, bytes_left = documents_left - documents, bytes_left - size
        yield row | {"documents_out": documents_left, "bytes_out": bytes_left}
