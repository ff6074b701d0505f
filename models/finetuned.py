"""A network with a head that reads whole sequences: what GPT-1 and BERT are fine-tuned as, and an LSTM beside them.

GPT-1 reads at the last token of a sequence, the extract token (Radford et al. 2018, section 3.3); BERT at its first, through the pooler
(Devlin et al. 2018, section 3.5). An example is one sequence or several: two orders of a pair whose states are added, or one for each
answer, which the head ranks.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from models.architecture import Architecture
from models.bert import Bert, build
from models.layout import Padding
from models.transformer import WEIGHT_STD, Transformer

LSTM_STD = 0.1  # of embeddings: they are an LSTM's only input


class Lstm(nn.Module):
    """Embeddings and one LSTM: what classified text before transformers did."""

    def __init__(self, vocabulary: int, width: int, dropout: float) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.dropout = nn.Dropout(dropout)
        self.lstm = nn.LSTM(width, width, batch_first=True)

    def initialise(self, seed: int) -> Lstm:
        """Draws the weights: the same for the same seed, whatever ran before."""
        draw = torch.Generator().manual_seed(seed)
        nn.init.normal_(self.tokens.weight, std=LSTM_STD, generator=draw)
        bound = self.lstm.hidden_size**-0.5
        for _, parameter in sorted(self.lstm.named_parameters()):
            nn.init.uniform_(parameter, -bound, bound, generator=draw)
        return self

    def states(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """The state behind each sequence, (sequences, width)."""
        packed = pack_padded_sequence(
            self.dropout(self.tokens(ids)), lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        _, (last, _) = self.lstm(packed)
        state: Tensor = self.dropout(last[0])
        return state


class FineTuned(nn.Module):
    """A network and one linear layer on what it has read.

    ``ranks``: each sequence of an example is an answer, and the head scores it; otherwise the sequences' states are added.
    """

    def __init__(
        self, network: Transformer | Lstm, width: int, outputs: int, dropout: float = 0.0, ranks: bool = False
    ) -> None:
        super().__init__()
        self.network, self.ranks = network, ranks
        self.head = nn.Linear(width, outputs)
        self.dropout = nn.Dropout(dropout)

    def initialise(self, seed: int) -> FineTuned:
        """Draws the head as the authors did: N(0, 0.02), no bias."""
        nn.init.normal_(self.head.weight, std=WEIGHT_STD, generator=torch.Generator().manual_seed(seed))
        nn.init.zeros_(self.head.bias)
        return self

    def read(self, ids: Tensor, lengths: Tensor, types: Tensor) -> tuple[Tensor, Tensor | None]:
        """The state of each sequence, (sequences, width), and of a causal transformer all hidden states, for its own objective.

        ``ids`` and ``types`` are (sequences, time), padded at the end; ``lengths`` (sequences,).
        """
        if isinstance(self.network, Lstm):
            return self.network.states(ids, lengths), None
        if isinstance(self.network, Bert):
            hidden = self.network.hidden(ids, types=types, layout=Padding(lengths, ids.shape[1]))
            return torch.tanh(self.network.pooler(hidden[:, 0])), None
        hidden = self.network.hidden(ids)
        return hidden[torch.arange(len(ids), device=ids.device), lengths - 1], hidden

    def score(self, states: Tensor) -> Tensor:
        """(examples, sequences, width) to (examples, outputs), or to (examples, sequences) where answers are ranked."""
        states = self.dropout(states)
        found: Tensor = self.head(states)[..., 0] if self.ranks else self.head(states.sum(1))
        return found


def grown(weights: dict[str, Tensor], arch: Architecture, added: int, seed: int) -> Transformer:
    """A network with so many more tokens than the weights know, whose embeddings are drawn (Radford et al. 2018, section 3.1).

    ``arch`` is of the network that the weights are of; its dropout is the new one's.
    """
    network = build(replace(arch, vocabulary=arch.vocabulary + added))
    if added:
        draw = torch.Generator().manual_seed(seed)
        new = torch.empty(added, arch.width)
        nn.init.normal_(new, std=WEIGHT_STD, generator=draw)
        weights = weights | {"tokens.weight": torch.cat([weights["tokens.weight"], new])}
    network.load_state_dict(weights)
    return network
