"""Sampling from a decoder, reproducible by seed."""

from __future__ import annotations

import torch
from torch import Tensor

from models.transformer import Decoder


@torch.inference_mode()
def generate(
    model: Decoder,
    prompt: list[int],
    length: int,
    temperature: float = 1.0,
    top_k: int = 0,
    seed: int = 0,
    stop: int | None = None,
) -> list[int]:
    """Up to ``length`` tokens that follow ``prompt``; ``temperature`` 0 is greedy, ``top_k`` 0 is no cut.

    Past the context length the window moves on by half.
    """
    model.eval()
    draw = torch.Generator().manual_seed(seed)
    tokens, made = list(prompt), 0
    logits, cache = _start(model, tokens)
    while made < length:
        token = _choose(logits, temperature, top_k, draw)
        if token == stop:
            break
        tokens.append(token)
        made += 1
        if cache[0][0].shape[2] < model.arch.context:
            states, cache = model.hidden(torch.tensor([[token]]), cache)
            logits = _logits(model, states)
        else:
            logits, cache = _start(model, tokens[-model.arch.context // 2 :])
    return tokens[len(prompt) :]


def _start(model: Decoder, tokens: list[int]) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
    states, cache = model.hidden(torch.tensor([tokens[-model.arch.context :]]))
    return _logits(model, states), cache


def _logits(model: Decoder, states: Tensor) -> Tensor:
    return torch.nn.functional.linear(states[0, -1], model.tokens.weight).float()


def _choose(logits: Tensor, temperature: float, top_k: int, draw: torch.Generator) -> int:
    if temperature == 0:
        return int(logits.argmax())
    if top_k:
        logits = logits.masked_fill(logits < logits.topk(min(top_k, len(logits))).values[-1], -torch.inf)
    return int(torch.multinomial(torch.softmax(logits / temperature, 0), 1, generator=draw))
