"""import: weights and tokenizer of a folder of transformers, as an artifact that training and evaluation take."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from models.objectives.traits import objective_of
from models.training.masking import SPECIAL_TOKENS
from tasks.core.stage import Made, Report, Stage, StageSettings
from tasks.tokens.tokenizer import TOKENIZER_FILE
from tasks.train.job import CONFIG, WEIGHTS
from tasks.train.settings import ModelSettings, PretrainSettings
from warehouse.artifact import PartWriter, Ref, complete, load
from warehouse.errors import GristmillError
from warehouse.store import Store


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

        from tasks.interchange.folder import read_folder, without_special

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
        said = {"parameters": arch.parameter_count(), "objective": objective_of(family)}
        return Made(statistics=said | {"vocabulary": arch.vocabulary - added, "model": {"family": family, **sizes}})


def imported_settings(store: Store, settings: PretrainSettings) -> PretrainSettings:
    """Training settings with the sizes of the weights that they start from; dropout stays the settings' own."""
    return with_sizes(settings, load(store, imported(store, settings.initial)).statistic("model"))


def with_sizes(settings: PretrainSettings, sizes: dict[str, Any]) -> PretrainSettings:
    """Training settings over a network of these sizes, with the dropout that they have."""
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
