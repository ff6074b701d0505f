"""Continuing a text: greedy, by temperature, top-k and nucleus, or by beam search; reproducible by seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from models.transformer import Cache, Transformer

COLDEST = 1e-3  # temperature below which the likeliest token is taken
Ended = Callable[[list[int]], bool]  # whether what was written so far is an answer


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen.

    ``temperature`` 0 (below 1e-3) is greedy. ``top_k`` keeps so many of the likeliest tokens, 0 all; ``top_p`` the fewest whose
    probabilities reach it (Holtzman et al. 2020), 1 all; both may be given. ``beams`` above 1 searches instead of
    sampling, and ranks by log probability / length ^ ``length_penalty`` (GPT-3: 4 beams, 0.6, Wu et al. 2016).
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    beams: int = 1
    length_penalty: float = 0.6
    seed: int = 0


@torch.inference_mode()
def generate(
    model: Transformer,
    prompt: list[int],
    length: int,
    sampling: Sampling | None = None,
    stop: int | None = None,
    until: Ended | None = None,
) -> list[int]:
    """Up to ``length`` tokens that follow ``prompt``, ending before ``stop``, or with the token from which ``until`` says so.

    Past the context length the window moves on by half. Raises ValueError for a model that is not causal.
    """
    if not model.arch.causal:
        raise ValueError("a bidirectional model cannot continue a text")
    sampling = sampling or Sampling()
    if sampling.beams > 1:
        return _beam_search(model.eval(), prompt, length, sampling, stop, until)
    written: list[int] = []
    for token in stream(model, prompt, length, sampling, stop):
        written.append(token)
        if until is not None and until(written):
            break
    return written


@torch.inference_mode()
def stream(
    model: Transformer,
    prompt: list[int],
    length: int,
    sampling: Sampling,
    stop: int | None = None,
    forbidden: Sequence[int] = (),
) -> Iterator[int]:
    """The same, token by token as they are drawn; none of the ``forbidden`` ones is."""
    draw = torch.Generator().manual_seed(sampling.seed)
    tokens = list(prompt)
    window = _Window(model.eval(), [tokens])
    for _ in range(length):
        scores = window.log_probabilities[0]
        if forbidden:
            scores[list(forbidden)] = -torch.inf
        token = choose(scores, sampling, draw)
        if token == stop:
            return
        tokens.append(token)
        yield token
        window.extend([tokens])


def choose(log_probabilities: Tensor, sampling: Sampling, draw: torch.Generator) -> int:
    """One token of a (vocabulary,) row."""
    if sampling.temperature < COLDEST:
        return int(log_probabilities.argmax())
    scores = log_probabilities / sampling.temperature
    if sampling.top_k:
        least = scores.topk(min(sampling.top_k, len(scores))).values[-1]
        scores = scores.masked_fill(scores < least, -torch.inf)
    if sampling.top_p < 1:
        ordered, places = torch.softmax(scores, 0).sort(descending=True, stable=True)
        beyond = ordered.cumsum(0) - ordered >= sampling.top_p  # the token that reaches it is kept
        beyond[0] = False
        scores = scores.index_fill(0, places[beyond], -torch.inf)
    return int(torch.multinomial(torch.softmax(scores, 0), 1, generator=draw))


class _Window:
    """The last tokens of some sequences of equal length, with their keys and values."""

    def __init__(self, model: Transformer, rows: list[list[int]]) -> None:
        self.model = model
        self.device = model.tokens.weight.device
        self._read([row[-model.arch.context :] for row in rows])

    def _read(self, rows: list[list[int]], cache: Cache | None = None) -> None:
        self.cache = cache or self.model.new_cache()
        states = self.model.hidden(torch.tensor(rows, device=self.device), self.cache)
        logits = F.linear(states[:, -1], self.model.tokens.weight).float()
        self.log_probabilities = torch.log_softmax(logits, -1).cpu()

    def extend(self, rows: list[list[int]]) -> None:
        """Moves on to sequences that are one token longer."""
        if self.cache[0].time < self.model.arch.context:
            self._read([row[-1:] for row in rows], self.cache)
        else:
            self._read([row[-max(1, self.model.arch.context // 2) :] for row in rows])

    def reorder(self, origins: list[int]) -> None:
        """Lets row i go on from what row ``origins[i]`` was."""
        chosen = torch.tensor(origins, device=self.device)
        for layer in self.cache:
            layer.reorder(chosen)


def _beam_search(
    model: Transformer, prompt: list[int], length: int, sampling: Sampling, stop: int | None, until: Ended | None
) -> list[int]:
    beams = [(0.0, list(prompt))]
    window = _Window(model, [prompt])
    ended: list[tuple[float, list[int]]] = []
    for _ in range(length):
        scores = window.log_probabilities + torch.tensor([score for score, _ in beams])[:, None]
        best, places = scores.flatten().topk(min(2 * sampling.beams, scores.numel()))
        going: list[tuple[float, list[int], int]] = []
        for score, place in zip(best.tolist(), places.tolist(), strict=True):
            origin, token = divmod(place, scores.shape[1])
            made = beams[origin][1]
            if token == stop:
                ended.append((_normalised(score, len(made) + 1 - len(prompt), sampling), made))
            elif until is not None and until([*made[len(prompt) :], token]):
                ended.append((_normalised(score, len(made) + 1 - len(prompt), sampling), [*made, token]))
            elif len(going) < sampling.beams:
                going.append((score, [*made, token], origin))
        if len(ended) >= sampling.beams or not going:
            break
        beams = [(score, made) for score, made, _ in going]
        window.reorder([origin for _, _, origin in going])
        window.extend([made for _, made in beams])
    else:
        ended += [(_normalised(score, length, sampling), made) for score, made in beams]
    return max(ended, key=lambda found: found[0])[1][len(prompt) :]


def _normalised(score: float, length: int, sampling: Sampling) -> float:
    return score / float(length**sampling.length_penalty)
