"""Small records of a store: each is read by itself, and one that cannot be read closes nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import TypeVar

from warehouse.store import Store

Record = TypeVar("Record")
log = logging.getLogger("gristmill.store")
_named: set[str] = set()


def stored(store: Store, folder: str, read: Callable[[bytes], Record]) -> Iterator[tuple[str, Record]]:
    """(path, record) of a folder's files in the order of their names, past those that cannot be read; each is named once."""
    for name in store.names(folder):
        path = f"{folder}/{name}"
        try:
            yield path, read(store.read_bytes(path))
        except FileNotFoundError:  # gone since it was listed
            continue
        except (ValueError, KeyError, TypeError) as error:
            name_once(store, path, error)


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
