"""What users have asked to forget: which documents, why and since when. The next run leaves them out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict

from warehouse.errors import StoreError
from warehouse.store import Store
from warehouse.stored import stored

FOLDER = "removals"
COLUMNS = ("doc_id", "url", "domain")  # of documents, that a removal looks at
Kind = Literal["url", "domain", "doc_id", "query"]


class Effect(BaseModel):
    """A part of an artifact that holds forgotten documents, or a training run that saw them."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    what: Literal["corpus part", "token shard", "checkpoint"]
    stage: str
    key: str
    part: str
    documents: int
    tokens: int | None = None
    first_step: int | None = None
    steps: int | None = None


class Removal(BaseModel):
    """One wish to forget: documents of a domain or of some URLs, those to come included, or documents by their ids."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    at: str  # ISO 8601, UTC
    kind: Kind
    value: str
    reason: str
    domain: str | None = None
    urls: tuple[str, ...] = ()
    doc_ids: tuple[str, ...] = ()
    documents: int = 0  # that were known then
    effects: tuple[Effect, ...] = ()
    kept: dict[str, str] = {}  # what a stage would make if nothing were forgotten -> what is used on in its place

    @property
    def identity(self) -> str:
        """A digest of what is forgotten and why, not of when."""
        meant = [self.kind, self.value, self.reason, self.domain, sorted(self.urls), sorted(self.doc_ids)]
        return hashlib.sha256(json.dumps(meant).encode()).hexdigest()[:32]

    def concerns(self, documents: pa.Table) -> npt.NDArray[np.bool_]:
        """Which of some documents it means; the table has the columns doc_id, url and domain."""
        found = np.zeros(len(documents), np.bool_)
        for column, names in (("doc_id", self.doc_ids), ("url", self.urls)):
            if names:
                found |= _true(pc.is_in(documents[column], value_set=pa.array(names, pa.string())))
        if self.domain is not None:
            domains = documents["domain"]
            if ":" not in self.domain:  # a wish that names no port means all
                domains = pc.replace_substring_regex(domains, r":\d+$", "")
            found |= _true(pc.equal(domains, self.domain))
            found |= _true(pc.ends_with(domains, f".{self.domain}"))
        return found


def _true(mask: Any) -> npt.NDArray[np.bool_]:
    found: npt.NDArray[np.bool_] = pc.fill_null(mask, False).to_numpy()
    return found


def removals(store: Store) -> tuple[Removal, ...]:
    """All of a store, in the order in which they were made."""
    found = [removal for _, removal in stored(store, FOLDER, Removal.model_validate_json)]
    return tuple(sorted(found, key=lambda removal: (removal.at, removal.identity)))


def check_all(store: Store) -> None:
    """Raises StoreError where a removal cannot be read: what it means would come back into the corpus."""
    read = {path for path, _ in stored(store, FOLDER, Removal.model_validate_json)}
    for name in store.names(FOLDER):
        if f"{FOLDER}/{name}" not in read:
            raise StoreError(
                f"{FOLDER}/{name} says what is to be forgotten and cannot be read: record the wish again with gristmill forget, "
                "then delete that file"
            )


def record(store: Store, removal: Removal) -> None:
    """Makes a removal durable: from here on runs heed it."""
    content = removal.model_dump_json(indent=1).encode()
    store.write_bytes(f"{FOLDER}/{removal.at.replace(':', '')}-{removal.identity[:8]}.json", content)


def first_concerned(documents: pa.Table, wishes: Sequence[Removal]) -> npt.NDArray[np.int64]:
    """For each document the number of the first removal that means it, or -1."""
    first = np.full(len(documents), -1, np.int64)
    for number, removal in enumerate(wishes):
        first[(first < 0) & removal.concerns(documents)] = number
    return first
