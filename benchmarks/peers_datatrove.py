"""datatrove's de-duplication, and its whole way from archive to tokens, as processes of their own: no import of this project.

python benchmarks/peers_datatrove.py dedup TEXTS.jsonl WORKERS [REMOVED.npy]
python benchmarks/peers_datatrove.py path WARC_FOLDER WORKERS TOKENIZER.json
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

Make = Callable[..., Any]


def minhash_stages(executor: Make, source: Make, folder: str, workers: int) -> Iterator[Any]:
    from datatrove.pipeline.dedup import (
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.pipeline.writers import JsonlWriter

    config = MinhashConfig(n_grams=5, num_buckets=16, hashes_per_bucket=8)
    yield executor([source(), MinhashDedupSignature(f"{folder}/signatures", config=config)], workers, workers)
    yield executor([MinhashDedupBuckets(f"{folder}/signatures", f"{folder}/buckets", config=config)], 16, workers)
    yield executor([MinhashDedupCluster(f"{folder}/buckets", f"{folder}/removed", config=config)], 1, 1)
    writer = JsonlWriter(f"{folder}/kept", compression=None)
    yield executor([source(), MinhashDedupFilter(f"{folder}/removed"), writer], workers, workers)


def executors(folder: str) -> Make:
    from datatrove.executor import LocalPipelineExecutor

    count = iter(range(100))

    def executor(pipeline: list[Any], tasks: int, workers: int) -> Any:
        logs = f"{folder}/logs-{next(count)}"
        return LocalPipelineExecutor(
            pipeline=pipeline, tasks=tasks, workers=workers, logging_dir=logs, skip_completed=False
        )

    return executor


def dedup(path: str, workers: int, folder: str) -> tuple[int, int, float, list[int]]:
    """Signatures, buckets, clusters, filter; returns documents, their bytes, and the rows that were removed."""
    from datatrove.pipeline.readers import JsonlReader

    lines = Path(path).read_text().splitlines()
    parts = Path(folder) / "in"
    parts.mkdir()
    for worker in range(workers):
        (parts / f"{worker:02d}.jsonl").write_text("\n".join(lines[worker::workers]) + "\n")
    started = time.perf_counter()
    for stage in minhash_stages(executors(folder), lambda: JsonlReader(str(parts)), folder, workers):
        stage.run()
    seconds = time.perf_counter() - started
    kept = {json.loads(line)["id"] for file in Path(folder, "kept").glob("*.jsonl") for line in file.open()}
    rows = [json.loads(line) for line in lines]
    removed = [number for number, row in enumerate(rows) if row["id"] not in kept]
    return len(rows), sum(len(row["text"].encode()) for row in rows), seconds, removed


def whole_path(archives: str, workers: int, tokenizer: str, folder: str) -> float:
    """WARC, trafilatura, Gopher's filters, MinHash, tokens; returns the seconds."""
    from datatrove.pipeline.extractors import Trafilatura
    from datatrove.pipeline.filters import GopherQualityFilter, GopherRepetitionFilter
    from datatrove.pipeline.readers import JsonlReader, WarcReader
    from datatrove.pipeline.tokens import DocumentTokenizer
    from datatrove.pipeline.writers import JsonlWriter

    executor = executors(folder)
    started = time.perf_counter()
    clean = JsonlWriter(f"{folder}/clean", compression=None)
    filters = [GopherRepetitionFilter(), GopherQualityFilter()]
    executor([WarcReader(archives), Trafilatura(favour_precision=True), *filters, clean], workers, workers).run()
    for stage in minhash_stages(executor, lambda: JsonlReader(f"{folder}/clean"), folder, workers):
        stage.run()
    tokens = DocumentTokenizer(f"{folder}/tokens", tokenizer_name_or_path=tokenizer, shuffle_documents=False)
    executor([JsonlReader(f"{folder}/kept"), tokens], workers, workers).run()
    return time.perf_counter() - started


def main() -> None:
    what, path, workers = sys.argv[1], sys.argv[2], int(sys.argv[3])
    with tempfile.TemporaryDirectory() as folder:
        if what == "dedup":
            documents, size, seconds, removed = dedup(path, workers, folder)
            if len(sys.argv) > 4:
                np.save(sys.argv[4], np.array(removed, np.int64))
            print(
                json.dumps({"version": version("datatrove"), "documents": documents, "bytes": size, "seconds": seconds})
            )
            return
        seconds = whole_path(path, workers, sys.argv[4], folder)
        kept = sum(1 for file in Path(folder, "kept").glob("*.jsonl") for _ in file.open())
        print(json.dumps({"version": version("datatrove"), "kept": kept, "seconds": seconds}))


if __name__ == "__main__":
    main()
