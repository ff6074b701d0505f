"""How likely a model finds each of several continuations: the heart of multiple choice.

What the sequences of one question have in common is computed once (``models.layout``): with ten demonstrations
before it, four answers cost little more than one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from models.layout import PADDING, Layout
from models.loss import log_probabilities
from models.score import LanguageModel, Network, Scored, Tokens

BATCH_TOKENS = 8192  # of a batch, padding included


class Continuation(NamedTuple):
    """What is asked: the tokens of ``asked`` behind those of ``context``. Neither is empty."""

    context: Tokens
    asked: Tokens


class _Tree(NamedTuple):
    """The sequences of one question as one: tokens, where they stand, whose they are, and what is read off where."""

    ids: Tokens
    positions: Tokens
    branches: Tokens
    places: list[Tokens]  # a branch -> places in ids whose next tokens are asked
    targets: list[Tokens]


def continuations(model: LanguageModel, questions: Sequence[Sequence[Continuation]]) -> list[list[Scored]]:
    """Token by token, how likely each continuation of each question is.

    Of a sequence longer than the network's context the last tokens are read, as many as it takes; a continuation that is
    longer by itself is read in windows, as a document is. Raises ValueError for one without tokens, or without a context.
    """
    if any(not len(one.context) or not len(one.asked) for question in questions for one in question):
        raise ValueError("a continuation needs a token, and one before it")
    if not isinstance(model, Network):
        return _one_by_one(model, questions)
    context = model.model.arch.context
    long = [any(len(one.asked) > context for one in question) for question in questions]
    in_windows = iter(_one_by_one(model, [one for one, is_long in zip(questions, long, strict=True) if is_long]))
    found = [next(in_windows) if is_long else [] for is_long in long]
    trees = {place: _tree(questions[place], context) for place, is_long in enumerate(long) if not is_long}
    order = sorted(trees, key=lambda place: (-len(trees[place].ids), place))
    at = 0
    while at < len(order):
        most = max(1, min(BATCH_TOKENS // max(1, len(trees[order[at]].ids)), model.batch))
        batch = order[at : at + most]
        for place, scored in zip(batch, _score(model, [trees[place] for place in batch]), strict=True):
            found[place] = scored
        at += most
    return found


def _one_by_one(model: LanguageModel, questions: Sequence[Sequence[Continuation]]) -> list[list[Scored]]:
    flat = [one for question in questions for one in question]
    scored = model.score([np.concatenate(one) for one in flat])
    ends = iter(
        Scored(s.log_probability[-len(one.asked) :], s.greedy[-len(one.asked) :])
        for s, one in zip(scored, flat, strict=True)
    )
    return [[next(ends) for _ in question] for question in questions]


def _tree(question: Sequence[Continuation], context: int) -> _Tree:
    whole = [np.concatenate(one)[-(context + 1) :] for one in question]
    stem = _common([sequence[:-1] for sequence in whole])
    ids, positions, branches, places, targets = [whole[0][:stem]], [np.arange(stem)], [np.zeros(stem, np.int64)], [], []
    at = stem
    for number, (sequence, one) in enumerate(zip(whole, question, strict=True), 1):
        rest, first = len(sequence) - 1 - stem, len(sequence) - 1 - len(one.asked)
        ids.append(sequence[stem:-1])
        positions.append(np.arange(stem, stem + rest))
        branches.append(np.full(rest, number))
        asked = np.arange(first, first + len(one.asked))
        places.append(np.where(asked < stem, asked, asked - stem + at))
        targets.append(one.asked)
        at += rest
    return _Tree(np.concatenate(ids), np.concatenate(positions), np.concatenate(branches), places, targets)


def _common(sequences: Sequence[Tokens]) -> int:
    """How many tokens all of these begin with."""
    shortest = min(len(sequence) for sequence in sequences)
    same = np.ones(shortest, np.bool_)
    for sequence in sequences[1:]:
        same &= sequence[:shortest] == sequences[0][:shortest]
    return int(shortest if same.all() else same.argmin())


@torch.inference_mode()
def _score(network: Network, trees: Sequence[_Tree]) -> list[list[Scored]]:
    longest = max(len(tree.ids) for tree in trees)
    ids, positions = (np.zeros((len(trees), longest), np.int64) for _ in range(2))
    branches = np.full((len(trees), longest), PADDING)
    for row, tree in enumerate(trees):
        filled = slice(0, len(tree.ids))
        ids[row, filled], positions[row, filled], branches[row, filled] = tree.ids, tree.positions, tree.branches
    # Padding is behind everything, so where nothing branches what came before is all that is seen.
    alone = bool((branches <= 0).all() or all(len(tree.places) == 1 for tree in trees))
    layout = None if alone else Layout(*(torch.from_numpy(one) for one in (positions, branches))).to(network.device)
    rows = np.concatenate([np.full(len(p), row) for row, tree in enumerate(trees) for p in tree.places])
    places = np.concatenate([p for tree in trees for p in tree.places])
    targets = torch.from_numpy(np.concatenate([t for tree in trees for t in tree.targets])).to(network.device)
    with torch.autocast(network.device.type, dtype=torch.bfloat16, enabled=network.bf16):
        hidden = network.model.hidden(torch.from_numpy(ids).to(network.device), layout=layout)
        asked = hidden[torch.from_numpy(rows).to(network.device), torch.from_numpy(places).to(network.device)]
        nats, first = log_probabilities(asked, network.model.tokens.weight, targets)
    logged, chosen = nats.double().cpu().numpy(), first.cpu().numpy()
    ends = np.cumsum([len(p) for tree in trees for p in tree.places])
    pieces = iter(
        Scored(log, pick) for log, pick in zip(np.split(logged, ends[:-1]), np.split(chosen, ends[:-1]), strict=True)
    )
    return [[next(pieces) for _ in tree.places] for tree in trees]
