"""What each objective asks of data and vocabulary, known without any network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from models.presets import Family
from models.training.masking import ADDED_IN_A_SEQUENCE, SPECIAL_TOKENS

LANGUAGE_MODEL = 0.5  # lambda: weight of the next token's loss in fine-tuning (Radford et al. 2018, section 4.1)
CLIP = 0.2  # how far PPO's ratio may go from 1 (Ouyang et al. 2022, section C.4)

ObjectiveName = Literal["next token", "masked tokens"]


@dataclass(frozen=True)
class Traits:
    """What an objective asks for beside a network."""

    special_tokens: tuple[str, ...] = ()  # they follow the tokenizer's own
    added_in_a_sequence: int = 0  # of them, which a window of text leaves room for
    beyond: int = 0  # tokens of text behind a window that are targets too
    least_sequences: int = 1  # of a batch
    writes: bool = False  # whether such a network can continue a text


TRAITS: dict[ObjectiveName, Traits] = {
    "next token": Traits(beyond=1, writes=True),
    "masked tokens": Traits(
        SPECIAL_TOKENS, ADDED_IN_A_SEQUENCE, least_sequences=2
    ),  # another one gives the other sentence
}


def objective_of(family: Family) -> ObjectiveName:
    """What a family of networks is pretrained for."""
    return "masked tokens" if family == "bert" else "next token"
