"""Near-duplicates by other systems, each in its own way, as a process of its own: no import of this project.

python benchmarks/peers_dedup.py SYSTEM TEXTS.parquet [PAIRS.npy]: prints what it took as JSON, and writes the pairs of
rows that it calls duplicates. All: word 5-grams of the lower-cased text, 128 hashes in 16 bands of 8, threshold 0.8.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version

import numpy as np

Pairs = list[tuple[int, int]]
HASHES, BANDS, ROWS, THRESHOLD, WORDS = 128, 16, 8, 0.8, 5


def shingles(text: str) -> set[str]:
    words = re.findall(r"\w+", text.lower())
    return {" ".join(words[i : i + WORDS]) for i in range(max(1, len(words) - WORDS + 1))}


def by_datasketch(texts: list[str], _: str) -> Pairs:
    import xxhash
    from datasketch import MinHash, MinHashLSH

    sets = ([shingle.encode() for shingle in shingles(text)] for text in texts)
    index = MinHashLSH(threshold=THRESHOLD, num_perm=HASHES, params=(BANDS, ROWS))
    pairs: Pairs = []
    for row, signature in enumerate(MinHash.generator(sets, num_perm=HASHES, hashfunc=xxhash.xxh32_intdigest)):
        pairs += [(other, row) for other in index.query(signature)]
        index.insert(row, signature, check_duplication=False)
    return pairs


def by_rensa(texts: list[str], _: str) -> Pairs:
    from rensa import RMinHash, RMinHashLSH

    index = RMinHashLSH(threshold=THRESHOLD, num_perm=HASHES, num_bands=BANDS)
    pairs: Pairs = []
    for row, text in enumerate(texts):
        signature = RMinHash(num_perm=HASHES, seed=1)
        signature.update(list(shingles(text)))
        pairs += [(other, row) for other in index.query(signature)]
        index.insert(row, signature)
    return pairs


def by_gaoya(texts: list[str], _: str) -> Pairs:
    from gaoya.minhash import MinHashStringIndex

    index = MinHashStringIndex(32, THRESHOLD, BANDS, ROWS, None, "word", True, (WORDS, WORDS))
    index.par_bulk_insert_docs(list(range(len(texts))), texts)
    return [(other, row) for row, found in enumerate(index.par_bulk_query(texts)) for other in found if other < row]


def by_text_dedup(texts: list[str], path: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable, "-m", "text_dedup.minhash", "--path", "parquet", "--data_files", path, "--split", "train",
            "--cache_dir", f"{folder}/cache", "--output", f"{folder}/out", "--column", "text", "--num_proc", "1",
            "--ngram", str(WORDS), "--num_perm", str(HASHES), "--b", str(BANDS), "--r", str(ROWS), "--min_length", "0",
            "--threshold", str(THRESHOLD), "--hash_func", "xxh3",
        ]  # fmt: skip
        subprocess.run(command, check=True, capture_output=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})


SYSTEMS: dict[str, Callable[[list[str], str], Pairs | None]] = {
    "datasketch": by_datasketch,
    "rensa": by_rensa,
    "gaoya": by_gaoya,
    "text-dedup": by_text_dedup,
}


def main() -> None:
    system, path = sys.argv[1:3]
    import pyarrow.parquet as pq

    texts = pq.read_table(path)["text"].to_pylist()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # one core
    started = time.perf_counter()
    pairs = SYSTEMS[system](texts, path)
    seconds = time.perf_counter() - started
    if len(sys.argv) > 3 and pairs is not None:
        np.save(sys.argv[3], np.array(pairs, np.int64).reshape(-1, 2))
    size = sum(len(text.encode()) for text in texts)
    print(json.dumps({"version": version(system), "documents": len(texts), "bytes": size, "seconds": seconds}))


if __name__ == "__main__":
    main()
