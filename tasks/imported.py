"""import: weights and tokenizer of a folder of transformers, as an artifact that training and evaluation take."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field, ValidationError

from models.training.masking import SPECIAL_TOKENS
from tasks.pretrain.job import CONFIG, WEIGHTS
from tasks.pretrain.settings import ModelSettings, PretrainSettings
from tasks.stage import Made, Report, Stage, StageSettings
from tasks.tokenizer import TOKENIZER_FILE
from warehouse.artifact import PartWriter, Ref, complete, load
from warehouse.errors import GristmillError
from warehouse.store import Store

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")  # or in several files, which an index beside them names


class ImportSettings(StageSettings):
    """Which weights: their content, not where they lay."""

    content: str = Field(description="digest of the imported files")


class ImportModel(Stage):
    """Weights and tokenizer of a folder of transformers, as an artifact that training and evaluation take."""

    name = "import"
    version = 1
    in_worker = False
    settings: ImportSettings

    def __init__(self, store: Store, content: str, folder: Path | None = None) -> None:
        super().__init__(store, ImportSettings(content=content), {})
        self.folder = folder

    def plan(self) -> Sequence[str]:
        return ["model"]

    def make(self, part: str, writer: PartWriter, report: Report) -> Made:
        """Reads the folder. Raises GristmillError where it is not known, or holds no model of the four families."""
        if self.folder is None:
            raise GristmillError(_not_imported(self.settings.content))
        from safetensors.torch import save_file

        from tasks.interchange import read_folder, without_special

        try:
            family, model, vocabulary = read_folder(self.folder)
        except GristmillError:
            raise
        except Exception as error:  # of JSON, safetensors, torch, tokenizers: whatever is in the folder
            raise GristmillError(f"{self.folder} cannot be imported: {error}") from error
        arch, state = model.arch, model.state_dict()
        added = 0 if arch.causal else len(SPECIAL_TOKENS)
        sizes = {name: value for name, value in arch.as_dict().items() if name in ModelSettings.model_fields}
        try:
            ModelSettings(**{"family": family, **sizes})
        except ValidationError as error:
            fault = error.errors()[0]
            raise GristmillError(f"{self.folder} cannot be trained on: {fault['loc'][-1]}: {fault['msg']}") from error
        with tempfile.TemporaryDirectory() as name:
            weights = Path(name) / "model.safetensors"
            save_file({key: value.contiguous() for key, value in sorted(state.items())}, weights)
            writer.file(WEIGHTS, weights)
        writer.bytes(TOKENIZER_FILE, without_special(vocabulary, added))
        writer.bytes(CONFIG, json.dumps({"architecture": arch.as_dict()}, indent=1, sort_keys=True).encode())
        return Made(statistics={"vocabulary": arch.vocabulary - added, "model": {"family": family, **sizes}})


def imported_settings(store: Store, settings: PretrainSettings) -> PretrainSettings:
    """Training settings with the sizes of the weights that they start from; dropout stays the settings' own."""
    sizes = load(store, imported(store, settings.initial)).statistic("model")
    own = settings.model.model_dump(include={"dropout", "attention_dropout"})
    return PretrainSettings(**settings.model_dump(exclude={"model"}), model=ModelSettings(**(sizes | own)))


def imported(store: Store, content: str) -> Ref:
    """The artifact of imported weights. Raises GristmillError where it is not there."""
    ref = ImportModel(store, content).ref
    if complete(store, ref) is None:
        raise GristmillError(_not_imported(content))
    return ref


def _not_imported(content: str) -> str:
    return f"no weights {content} are in this store: gristmill import FOLDER reads them"


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
