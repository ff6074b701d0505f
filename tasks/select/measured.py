"""Every signal there is, of whatever stage, and how those of a source are read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import pyarrow as pa

from tasks.core.stage import Input
from tasks.repetition.stage import SIGNALS as OF_REPETITION
from tasks.signals.stage import SIGNALS as OF_TEXT
from warehouse.artifact import read_tables
from warehouse.store import Store

SIGNALS = (*OF_TEXT, *OF_REPETITION)
_IN_REPETITION = {signal.name for signal in OF_REPETITION}


def read_signals(
    store: Store, inputs: Mapping[str, Input], source: str, columns: Iterable[str], parts: Sequence[str] | None = None
) -> pa.Table:
    """Signals of a source's documents, of all or of some parts, with doc_id. Inputs: ``signals/…``, ``repetition/…``."""
    wanted = list(dict.fromkeys(columns))
    plain = [name for name in wanted if name not in _IN_REPETITION]
    table = read_tables(store, inputs[f"signals/{source}"].ref, "signals", ["doc_id", *plain], parts)
    others = [name for name in wanted if name in _IN_REPETITION]
    if others:
        more = read_tables(store, inputs[f"repetition/{source}"].ref, "repetition", ["doc_id", *others], parts)
        if more["doc_id"] != table["doc_id"]:
            raise RuntimeError(f"the documents of signals and repetition of {source} differ")
        for name in others:
            table = table.append_column(name, more[name])
    return table
