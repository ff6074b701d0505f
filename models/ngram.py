"""N-gram language models over token ids: the baselines that a network has to beat.

Interpolated Kneser-Ney smoothing (Kneser and Ney 1995; Chen and Goodman 1999, section 2.7) with one absolute
discount an order, estimated from the counts as D = n1 / (n1 + 2 n2). Order 1 is add-one smoothed counting.
Counts live in sorted arrays, so that millions of tokens take seconds.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from torch import Tensor

from models.objectives.masked_tokens import MaskedBatch
from models.score import MaskedScores, Scored, Tokens

Ids = npt.NDArray[np.int64]


class _Level:
    """The counts of one order: each distinct n-gram as (id of its prefix, last token)."""

    def __init__(self, keys: Ids, counts: Ids, vocabulary: int) -> None:
        self.keys, self.counts = keys, counts
        prefix = keys // vocabulary
        self.prefixes, first = np.unique(prefix, return_index=True)
        self.totals = np.add.reduceat(counts, first)
        self.kinds = np.diff(np.append(first, len(keys)))
        once, twice = int((counts == 1).sum()), int((counts == 2).sum())
        self.discount = once / (once + 2 * twice) if once and twice else 0.5
        self.first, self.last_token = first, keys % vocabulary
        self.best = self._best_tokens()

    def _best_tokens(self) -> Ids:
        """For each prefix its most frequent continuation, the smallest token on a tie."""
        owner = np.repeat(np.arange(len(self.prefixes)), self.kinds)
        order = np.lexsort((self.last_token, -self.counts, owner))
        return self.last_token[order[self.first]]


def _positions(sorted_values: Ids, wanted: Ids) -> tuple[Ids, npt.NDArray[np.bool_]]:
    """Where each wanted value lies in a sorted array, and whether it does."""
    where = np.searchsorted(sorted_values, wanted)
    where = np.minimum(where, len(sorted_values) - 1)
    return where, sorted_values[where] == wanted


class NGram:
    """An interpolated n-gram model of a given order, trained on one stream of token ids."""

    def __init__(self, order: int, vocabulary: int, stream: Tokens) -> None:
        self.order, self.vocabulary = order, vocabulary
        self.ids: list[Ids] = []  # per order: the sorted keys of its n-grams, whose index is the n-gram's id
        raw: list[tuple[Ids, Ids]] = []
        ids = np.zeros(len(stream), dtype=np.int64)  # ids[i]: the n-gram of the current order that ends at i
        for length in range(1, order + 1):
            previous = np.roll(ids, 1)[length - 1 :] if length > 1 else np.zeros(len(stream), dtype=np.int64)
            keys = previous * vocabulary + stream[length - 1 :]
            distinct, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
            raw.append((distinct, counts.astype(np.int64)))
            self.ids.append(distinct)
            ids = np.concatenate([np.zeros(length - 1, dtype=np.int64), inverse])
        self.levels = [
            _Level(keys, self._continuation(raw, n) if n + 1 < order else counts, vocabulary)
            for n, (keys, counts) in enumerate(raw)
        ]

    def _continuation(self, raw: list[tuple[Ids, Ids]], n: int) -> Ids:
        """How many different tokens precede each (n+1)-gram: its suffix in every (n+2)-gram, counted once."""
        longer = self._grams(raw, n + 1)
        suffix_ids = np.zeros(len(longer), dtype=np.int64)
        for column in range(1, n + 2):
            suffix_ids, _ = _positions(self.ids[column - 1], suffix_ids * self.vocabulary + longer[:, column])
        return np.maximum(np.bincount(suffix_ids, minlength=len(self.ids[n])), 1).astype(np.int64)

    def _grams(self, raw: list[tuple[Ids, Ids]], n: int) -> Ids:
        """The tokens of every distinct (n+1)-gram, (count, n+1)."""
        keys = raw[n][0]
        columns = []
        for level in range(n, -1, -1):
            columns.append(keys % self.vocabulary)
            prefix = keys // self.vocabulary
            keys = raw[level - 1][0][prefix] if level else prefix
        return np.stack(columns[::-1], axis=1)

    def probabilities(self, tokens: Tokens) -> tuple[npt.NDArray[np.float64], Ids]:
        """P(token | up to order-1 tokens before it) for every token but the first, and the likeliest token there."""
        n = len(tokens) - 1
        unigram = self.levels[0]
        where, known = _positions(unigram.keys, tokens[1:])
        count = np.where(known, unigram.counts[where], 0)
        probability = (count + 1) / (unigram.counts.sum() + self.vocabulary)
        best = np.full(n, unigram.best[0])
        for length in range(1, self.order):
            context_ids, reached = self._contexts(tokens, length)
            level = self.levels[length]
            place, seen = _positions(level.prefixes, context_ids)
            seen &= reached
            where, known = _positions(level.keys, context_ids * self.vocabulary + tokens[1:])
            count = np.where(known & seen, level.counts[where], 0)
            total = np.where(seen, level.totals[place], 1)
            left = level.discount * np.where(seen, level.kinds[place], 0) / total
            mixed = np.maximum(count - level.discount, 0) / total + left * probability
            probability = np.where(seen, mixed, probability)
            best = np.where(seen, level.best[place], best)
        return probability, best

    def _contexts(self, tokens: Tokens, length: int) -> tuple[Ids, npt.NDArray[np.bool_]]:
        """The id of the ``length`` tokens before each predicted one, and whether it occurs in training."""
        n = len(tokens) - 1
        ids, known = np.zeros(n, dtype=np.int64), np.arange(n) >= length - 1
        for back in range(length, 0, -1):
            column = np.concatenate([np.zeros(min(back - 1, n), dtype=np.int64), tokens[: max(0, n - back + 1)]])[:n]
            ids, found = _positions(self.ids[length - back], ids * self.vocabulary + column)
            known = known & found
        return ids, known

    def score(self, documents: list[Tokens]) -> list[Scored]:
        """See models.score.LanguageModel."""
        out = []
        for tokens in documents:
            probability, best = self.probabilities(tokens)
            out.append(Scored(np.log(probability), best == tokens[1:]))
        return out


def unigram_on_hidden(stream: Tokens, vocabulary: int, batches: Iterable[tuple[Tensor, ...]]) -> MaskedScores:
    """Add-one counts of the training tokens as guesses for hidden tokens: what needs no context."""
    counts = np.bincount(stream, minlength=vocabulary) + 1
    nats, first = -np.log(counts / counts.sum()), int(counts.argmax())
    sums: list[tuple[npt.NDArray[np.float64], ...]] = []
    for raw in batches:
        batch = MaskedBatch(*raw)
        targets, weights = batch.targets.numpy(), batch.weights.double().numpy()
        scores = ((nats[targets] * weights).sum(1), ((targets == first) * weights).sum(1), weights.sum(1))
        sums.append((*scores, np.zeros(len(targets))))
    return MaskedScores(*(np.concatenate(column) for column in zip(*sums, strict=True)))
