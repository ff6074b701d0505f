"""The objectives by name."""

from __future__ import annotations

from models.objectives import masked_tokens, next_token
from models.objectives.objective import Objective
from models.objectives.traits import ObjectiveName

OBJECTIVES: dict[ObjectiveName, Objective] = {
    "next token": Objective(next_token.loss, next_token.figures),
    "masked tokens": Objective(masked_tokens.loss, masked_tokens.figures),
}
