"""Weights mean the same in transformers: logits and gradients, both ways, for the four families."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import transformers
from torch import Tensor, nn

from models.bert import Bert, build
from models.interchange import CLASSES, NotInterchangeable, from_transformers, to_transformers
from models.presets import Shape
from models.transformer import Transformer
from tasks.interchange.imported import imported_settings
from tasks.interchange.weights import content_of
from tasks.train.published import load_model
from tasks.train.settings import PretrainSettings
from tests.conftest import Run
from warehouse import log
from warehouse.artifact import load
from warehouse.store import Store

VOCABULARY, CONTEXT = 131, 48
SHAPES = {
    "gpt2": Shape("gpt", 3, 4, 64, context=CONTEXT),
    "openai-gpt": Shape("gpt1", 3, 4, 64, context=CONTEXT),
    "bert": Shape("bert", 3, 4, 64, context=CONTEXT),
    "gpt_neo": Shape("gpt", 3, 4, 64, context=CONTEXT, band=7),
}


def ours(kind: str, scale: float = 0.05) -> Transformer:
    """A network in which every parameter is random, biases and gains too."""
    model = build(SHAPES[kind].architecture(VOCABULARY)).eval()
    draw = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(std=scale, generator=draw)
            if "ln_" in name and name.endswith("weight"):
                parameter.add_(1)
    return model


def theirs(kind: str, config: dict[str, object]) -> nn.Module:
    settings = transformers.AutoConfig.for_model(kind, **{k: v for k, v in config.items() if k != "model_type"})
    settings._attn_implementation = "eager"
    return getattr(transformers, CLASSES[kind])(settings).eval()


def ids() -> Tensor:
    # BERT in transformers keeps the gradient of token 0, its padding, at zero.
    return torch.randint(1, VOCABULARY, (3, CONTEXT), generator=torch.Generator().manual_seed(1))


def logits_of(model: nn.Module) -> Tensor:
    out = model(ids())
    return (
        out if isinstance(out, Tensor) else getattr(out, "logits", None) if "logits" in out else out.prediction_logits
    )


@pytest.mark.parametrize("kind", CLASSES)
def test_logits_and_gradients_equal_transformers_with_our_weights(kind: str) -> None:
    model = ours(kind)
    config, state = to_transformers(model.arch, model.state_dict())
    other = theirs(kind, config)
    missing, unexpected = other.load_state_dict(state, strict=False)
    assert not unexpected
    assert all(name.startswith(("lm_head", "cls.predictions.decoder")) for name in missing)
    other.tie_weights()
    mine, found = logits_of(model), logits_of(other)
    assert (mine - found).abs().max() < 1e-5
    weight = torch.randn(mine.shape, generator=torch.Generator().manual_seed(2)) / mine.numel()
    (mine * weight).sum().backward()
    (found * weight).sum().backward()
    assert torch.allclose(_embedding(model), _embedding(other), atol=1e-5)
    names = {"gpt2": "transformer.h.1.mlp.c_fc.weight", "openai-gpt": "transformer.h.1.mlp.c_fc.weight"}
    names |= {"bert": "bert.encoder.layer.1.intermediate.dense.weight", "gpt_neo": "transformer.h.1.mlp.c_fc.weight"}
    gradient = dict(other.named_parameters())[names[kind]].grad
    own = dict(model.named_parameters())["blocks.1.up.weight"].grad
    assert own is not None
    assert gradient is not None
    assert torch.allclose(own.T if kind in ("gpt2", "openai-gpt") else own, gradient, atol=1e-5)
    assert own.abs().max() > 1e-6


def _embedding(model: nn.Module) -> Tensor:
    parameter = model.tokens.weight if isinstance(model, Transformer) else model.get_input_embeddings().weight
    assert parameter.grad is not None
    return parameter.grad


@pytest.mark.parametrize("kind", CLASSES)
def test_logits_equal_transformers_with_its_weights(kind: str) -> None:
    config, _ = to_transformers(ours(kind).arch, ours(kind).state_dict())
    torch.manual_seed(3)
    other = theirs(kind, config)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    _, arch, state = from_transformers(other.config.to_dict(), other.state_dict())
    model = build(arch).eval()
    model.load_state_dict(state)
    assert (logits_of(model) - logits_of(other)).abs().max() < 1e-5


@pytest.mark.parametrize("kind", CLASSES)
def test_there_and_back_is_the_same_function(kind: str) -> None:
    model = ours(kind)
    _, arch, state = from_transformers(*to_transformers(model.arch, model.state_dict()))
    assert arch == model.arch
    again = build(arch).eval()
    again.load_state_dict(state)
    assert (logits_of(again) - logits_of(model)).abs().max() < 1e-5


def test_next_sentence_logits_equal_transformers() -> None:
    model = ours("bert")
    assert isinstance(model, Bert)
    config, state = to_transformers(model.arch, model.state_dict())
    other = theirs("bert", config)
    other.load_state_dict(state, strict=False)
    other.tie_weights()
    types = (torch.arange(CONTEXT) > 20).long().expand(3, -1)
    found = other(ids(), token_type_ids=types)
    assert (model(ids(), types) - found.prediction_logits).abs().max() < 1e-5
    assert (model.follows(model.hidden(ids(), types=types)) - found.seq_relationship_logits).abs().max() < 1e-5


def test_what_transformers_has_no_class_for_is_refused() -> None:
    wide = build(Shape("gpt", 1, 2, 32, head_width=24).architecture(50))
    with pytest.raises(NotInterchangeable, match="2 heads of 24"):
        to_transformers(wide.arch, wide.state_dict())
    with pytest.raises(NotInterchangeable, match="llama"):
        from_transformers({"model_type": "llama"}, {})
    config, state = to_transformers(ours("gpt2").arch, ours("gpt2").state_dict())
    with pytest.raises(NotInterchangeable, match="scale_attn_by_inverse_layer_idx"):
        from_transformers(config | {"scale_attn_by_inverse_layer_idx": True}, state)
    with pytest.raises(NotInterchangeable, match="not tied"):
        from_transformers(config, state | {"lm_head.weight": torch.zeros(VOCABULARY, 64)})
    with pytest.raises(NotInterchangeable, match="alternate"):
        from_transformers({"model_type": "gpt_neo", "num_layers": 2, "attention_types": [[["global"], 2]]}, {})


def test_exported_model_is_imported_evaluated_and_trained_on(copied: Run, tmp_path: Path) -> None:
    folder = tmp_path / "exported"
    made = copied.here("export", str(folder), "-c", "demo-tiny")
    assert made.returncode == 0, made.stderr
    assert "transformers loads it" in made.stdout
    names = {"README.md", "config.json", "generation_config.json", "model.safetensors"}
    assert {path.name for path in folder.iterdir()} == names | {"tokenizer.json", "tokenizer_config.json"}
    store = Store(str(copied.store))
    trained = log.current(store)["pretrain"][0]
    loaded = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    asked = torch.randint(0, 512, (2, 60), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        assert (loaded(asked).logits - load_model(store, trained)(asked)).abs().max() < 1e-4
    again = copied.here("export", str(folder), "-c", "demo-tiny")
    assert again.returncode == 1
    assert "is not empty" in again.stderr
    content = content_of(folder)
    early = copied.here("status", "demo-tiny", overrides=(f"pretrain.initial={content}",))
    assert "gristmill import" in early.stdout + early.stderr
    told = copied.here("import", str(folder), "-c", "demo-tiny")
    assert f"pretrain.initial={content}" in told.stdout
    wanted = PretrainSettings(initial=content, model={"dropout": 0.25, "attention_dropout": 0.5})  # type: ignore[arg-type]
    taken = imported_settings(store, wanted).model
    assert (taken.dropout, taken.attention_dropout, taken.layers, taken.width) == (0.25, 0.5, 1, 32)
    as_it_is = (f"pretrain.initial={content}", "pretrain.steps=0", "pretrain.tokens=0")
    done = copied.drive(*as_it_is, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    before, after = load_model(store, trained), load_model(store, log.current(store)["pretrain"][0])
    assert load(store, log.current(store)["pretrain"][0]).statistic("steps") == 0
    assert all(torch.equal(a, b) for a, b in zip(before.parameters(), after.parameters(), strict=True))
    done = copied.drive(f"pretrain.initial={content}", "pretrain.steps=3", until="pretrain", check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    further = log.current(store)["pretrain"][0]
    assert load(store, further).statistic("steps") == 3
    moved = (load_model(store, further).tokens.weight - after.tokens.weight).abs().max()
    assert 0 < float(moved) < 0.02  # three steps from where it was imported, not from weights of a seed
    (folder / "tokenizer.json").write_text((folder / "tokenizer.json").read_text() + " ")
    assert content_of(folder) != content


def test_folders_that_hold_no_such_model_are_refused(finished: Run, tmp_path: Path) -> None:
    refused = finished.here("import", str(tmp_path), "-c", "demo-tiny")
    assert "has no config.json" in refused.stderr
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    refused = finished.here("import", str(tmp_path), "-c", "demo-tiny")
    assert refused.returncode == 1
    assert "cannot be imported" in refused.stderr
