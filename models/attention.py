"""Attention from one definition of what a position sees, on every backend.

``sees`` is that definition. The dense reference evaluates it for every pair. On the CPU a band is cut into
blocks, so that no T x T mask or score exists; on a GPU FlexAttention compiles the same function into its kernel.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCKS_PAY_FROM = 2  # times the band; shorter sequences are faster with a whole mask (measured, two cores)


def sees(query: Tensor, key: Tensor, band: int) -> Tensor:
    """Whether a query's position sees a key's: not ahead, and within the last ``band`` positions (0: all)."""
    seen = key <= query
    return seen & (query - key < band) if band else seen


def dense_mask(queries: int, keys: int, band: int, device: torch.device) -> Tensor:
    """(queries, keys), True where seen; the queries are the last of the keys' positions."""
    positions = torch.arange(keys, device=device)
    return sees(positions[keys - queries :, None], positions[None, :], band)


def attend_dense(q: Tensor, k: Tensor, v: Tensor, causal: bool = True, band: int = 0) -> Tensor:
    """The definition, written out: q, k, v are (batch, heads, time, head width); every score exists."""
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    if causal:
        mask = dense_mask(q.shape[2], k.shape[2], band, q.device)
        scores = scores.masked_fill(~mask, -torch.inf)
    return torch.softmax(scores.float(), -1).to(v.dtype) @ v


def attend(q: Tensor, k: Tensor, v: Tensor, causal: bool, band: int, dropout: float) -> Tensor:
    """The same by the fastest way there is. q may be the last positions of k's (a cache); (batch, heads, time, width)."""
    queries, keys = q.shape[2], k.shape[2]
    if not causal:
        return F.scaled_dot_product_attention(q, k, v, dropout_p=dropout)
    if queries == 1:
        first = max(0, keys - band) if band else 0
        return F.scaled_dot_product_attention(q, k[:, :, first:], v[:, :, first:])
    if queries < keys:
        mask = dense_mask(queries, keys, band, q.device)
        return F.scaled_dot_product_attention(q, k, v, mask, dropout_p=dropout)
    if not band or band >= keys:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=dropout)
    if q.is_cuda and not dropout:  # FlexAttention has no dropout
        return _flex(q, k, v, band)
    if keys > BLOCKS_PAY_FROM * band:
        return _blocks(q, k, v, band, dropout)
    return F.scaled_dot_product_attention(q, k, v, dense_mask(keys, keys, band, q.device), dropout_p=dropout)


def _blocks(q: Tensor, k: Tensor, v: Tensor, band: int, dropout: float) -> Tensor:
    """Queries in blocks of ``band``, each of which sees its own block and the one before."""
    batch, heads, time, width = q.shape
    blocks = -(-time // band)
    rest = blocks * band - time
    q = F.pad(q, (0, 0, 0, rest)).reshape(batch, heads * blocks, band, width)
    k, v = _with_block_before(k, band, rest, blocks), _with_block_before(v, band, rest, blocks)
    # One mask for the first block, whose block before does not exist, and one for all others.
    positions = torch.arange(2 * band, device=q.device)
    mask = sees(positions[band:, None], positions[None, :], band).repeat(blocks, 1, 1)
    mask[0, :, :band] = False
    out = F.scaled_dot_product_attention(q, k, v, mask.repeat(heads, 1, 1), dropout_p=dropout)
    return out.view(batch, heads, blocks * band, width)[:, :, :time]


def _with_block_before(x: Tensor, band: int, rest: int, blocks: int) -> Tensor:
    """(batch, heads, time, width) to (batch, heads * blocks, 2 * band, width)."""
    batch, heads, _, width = x.shape
    x = F.pad(x, (0, 0, band, rest)).reshape(batch, heads, blocks + 1, band, width)
    return torch.cat([x[:, :, :-1], x[:, :, 1:]], dim=3).flatten(1, 2)


def _flex(q: Tensor, k: Tensor, v: Tensor, band: int) -> Tensor:
    from torch.nn.attention.flex_attention import flex_attention

    attention: Any = torch.compile(flex_attention) if q.is_cuda else flex_attention
    out: Tensor = attention(q, k, v, block_mask=flex_mask(q.shape[2], band, q.device))
    return out


@lru_cache(maxsize=8)
def flex_mask(time: int, band: int, device: torch.device) -> Any:
    """FlexAttention's block mask of a band: the blocks that no query sees are never computed."""
    from torch.nn.attention.flex_attention import create_block_mask

    return create_block_mask(lambda _b, _h, query, key: sees(query, key, band), None, None, time, time, str(device))
