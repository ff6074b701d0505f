"""The likeliest whole word behind a text: what a stop-word filter chooses among."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F

from models.score import Network, Tokens
from models.transformer import Cache

CANDIDATES, LONGEST = 48, 6  # first tokens that are tried, tokens of a word


@torch.inference_mode()
def likeliest_words(
    network: Network,
    context: Tokens,
    begins: Sequence[bool],
    goes_on: Sequence[bool],
    text_of: Callable[[list[int]], str],
) -> list[str]:
    """Words, the likeliest first: of each of the likeliest first tokens, what the network itself makes of it.

    ``begins`` and ``goes_on`` say of each token whether a word can begin with it, and whether it can stand inside of one.
    """
    model, device = network.model.eval(), network.device
    room = model.arch.context - LONGEST
    first_ok, inside = (torch.tensor(one, device=device) for one in (begins, goes_on))
    cache = model.new_cache()
    ids = torch.from_numpy(context[-room:])[None].to(device)
    logged = _next(network, ids, cache)[0].masked_fill(~first_ok, -torch.inf)
    scores, first = logged.topk(min(CANDIDATES, int(first_ok.sum())))
    for layer in cache:
        layer.reorder(torch.zeros(len(first), dtype=torch.int64, device=device))
    rows, going = first[:, None], torch.ones(len(first), dtype=torch.bool, device=device)
    lengths = torch.ones(len(first), dtype=torch.int64, device=device)
    for _ in range(LONGEST - 1):
        logged = _next(network, rows[:, -1:], cache)
        best = logged.argmax(-1)
        going = going & inside[best]
        if not bool(going.any()):
            break
        scores = scores + torch.where(going, logged.gather(1, best[:, None])[:, 0], 0.0)
        lengths, rows = lengths + going.long(), torch.cat([rows, best[:, None]], 1)
    found = [
        (score, text_of(row[:length]))
        for score, row, length in zip(scores.tolist(), rows.tolist(), lengths.tolist(), strict=True)
    ]
    return [word for _, word in sorted(found, key=lambda each: -each[0])]


def _next(network: Network, ids: torch.Tensor, cache: Cache) -> torch.Tensor:
    with torch.autocast(network.device.type, dtype=torch.bfloat16, enabled=network.bf16):
        hidden = network.model.hidden(ids, cache)[:, -1]
        return torch.log_softmax(F.linear(hidden, network.model.tokens.weight).float(), -1)
