"""What trained networks are called: by their run, and by the step where it is not the last."""

from __future__ import annotations

AT = "@"


def model_name(run: str, step: int | None = None) -> str:
    """The network that a run ends with, or the one that it pinned at a step."""
    return run if step is None else f"{run}{AT}{step}"


def run_of_model(model: str) -> str:
    """The run of a network."""
    return model.partition(AT)[0]


def step_of_model(model: str) -> int | None:
    """The step at which a network was pinned; None for what its run ends with."""
    _, _, step = model.partition(AT)
    return int(step) if step else None
