"""What all ways to documents have in common: parts that were read before are not read again, and forgotten ones are left out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, ClassVar

import pyarrow as pa

from tasks.core.confined import Ended, Thing, read_confined
from tasks.core.stage import Made, Report, Stage
from tasks.extract.page import STAGE, Documents, ExtractSettings, Read, committed_documents, refusal_of
from tasks.web.addresses import scrubbed
from warehouse import schemas
from warehouse.artifact import PartRecord, PartWriter, Ref, read_tables
from warehouse.removals import COLUMNS, Removal, first_concerned
from warehouse.reuse import noted_part, part_identity, remember_part, take_part


def opens(piece: int) -> Thing[Any]:
    """Says that the next things are of a piece."""
    return Thing(None, partial(int, piece))


class Extraction(Stage):
    """Documents of one source without those that are to be forgotten.

    A part is known by what it is read from, so a crawl that found a part's pages unchanged, or a removal that does not
    concern it, costs a link; and a removal that does, a pass over the documents that were there.
    """

    name = STAGE
    settings: ExtractSettings
    removals: tuple[Removal, ...] = ()
    gives_pages: ClassVar[bool] = False  # whether what it reads are fetches that nothing else has in ``pages``

    @property
    @abstractmethod
    def source_identity(self) -> dict[str, Any]:
        """The settings, and what the source is read from."""

    @abstractmethod
    def part_source(self, part: str) -> Sequence[str]:
        """Digests of what a part is read from."""

    @abstractmethod
    def pieces(self, part: str) -> Sequence[str]:
        """The names of what a part is read from, one after another: where one cannot be read on, the next one is."""

    @abstractmethod
    def things(self, part: str, first: int) -> Iterator[Thing[list[Read]]]:
        """What there is to read in a part from its piece number ``first`` on, each piece announced by ``opens``.

        Called in a process that foreign bytes may end.
        """

    @property
    def identity(self) -> dict[str, Any]:
        forgotten = {"removals": self._removal_names} if self.removals else {}
        return {**self.source_identity, **forgotten}

    @property
    def _removal_names(self) -> list[str]:
        return [removal.identity for removal in self.removals]

    def take_over(self, part: str) -> PartRecord | None:
        """Links an earlier extraction of the part where no removal since then concerns it."""
        earlier = self._earlier(part)
        if earlier is None:
            return None
        ref, record = earlier
        if (
            first_concerned(read_tables(self.store, ref, "documents", COLUMNS, [part]), self._since(record)) >= 0
        ).any():
            return None
        statistics = {**record.statistics, "removals": self._removal_names}
        return take_part(self.store, self.ref, ref, record.model_copy(update={"statistics": statistics}))

    def make(self, part: str, writer: PartWriter, report: Report) -> Made:
        """Reads the part, or takes the documents that an earlier extraction has of it, and leaves out the forgotten ones."""
        earlier = self._earlier(part)
        if earlier is not None:
            return self._forget(*earlier, writer)
        documents, rows = Documents(self.settings, self.subject), []
        for read in self._read(part):
            if read.found is not None:
                documents.add(read)
            if read.row is not None:
                rows.append(read.row)
        made = documents.write(writer, self.removals)
        if self.gives_pages:
            writer.table("pages", pa.Table.from_pylist(rows, schema=schemas.PAGES))
        return made.model_copy(update={"statistics": {**made.statistics, "removals": self._removal_names}})

    def _read(self, part: str) -> Iterator[Read]:
        """What the part holds, read in a process of its own, past what ends that."""
        try:
            yield from self._read_pieces(part)
        except Exception as error:
            if (said := scrubbed(str(error))) != str(error):
                raise OSError(said) from None
            raise

    def _read_pieces(self, part: str) -> Iterator[Read]:
        pieces, first = self.pieces(part), 0
        while first < len(pieces):
            at = first
            for found in read_confined(self.things, part, first, limits=self.settings.limits):
                if isinstance(found, int):
                    at = found
                elif not isinstance(found, Ended):
                    yield from found
                elif found.name is not None:
                    yield found.name._replace(found=refusal_of(found, self.settings))
                else:
                    yield Read(pieces[at], 0, found=refusal_of(found, self.settings))
                    break
            else:
                return
            first = at + 1

    def remember(self, part: str) -> None:
        remember_part(self.store, self.ref, part, self._noted(part))

    def _noted(self, part: str) -> str:
        return part_identity(self.name, self.version, self._part_settings, part, self.part_source(part))

    @property
    def _part_settings(self) -> dict[str, Any]:
        return {"subject": self.subject, **self.settings.identity()}

    def _earlier(self, part: str) -> tuple[Ref, PartRecord] | None:
        """A part that was read from the same, under the first of these removals."""
        found = noted_part(self.store, self.name, part, self._noted(part))
        if found is None:
            return None
        applied = found[1].statistics["removals"]
        return found if applied == self._removal_names[: len(applied)] else None

    def _since(self, record: PartRecord) -> tuple[Removal, ...]:
        return self.removals[len(record.statistics["removals"]) :]

    def _forget(self, ref: Ref, record: PartRecord, writer: PartWriter) -> Made:
        tables = {
            file.path.split("/")[0]: read_tables(self.store, ref, file.path.split("/")[0], parts=[record.part])
            for file in record.files
        }
        for name, table in tables.items():
            if name not in ("documents", "decisions"):
                writer.table(name, table.cast(schemas.STORED[name]))
        counts, forgotten = committed_documents(
            writer, tables["documents"], tables["decisions"], self._since(record), record.counts
        )
        taken = record.statistics["funnel"]["forgotten"]
        funnel = {**record.statistics["funnel"], "forgotten": [taken[0] + forgotten[0], taken[1] + forgotten[1]]}
        return Made(counts=counts, statistics={**record.statistics, "funnel": funnel, "removals": self._removal_names})
