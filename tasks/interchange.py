"""Networks to and from folders in the layout of Hugging Face transformers."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from models.bert import Bert, build
from models.interchange import CLASSES, NotInterchangeable, from_transformers, to_transformers
from models.training.masking import SPECIAL_TOKENS
from models.transformer import Transformer
from tasks.imported import WEIGHT_FILES
from tasks.pretrain.published import load_model
from tasks.tokenizer import END_OF_TEXT, SELF_CHECK
from warehouse.artifact import Ref, load, verified_path
from warehouse.errors import GristmillError
from warehouse.store import Store

TOLERANCE = 1e-4  # of a logit, float32 against float32
COMPARED_TOKENS = 64


def export(store: Store, run: Ref, tokenizer: Ref, folder: Path) -> dict[str, Any]:
    """Writes a run's network, tokenizer and card into ``folder``, and returns what was compared.

    The folder appears when transformers has loaded it and its logits are the network's own within 1e-4.
    Raises GristmillError where they are not, or where transformers has no class for the network.
    """
    if folder.resolve() == Path.cwd():
        raise GristmillError("this is the folder you are in: name one to make")
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


def read_folder(folder: Path) -> tuple[str, Transformer, Tokenizer]:
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
    added = [vocabulary.token_to_id(token) for token in SPECIAL_TOKENS]
    last = list(range(arch.vocabulary - len(added), arch.vocabulary))
    if not arch.causal and added != last:
        raise GristmillError(
            f"the last tokens of {folder} are not {', '.join(SPECIAL_TOKENS)}, as BERT's input here has them"
        )
    _compared(folder, model, str(config["model_type"]))
    return family, model, vocabulary


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    """Tensors of a folder in float32, without buffers that are no weights."""
    path = folder / WEIGHT_FILES[0]
    found = load_file(path) if path.exists() else torch.load(folder / WEIGHT_FILES[1], weights_only=True)
    return {name: value.float() for name, value in found.items() if value.is_floating_point()}


def without_special(vocabulary: Tokenizer, added: int) -> bytes:
    """The tokenizer without the tokens that BERT's input adds: they are the model's, and follow the text's."""
    content = json.loads(vocabulary.to_str())
    if added:
        content["added_tokens"] = [t for t in content["added_tokens"] if t["content"] not in SPECIAL_TOKENS]
    return json.dumps(content, ensure_ascii=False).encode()
