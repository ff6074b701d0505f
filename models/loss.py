"""Cross-entropy in chunks: the logits of all positions never exist together.

For a vocabulary of 50,257 the logits of 1,024 positions and their gradient are 412 MB in float32. Here a chunk of
positions is projected, its loss and its gradient are taken, and its logits are dropped; the gradients of the
hidden states and of the output matrix are what is kept for the backward pass.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

CHUNK_LOGITS = 1 << 23  # logits of a chunk: 32 MiB in float32; smaller ones are slower (measured, two cores)


def cross_entropy(
    hidden: Tensor, output: Tensor, targets: Tensor, weights: Tensor, bias: Tensor | None = None
) -> Tensor:
    """Sum of ``weights`` times the nats of ``targets``.

    ``hidden`` is (positions, width), ``output`` (vocabulary, width), ``targets`` and ``weights`` (positions,).
    """
    rows = max(1, CHUNK_LOGITS // len(output))
    if len(hidden) <= rows:
        return _whole(hidden, output, targets, weights, bias)
    gradients = torch.is_grad_enabled()
    return _Chunked.apply(hidden, output, bias, targets, weights, rows, gradients)  # type: ignore[no-any-return, no-untyped-call]


def log_probabilities(hidden: Tensor, output: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Log probability in nats of each target, and whether it was the first choice; in chunks, without gradients.

    ``hidden`` is (positions, width), ``targets`` (positions,).
    """
    rows = max(1, CHUNK_LOGITS // len(output))
    nats, first = [], []
    for start in range(0, len(hidden), rows):
        part = slice(start, start + rows)
        logits = torch.nn.functional.linear(hidden[part], output).float()
        picked = targets[part, None]
        nats.append((logits.gather(1, picked) - torch.logsumexp(logits, 1, keepdim=True))[:, 0])
        first.append(logits.argmax(1) == targets[part])
    return torch.cat(nats), torch.cat(first)


def _whole(hidden: Tensor, output: Tensor, targets: Tensor, weights: Tensor, bias: Tensor | None) -> Tensor:
    logits = torch.nn.functional.linear(hidden, output, bias).float()
    return (torch.nn.functional.cross_entropy(logits, targets, reduction="none") * weights).sum()


class _Chunked(torch.autograd.Function):
    """Loss and its gradients in one pass over chunks of positions.

    A chunk's logits are gone over as seldom as can be: log-softmax, its exponential, and the products; the weights
    enter through the narrow matrices.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        output: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        weights: Tensor,
        rows: int,
        gradients: bool,
    ) -> Tensor:
        """See ``cross_entropy``; ``rows`` positions at a time. Gradients are summed in float32."""
        autocast = torch.is_autocast_enabled(hidden.device.type)
        kind = torch.get_autocast_dtype(hidden.device.type) if autocast else hidden.dtype
        inner, matrix = hidden.to(kind), output.to(kind)
        to_hidden = torch.empty_like(inner) if gradients else None
        to_output = torch.zeros_like(output, dtype=torch.float32) if gradients else None
        to_bias = torch.zeros_like(bias, dtype=torch.float32) if gradients and bias is not None else None
        total = hidden.new_zeros((), dtype=torch.float32)
        with torch.autocast(hidden.device.type, enabled=False):
            for first in range(0, len(hidden), rows):
                part = slice(first, first + rows)
                logits = torch.nn.functional.linear(inner[part], matrix).float()
                logits = logits if bias is None else logits.add_(bias)
                picked, share = targets[part, None], weights[part, None].float()
                logged = torch.log_softmax(logits, 1)
                total -= (logged.gather(1, picked) * share).sum()
                if to_hidden is None or to_output is None:
                    continue
                gradient = logged.exp_()
                gradient.scatter_(1, picked, gradient.gather(1, picked) - 1)
                if to_bias is not None:
                    to_bias += (share.T @ gradient)[0]
                gradient = gradient.to(kind)
                to_hidden[part] = (gradient @ matrix) * share
                weighted = inner[part] * share.to(kind)
                if kind == torch.float32:
                    to_output.addmm_(gradient.T, weighted)
                else:
                    to_output += gradient.T @ weighted
        if to_hidden is not None and to_output is not None:
            saved = None if to_bias is None or bias is None else to_bias.to(bias.dtype)
            ctx.save_for_backward(to_hidden.to(hidden.dtype), to_output.to(output.dtype), saved)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients that the forward pass took, scaled."""
        (scale,) = gradients
        to_hidden, to_output, to_bias = ctx.saved_tensors
        to_bias = None if to_bias is None else to_bias * scale
        return to_hidden * scale, to_output.mul_(scale), to_bias, None, None, None, None
