"""Stored documents in any number, made of sections of real texts, and the stages of de-duplication over them."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.core.stage import Input, run_stages
from tasks.dedup.band import Band, BandSettings
from tasks.dedup.match import Match, MatchSettings
from tasks.dedup.minhash import shingle_hashes
from tasks.dedup.sign import Sign, SignSettings
from tasks.dedup.similarity import jaccard, overlaps
from warehouse import log, schemas
from warehouse.artifact import Counts, Manifest, PartWriter, Ref, load, read_tables, write_manifest
from warehouse.store import Store

ROW_DIGITS = 26
PART, WORDS, SOURCES = 10_000, (60, 300), 5_000
COPIES, COPY_EDITS, NEW_EDITS = 0.2, 0.02, 0.25


def made_texts(texts: pa.Array, count: int, seed: int) -> Iterator[pa.Array]:
    """So many texts in parts: runs of words of the given ones, a quarter of the words replaced, so that two of one place
    are two texts however many there are; and a fifth of all copies of one of these with fewer edits."""
    draw, sources = random.Random(seed), [text.split() for text in texts.slice(0, SOURCES).to_pylist()]
    sources = [words for words in sources if len(words) > WORDS[0]]
    made: list[str] = []
    originals: list[list[str]] = []
    for number in range(count):
        if originals and draw.random() < COPIES:
            words, edits = list(originals.pop(draw.randrange(len(originals)))), COPY_EDITS
        else:
            source = draw.choice(sources)
            start = draw.randrange(max(1, len(source) - WORDS[0]))
            words, edits = source[start : start + draw.randint(*WORDS)], NEW_EDITS
            originals.append(words)
        for _ in range(int(len(words) * edits) + 1):
            words[draw.randrange(len(words))] = f"edit{draw.randrange(1 << 30)}"
        made.append(" ".join(words))
        if len(made) == PART or number == count - 1:
            yield pa.array(made, pa.large_string())
            made, originals = [], originals[-PART:]


def stored(folder: Path, sources: Mapping[str, Iterable[pa.Array]]) -> Store:
    """A store with documents of some sources, a part for each array of texts."""
    store = Store(str(folder))
    for source, parts in sources.items():
        ref, records = Ref(stage="extract", key=source), []
        for number, texts in enumerate(parts):
            names = [f"{source}{number:05d}{row:0{ROW_DIGITS}d}" for row in range(len(texts))]
            columns = {
                "doc_id": names,
                "url": names,
                "text": texts.cast(pa.string()),
                "source": [source] * len(texts),
                "n_chars": pc.cast(pc.utf8_length(texts), pa.int64()),
                "n_bytes": pc.cast(pc.binary_length(texts), pa.int64()),
            }
            table = pa.table(
                {
                    n: columns.get(n, pa.nulls(len(texts), schemas.DOCUMENTS.field(n).type))
                    for n in schemas.DOCUMENTS.names
                },
                schema=schemas.DOCUMENTS,
            )
            writer = PartWriter(store, ref, f"{source}-{number:05d}")
            writer.table("documents", table)
            records.append(writer.commit(Counts(documents_in=len(texts), kept=len(texts)), {}))
        counts = sum((record.counts for record in records), Counts())
        empty: dict[str, Any] = {"settings": {}, "inputs": {}, "rows": 0, "bytes": 0}
        made = Manifest(
            stage=ref.stage, subject=source, version=1, key=source, counts=counts, parts=tuple(records), **empty
        )
        write_manifest(store, made, None)
    return store


def matched(store: Store, sources: list[str], memory_mb: int) -> tuple[int, int]:
    """Signs, bands and matches; returns the documents of the last source, and the bytes of their texts."""
    documents = {source: Input.of(Ref(stage="extract", key=source)) for source in sources}
    signed = run_stages(
        [Sign(store, SignSettings(), {"documents": entry}, source) for source, entry in documents.items()]
    )
    signatures = {f"signatures/{source}": Input.of(made.ref) for source, made in zip(sources, signed, strict=True)}
    (band,) = run_stages([Band(store, BandSettings(memory_mb=memory_mb), signatures)])
    inputs = signatures | {f"documents/{source}": entry for source, entry in documents.items()}
    (match,) = run_stages(
        [Match(store, MatchSettings(memory_mb=memory_mb), {**inputs, "candidates": Input.of(band.ref)})]
    )
    log.note_stage(store, log.new_run(store, "benchmark"), [match.ref])
    last = load(store, documents[sources[-1]].ref)
    sizes = (read_tables(store, last.ref, "documents", ["n_bytes"], [part.part])["n_bytes"] for part in last.parts)
    return last.counts.kept, sum(int(pc.sum(size).as_py()) for size in sizes)


def clusters_of(named: dict[str, str]) -> list[tuple[list[str], float, float]]:
    """Clusters of named texts: their names (the kept one first), the smallest similarity of any two, and to the kept one."""
    with tempfile.TemporaryDirectory() as folder:
        store = stored(Path(folder), {"s": [pa.array(list(named.values()), pa.large_string())]})
        matched(store, ["s"], 1024)
        (ref,) = log.current(store)["match"]
        rows = read_tables(store, ref, "duplicates").to_pylist()
    found, listed = [], list(named.items())
    for cluster in sorted({row["cluster_id"] for row in rows}):
        members = sorted((row for row in rows if row["cluster_id"] == cluster), key=lambda row: row["rank"])
        chosen = [listed[int(row["doc_id"][-ROW_DIGITS:])] for row in members]
        a, b = np.triu_indices(len(chosen), 1)
        hashes = shingle_hashes(pa.array([text for _, text in chosen], pa.large_string()), SignSettings().shingle_words)
        similar = jaccard(overlaps(*hashes, a, b))
        found.append(([name for name, _ in chosen], float(similar.min()), float(similar[a == 0].min())))
    return sorted(found, key=lambda one: one[1])
