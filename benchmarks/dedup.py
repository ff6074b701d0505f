"""dedup: signing, matching and verification beside other systems; truth by brute force; clusters of licences; growth."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.harness import DATA, PROJECT, Row, measure, side_by_side, write_results
from warehouse.store import Store

PEER = PROJECT / ".peers" / "dedup" / "bin" / "python"
DATATROVE = PROJECT / ".peers" / "datatrove" / "bin" / "python"
PEERS = ("datasketch", "rensa", "gaoya", "text-dedup", "datatrove")
SLOW, SLOW_DOCUMENTS = ("text-dedup", "datatrove"), 2_000  # run once, on so many
JUDGED, THRESHOLD = 8_000, 0.8
GROWN = (10_000, 100_000, 1_000_000)
ADDED = 10_000
GROWTH_MEMORY_MB = 256
EXTRA = {
    "precision": lambda row: f"{row['precision']:.3f}" if "precision" in row else "",
    "recall": lambda row: f"{row['recall']:.3f}" if "recall" in row else "",
}
TEXT = (
    "The same texts (books in sections, main texts of pages, whole pages, licences; {mean:,} bytes in the mean), on one core, "
    "from texts in memory to pairs: word 5-grams, 128 hashes, 16 bands of 8, threshold 0.8. `gristmill` signs from Arrow "
    "buffers, finds candidates and verifies each by exact Jaccard similarity; of the others only text-dedup and gaoya estimate "
    "it, none verifies it. `limit` is signing alone: what stays if candidates and verification cost nothing. "
    "`gristmill, stages` is the same as a recipe runs it: from stored Parquet to stored signatures, evidence and clusters. "
    "text-dedup and datatrove (one worker) ran once, on the first {slow:,} documents, and read from files. "
    "Precision and recall: pairs of the first {judged:,} documents against all "
    "{truth:,} pairs with an exact similarity of 0.8 or more, by brute force; for text-dedup and datatrove, which tell no pairs, none.\n\n"
    "**Growth**: `x N` rows are N documents made of sections of real texts, a quarter of the words replaced in each, "
    "and a fifth of them copies with 2 % edits, through the stages "
    "with `memory_mb = {memory}`; seconds are of sign, band and match. `+ N` adds as many new ones to the million. "
    "The peak is of the process that makes the parts.\n\n"
    "**Licences**: the {licences} texts of SPDX in clusters of more than one, each with the smallest similarity of any two members "
    "and of any member to the one that is kept. A member is removed only where it is itself like the one that is kept: "
    "a chain of resemblances joins nothing.\n\n{clusters}"
)


def texts_of(path: Path, count: int | None = None) -> pa.Array:
    """The texts of a Parquet file in one piece."""
    column = pq.read_table(path, columns=["text"])["text"].combine_chunks().cast(pa.large_string())
    return column if count is None else pa.concat_arrays([column.slice(0, count)])


def run_memory(path: Path, pairs: str) -> Row:
    """Texts in memory to verified pairs."""
    from tasks.dedup.near import near_duplicates

    texts = texts_of(path)
    near_duplicates(texts.slice(0, 50))  # compiles
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    started, clock = time.perf_counter(), time.process_time()
    found = near_duplicates(texts)
    seconds, cpu = time.perf_counter() - started, time.process_time() - clock
    if pairs != "-":
        np.save(pairs, np.column_stack(found.all_pairs()))
    return _cost(texts, seconds, cpu) | {"version": "0.1"}


def run_limit(path: Path, _: str) -> Row:
    """Signing alone."""
    from tasks.dedup.minhash import Scheme, sketches

    texts = texts_of(path)
    sketches(texts.slice(0, 50), Scheme())
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    started, clock = time.perf_counter(), time.process_time()
    sketches(texts, Scheme())
    return _cost(texts, time.perf_counter() - started, time.process_time() - clock) | {"version": "signing"}


def run_stages_of(path: Path, _: str) -> Row:
    """Stored documents to stored clusters."""
    from benchmarks.growth import matched, stored

    texts = texts_of(path)
    with tempfile.TemporaryDirectory() as folder:
        store = stored(Path(folder), {"s": [texts]})
        matched(stored(Path(folder) / "warm", {"s": [texts.slice(0, 50)]}), ["s"], 1024)
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        started, clock = time.perf_counter(), time.process_time()
        matched(store, ["s"], 1024)
        return _cost(texts, time.perf_counter() - started, time.process_time() - clock) | {"version": "stored"}


def run_making(path: Path, argument: str) -> Row:
    """Documents for the stages: ``FOLDER SOURCE COUNT``."""
    from benchmarks.growth import made_texts, stored

    folder, source, count = argument.split()
    stored(Path(folder), {source: made_texts(texts_of(path), int(count), seed=len(source))})
    return {}


def run_grown(path: Path, argument: str) -> Row:
    """The stages over the sources of a store: ``FOLDER SOURCES``. What only the last source brings is counted."""
    from benchmarks.growth import matched, stored

    folder, *sources = argument.split()
    with tempfile.TemporaryDirectory() as warm:
        texts = [text for text in texts_of(path, 100).to_pylist() for text in (text, f"{text} and more words")]
        matched(stored(Path(warm), {"a": [pa.array(texts, pa.large_string())]}), ["a"], GROWTH_MEMORY_MB)
    started, clock = time.perf_counter(), time.process_time()
    documents, size = matched(Store(folder), sources, GROWTH_MEMORY_MB)
    return {
        "documents": documents,
        "bytes": size,
        "seconds": time.perf_counter() - started,
        "cpu_seconds": time.process_time() - clock,
    }


def _cost(texts: pa.Array, seconds: float, cpu: float) -> Row:
    size = int(pa.compute.sum(pa.compute.binary_length(texts)).as_py())
    return {"documents": len(texts), "bytes": size, "seconds": seconds, "cpu_seconds": cpu}


def brute_force(texts: list[str]) -> npt.NDArray[np.int64]:
    """All pairs of rows whose exact Jaccard similarity reaches the threshold, by a product of sparse matrices."""
    import re

    from scipy.sparse import csr_array

    numbers: dict[str, int] = {}
    rows: list[npt.NDArray[np.int64]] = []
    for text in texts:
        words = re.findall(r"\w+", text.lower())
        found = {" ".join(words[i : i + 5]) for i in range(max(1, len(words) - 4))}
        rows.append(np.array(sorted(numbers.setdefault(shingle, len(numbers)) for shingle in found)))
    sizes = np.array([len(row) for row in rows])
    ends = np.concatenate([[0], np.cumsum(sizes)])
    matrix = csr_array((np.ones(ends[-1], np.int32), np.concatenate(rows), ends), shape=(len(rows), len(numbers)))
    other, pairs = matrix.T.tocsc(), []
    for first in range(0, len(rows), 500):
        both = (matrix[first : first + 500] @ other).tocoo()
        a, b = both.row + first, both.col
        alike = (a < b) & (both.data >= THRESHOLD * (sizes[a] + sizes[b] - both.data))
        pairs.append(np.column_stack([a[alike], b[alike]]))
    return np.concatenate(pairs)


def judged(pairs: npt.NDArray[np.int64], truth: npt.NDArray[np.int64]) -> dict[str, float]:
    """Precision and recall of pairs of rows."""
    said = {(min(a, b), max(a, b)) for a, b in pairs.tolist() if a != b}
    true = {(a, b) for a, b in truth.tolist()}
    return {"precision": len(said & true) / max(1, len(said)), "recall": len(said & true) / max(1, len(true))}


def licences(data: Path) -> tuple[int, str]:
    """How many licences there are, and a table of their clusters."""
    from benchmarks.corpora import named_licences
    from benchmarks.growth import clusters_of

    named = named_licences(data)
    lines = ["| licences | smallest similarity of two | of one to the kept one |", "|---|---|---|"]
    for names, least, to_kept in clusters_of(named):
        lines.append(f"| {', '.join(names)} | {least:.3f} | {to_kept:.3f} |")
    return len(named), "\n".join(lines)


def run_texts(data: Path, argument: str) -> Row:
    """The documents of a folder of data: ``FILE COUNT``; or of a file, as JSON lines: ``FILE``."""
    file, *count = argument.split()
    if count:
        from benchmarks.corpora import documents

        pq.write_table(pa.table({"text": documents(data, int(count[0]))}), file, row_group_size=1_000)
        return {}
    with Path(file).open("w") as lines:
        for number, text in enumerate(texts_of(data).to_pylist()):
            lines.write(json.dumps({"id": str(number), "text": text}) + "\n")
    return {}


def run_truth(path: Path, file: str) -> Row:
    """All pairs by brute force, into a file."""
    np.save(file, brute_force(texts_of(path).to_pylist()))
    return {}


RUNS = {
    "memory": run_memory,
    "limit": run_limit,
    "stages": run_stages_of,
    "making": run_making,
    "grown": run_grown,
    "truth": run_truth,
    "texts": run_texts,
}


def main() -> None:
    """Runs one system where asked to, else all of them side by side."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data", type=Path, default=DATA, help="folder of real data, or a Parquet file with a column text"
    )
    parser.add_argument("--peers", default=",".join(PEERS), help="systems beside gristmill")
    parser.add_argument("--documents", type=int, default=40_000)
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--growth", default=",".join(map(str, GROWN)), help="numbers of documents to grow to, empty for none"
    )
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        what, path, argument = arguments.one
        print(json.dumps(RUNS[what](Path(path), argument)))
        return
    compare_all(arguments)


def commands(path: Path, peers: list[str], folder: Path) -> dict[str, Any]:
    """System -> what runs it over the texts of a file; pairs go to ``<folder>/<system>.npy`` where it tells them."""
    found = {
        "gristmill": one("memory", path, str(folder / "gristmill.npy")),
        "limit": one("limit", path, "-"),
        "gristmill, stages": one("stages", path, "-"),
    }
    for peer in peers:
        if peer == "datatrove":
            lines = path.with_suffix(".jsonl")
            measure(one("texts", path, str(lines)))
            found[peer] = [str(DATATROVE), "benchmarks/peers_datatrove.py", "dedup", str(lines), "1"]
        else:
            found[peer] = [str(PEER), "benchmarks/peers_dedup.py", peer, str(path), str(folder / f"{peer}.npy")]
    return {name: partial(measure, command) for name, command in found.items()}


def compare_all(arguments: argparse.Namespace) -> None:
    """Speed, quality, licences, growth."""
    peers = [peer for peer in arguments.peers.split(",") if peer]
    for peer in peers:
        if not (DATATROVE if peer == "datatrove" else PEER).exists():
            sys.exit(f"{peer} is not there: make peers installs it, --peers '' goes without")
    os.environ["RAYON_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as scratch:
        folder, path = Path(scratch), arguments.data
        if path.is_dir():
            path = folder / "texts.parquet"  # made in a process of its own: a child's peak is not below its parent's
            measure(one("texts", arguments.data, f"{path} {arguments.documents}"))
        few = folder / "few.parquet"
        _first(path, JUDGED, few)
        quick = [peer for peer in peers if peer not in SLOW]
        measure(one("truth", few, str(folder / "truth.npy")))  # in a process of its own, for the sake of memory
        truth = np.load(folder / "truth.npy")
        quality = {}
        for name, run in commands(few, quick, folder).items():
            if name in ("gristmill", *quick):
                run()
                quality[name] = judged(np.load(folder / f"{name}.npy"), truth)
        rows = side_by_side(commands(path, quick, folder), arguments.repeats)
        slow = [peer for peer in peers if peer in SLOW]
        some = folder / "some.parquet"
        _first(path, SLOW_DOCUMENTS, some)
        rows += side_by_side({name: run for name, run in commands(some, slow, folder).items() if name in slow}, 1)
        rows = [row | quality.get(row["system"], {}) for row in rows]
        mean = rows[0]["bytes"] // rows[0]["documents"]
        rows += _growth(path, few, [int(n) for n in arguments.growth.split(",") if n])
        count, clusters = licences(DATA if arguments.data.is_file() else arguments.data)
    text = TEXT.format(
        mean=mean,
        judged=JUDGED,
        slow=SLOW_DOCUMENTS,
        truth=len(truth),
        memory=GROWTH_MEMORY_MB,
        licences=count,
        clusters=clusters,
    )
    write_results("dedup", "De-duplication", text, rows, EXTRA, arguments.json)


def _first(path: Path, count: int, to: Path) -> None:
    """The first texts of a file in another, without all of them in memory."""
    batches = pq.ParquetFile(path).iter_batches(batch_size=count, columns=["text"])
    pq.write_table(pa.Table.from_batches([next(batches)]), to)


def _growth(path: Path, few: Path, counts: list[int]) -> list[Row]:
    """The stages over ever more documents, and over some more when the most of them were done."""
    rows: list[Row] = []
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            measure(one("making", path, f"{folder} a {count}"))
            rows.append({"system": "gristmill", "version": f"x {count:,}"} | measure(one("grown", few, f"{folder} a")))
            if count == max(counts):
                measure(one("making", path, f"{folder} bb {ADDED}"))
                added = measure(one("grown", few, f"{folder} a bb"))
                rows.append({"system": "gristmill", "version": f"+ {ADDED:,}"} | added)
        print(rows[-1], file=sys.stderr)
    return rows


def one(what: str, path: Path, argument: str) -> list[str]:
    """The command that does one thing in a process of its own."""
    return [sys.executable, "-m", "benchmarks.dedup", "--one", what, str(path), argument]


if __name__ == "__main__":
    main()
