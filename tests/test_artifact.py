"""Artifacts: named by all that they depend on, whole or absent, and every document accounted for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from warehouse.artifact import (
    Counts,
    Manifest,
    PartWriter,
    Ref,
    artifact_key,
    complete,
    read_tables,
    valid_record,
    write_manifest,
)
from warehouse.errors import ConservationError, CorruptPart
from warehouse.store import Store

REF = Ref(stage="s", key="k")
settings = st.dictionaries(
    st.text(max_size=8), st.one_of(st.integers(), st.text(max_size=8), st.booleans()), max_size=5
)


@given(settings, st.randoms())
def test_key_does_not_depend_on_the_order_of_settings(values: dict[str, Any], random: Any) -> None:
    items = list(values.items())
    random.shuffle(items)
    assert artifact_key("s", 1, values, {}) == artifact_key("s", 1, dict(items), {})


def test_key_changes_with_stage_version_settings_and_inputs() -> None:
    keys = {
        artifact_key("s", 1, {}, {}),
        artifact_key("t", 1, {}, {}),
        artifact_key("s", 2, {}, {}),
        artifact_key("s", 1, {"a": 1}, {}),
        artifact_key("s", 1, {"a": 2}, {}),
        artifact_key("s", 1, {}, {"a": "1"}),
        artifact_key("s", 1, {}, {"b": "1"}),
    }
    assert len(keys) == 7


def _part(store: Store, name: str = "p") -> Any:
    writer = PartWriter(store, REF, name)
    writer.table("t", pa.table({"x": [1, 2, 3]}))
    return writer.commit(Counts(documents_in=3, kept=2, removed=1), {})


def _manifest(*records: Any) -> Manifest:
    return Manifest(
        stage="s",
        subject="",
        version=1,
        key="k",
        settings={},
        inputs={},
        counts=sum((r.counts for r in records), Counts()),
        rows=3,
        bytes=1,
        parts=records,
    )


def test_part_that_loses_a_document_is_an_error(tmp_path: Path) -> None:
    writer = PartWriter(Store(str(tmp_path)), REF, "p")
    with pytest.raises(ConservationError):
        writer.commit(Counts(documents_in=3, kept=1, removed=1), {})
    assert valid_record(Store(str(tmp_path)), REF, "p") is None


def test_artifact_that_saw_fewer_documents_than_its_inputs_hold_is_an_error(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    with pytest.raises(ConservationError):
        write_manifest(store, _manifest(_part(store)), documents_expected=4)
    assert complete(store, REF) is None
    write_manifest(store, _manifest(_part(store)), documents_expected=3)
    assert complete(store, REF) is not None


@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_part_with_a_missing_or_cut_file_does_not_count(tmp_path: Path, damage: str) -> None:
    store = Store(str(tmp_path))
    write_manifest(store, _manifest(_part(store)), 3)
    file = tmp_path / REF.folder / "t/p.parquet"
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-1])
    assert valid_record(store, REF, "p") is None
    assert complete(store, REF) is None


def test_flipped_bit_is_found_on_reading_and_the_file_set_aside(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    write_manifest(store, _manifest(_part(store)), 3)
    file = tmp_path / REF.folder / "t/p.parquet"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))
    with pytest.raises(CorruptPart, match="run the same command again"):
        read_tables(store, REF, "t")
    assert valid_record(store, REF, "p") is None
    assert file.with_name("p.parquet.corrupt").exists()
    _part(store)
    assert read_tables(store, REF, "t").num_rows == 3


def test_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    digests = {_part(Store(str(tmp_path / name))).files[0].sha256 for name in ("a", "b")}
    assert len(digests) == 1
