"""`gristmill status --verify`: every file of a store against what its records say, and what is lost with one that is damaged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console

from flows.terminal import shown
from tasks.crawl import purge
from warehouse import log, removals
from warehouse.artifact import ARCHIVE, Manifest, PartRecord, Ref, read_manifest, record_path, verified_path
from warehouse.errors import CorruptPart
from warehouse.reuse import REUSE, note_of
from warehouse.store import Store
from warehouse.stored import BUNDLE, entry_of

ANEW = "the next run that needs it makes it anew"
FETCHED = "its pages fail until the next crawl, which fetches them anew"
HISTORY = "it is history, and is lost; nothing else is"
# Folder of small records -> how one is read, and what is lost with it.
RECORDS: dict[str, tuple[Callable[[bytes], Any], str]] = {
    log.RUNS: (log.RunRecord.model_validate_json, HISTORY),
    log.WORK: (log.work_row, HISTORY),
    removals.FOLDER: (
        removals.Removal.model_validate_json,
        "a wish to forget is lost: record it again with gristmill forget, then delete the file",
    ),
    purge.JOURNAL: (purge.note_of, "a purge that was stopped is not finished: purge again, then delete the file"),
}


def verify(store: Store, console: Console) -> bool:
    """Reads every file of a store and names each that is damaged; returns whether none is.

    A file of an artifact that does not have its bytes is set aside, so that nothing reads it.
    """
    whole, checked = True, 0
    for path, fault in _faults(store):
        if fault is None:
            checked += 1
        else:
            whole = False
            console.print(f"[red]{shown(path)}[/red] {shown(fault)}", soft_wrap=True)
    console.print(f"{checked:,} files have the bytes that their records name.")
    return whole


def _faults(store: Store) -> Iterator[tuple[str, str | None]]:
    """(path, what is wrong with it or None) of every file that gristmill wrote and will read."""
    for stage in store.names("artifacts"):
        for key in store.names(f"artifacts/{stage}"):
            ref = Ref(stage=stage, key=key)
            manifest = read_manifest(store, ref)
            if manifest is not None:
                yield from _of_artifact(store, manifest)
            elif store.exists(f"{ref.folder}/manifest.json"):
                yield f"{ref.folder}/manifest.json", f"cannot be read: {ANEW}"
    for folder, (read, lost) in RECORDS.items():
        yield from _of_records(store, folder, read, lost)
    for stage in store.names(REUSE):
        yield from _of_records(store, f"{REUSE}/{stage}", note_of, "a part may be made again that is there already")
    for run in store.names(log.METRICS):
        for name in store.names(f"{log.METRICS}/{run}"):
            path = f"{log.METRICS}/{run}/{name}"
            try:
                pq.read_table(pa.BufferReader(store.read_bytes(path)))
                yield path, None
            except (pa.ArrowException, OSError, ValueError):
                yield path, f"cannot be read: {HISTORY}"


def _of_artifact(store: Store, manifest: Manifest) -> Iterator[tuple[str, str | None]]:
    for part in manifest.parts:
        path = record_path(manifest.ref, part.part)
        try:
            said = PartRecord.model_validate_json(store.read_bytes(path))
        except (FileNotFoundError, ValueError):
            yield path, "cannot be read: the manifest says the same, nothing is lost"
        else:
            yield path, None if said == part else f"differs from the manifest: delete the artifact's folder, and {ANEW}"
        for file in part.files:
            try:
                verified_path(store, manifest.ref, file)
                yield file.path, None
            except CorruptPart as error:
                fault = str(error).partition(": run the same command")[0].partition(f"{file.path} ")[2]
                yield (
                    f"{manifest.ref.folder}/{file.path}",
                    f"{fault}: {FETCHED if file.path.startswith(ARCHIVE) else ANEW}",
                )


def _of_records(store: Store, folder: str, read: Callable[[bytes], Any], lost: str) -> Iterator[tuple[str, str | None]]:
    for name in store.names(folder):
        try:
            content = store.read_bytes(f"{folder}/{name}")
            for one in content.splitlines() if name.endswith(BUNDLE) else [content]:
                read(entry_of(one)[1] if name.endswith(BUNDLE) else one)
            yield f"{folder}/{name}", None
        except (ValueError, KeyError, TypeError, AttributeError):
            yield f"{folder}/{name}", f"cannot be read: {lost}"
        except FileNotFoundError:
            continue
