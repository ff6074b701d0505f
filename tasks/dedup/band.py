"""band: signatures to candidates. Each key is a part: equal URLs, equal words, and every LSH band."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from tasks.core.stage import Made, Report, Stage, StageSettings, operational
from tasks.dedup.candidates import Keyed, Pairs, ends_of, pairs_that_equal, pairs_that_share
from tasks.dedup.sign import band_name
from warehouse import schemas
from warehouse.artifact import PartWriter, load
from warehouse.errors import GristmillError
from warehouse.scan import scan

BYTES_PER_DOCUMENT = 120  # of the keys of one band while they are sorted and paired
MOST_DOCUMENTS = 1 << 32
EQUAL_URL, EQUAL_TEXT = "url", "text"
# Part -> the columns that documents must share, and by which they are told apart then.
EQUAL = {EQUAL_URL: ("url_key", "url_check"), EQUAL_TEXT: ("text_key", "text_check")}


class BandSettings(StageSettings):
    """How candidates are looked for."""

    bands: int = 16
    window: int = 64
    memory_mb: int = operational(1024, "memory of a part; keys that do not fit are read again, a range at a time", ge=1)


class Band(Stage):
    """Pairs of documents that share a key. Inputs: ``signatures/<source>``."""

    name = "band"
    version = 1
    settings: BandSettings

    def plan(self) -> Sequence[str]:
        return [*EQUAL, *(band_name(band) for band in range(self.settings.bands))]

    def make(self, part: str, writer: PartWriter, report: Report) -> Made:
        """Sorts the documents by the key, a range of keys at a time, and pairs neighbours."""
        total = sum(load(self.store, entry.ref).counts.kept for entry in self.inputs.values())
        if total > MOST_DOCUMENTS:
            raise GristmillError(f"{total:,} documents are more than one run de-duplicates: split the recipe")
        ranges = -(-total * BYTES_PER_DOCUMENT // (self.settings.memory_mb << 20)) or 1
        found = [self._pairs(part, number, ranges) for number in range(ranges)]
        pairs = np.concatenate(found)
        pairs.sort()
        a, b = ends_of(pairs)
        writer.table("candidates", pa.table({"a": a, "b": b}, schema=schemas.CANDIDATES))
        return Made(statistics={"candidates": len(pairs)})

    def _pairs(self, part: str, number: int, ranges: int) -> Pairs:
        pieces = [_within(piece, number, ranges) for piece in self._keyed(part)]
        band = Keyed(*(np.concatenate(columns) for columns in zip(*pieces, strict=True)))
        del pieces
        return pairs_that_equal(band) if part in EQUAL else pairs_that_share(band, self.settings.window)

    def _keyed(self, part: str) -> Iterator[Keyed]:
        """The keys of all documents, some files of them at a time."""
        columns = [*EQUAL.get(part, (part, "text_key")), "doc_key"]
        row = 0
        for table in scan(self.store, [self.inputs[name].ref for name in sorted(self.inputs)], "signatures", columns):
            rows = np.arange(row, row + len(table), dtype=np.uint64)
            keys, texts, names = (table[column].to_numpy() for column in columns)
            yield Keyed(keys, texts, names, rows)
            row += len(table)


def _within(band: Keyed, number: int, ranges: int) -> Keyed:
    """The documents whose keys are in one of so many equal ranges."""
    if ranges == 1:
        return band
    here = (band.keys >> np.uint64(32)) * np.uint64(ranges) >> np.uint64(32) == number
    return Keyed(*(column[here] for column in band))
