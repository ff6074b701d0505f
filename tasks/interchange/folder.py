"""Networks to and from folders in the layout of Hugging Face transformers."""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, processors

from models.bert import Bert, build
from models.interchange import BERT_TOP, CLASSES, MASKED_BIAS, NotInterchangeable, from_transformers, to_transformers
from models.presets import Family
from models.training.masking import SPECIAL_TOKENS
from models.transformer import Transformer
from tasks.interchange.weights import weight_files
from tasks.tokens.tokenizer import END_OF_TEXT, SELF_CHECK
from tasks.train.published import load_run
from tasks.train.runs import KnownRun
from warehouse.artifact import Ref, load, verified_path
from warehouse.errors import GristmillError
from warehouse.store import Store

TOLERANCE = 1e-4  # of a logit, float32 against float32
COMPARED_TOKENS = 64
PADDING = "[PAD]"
EMBEDDING = f"{BERT_TOP['tokens']}.weight"
NEVER = -1e4  # bias of a token that is not to be guessed


def export(store: Store, run: KnownRun, folder: Path, asked: str) -> dict[str, Any]:
    """Writes a run's network, tokenizer and card into ``folder``, and returns what was compared.

    ``asked`` are the options that name the run's recipe and store on the command line, for the card.
    The folder appears when transformers has loaded it and its logits are the network's own within 1e-4.
    Raises GristmillError where they are not, or where transformers has no class for the network.
    """
    if folder.resolve() == Path.cwd():
        raise GristmillError("this is the folder you are in: name one to make")
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise GristmillError(f"{folder} is not empty: give a folder that does not exist yet")
    transformers = _transformers()
    model, step = load_run(store, run)
    try:
        config, state = to_transformers(model.arch, model.state_dict())
    except NotInterchangeable as error:
        raise GristmillError(f"this model cannot be exported: {error}") from error
    if not model.arch.causal:
        config, state = _with_padding(config, state)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as name:
        made = Path(name)
        vocabulary = _write_tokenizer(store, run.tokenizer, model, made)
        end = vocabulary.token_to_id(END_OF_TEXT)
        config |= {"bos_token_id": end, "eos_token_id": end, "transformers_version": transformers.__version__}
        _write_json(made / "config.json", config)
        _write_json(made / "generation_config.json", {"bos_token_id": end, "eos_token_id": end, "do_sample": True})
        save_file(dict(sorted(state.items())), made / "model.safetensors", metadata={"format": "pt"})
        difference = _compared(made, model, str(config["model_type"]))
        card = _card(model, run, step, difference, asked)
        (made / "README.md").write_text(card)
        shutil.rmtree(folder, ignore_errors=True)
        made.chmod(0o755)
        made.rename(folder)
        made.mkdir()  # for the context manager to remove
    return {
        "class": CLASSES[str(config["model_type"])],
        "parameters": model.parameter_count(),
        "difference": difference,
    }


_NEVER_TAKEN = {"auto_map", "quantization_config", "attn_implementation", "experts_implementation", "custom_pipelines"}


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
    inputs = ["input_ids", "attention_mask"]
    if not model.arch.causal:
        added = (*SPECIAL_TOKENS, PADDING)
        vocabulary.add_special_tokens(list(added))
        special |= dict(zip(("cls_token", "sep_token", "mask_token", "pad_token"), added, strict=True))
        inputs.insert(1, "token_type_ids")
        vocabulary.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]",
            pair="[CLS] $A [SEP] $B:1 [SEP]:1",
            special_tokens=[(token, vocabulary.token_to_id(token)) for token in ("[CLS]", "[SEP]")],
        )
    vocabulary.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": model.arch.context,
        "model_input_names": inputs,
        **special,
    }
    _write_json(folder / "tokenizer_config.json", settings)
    transformers = _transformers()
    loaded = transformers.PreTrainedTokenizerFast.from_pretrained(folder)  # nosec B615 (a local folder)
    for text in SELF_CHECK:
        if loaded.encode(text) != vocabulary.encode(text).ids:
            raise GristmillError("transformers reads the tokenizer differently: nothing was exported")
    return vocabulary


def _with_padding(
    config: dict[str, Any], state: dict[str, torch.Tensor]
) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """BERT with a padding token behind all that text uses: transformers takes token 0 for padding where none is named."""
    out = dict(state)
    for name, value in state.items():
        if name == EMBEDDING:
            out[name] = torch.cat([value, torch.zeros_like(value[:1])])
        elif name == MASKED_BIAS:
            out[name] = torch.cat([value, torch.full_like(value[:1], NEVER)])
    return config | {"vocab_size": config["vocab_size"] + 1, "pad_token_id": config["vocab_size"]}, out


def _compared(folder: Path, model: Transformer, kind: str) -> float:
    """The largest difference between logits of the exported folder and of the network. Raises GristmillError."""
    loaded = _as_transformers_has_it(folder, kind)
    length = min(COMPARED_TOKENS, model.arch.context)
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(0, model.arch.vocabulary, (2, length), generator=draw)
    with torch.inference_mode():
        found = loaded(ids)
        logits = found[0] if isinstance(model, Bert) else found.logits
        difference = float((model(ids) - logits[..., : model.arch.vocabulary]).abs().max())
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


def _as_transformers_has_it(folder: Path, kind: str) -> Any:
    """Transformers' own network of a folder: its sizes and weights, and nothing else that its config.json names.

    A configuration can name attention kernels, quantisers or adapters, which are fetched and executed.
    """
    model = getattr(_transformers(), CLASSES[kind])
    known = {name for name in model.config_class().to_dict() if not name.startswith("_")} - _NEVER_TAKEN
    config = json.loads((folder / "config.json").read_text())
    with tempfile.TemporaryDirectory() as name:
        plain = Path(name)
        _write_json(plain / "config.json", {key: value for key, value in config.items() if key in known})
        for path in (*weight_files(folder), *folder.glob("*.index.json")):
            (plain / path.name).symlink_to(path.absolute())
        options = {"attn_implementation": "eager", "local_files_only": True, "trust_remote_code": False}
        return model.from_pretrained(plain, dtype=torch.float32, **options).eval()


def _card(model: Transformer, run: KnownRun, step: int, difference: float, asked: str) -> str:
    """The model card."""
    arch = model.arch
    unfinished = f" (step {step:,} of {run.settings.last_step:,})" if step < run.settings.last_step else ""
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
| trained on | {run.settings.tokens_after(step):,} tokens{unfinished} |
| logits in transformers | within {difference:.1e} of the trained network's, on random tokens |

Which documents were in a training step, here the first:

```
gristmill lineage {asked} --run {run.key[:12]} --step 1
```
"""


def _write_json(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n")


def read_folder(folder: Path) -> tuple[Family, Transformer, Tokenizer]:
    """The family, network and tokenizer of a folder. Raises NotInterchangeable, GristmillError.

    An embedding may have more rows than the tokenizer has tokens, as many libraries pad it: they are left out.
    """
    config, weights = json.loads((folder / "config.json").read_text()), _weights(folder)
    broken = next((name for name, value in weights.items() if not bool(torch.isfinite(value).all())), None)
    if broken is not None:
        raise GristmillError(f"{folder} cannot be imported: its weights {broken} are not finite")
    family, arch, state = from_transformers(config, weights)
    model = build(arch).eval()
    model.load_state_dict(state)
    vocabulary = Tokenizer.from_file(str(folder / "tokenizer.json"))
    ids = vocabulary.get_vocab()
    tokens = max(ids.values(), default=-1) + 1
    if END_OF_TEXT not in ids:
        raise GristmillError(f"the tokenizer of {folder} is no byte-level BPE with {END_OF_TEXT}")
    if tokens > arch.vocabulary:
        raise GristmillError(
            f"the tokenizer of {folder} has {tokens:,} tokens, and its model an embedding of {arch.vocabulary:,}"
        )
    if ids.get(PADDING) == tokens - 1:  # the last, which no text has: what export adds
        tokens -= 1
    added = [ids.get(token) for token in SPECIAL_TOKENS]
    if not arch.causal and added != list(range(tokens - len(added), tokens)):
        raise GristmillError(
            f"the last tokens of {folder} are not {', '.join(SPECIAL_TOKENS)}, as BERT's input here has them"
        )
    _compared(folder, model, str(config["model_type"]))
    return family, _cut(model, tokens), vocabulary


def _cut(model: Transformer, tokens: int) -> Transformer:
    """The network without what its vocabulary has beyond so many tokens."""
    state = model.state_dict()
    short = build(replace(model.arch, vocabulary=tokens)).eval()
    wanted = short.state_dict()
    short.load_state_dict({name: value[: len(wanted[name])] if value.ndim else value for name, value in state.items()})
    return short


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    """Tensors of a folder's weight files in float32, without buffers that are no weights."""
    found: dict[str, torch.Tensor] = {}
    for path in weight_files(folder):
        found |= load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)
    return {name: value.float() for name, value in found.items() if value.is_floating_point()}


def without_special(vocabulary: Tokenizer, added: int) -> bytes:
    """The tokenizer without the tokens that BERT's input adds: they are the model's, and follow the text's."""
    content = json.loads(vocabulary.to_str())
    if added:
        beyond = (*SPECIAL_TOKENS, PADDING)
        content["added_tokens"] = [t for t in content["added_tokens"] if t["content"] not in beyond]
        content["post_processor"] = None  # it would name them
    return json.dumps(content, ensure_ascii=False).encode()
