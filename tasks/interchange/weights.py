"""The files that a folder of transformers keeps a model in, and the digest by which they are known."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from warehouse.errors import GristmillError

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")  # or in several files, which an index beside them names


def weight_files(folder: Path) -> list[Path]:
    """The files that hold a folder's weights, one or several. Raises GristmillError where one is missing."""
    for name in WEIGHT_FILES:
        index = folder / f"{name}.index.json"
        if (folder / name).is_file():
            return [folder / name]
        if index.is_file():
            try:
                names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
                paths = [folder / Path(part).name for part in names]
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise GristmillError(f"{index} names no weights: give a folder as transformers saves it") from error
            missing = [path.name for path in paths if not path.is_file()]
            if missing:
                raise GristmillError(f"{folder} has no {missing[0]}, which {index.name} names: copy it there too")
            return paths
    raise GristmillError(f"{folder} has no {WEIGHT_FILES[0]}: give a folder as transformers saves it")


def content_of(folder: Path) -> str:
    """The digest of a folder's model files. Raises GristmillError where one is missing."""
    digest = hashlib.sha256()
    for name in ("config.json", "tokenizer.json"):
        if not (folder / name).is_file():
            raise GristmillError(f"{folder} has no {name}: give a folder as transformers saves it")
    for path in (folder / "config.json", folder / "tokenizer.json", *weight_files(folder)):
        with path.open("rb") as handle:
            digest.update(hashlib.file_digest(handle, "sha256").digest())
    return f"hf-{digest.hexdigest()[:16]}"  # never a number in a setting's eyes
