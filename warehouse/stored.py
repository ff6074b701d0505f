"""Small records of a store: each is read by itself, and one that cannot be read closes nothing."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from typing import TypeVar

from warehouse.store import Store

Record = TypeVar("Record")
log = logging.getLogger("gristmill.store")
BUNDLE = ".bundle"  # records of a folder in one file, a line each: name, tab, JSON
MANY, LEFT_LOOSE = 256, 64  # from so many loose records on there is a bundle; the newest may still change
_named: set[str] = set()


def stored(store: Store, folder: str, read: Callable[[bytes], Record]) -> Iterator[tuple[str, Record]]:
    """(path, record) of a folder's records in the order of their names, past those that cannot be read; each is named once."""
    names = store.names(folder)
    loose = {name for name in names if not name.endswith(BUNDLE)}
    bundled = {
        name: line for each in names if each.endswith(BUNDLE) for name, line in _lines(store, f"{folder}/{each}")
    }
    for name in sorted(loose | bundled.keys()):
        path = f"{folder}/{name}"
        try:
            yield path, read(store.read_bytes(path) if name in loose else bundled[name])
        except FileNotFoundError:  # gone since it was listed
            continue
        except (ValueError, KeyError, TypeError) as error:
            name_once(store, path, error)


def _lines(store: Store, path: str) -> Iterator[tuple[str, bytes]]:
    """The names and records of a bundle, past lines that are none."""
    try:
        content = store.read_bytes(path)
    except FileNotFoundError:  # gone into another one since it was listed
        return
    for line in content.splitlines():
        try:
            yield entry_of(line)
        except ValueError as error:
            name_once(store, path, error)


def entry_of(line: bytes) -> tuple[str, bytes]:
    """The name and the record in a bundle's line. Raises ValueError for what is none."""
    name, mark, record = line.partition(b"\t")
    if not mark:
        raise ValueError("a line without a name")
    return name.decode(), record


def bundle(store: Store, folder: str) -> None:
    """Puts all but the newest of a folder's many small records into one file, so that asking does not grow with history.

    The bundle is durable before a record is deleted; a record that is there in both ways, or in two bundles, is one.
    """
    if sum(not name.endswith(BUNDLE) for name in store.names(folder)) < MANY:
        return
    with store.lock("bundle", folder.replace("/", "-")):
        names = store.names(folder)
        old = [name for name in names if name.endswith(BUNDLE)]
        loose = [name for name in names if not name.endswith(BUNDLE)][:-LEFT_LOOSE]
        entries = {name: line for each in old for name, line in _lines(store, f"{folder}/{each}")}
        taken = []
        for name in loose:
            try:
                entries[name] = json.dumps(json.loads(store.read_bytes(f"{folder}/{name}"))).encode()  # on one line
                taken.append(name)
            except (FileNotFoundError, ValueError):  # gone, or damaged: it stays for verify to name
                continue
        if not taken:
            return
        lines = [name.encode() + b"\t" + entries[name] for name in sorted(entries)]
        made = f"{taken[-1].removesuffix('.json')}{BUNDLE}"
        store.write_bytes(f"{folder}/{made}", b"\n".join(lines))
        for name in [*taken, *(each for each in old if each != made)]:
            store.delete(f"{folder}/{name}")


def name_once(store: Store, path: str, error: Exception) -> None:
    """Says, once in a process, that a file is passed over."""
    if (address := store.address(path)) not in _named:
        _named.add(address)
        log.warning(
            "%s cannot be read and is passed over (%s): gristmill status --verify names all such files",
            path,
            _said(error),
        )


def _said(error: Exception) -> str:
    return str(error).split("\n")[0][:120] or type(error).__name__
