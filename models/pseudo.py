"""Pseudo-perplexity of a bidirectional network (Salazar et al. 2020, section 2.3): each token hidden alone, all others seen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from models.bert import Bert
from models.score import Scored, Tokens

BATCH_TOKENS = 8192
ADDED = 2  # [CLS] before a text, [SEP] behind it


@torch.inference_mode()
def pseudo_scores(
    model: Bert, texts: Sequence[Tokens], cls: int, sep: int, mask: int, bf16: bool = False
) -> list[Scored]:
    """Log P(token | all others) in nats of every token of each text, and whether it was the first choice.

    A text has at most context - 2 tokens. Each costs a forward pass of the whole text.
    """
    device = model.eval().tokens.weight.device
    found = []
    for text in texts:
        whole = torch.from_numpy(np.concatenate([[cls], text, [sep]])).to(device)
        places = torch.arange(1, len(text) + 1, device=device)
        logged, chosen = [], []
        for some in torch.split(places, max(1, BATCH_TOKENS // len(whole))):
            ids = whole.repeat(len(some), 1)
            ids[torch.arange(len(some), device=device), some] = mask
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
                logits = model.masked_logits(model.hidden(ids), some[:, None])[:, 0].float()
            targets = whole[some]
            logged.append(torch.log_softmax(logits, -1).gather(1, targets[:, None])[:, 0])
            chosen.append(logits.argmax(-1) == targets)
        found.append(Scored(torch.cat(logged).double().cpu().numpy(), torch.cat(chosen).cpu().numpy()))
    return found
