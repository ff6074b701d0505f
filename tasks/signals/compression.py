"""How well a text compresses: repetitive ones shrink to little, noise hardly at all."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tasks.signals.definition import Signal

LEVEL = 3
SIGNALS = (
    Signal("compression_ratio", "share", "bytes of the text under zstd, level 3, of its bytes", "Laurençon et al. 2022, with zstd"),
)  # fmt: skip


def ratios(data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[np.float64]]:
    """The signal of each text of a column's buffers; 0 for an empty text."""
    codec, whole = pa.Codec("zstd", LEVEL), memoryview(data.data)
    out = np.zeros(len(offsets) - 1)
    for text, (start, stop) in enumerate(zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)):
        if stop > start:
            out[text] = codec.compress(whole[start:stop], asbytes=False).size / (stop - start)
    return {"compression_ratio": out}
