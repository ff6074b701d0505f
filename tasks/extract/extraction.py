"""What all ways to documents have in common: parts that were read before are not read again, and forgotten ones are left out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from tasks.extract.page import STAGE, Documents, ExtractSettings, committed_documents
from tasks.stage import Made, Report, Stage
from warehouse import schemas
from warehouse.artifact import PartRecord, PartWriter, Ref, read_tables
from warehouse.removals import COLUMNS, Removal, first_concerned
from warehouse.reuse import noted_part, part_identity, remember_part, take_part


class Extraction(Stage):
    """Documents of one source without those that are to be forgotten.

    A part is known by what it is read from, so a crawl that found a part's pages unchanged, or a removal that does not
    concern it, costs a link; and a removal that does, a pass over the documents that were there.
    """

    name = STAGE
    settings: ExtractSettings
    removals: tuple[Removal, ...] = ()

    @property
    @abstractmethod
    def source_identity(self) -> dict[str, Any]:
        """The settings, and what the source is read from."""

    @abstractmethod
    def part_source(self, part: str) -> Sequence[str]:
        """Digests of what a part is read from."""

    @abstractmethod
    def read(self, part: str, documents: Documents, writer: PartWriter) -> None:
        """Reads a part into documents, and writes what else there is of it."""

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
        documents = Documents(self.settings, self.subject)
        self.read(part, documents, writer)
        made = documents.write(writer, self.removals)
        return made.model_copy(update={"statistics": {**made.statistics, "removals": self._removal_names}})

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
