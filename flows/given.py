"""All that a plan follows from, and over what its nodes fan out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from flows.recipe.settings import Recipe
from tasks.core.stage import Stage
from tasks.crawl.stage import crawl_to_use
from tasks.finetune.stage import tuning_name
from tasks.train.names import model_name, run_of_model
from warehouse.artifact import Ref
from warehouse.removals import Removal
from warehouse.store import Store


@dataclass(frozen=True)
class Given:
    """All that keys depend on: the recipe, the crawl of each source that has one, and what is to be forgotten."""

    recipe: Recipe
    store: Store
    crawls: Mapping[str, Stage]
    removals: tuple[Removal, ...] = ()
    pins: Mapping[str, Ref] = field(default_factory=dict)  # node -> an artifact that stands in for what it would make


def given_of(
    recipe: Recipe, store: Store, fresh_crawl: bool, removals: tuple[Removal, ...], pins: Mapping[str, Ref]
) -> Given:
    """What a store holds for a recipe now; with ``fresh_crawl`` each source's crawl is the next in number."""
    crawls = {
        name: crawl_to_use(store, source.crawl, name, fresh_crawl)
        for name, source in recipe.sources.items()
        if source.crawl is not None
    }
    return Given(recipe, store, crawls, removals, pins)


def whole(given: Given) -> Sequence[str]:
    """One artifact of all sources."""
    return ("",)


def sources(given: Given) -> Sequence[str]:
    """One artifact a source."""
    return tuple(given.recipe.sources)


def crawled(given: Given) -> Sequence[str]:
    """One artifact a source that is a crawl."""
    return tuple(given.crawls)


def examples(given: Given) -> Sequence[str]:
    """One classifier, where the recipe names examples."""
    return ("",) if given.recipe.quality.positive else ()


def is_example(given: Given, source: str) -> bool:
    """Whether the classifier of quality learns from a source."""
    return source in (*given.recipe.quality.positive, *given.recipe.quality.negative)


def has_quality(given: Given, source: str) -> bool:
    """Whether documents have a score of quality."""
    return bool(examples(given))


def tested(given: Given) -> Sequence[str]:
    """One artifact a source, where the recipe has evaluation sets."""
    return sources(given) if given.recipe.decontaminate.sets else ()


def whole_tested(given: Given) -> Sequence[str]:
    """One artifact, where the recipe has evaluation sets."""
    return ("",) if given.recipe.decontaminate.sets else ()


def runs(given: Given) -> Sequence[str]:
    """One artifact a training run, each behind the one that it starts from."""
    return tuple(given.recipe.trainings)


def models(given: Given) -> Sequence[str]:
    """One artifact a trained network: the last of each run, and what it pins on the way."""
    return tuple(
        model_name(run, step)
        for run, settings in given.recipe.trainings.items()
        for step in (*settings.pinned_steps, None)
    )


def asked(given: Given) -> Sequence[str]:
    """One artifact a task that models are asked."""
    return tuple(task.name for task in given.recipe.suite.declared)


def whole_asked(given: Given) -> Sequence[str]:
    """One artifact, where models are asked tasks."""
    return ("",) if given.recipe.suite.tasks else ()


def asked_models(given: Given) -> Sequence[str]:
    """One artifact a trained network that can continue a text, where models are asked tasks."""
    trainings = given.recipe.trainings
    return tuple(
        model
        for model in models(given)
        if given.recipe.suite.tasks and trainings[run_of_model(model)].model.traits.writes
    )


def labelled(given: Given) -> Sequence[str]:
    """One artifact a task with labels that a network is fine-tuned to."""
    return tuple(dict.fromkeys(task for tuning in given.recipe.finetune.values() for task in tuning.tasks))


def tunings(given: Given) -> Sequence[str]:
    """One artifact a fine-tuning and task."""
    return tuple(tuning_name(name, task) for name, tuning in given.recipe.finetune.items() for task in tuning.tasks)


def dialogued(given: Given) -> Sequence[str]:
    """One artifact for all conversations of one declaration that a network is aligned by."""
    return tuple(dict.fromkeys(one.dialogues for one in given.recipe.align.values()))


def alignments(given: Given) -> Sequence[str]:
    """One artifact an alignment, each behind those that it is made from."""
    return tuple(given.recipe.alignments)
