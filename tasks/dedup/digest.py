"""128-bit names of strings."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks.core.compiled import compiled

MULTIPLIERS = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)
_SHIFT = np.uint64(32)


def digests(column: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.uint64]:
    """128-bit names of strings as they are, shape (n, 2)."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    column = column.cast(pa.large_string())
    out = np.empty((len(column), 2), np.uint64)
    if len(column):
        _, begins, data = column.buffers()
        offsets = np.frombuffer(begins, np.int64)[column.offset : column.offset + len(column) + 1]
        room = np.zeros(int(np.diff(offsets).max(initial=0)) // 8 * 8 + 16, np.uint8)
        _digests(np.frombuffer(data or b"\0", np.uint8), offsets, room, room.view(np.uint64), out)
    return out


@compiled
def _digests(data: Any, offsets: Any, room: Any, numbers: Any, out: Any) -> None:
    for row in range(len(offsets) - 1):
        size = offsets[row + 1] - offsets[row]
        room[:size] = data[offsets[row] : offsets[row + 1]]
        room[size : size + 8] = 0
        digest_of(numbers, size, out[row])


@compiled
def digest_of(numbers: Any, size: Any, out: Any) -> None:
    """128 bits that stand for the first ``size`` bytes of what these 64-bit numbers hold, which zeros follow."""
    first, second = np.uint64(size), ~np.uint64(size)
    for i in range((np.uint64(size) + np.uint64(7)) >> np.uint64(3)):
        number = numbers[i]
        first = (first ^ number) * MULTIPLIERS[0]
        first ^= first >> _SHIFT
        second = (second ^ number) * MULTIPLIERS[1]
        second ^= second >> np.uint64(29)
    out[0], out[1] = first, second
