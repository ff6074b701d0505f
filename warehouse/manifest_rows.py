"""What manifests say, as rows of the views ``artifacts``, ``parts`` and ``funnel``."""

from __future__ import annotations

import json
from collections.abc import Iterator
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
