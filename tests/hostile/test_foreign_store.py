"""A store, or a folder, from somebody else acts on nothing outside of itself."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch

from flows.recipe.loading import load_recipe
from tasks.crawl.purge import JOURNAL, finish_purges
from tasks.interchange.folder import _as_transformers_has_it
from tests.conftest import Run
from tests.test_which_run import said
from warehouse.artifact import Manifest, Ref, read_manifest
from warehouse.errors import SettingError, StoreError
from warehouse.store import Store, is_inside, user_cache

OUTSIDE = [
    "../victim.txt",
    "../../victim.txt",
    "/etc/passwd",
    "a/../../victim.txt",
    "a//b",
    "./a",
    "a\\..\\b",
    "a\0b",
    "a\nb",
    "",
]


@pytest.mark.parametrize("path", OUTSIDE)
def test_no_path_leads_out_of_a_store(tmp_path: Path, path: str) -> None:
    store = Store(str(tmp_path / "store"))
    (tmp_path / "victim.txt").write_text("mine")
    assert not is_inside(path)
    for act in (store.exists, store.size, store.read_bytes, store.local_copy, store.delete, store.address):
        with pytest.raises(StoreError, match="leads out of the store"):
            act(path)
    with pytest.raises(StoreError, match="leads out of the store"):
        store.write_bytes(path, b"x")
    with pytest.raises(StoreError, match="leads out of the store"):
        store.copy("a", path)
    assert (tmp_path / "victim.txt").read_text() == "mine"


def test_a_manifest_that_names_files_outside_is_none(copied: Run) -> None:
    victim = copied.store.parent / "victim.txt"
    victim.write_text("mine")
    store = Store(str(copied.store))
    path = next((copied.store / "artifacts" / "extract").glob("*/manifest.json"))
    ref = Ref(stage="extract", key=path.parent.name)
    values = json.loads(path.read_text())
    assert isinstance(read_manifest(store, ref), Manifest)
    for outside in ("../../../victim.txt", "../../../../victim.txt", str(victim)):
        values["parts"][0]["files"][0]["path"] = outside
        path.write_text(json.dumps(values))
        assert read_manifest(store, ref) is None
        shown = copied.here("status", "demo-tiny", "--verify")
        assert "Traceback" not in shown.stderr
        assert victim.read_text() == "mine"
    for name in ("../x", "a/b", ".."):
        with pytest.raises(ValueError, match="no name"):
            Ref(stage="extract", key=name)


def test_a_note_of_a_purge_cannot_overwrite_anything_else(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    victim = tmp_path / "victim.txt"
    victim.write_bytes(b"\x1f\x8b mine")
    store.write_bytes("reports/r.html", b"\x1f\x8b mine too")
    for number, path in enumerate(
        ("../victim.txt", "reports/r.html", "artifacts/extract/k/documents/x.parquet", str(victim))
    ):
        store.write_bytes(f"{JOURNAL}/{number}.json", json.dumps({"reason": "x", "places": {path: [0]}}).encode())
    for number, content in enumerate((b"", b"[]", b"{}", b'{"places": {"a": 1}}', b"\xff")):
        store.write_bytes(f"{JOURNAL}/broken-{number}.json", content)
    finish_purges(store)
    assert victim.read_bytes() == b"\x1f\x8b mine"
    assert store.read_bytes("reports/r.html") == b"\x1f\x8b mine too"


def test_what_is_executed_lies_in_no_store(tmp_path: Path) -> None:
    """Where torch.compile keeps what it compiled, pickles among it."""
    from tasks.train import stage

    assert "scratch" not in str(user_cache("inductor"))
    assert not str(user_cache("inductor")).startswith(str(tmp_path))
    source = Path(stage.__file__).read_text()
    assert 'user_cache("inductor")' in source
    assert 'scratch("inductor")' not in source


def test_an_import_takes_sizes_and_weights_and_nothing_else_that_a_config_names(copied: Run, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    said(copied, "export", str(folder), "-c", "demo-tiny")
    config = json.loads((folder / "config.json").read_text())
    evil = {
        "attn_implementation": "kernels-community/evil",
        "_attn_implementation": "kernels-community/evil",
        "_attn_implementation_internal": "kernels-community/evil",
        "auto_map": {"AutoModelForCausalLM": "evil.Evil"},
        "quantization_config": {"quant_method": "bitsandbytes"},
    }
    (folder / "config.json").write_text(json.dumps(config | evil))
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "somebody/evil"}))
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'marker')!r}, 'w')")
    loaded = _as_transformers_has_it(folder, "gpt2")
    assert loaded.config._attn_implementation == "eager"
    told = said(copied, "import", str(folder), "-c", "demo-tiny")
    assert "1 layers" in told
    assert not (tmp_path / "marker").exists()


class Evil:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return (open, (self.path, "w"))


def test_pickled_weights_execute_nothing(copied: Run, tmp_path: Path) -> None:
    folder, marker = tmp_path / "model", tmp_path / "marker"
    said(copied, "export", str(folder), "-c", "demo-tiny")
    (folder / "model.safetensors").unlink()
    torch.save({"weight": Evil(str(marker))}, folder / "pytorch_model.bin", pickle_module=pickle)
    done = copied.here("import", str(folder), "-c", "demo-tiny")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert not marker.exists()


@pytest.mark.parametrize("name", ["../x", "a/b", "..", "a\\b"])
def test_a_source_is_not_called_like_a_path(tmp_path: Path, name: str) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(f"name = 'x'\n[sources.'{name}'.jsonl]\nfiles = ['x.jsonl']\n")
    with pytest.raises(SettingError, match="its name stands in names of files"):
        load_recipe(str(path))
