"""One transformer for GPT-1, GPT-2, GPT-3 and BERT, readable top to bottom.

Learned positions, GELU, biases everywhere, the output tied to the embedding; what differs is in ``Architecture``.
Weights are drawn from N(0, 0.02); GPT-2 draws positions from N(0, 0.01) and scales the projections that write into
the residual stream by 1/sqrt(N), N the number of residual layers (two a block); BERT truncates the normal.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from models.architecture import MLP_RATIO, Architecture
from models.attention import attend
from models.layout import Layout, Padding

WEIGHT_STD, POSITION_STD = 0.02, 0.01  # Radford et al. 2018, 2019 and the released code


class KeyValues:
    """One layer's keys and values of the positions so far, (batch, heads, time, head width): what generation keeps."""

    def __init__(self) -> None:
        self.keys: Tensor | None = None
        self.values: Tensor | None = None

    def extend(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Adds the next positions and returns all."""
        if self.keys is not None and self.values is not None:
            keys, values = torch.cat([self.keys, keys], dim=2), torch.cat([self.values, values], dim=2)
        self.keys, self.values = keys, values
        return keys, values

    def reorder(self, rows: Tensor) -> None:
        """Goes on with these rows of the batch."""
        if self.keys is not None and self.values is not None:
            self.keys, self.values = self.keys[rows], self.values[rows]

    @property
    def time(self) -> int:
        """Positions so far."""
        return 0 if self.keys is None else self.keys.shape[2]


Cache = list[KeyValues]


def has_bf16(device: torch.device) -> bool:
    """Whether the hardware multiplies bfloat16 natively; an emulation is several times slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


class Attention(nn.Module):
    """Multi-head self-attention."""

    def __init__(self, arch: Architecture, layer: int) -> None:
        super().__init__()
        self.heads, self.causal, self.band = arch.heads, arch.causal, arch.band_of(layer)
        self.dropout = arch.attention_dropout
        self.qkv = nn.Linear(arch.width, 3 * arch.inner_width)
        self.out = nn.Linear(arch.inner_width, arch.width)

    def forward(self, x: Tensor, past: KeyValues | None = None, layout: Layout | Padding | None = None) -> Tensor:
        """``x`` is (batch, time, width); ``past`` holds keys and values of earlier positions, and takes these."""
        batch, time, _ = x.shape
        q, k, v = self.qkv(x).view(batch, time, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        if past is not None:
            k, v = past.extend(k, v)
        if layout is None:
            y = attend(q, k, v, self.causal, self.band, self.dropout if self.training else 0.0)
        else:
            dropout = self.dropout if self.training else 0.0
            y = F.scaled_dot_product_attention(q, k, v, layout.mask(self.band), dropout)
        out: Tensor = self.out(y.transpose(1, 2).reshape(batch, time, -1))
        return out


class Block(nn.Module):
    """Attention, then a two-layer perceptron four times as wide, each added to the residual stream."""

    def __init__(self, arch: Architecture, layer: int) -> None:
        super().__init__()
        self.pre_norm = arch.norm == "pre"
        self.gelu = "tanh" if arch.activation == "gelu_tanh" else "none"
        self.ln_1 = nn.LayerNorm(arch.width, eps=arch.norm_eps)
        self.attention = Attention(arch, layer)
        self.ln_2 = nn.LayerNorm(arch.width, eps=arch.norm_eps)
        self.up = nn.Linear(arch.width, MLP_RATIO * arch.width)
        self.down = nn.Linear(MLP_RATIO * arch.width, arch.width)
        self.dropout = nn.Dropout(arch.dropout)

    def forward(self, x: Tensor, past: KeyValues | None = None, layout: Layout | Padding | None = None) -> Tensor:
        """(batch, time, width) to the same."""
        x = x + self.dropout(self.attention(self.ln_1(x) if self.pre_norm else x, past, layout))
        if self.pre_norm:
            x = x + self.dropout(self.mlp(self.ln_2(x)))
        else:
            x = self.ln_1(x)
            x = self.ln_2(x + self.dropout(self.mlp(x)))
        return x

    def mlp(self, x: Tensor) -> Tensor:
        """The perceptron."""
        hidden: Tensor = self.down(F.gelu(self.up(x), approximate=self.gelu))
        return hidden


class Transformer(nn.Module):
    """The language model: token ids (batch, time) to logits (batch, time, vocabulary)."""

    def __init__(self, arch: Architecture) -> None:
        super().__init__()
        self.arch = arch
        self.recompute = False  # activations of blocks anew in the backward pass, instead of kept
        self.tokens = nn.Embedding(arch.vocabulary, arch.width)
        self.positions = nn.Embedding(arch.context, arch.width)
        self.token_types = nn.Embedding(arch.token_types, arch.width) if arch.token_types else None
        self.ln_embedding = nn.LayerNorm(arch.width, eps=arch.norm_eps) if arch.embedding_norm else nn.Identity()
        self.blocks = nn.ModuleList(Block(arch, layer) for layer in range(arch.layers))
        self.ln_final = nn.LayerNorm(arch.width, eps=arch.norm_eps) if arch.norm == "pre" else nn.Identity()
        self.dropout = nn.Dropout(arch.dropout)

    def initialise(self, seed: int) -> Transformer:
        """Draws the weights: the same for the same seed, whatever ran before."""
        draw = torch.Generator().manual_seed(seed)
        kind = self.arch.initialisation
        residual_std = WEIGHT_STD / math.sqrt(2 * self.arch.layers)
        for name, parameter in sorted(self.named_parameters()):
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif "ln_" in name:
                nn.init.ones_(parameter)
            elif kind == "bert":
                nn.init.trunc_normal_(parameter, std=WEIGHT_STD, a=-2 * WEIGHT_STD, b=2 * WEIGHT_STD, generator=draw)
            else:
                residual = name.endswith(("attention.out.weight", "down.weight"))
                scaled = residual_std if residual else POSITION_STD if name.startswith("positions") else WEIGHT_STD
                nn.init.normal_(parameter, std=scaled if kind == "gpt2" else WEIGHT_STD, generator=draw)
        return self

    def hidden(
        self,
        ids: Tensor,
        cache: Cache | None = None,
        types: Tensor | None = None,
        layout: Layout | Padding | None = None,
    ) -> Tensor:
        """The final hidden states, (batch, time, width); with a cache the ids go on from what it holds.

        A ``layout`` says where tokens stand and what they see, where that is not what came before them.
        """
        start = cache[0].time if cache else 0
        stand = (
            self.positions.weight[start : start + ids.shape[1]] if layout is None else self.positions(layout.positions)
        )
        x = self.tokens(ids) + stand
        if self.token_types is not None:
            x = x + self.token_types(torch.zeros_like(ids) if types is None else types)
        x = self.dropout(self.ln_embedding(x))
        for index, block in enumerate(self.blocks):
            past = cache[index] if cache else None
            x = (
                checkpoint(block, x, use_reentrant=False)
                if self.recompute and self.training
                else block(x, past, layout)
            )
        final: Tensor = self.ln_final(x)
        return final

    def new_cache(self) -> Cache:
        """An empty cache for ``hidden``."""
        return [KeyValues() for _ in self.blocks]

    def forward(self, ids: Tensor) -> Tensor:
        """Logits of the next token at every position."""
        return F.linear(self.hidden(ids), self.tokens.weight)

    def parameter_count(self) -> int:
        """Parameters, the tied embedding counted once."""
        return sum(parameter.numel() for parameter in self.parameters())
