"""A GPT-2-shaped decoder (Radford et al. 2019, section 2.3), readable top to bottom.

Pre-LN blocks, learned positions, GELU in its tanh form, a final LayerNorm, the output tied to the embedding.
Weights are drawn from N(0, 0.02), positions from N(0, 0.01), and the projections that write into the residual
stream are scaled by 1/sqrt(N), N the number of residual layers (two a block).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WEIGHT_STD, POSITION_STD, LAYER_NORM_EPS = 0.02, 0.01, 1e-5  # Radford et al. 2019 and the released code
Cache = list[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Architecture:
    """The shape of a decoder."""

    vocabulary: int
    context: int = 256
    layers: int = 4
    heads: int = 4
    width: int = 256
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def has_bf16(device: torch.device) -> bool:
    """Whether the hardware multiplies bfloat16 natively; an emulation is several times slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


class Attention(nn.Module):
    """Causal multi-head self-attention."""

    def __init__(self, arch: Architecture) -> None:
        super().__init__()
        self.heads, self.dropout = arch.heads, arch.dropout
        self.qkv = nn.Linear(arch.width, 3 * arch.width)
        self.out = nn.Linear(arch.width, arch.width)

    def forward(self, x: Tensor, past: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """``x`` is (batch, time, width); ``past`` holds keys and values of earlier positions."""
        batch, time, width = x.shape
        q, k, v = (part.view(batch, time, self.heads, -1).transpose(1, 2) for part in self.qkv(x).split(width, dim=2))
        if past is not None:
            k, v = torch.cat([past[0], k], dim=2), torch.cat([past[1], v], dim=2)
        # With a past only single positions are asked for, and those see everything.
        y = F.scaled_dot_product_attention(
            q, k, v, is_causal=past is None, dropout_p=self.dropout if self.training else 0.0
        )
        return self.out(y.transpose(1, 2).reshape(batch, time, width)), (k, v)


class Block(nn.Module):
    """Attention, then a two-layer perceptron four times as wide, each added to the residual stream."""

    def __init__(self, arch: Architecture) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(arch.width, eps=LAYER_NORM_EPS)
        self.attention = Attention(arch)
        self.ln_2 = nn.LayerNorm(arch.width, eps=LAYER_NORM_EPS)
        self.up = nn.Linear(arch.width, 4 * arch.width)
        self.down = nn.Linear(4 * arch.width, arch.width)
        self.dropout = nn.Dropout(arch.dropout)

    def forward(self, x: Tensor, past: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """(batch, time, width) to the same."""
        attended, present = self.attention(self.ln_1(x), past)
        x = x + self.dropout(attended)
        return x + self.dropout(self.down(F.gelu(self.up(self.ln_2(x)), approximate="tanh"))), present


class Decoder(nn.Module):
    """The language model: token ids (batch, time) to logits (batch, time, vocabulary)."""

    def __init__(self, arch: Architecture) -> None:
        super().__init__()
        self.arch = arch
        self.tokens = nn.Embedding(arch.vocabulary, arch.width)
        self.positions = nn.Embedding(arch.context, arch.width)
        self.blocks = nn.ModuleList(Block(arch) for _ in range(arch.layers))
        self.ln_final = nn.LayerNorm(arch.width, eps=LAYER_NORM_EPS)
        self.dropout = nn.Dropout(arch.dropout)

    def initialise(self, seed: int) -> Decoder:
        """Draws the weights: the same for the same seed, whatever ran before."""
        draw = torch.Generator().manual_seed(seed)
        residual_std = WEIGHT_STD / math.sqrt(2 * self.arch.layers)
        for name, parameter in sorted(self.named_parameters()):
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif ".ln_" in name or name.startswith("ln_"):
                nn.init.ones_(parameter)
            else:
                residual = name.endswith(("attention.out.weight", "down.weight"))
                std = residual_std if residual else POSITION_STD if name.startswith("positions") else WEIGHT_STD
                nn.init.normal_(parameter, std=std, generator=draw)
        return self

    def hidden(self, ids: Tensor, cache: Cache | None = None) -> tuple[Tensor, Cache]:
        """The final hidden states, and the keys and values by which a later call continues."""
        start = cache[0][0].shape[2] if cache else 0
        positions = torch.arange(start, start + ids.shape[1], device=ids.device)
        x = self.dropout(self.tokens(ids) + self.positions(positions))
        grown: Cache = []
        for index, block in enumerate(self.blocks):
            x, present = block(x, cache[index] if cache else None)
            grown.append(present)
        return self.ln_final(x), grown

    def forward(self, ids: Tensor) -> Tensor:
        """Logits of the next token at every position."""
        return F.linear(self.hidden(ids)[0], self.tokens.weight)

    def loss(self, ids: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy in nats a token."""
        logits = self(ids)
        return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())

    def parameter_count(self) -> int:
        """Parameters, the tied embedding counted once."""
        return sum(parameter.numel() for parameter in self.parameters())
