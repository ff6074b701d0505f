"""Cross-entropy in chunks: the logits of all positions never exist together.

For a vocabulary of 50,257 the logits of 1,024 positions and their gradient are 412 MB in float32. Here a chunk of
positions is projected, its loss and its gradient are taken, and its logits are dropped; the gradients of the
hidden states and of the output matrix are what is kept for the backward pass.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

CHUNK_LOGITS = 1 << 22  # logits of a chunk: 16 MiB in float32


def cross_entropy(
    hidden: Tensor, output: Tensor, targets: Tensor, weights: Tensor, bias: Tensor | None = None
) -> Tensor:
    """Sum of ``weights`` times the nats of ``targets``.

    ``hidden`` is (positions, width), ``output`` (vocabulary, width), ``targets`` and ``weights`` (positions,).
    """
    rows = max(1, CHUNK_LOGITS // len(output))
    if len(hidden) <= rows:
        return _whole(hidden, output, targets, weights, bias)
    if bias is None:
        bias = output.new_zeros(len(output))
    return _Chunked.apply(hidden, output, bias, targets, weights, rows)  # type: ignore[no-any-return, no-untyped-call]


def _whole(hidden: Tensor, output: Tensor, targets: Tensor, weights: Tensor, bias: Tensor | None) -> Tensor:
    logits = torch.nn.functional.linear(hidden, output, bias).float()
    return (torch.nn.functional.cross_entropy(logits, targets, reduction="none") * weights).sum()


class _Chunked(torch.autograd.Function):
    """Loss and both gradients in one pass over chunks of positions."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, output: Tensor, bias: Tensor, targets: Tensor, weights: Tensor, rows: int
    ) -> Tensor:
        """See ``cross_entropy``; ``rows`` positions at a time."""
        autocast = torch.is_autocast_enabled(hidden.device.type)
        kind = torch.get_autocast_dtype(hidden.device.type) if autocast else hidden.dtype
        inner, matrix = hidden.to(kind), output.to(kind)
        needs_gradient = any(ctx.needs_input_grad)
        to_hidden = torch.empty_like(inner) if needs_gradient else None
        to_output = torch.zeros_like(output) if needs_gradient else None
        to_bias = torch.zeros_like(bias) if needs_gradient else None
        total = hidden.new_zeros((), dtype=torch.float32)
        with torch.autocast(hidden.device.type, enabled=False):
            for first in range(0, len(hidden), rows):
                part = slice(first, first + rows)
                logits = (inner[part] @ matrix.T).float() + bias
                picked = targets[part, None]
                nats = torch.logsumexp(logits, 1, keepdim=True)
                total += ((nats - logits.gather(1, picked))[:, 0] * weights[part]).sum()
                if to_hidden is None or to_output is None or to_bias is None:
                    continue
                gradient = logits.sub_(nats).exp_()
                gradient.scatter_add_(1, picked, gradient.new_full(picked.shape, -1.0))
                gradient *= weights[part, None]
                to_bias += gradient.sum(0)
                gradient = gradient.to(kind)
                torch.mm(gradient, matrix, out=to_hidden[part])
                to_output += (gradient.T @ inner[part]).to(output.dtype)
        if to_hidden is not None:
            ctx.save_for_backward(to_hidden.to(hidden.dtype), to_output, to_bias)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients that the forward pass took, scaled."""
        (scale,) = gradients
        to_hidden, to_output, to_bias = ctx.saved_tensors
        return to_hidden * scale, to_output * scale, to_bias * scale, None, None, None
