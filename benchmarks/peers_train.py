"""Training steps of other systems: ``python peers_train.py JOB`` with their environment's interpreter.

nanoGPT and minGPT stand for their architectures, written out in plain PyTorch as their users run them; transformers
and litgpt are the packages. Prints the seconds of each timed step as JSON.
"""

from __future__ import annotations

import importlib.metadata
import json
import math
import sys
import time
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn


class Gpt(nn.Module):
    """nanoGPT: fused attention, tied output. minGPT: scores and mask written out, its own GELU, an output of its own."""

    def __init__(self, size: dict[str, int], plain: bool) -> None:
        super().__init__()
        self.plain, self.heads = plain, size["heads"]
        width, vocabulary = size["width"], size["vocabulary"]
        self.tokens, self.positions = nn.Embedding(vocabulary, width), nn.Embedding(size["context"], width)
        self.blocks = nn.ModuleList(
            nn.ModuleDict(
                {
                    "ln_1": nn.LayerNorm(width),
                    "qkv": nn.Linear(width, 3 * width),
                    "out": nn.Linear(width, width),
                    "ln_2": nn.LayerNorm(width),
                    "up": nn.Linear(width, 4 * width),
                    "down": nn.Linear(4 * width, width),
                }
            )
            for _ in range(size["layers"])
        )
        self.ln_final = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        if not plain:
            self.head.weight = self.tokens.weight
        self.mask: torch.Tensor
        self.register_buffer("mask", torch.ones(size["context"], size["context"]).tril() == 0)
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, ids: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1]))
        block: Any
        for block in self.blocks:
            x = x + block["out"](self.attention(block["qkv"](block["ln_1"](x))))
            x = x + block["down"](self.gelu(block["up"](block["ln_2"](x))))
        logits = self.head(self.ln_final(x))
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.view(-1))

    def attention(self, qkv: torch.Tensor) -> Any:
        batch, time_, width = qkv.shape
        q, k, v = (x.view(batch, time_, self.heads, -1).transpose(1, 2) for x in qkv.chunk(3, dim=2))
        if self.plain:
            scores = (q @ k.transpose(-2, -1)) * (1 / math.sqrt(k.shape[-1]))
            y = scores.masked_fill(self.mask[:time_, :time_], float("-inf")).softmax(-1) @ v
        else:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return y.transpose(1, 2).reshape(batch, time_, width // 3)

    def gelu(self, x: torch.Tensor) -> torch.Tensor:
        if not self.plain:
            return F.gelu(x)
        return x * 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


class OfTransformers(nn.Module):
    """GPT2LMHeadModel with its own loss."""

    def __init__(self, size: dict[str, int]) -> None:
        super().__init__()
        from transformers import GPT2Config, GPT2LMHeadModel

        values: dict[str, Any] = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
        values |= {"n_layer": size["layers"], "n_head": size["heads"], "n_embd": size["width"]}
        self.model = GPT2LMHeadModel(GPT2Config(vocab_size=size["vocabulary"], n_positions=size["context"], **values))

    def forward(self, ids: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        logits = self.model(ids).logits
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.view(-1))


class OfLitgpt(nn.Module):
    """litgpt's GPT of the same sizes, with its default block."""

    def __init__(self, size: dict[str, int]) -> None:
        super().__init__()
        from litgpt import GPT, Config

        sizes = {"n_layer": size["layers"], "n_head": size["heads"], "n_embd": size["width"]}
        vocabulary = {"vocab_size": size["vocabulary"], "padded_vocab_size": size["vocabulary"]}
        self.model = GPT(Config(name="same", block_size=size["context"], **sizes, **vocabulary))

    def forward(self, ids: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        logits = self.model(ids)
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.view(-1))


def optimizer_of(model: nn.Module, system: str) -> torch.optim.Optimizer:
    """AdamW as each of them makes it: only nanoGPT asks for the fused one."""
    groups = [
        {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": 0.1},
        {"params": [p for p in model.parameters() if p.ndim == 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=6e-4, betas=(0.9, 0.95), fused=system == "nanogpt" or None)


def main() -> None:
    job: dict[str, Any] = json.loads(sys.argv[1])
    size, system = job["size"], job["system"]
    torch.set_num_threads(job["threads"])
    torch.manual_seed(0)
    if system in ("nanogpt", "mingpt"):
        model: nn.Module = Gpt(size, plain=system == "mingpt")
    else:
        model = OfTransformers(size) if system == "transformers" else OfLitgpt(size)
    optimizer = optimizer_of(model, system)
    step = torch.compile(model) if job["compile"] else model
    shape = (size["batch"], size["context"] + 1)
    seconds = []
    for number in range(job["warmup"] + job["steps"]):
        ids = torch.randint(0, size["vocabulary"], shape)
        started = time.perf_counter()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=job["bf16"]):
            loss = step(ids[:, :-1].contiguous(), ids[:, 1:].contiguous())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        float(loss)
        if number >= job["warmup"]:
            seconds.append(time.perf_counter() - started)
    known = system if system in ("transformers", "litgpt") else "torch"
    version = importlib.metadata.version(known)
    print(json.dumps({"steps": seconds, "version": version if known != "torch" else f"torch {version}"}))


if __name__ == "__main__":
    main()
