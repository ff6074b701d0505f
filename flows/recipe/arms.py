"""The arms of a study: recipes, or policies for a recipe's sources; and the recipe that trains one pair member of it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flows.recipe.loading import config_path, load_recipe
from flows.recipe.settings import Recipe
from tasks.select import policy as policies_of
from tasks.train.settings import PretrainSettings
from warehouse.errors import SettingError, nearest

# What an arm brings; all else is the same in all arms.
OF_AN_ARM = (
    "sources", "policies", "extract", "quality", "sign", "match", "repetition", "decontaminate", "remove_duplicates", "repeats", "seed",
)  # fmt: skip


@dataclass(frozen=True)
class Study:
    """How a study is made: its pairs, how much of each corpus a pair draws, and the learning rates as shares of the recipe's."""

    seeds: int = 4
    subset: float = 0.8
    rates: tuple[float, ...] = (1.0, 0.5)
    tasks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.seeds < 2:
            raise SettingError("a study needs two seeds at least: one difference may be chance")
        if not 0 < self.subset <= 1 or not self.rates or min(self.rates) <= 0:
            raise SettingError("a study draws a share of the documents from 0 to 1, and has a learning rate above 0")


def arms_of(names: Sequence[str], base: Recipe, overrides: tuple[str, ...] = ()) -> dict[str, Recipe]:
    """Name -> the recipe of each arm: a policy of the base recipe or of configs/policies for all of its sources that have one, or another recipe.

    Raises SettingError for a name that is neither.
    """
    if len(set(names)) != len(names) or len(names) < 2:
        raise SettingError("a study compares two recipes or policies, or more, each named once")
    return {name: _arm(name, base, overrides) for name in names}


def _arm(name: str, base: Recipe, overrides: tuple[str, ...]) -> Recipe:
    known = [*base.policies, *policies_of.names()]
    if name in known:
        sources = {
            key: source.model_copy(update={"policy": name}) if source.policy else source
            for key, source in base.sources.items()
        }
        if sources == base.sources and all(source.policy != name for source in base.sources.values()):
            raise SettingError(
                f"no source of {base.name} has a policy, so {name} would change nothing: name recipes instead"
            )
        return base.model_copy(update={"sources": sources})
    try:
        config_path(name)
    except SettingError as error:
        raise SettingError(
            f"{name} is no policy of {base.name} and no recipe: the nearest policy is {nearest(name, known)}"
        ) from error
    return load_recipe(name, overrides)


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Arm -> what its recipes are called, each otherwise, whatever the paths of their files."""
    plain = {name: re.sub(r"[^a-z0-9]+", "-", Path(name).stem.lower()).strip("-") for name in names}
    return {name: f"{number}-{plain[name]}".rstrip("-") for number, name in enumerate(names, 1)}


def arm_recipe(base: Recipe, arm: Recipe, name: str) -> Recipe:
    """The base recipe with what an arm brings: its corpus, and no network yet."""
    brought = {field: getattr(arm, field) for field in OF_AN_ARM}
    return base.model_copy(update={**brought, "name": f"{base.name}-arm-{name}"})


def pair_recipe(base: Recipe, arm: Recipe, name: str, seed: int, study: Study, judge: Mapping[str, str]) -> Recipe:
    """What trains one arm's models of one seed, at every learning rate, and asks them; ``judge``, task -> its file."""
    training = trained_by(base)
    rates = {
        rate_name(rate): training.model_copy(
            update={
                "seed": training.seed + seed,
                "learning_rate": training.learning_rate * rate,
                "muon_learning_rate": training.muon_learning_rate * rate,
                "mixture": {},
                "pin_every": 0,
            }
        )
        for rate in study.rates
    }
    suite = base.suite.model_copy(
        update={
            "tasks": (*judge, *study.tasks),
            "files": {**base.suite.files, **judge},
            "shots": (0,),
            "prompts": 1,
        }
    )
    pack = base.pack.model_copy(update={"subset": study.subset, "subset_seed": seed})
    made = arm_recipe(base, arm, f"{name}-seed-{seed}")
    return made.model_copy(update={"runs": rates, "suite": suite, "pack": pack})


def trained_by(base: Recipe) -> PretrainSettings:
    """How a study trains its models: as the recipe's last run that starts from nothing and can continue a text. Raises SettingError."""
    usable = [run for run in base.trainings.values() if not run.initial and run.model.traits.writes]
    if not usable:
        raise SettingError(
            f"the recipe {base.name} trains no network from nothing that can continue a text: a study needs one"
        )
    return usable[-1]


def rate_name(rate: float) -> str:
    """What a run at a share of the learning rate is called."""
    return f"rate-{rate:g}"
