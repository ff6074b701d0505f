"""Weights and configurations in the form of Hugging Face transformers, both ways, as plain dictionaries.

GPT-2 and GPT-1 store their matrices transposed. GPT-Neo, which banded models become, does not scale its scores and
has no biases on queries, keys and values, so both are folded away (``_without_biases``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from models.architecture import Architecture
from models.presets import Family, Shape

State = Mapping[str, Tensor]
CLASSES = {
    "gpt2": "GPT2LMHeadModel",
    "openai-gpt": "OpenAIGPTLMHeadModel",
    "bert": "BertForPreTraining",
    "gpt_neo": "GPTNeoForCausalLM",
}
# Our name -> theirs, inside a block; a second entry says that the matrix is stored transposed.
GPT2_BLOCK = {
    "ln_1": ("ln_1", False),
    "attention.qkv": ("attn.c_attn", True),
    "attention.out": ("attn.c_proj", True),
    "ln_2": ("ln_2", False),
    "up": ("mlp.c_fc", True),
    "down": ("mlp.c_proj", True),
}
NEO_BLOCK = {
    "ln_1": ("ln_1", False),
    "attention.out": ("attn.attention.out_proj", False),
    "ln_2": ("ln_2", False),
    "up": ("mlp.c_fc", False),
    "down": ("mlp.c_proj", False),
}
BERT_BLOCK = {
    "attention.out": ("attention.output.dense", False),
    "ln_1": ("attention.output.LayerNorm", False),
    "up": ("intermediate.dense", False),
    "down": ("output.dense", False),
    "ln_2": ("output.LayerNorm", False),
}
GPT2_TOP = {"tokens": "transformer.wte", "positions": "transformer.wpe", "ln_final": "transformer.ln_f"}
GPT1_TOP = {"tokens": "transformer.tokens_embed", "positions": "transformer.positions_embed"}
BERT_TOP = {
    "tokens": "bert.embeddings.word_embeddings",
    "positions": "bert.embeddings.position_embeddings",
    "token_types": "bert.embeddings.token_type_embeddings",
    "ln_embedding": "bert.embeddings.LayerNorm",
    "pooler": "bert.pooler.dense",
    "masked_dense": "cls.predictions.transform.dense",
    "ln_masked": "cls.predictions.transform.LayerNorm",
    "next_sentence": "cls.seq_relationship",
}
TOPS = {"gpt2": GPT2_TOP, "openai-gpt": GPT1_TOP, "bert": BERT_TOP, "gpt_neo": GPT2_TOP}
BLOCKS = {"gpt2": GPT2_BLOCK, "openai-gpt": GPT2_BLOCK, "bert": BERT_BLOCK, "gpt_neo": NEO_BLOCK}
PREFIXES = {"bert": "bert.encoder.layer"}
SEPARATE = {  # where queries, keys and values are matrices of their own
    "bert": ("attention.self.query", "attention.self.key", "attention.self.value"),
    "gpt_neo": ("attn.attention.q_proj", "attn.attention.k_proj", "attn.attention.v_proj"),
}
MASKED_BIAS = "cls.predictions.bias"


class NotInterchangeable(Exception):
    """A model that the other side has no class for, or weights that are none of these four."""


def model_type(arch: Architecture) -> str:
    """The type of transformers' configuration for an architecture. Raises NotInterchangeable."""
    if arch.inner_width != arch.width:
        raise NotInterchangeable(
            f"transformers has no class for {arch.heads} heads of {arch.head_width} in a width of {arch.width}"
        )
    if not arch.causal:
        return "bert"
    if arch.norm == "post":
        return "openai-gpt"
    return "gpt_neo" if arch.band else "gpt2"


def to_transformers(arch: Architecture, state: State) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The configuration and weights that transformers reads. Raises NotInterchangeable."""
    kind = model_type(arch)
    if kind == "gpt_neo":
        state = _without_biases(arch, state)
    out: dict[str, Tensor] = {}
    for ours, theirs in TOPS[kind].items():
        out |= {f"{theirs}.{end}": state[f"{ours}.{end}"] for end in ("weight", "bias") if f"{ours}.{end}" in state}
    if kind == "bert":
        out[MASKED_BIAS] = state["masked_bias"]
    for layer in range(arch.layers):
        ours, theirs = f"blocks.{layer}", f"{PREFIXES.get(kind, 'transformer.h')}.{layer}"
        for name, (other, transposed) in BLOCKS[kind].items():
            weight = state[f"{ours}.{name}.weight"]
            out[f"{theirs}.{other}.weight"] = weight.T.contiguous() if transposed else weight
            out[f"{theirs}.{other}.bias"] = state[f"{ours}.{name}.bias"]
        for part, other in enumerate(SEPARATE.get(kind, ())):
            for end in ("weight", "bias") if kind == "bert" else ("weight",):
                out[f"{theirs}.{other}.{end}"] = state[f"{ours}.attention.qkv.{end}"].chunk(3)[part].contiguous()
    return _config(arch, kind), out


def from_transformers(config: Mapping[str, Any], state: State) -> tuple[Family, Architecture, dict[str, Tensor]]:
    """The family, architecture and weights of one of transformers' models. Raises NotInterchangeable."""
    kind = str(config.get("model_type", ""))
    if kind not in CLASSES:
        raise NotInterchangeable(f"a model of type {kind or 'unknown'} is none of {', '.join(CLASSES)}")
    family, arch = _architecture(config, kind)
    state = _plain_names(state, kind)
    head, embedding = state.get("lm_head.weight"), state.get(f"{TOPS[kind]['tokens']}.weight")
    if head is not None and embedding is not None and not torch.equal(head, embedding):
        raise NotInterchangeable("its output is not tied to its embedding")
    out: dict[str, Tensor] = {}
    try:
        for ours, theirs in TOPS[kind].items():
            ends = ("weight", "bias") if f"{theirs}.bias" in state else ("weight",)
            out |= {f"{ours}.{end}": state[f"{theirs}.{end}"] for end in ends}
        if kind == "bert":
            out["masked_bias"] = state[MASKED_BIAS]
        for layer in range(arch.layers):
            out |= _block(state, kind, layer, arch)
    except KeyError as error:
        raise NotInterchangeable(f"the weights have no {error.args[0]}") from error
    return family, arch, out


def _block(state: State, kind: str, layer: int, arch: Architecture) -> dict[str, Tensor]:
    ours, theirs = f"blocks.{layer}", f"{PREFIXES.get(kind, 'transformer.h')}.{layer}"
    out: dict[str, Tensor] = {}
    for name, (other, transposed) in BLOCKS[kind].items():
        weight = state[f"{theirs}.{other}.weight"]
        out[f"{ours}.{name}.weight"] = weight.T.contiguous() if transposed else weight
        out[f"{ours}.{name}.bias"] = state[f"{theirs}.{other}.bias"]
    if kind in SEPARATE:
        q, k, v = (state[f"{theirs}.{other}.weight"] for other in SEPARATE[kind])
        scale = math.sqrt(arch.head_width) if kind == "gpt_neo" else 1.0
        out[f"{ours}.attention.qkv.weight"] = torch.cat([q * scale, k, v])
        biases = [state[f"{theirs}.{other}.bias"] for other in SEPARATE[kind]] if kind == "bert" else []
        out[f"{ours}.attention.qkv.bias"] = torch.cat(biases) if biases else q.new_zeros(3 * arch.inner_width)
    return out


def _without_biases(arch: Architecture, state: State) -> dict[str, Tensor]:
    """Equal attention without biases on queries, keys and values, and with the scale in the query's weights.

    A shift s of what enters the projections with Wq s = bq stands for the query's bias. It moves every key alike,
    which a softmax does not see, and every value alike, which adds a constant to the output, as the value's own bias
    does; the key's bias is not seen either.
    """
    out = dict(state)
    for layer in range(arch.layers):
        name = f"blocks.{layer}"
        wq, _, wv = state[f"{name}.attention.qkv.weight"].double().chunk(3)
        bq, _, bv = state[f"{name}.attention.qkv.bias"].double().chunk(3)
        shift = torch.linalg.lstsq(wq, bq[:, None]).solution[:, 0] if bq.any() else torch.zeros_like(bq)
        constant = state[f"{name}.attention.out.weight"].double() @ (bv - wv @ shift)
        out[f"{name}.ln_1.bias"] = (state[f"{name}.ln_1.bias"].double() + shift).float()
        out[f"{name}.attention.out.bias"] = (state[f"{name}.attention.out.bias"].double() + constant).float()
        scaled = state[f"{name}.attention.qkv.weight"].clone()
        scaled[: arch.inner_width] /= math.sqrt(arch.head_width)
        out[f"{name}.attention.qkv.weight"] = scaled
    return out


def _plain_names(state: State, kind: str) -> dict[str, Tensor]:
    """Names as transformers writes them today: older files lack a prefix or say gamma and beta."""
    prefix = "transformer."
    out = {}
    for name, value in state.items():
        modern = name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
        if kind != "bert" and not modern.startswith((prefix, "lm_head.")):
            modern = prefix + modern
        out[modern] = value
    return out


def _config(arch: Architecture, kind: str) -> dict[str, Any]:
    common = {"model_type": kind, "architectures": [CLASSES[kind]], "vocab_size": arch.vocabulary}
    common |= {"tie_word_embeddings": True, "dtype": "float32"}
    gpt = {
        "n_positions": arch.context,
        "n_embd": arch.width,
        "n_layer": arch.layers,
        "n_head": arch.heads,
        "resid_pdrop": arch.dropout,
        "embd_pdrop": arch.dropout,
        "attn_pdrop": arch.attention_dropout,
        "layer_norm_epsilon": arch.norm_eps,
    }
    if kind == "gpt2":
        return common | gpt | {"activation_function": "gelu_new"}
    if kind == "openai-gpt":
        return common | gpt | {"afn": "gelu"}  # its "gelu" is the tanh form
    if kind == "bert":
        return common | {
            "max_position_embeddings": arch.context,
            "hidden_size": arch.width,
            "intermediate_size": 4 * arch.width,
            "num_hidden_layers": arch.layers,
            "num_attention_heads": arch.heads,
            "type_vocab_size": arch.token_types,
            "hidden_act": "gelu" if arch.activation == "gelu" else "gelu_new",
            "hidden_dropout_prob": arch.dropout,
            "attention_probs_dropout_prob": arch.attention_dropout,
            "layer_norm_eps": arch.norm_eps,
        }
    pairs, last = divmod(arch.layers, 2)
    return common | {
        "max_position_embeddings": arch.context,
        "hidden_size": arch.width,
        "intermediate_size": 4 * arch.width,
        "num_layers": arch.layers,
        "num_heads": arch.heads,
        "attention_types": [[["global", "local"], pairs]] * bool(pairs) + [[["global"], 1]] * last,
        "window_size": arch.band,
        "activation_function": "gelu_new",
        "resid_dropout": arch.dropout,
        "embed_dropout": arch.dropout,
        "attention_dropout": arch.attention_dropout,
        "layer_norm_epsilon": arch.norm_eps,
    }


def _architecture(config: Mapping[str, Any], kind: str) -> tuple[Family, Architecture]:
    """The architecture of a configuration whose values are all given, as transformers saves them."""
    get = config.get
    if kind in ("gpt2", "openai-gpt"):
        family: Family = "gpt" if kind == "gpt2" else "gpt1"
        shape = Shape(family, get("n_layer", 12), get("n_head", 12), get("n_embd", 768), 0, get("n_positions", 1024))
        dropouts = get("resid_pdrop", 0.1), get("attn_pdrop", 0.1)
        expected: dict[str, Any] = {"activation_function": "gelu_new", "afn": "gelu", "layer_norm_epsilon": 1e-5}
        expected |= {"scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False}
    elif kind == "bert":
        family = "bert"
        sizes = get("num_hidden_layers", 12), get("num_attention_heads", 12), get("hidden_size", 768)
        shape = Shape(family, *sizes, 0, get("max_position_embeddings", 512))
        dropouts = get("hidden_dropout_prob", 0.1), get("attention_probs_dropout_prob", 0.1)
        expected = {"hidden_act": "gelu", "layer_norm_eps": 1e-12, "type_vocab_size": 2, "is_decoder": False}
        expected |= {"position_embedding_type": "absolute"}
    else:
        family = "gpt"
        layers = get("num_layers", 24)
        kinds = [kind for kinds, times in get("attention_types", []) for _ in range(times) for kind in kinds]
        if kinds != ["local" if layer % 2 else "global" for layer in range(layers)]:
            raise NotInterchangeable("its attention does not alternate between dense and banded layers")
        shape = Shape(
            family, layers, get("num_heads", 16), get("hidden_size", 2048), 0, get("max_position_embeddings", 2048)
        )
        shape = Shape(**(shape.__dict__ | {"band": get("window_size", 256)}))
        dropouts = get("resid_dropout", 0.0), get("attention_dropout", 0.0)
        expected = {"activation_function": "gelu_new", "layer_norm_epsilon": 1e-5}
    for name, value in (expected | {"tie_word_embeddings": True}).items():
        if name in config and config[name] != value:
            raise NotInterchangeable(f"its {name} is {config[name]}, and only {value} is known")
    for inner in ("n_inner", "intermediate_size"):
        if get(inner) not in (None, 4 * shape.width):
            raise NotInterchangeable(f"its perceptron is {get(inner)} wide, not 4 times {shape.width}")
    values = shape.__dict__ | {"dropout": dropouts[0], "attention_dropout": dropouts[1]}
    return family, Shape(**values).architecture(get("vocab_size", 0))
