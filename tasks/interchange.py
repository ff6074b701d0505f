"""Models to and from folders in the layout of Hugging Face transformers."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from models.bert import Bert, build
from models.interchange import CLASSES, NotInterchangeable, from_transformers, to_transformers
from models.training.masking import SPECIAL_TOKENS
from models.transformer import Transformer
from tasks.pretrain.settings import ModelSettings, PretrainSettings
from tasks.pretrain.stage import CONFIG, WEIGHTS, load_model
from tasks.stage import Made, Report, Stage, StageSettings
from tasks.tokenizer import END_OF_TEXT, SELF_CHECK, TOKENIZER_FILE
from warehouse.artifact import PartWriter, Ref, complete, load, verified_path
from warehouse.errors import GristmillError
from warehouse.store import Store

TOLERANCE = 1e-4  # of a logit, float32 against float32
COMPARED_TOKENS = 64
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")


def export(store: Store, run: Ref, tokenizer: Ref, folder: Path) -> dict[str, Any]:
    """Writes a run's network, tokenizer and card into ``folder``, and returns what was compared.

    The folder appears when transformers has loaded it and its logits are the network's own within 1e-4.
    Raises GristmillError where they are not, or where transformers has no class for the network.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise GristmillError(f"{folder} is not empty: give a folder that does not exist yet")
    transformers = _transformers()
    model = load_model(store, run, tokenizer)
    try:
        config, state = to_transformers(model.arch, model.state_dict())
    except NotInterchangeable as error:
        raise GristmillError(f"this model cannot be exported: {error}") from error
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as name:
        made = Path(name)
        vocabulary = _write_tokenizer(store, tokenizer, model, made)
        end = vocabulary.token_to_id(END_OF_TEXT)
        config |= {"bos_token_id": end, "eos_token_id": end, "transformers_version": transformers.__version__}
        _write_json(made / "config.json", config)
        _write_json(made / "generation_config.json", {"bos_token_id": end, "eos_token_id": end, "do_sample": True})
        save_file(dict(sorted(state.items())), made / "model.safetensors", metadata={"format": "pt"})
        difference = _compared(made, model, str(config["model_type"]))
        manifest = load(store, run)
        (made / "README.md").write_text(_card(model, manifest.statistic("tokens_seen"), run, difference))
        shutil.rmtree(folder, ignore_errors=True)
        made.chmod(0o755)
        made.rename(folder)
        made.mkdir()  # for the context manager to remove
    return {
        "class": CLASSES[str(config["model_type"])],
        "parameters": model.parameter_count(),
        "difference": difference,
    }


def _transformers() -> Any:
    """The library, imported when it is needed since that takes seconds, and silent."""
    import transformers

    logging: Any = transformers.logging
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    return transformers


def _write_tokenizer(store: Store, tokenizer: Ref, model: Transformer, folder: Path) -> Tokenizer:
    (file,) = load(store, tokenizer).files("tokenizer")
    vocabulary = Tokenizer.from_file(str(verified_path(store, tokenizer, file)))
    special = {"bos_token": END_OF_TEXT, "eos_token": END_OF_TEXT, "unk_token": END_OF_TEXT}
    if not model.arch.causal:
        vocabulary.add_special_tokens(list(SPECIAL_TOKENS))
        special |= dict(zip(("cls_token", "sep_token", "mask_token"), SPECIAL_TOKENS, strict=True))
    vocabulary.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": model.arch.context, **special}
    _write_json(folder / "tokenizer_config.json", settings)
    transformers = _transformers()
    loaded = transformers.PreTrainedTokenizerFast.from_pretrained(folder)
    for text in SELF_CHECK:
        if loaded.encode(text) != vocabulary.encode(text).ids:
            raise GristmillError("transformers reads the tokenizer differently: nothing was exported")
    return vocabulary


def _compared(folder: Path, model: Transformer, kind: str) -> float:
    """The largest difference between logits of the exported folder and of the network. Raises GristmillError."""
    transformers = _transformers()
    loaded = getattr(transformers, CLASSES[kind]).from_pretrained(folder, dtype=torch.float32).eval()
    length = min(COMPARED_TOKENS, model.arch.context)
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(0, model.arch.vocabulary, (2, length), generator=draw)
    with torch.inference_mode():
        found = loaded(ids)
        difference = float((model(ids) - (found[0] if isinstance(model, Bert) else found.logits)).abs().max())
    if not difference <= TOLERANCE:
        raise GristmillError(
            f"transformers computes other logits from {folder.name}, by up to {difference:.2g}, and {TOLERANCE} is allowed"
            + (
                ": the biases of its queries cannot be folded into LayerNorm closely enough"
                if kind == "gpt_neo"
                else ""
            )
        )
    return difference


def _card(model: Transformer, tokens: int, run: Ref, difference: float) -> str:
    """The model card."""
    arch = model.arch
    return f"""---
library_name: transformers
tags: [gristmill]
---
# A model of Gristmill's run {run.key[:12]}

| | |
|---|---|
| parameters | {model.parameter_count():,} |
| layers, heads, width | {arch.layers}, {arch.heads} of {arch.head_width}, {arch.width} |
| context | {arch.context:,} tokens |
| attention | {"bidirectional" if not arch.causal else f"every second layer sees the last {arch.band} positions" if arch.band else "causal, dense"} |
| vocabulary | {arch.vocabulary:,} |
| trained on | {tokens:,} tokens |
| logits in transformers | within {difference:.1e} of the trained network's, on random tokens |

Which documents it was trained on, step by step: `gristmill lineage --run {run.key[:12]} --step N`.
"""


def _write_json(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n")


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
        try:
            family, model, vocabulary = _read(self.folder)
        except GristmillError:
            raise
        except Exception as error:  # of JSON, safetensors, torch, tokenizers: whatever is in the folder
            raise GristmillError(f"{self.folder} cannot be imported: {error}") from error
        arch, state = model.arch, model.state_dict()
        added = 0 if arch.causal else len(SPECIAL_TOKENS)
        with tempfile.TemporaryDirectory() as name:
            weights = Path(name) / "model.safetensors"
            save_file({key: value.contiguous() for key, value in sorted(state.items())}, weights)
            writer.file(WEIGHTS, weights)
        writer.bytes(TOKENIZER_FILE, _without_special(vocabulary, added))
        writer.bytes(CONFIG, json.dumps({"architecture": arch.as_dict()}, indent=1, sort_keys=True).encode())
        sizes = {name: value for name, value in arch.as_dict().items() if name in ModelSettings.model_fields}
        return Made(statistics={"vocabulary": arch.vocabulary - added, "model": {"family": family, **sizes}})


def _read(folder: Path) -> tuple[str, Transformer, Tokenizer]:
    """The family, network and tokenizer of a folder. Raises NotInterchangeable, GristmillError."""
    config = json.loads((folder / "config.json").read_text())
    family, arch, state = from_transformers(config, _weights(folder))
    model = build(arch).eval()
    model.load_state_dict(state)
    vocabulary = Tokenizer.from_file(str(folder / "tokenizer.json"))
    if vocabulary.token_to_id(END_OF_TEXT) is None or vocabulary.get_vocab_size() != arch.vocabulary:
        raise GristmillError(
            f"the tokenizer of {folder} is no byte-level BPE with {END_OF_TEXT} and {arch.vocabulary:,} tokens"
        )
    _compared(folder, model, str(config["model_type"]))
    return family, model, vocabulary


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


def content_of(folder: Path) -> str:
    """The digest of a folder's model files. Raises GristmillError where one is missing."""
    digest = hashlib.sha256()
    weights = next((name for name in WEIGHT_FILES if (folder / name).is_file()), WEIGHT_FILES[0])
    for name in ("config.json", "tokenizer.json", weights):
        path = folder / name
        if not path.is_file():
            raise GristmillError(f"{folder} has no {name}: give a folder as transformers saves it")
        with path.open("rb") as handle:
            digest.update(hashlib.file_digest(handle, "sha256").digest())
    return f"hf-{digest.hexdigest()[:16]}"  # never a number in a setting's eyes


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    """Tensors of a folder in float32, without buffers that are no weights."""
    path = folder / WEIGHT_FILES[0]
    found = load_file(path) if path.exists() else torch.load(folder / WEIGHT_FILES[1], weights_only=True)
    return {name: value.float() for name, value in found.items() if value.is_floating_point()}


def _without_special(vocabulary: Tokenizer, added: int) -> bytes:
    """The tokenizer without the tokens that BERT's input adds: they are the model's, and follow the text's."""
    content = json.loads(vocabulary.to_str())
    if added:
        content["added_tokens"] = [t for t in content["added_tokens"] if t["content"] not in SPECIAL_TOKENS]
    return json.dumps(content, ensure_ascii=False).encode()
