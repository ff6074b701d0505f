"""Credentials of addresses where the environment does not hold them: named blocks of the user's Prefect server."""

from __future__ import annotations

import os

from flows.recipe.settings import Recipe
from tasks.web.addresses import variables


def fill_from_blocks(recipe: Recipe) -> None:
    """Sets each ``${NAME}`` of the recipe that the environment does not know to the Secret block ``name``, where there is one.

    Blocks are named in lower case with dashes: ``${THE_PASSWORD}`` is the block ``the-password``.
    """
    missing = [name for name in variables(recipe.model_dump_json()) if name not in os.environ]
    if not missing:
        return
    from prefect.blocks.system import Secret

    from flows.orchestration.server import server_of_settings

    if not server_of_settings():
        return
    for name in missing:
        try:
            block = Secret.load(name.lower().replace("_", "-"))
        except ValueError:  # there is none: who uses the address says what to set
            continue
        os.environ[name] = str(block.get())  # type: ignore[union-attr]
