"""The training runs of a recipe: what each inherits of [model], of [pretrain] and of the run that it starts from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tasks.align.settings import PROGRAMS, AlignSettings
from tasks.train.names import run_of_model
from tasks.train.settings import TRAINED_AS, PretrainSettings, TrainingSettings, preset_of
from warehouse.errors import nearest

ONLY_RUN = "pretrain"  # of a recipe that names none
RESERVED = "latest"
OF_ITS_OWN = {"preset", "depth", "dropout", "attention_dropout"}  # what of a network is not in its weights


def filled_in(values: dict[str, Any]) -> dict[str, Any]:
    """A recipe's values in which [pretrain] has what a preset sets, and every run all that it inherits. Raises ValueError."""
    model, training, runs = (values.get(name, {}) for name in ("model", "pretrain", "runs"))
    if not isinstance(model, dict) or not isinstance(training, dict):
        return values  # sections that were checked before, or that the fields' own checks complain of
    filled = values | {"pretrain": preset_of(model)[1] | training}
    if not isinstance(runs, dict) or not all(_is_section(run) for run in runs.values()):
        return filled
    return filled | {"runs": {name: _run(name, runs, model, training) for name in runs}}


def _is_section(run: Any) -> bool:
    return isinstance(run, dict) and isinstance(run.get("model", {}), dict)


def _run(
    name: str,
    runs: Mapping[str, dict[str, Any]],
    model: dict[str, Any],
    training: dict[str, Any],
    behind: tuple[str, ...] = (),
) -> dict[str, Any]:
    """All that a run is. One that starts from another has its network, and draws an order of data of its own."""
    given = runs[name]
    network, start = given.get("model", {}), given.get("initial", training.get("initial"))
    if name in behind:
        raise ValueError(f"the run {name} starts from itself: {' from '.join([*behind[behind.index(name) :], name])}")
    drawn: dict[str, Any] = {}
    if isinstance(start, str) and start in runs:
        parent = _run(start, runs, model, training, (*behind, name))
        network = parent["model"] | network
        seed = parent.get("seed", TrainingSettings.model_fields["seed"].default)
        drawn = {"seed": seed + 1} if isinstance(seed, int) else {}
    elif network.get("preset") or network.get("depth"):
        training = {setting: value for setting, value in training.items() if setting not in TRAINED_AS}
    else:
        network = model | network
    return preset_of(network)[1] | training | drawn | given | {"model": network}


def in_order(runs: Mapping[str, PretrainSettings]) -> list[str]:
    """The names of runs, each behind the one that it starts from."""
    order: list[str] = []
    for name in runs:
        line = [name]
        while (start := runs[line[-1]].initial) in runs:
            line.append(start)
        order += [one for one in reversed(line) if one not in order]
    return order


def check(runs: Mapping[str, PretrainSettings], sources: Mapping[str, Any]) -> None:
    """Raises ValueError for a run that cannot be trained as it says."""
    for name, run in runs.items():
        if name == RESERVED:
            raise ValueError(f"a run cannot be called {name}: that is the one which was trained last")
        for source in run.mixture:
            if source not in sources:
                raise ValueError(f"runs.{name}.mixture names {source}, which is no source: {', '.join(sources)}")
        parent = runs.get(run.initial)
        if parent is not None and _sizes(run) != _sizes(parent):
            raise ValueError(
                f"the run {name} starts from {run.initial} and has its network: runs.{name}.model can set dropout alone"
            )


def _sizes(run: PretrainSettings) -> dict[str, Any]:
    return run.model.model_dump(exclude=OF_ITS_OWN)


def alignments_in_order(align: Mapping[str, AlignSettings]) -> list[str]:
    """The names of alignments, each behind those that it starts from and is rewarded by. Raises ValueError for a circle."""
    order: list[str] = []

    def visit(name: str, behind: tuple[str, ...]) -> None:
        if name in behind:
            raise ValueError(
                f"the alignment {name} starts from itself: {' from '.join([*behind[behind.index(name) :], name])}"
            )
        for other in (align[name].initial, align[name].reward):
            if other in align:
                visit(other, (*behind, name))
        if name not in order:
            order.append(name)

    for name in align:
        visit(name, ())
    return order


def check_alignments(
    align: Mapping[str, AlignSettings], runs: Mapping[str, PretrainSettings], dialogues: list[str]
) -> None:
    """Raises ValueError for an alignment that cannot be made as it says."""
    for name in align:
        if name in PROGRAMS:
            raise ValueError(f"align.{name} cannot be called so: that is a reward that a program gives")
    alignments_in_order(align)
    for name, one in align.items():
        known = [*runs, *(other for other in align if align[other].method != "reward")]
        if name in runs:
            raise ValueError(f"align.{name} is called like a run: give it another name")
        if run_of_model(one.initial) not in known:
            raise ValueError(
                f"align.{name}.initial is {one.initial}, which writes nothing; the nearest is {nearest(one.initial, known)}"
            )
        if one.dialogues not in dialogues:
            raise ValueError(
                f"align.{name}.dialogues is {one.dialogues}, which is none; the nearest is {nearest(one.dialogues, dialogues)}"
            )
        if one.reward and not one.is_programmatic:
            models = [other for other in align if align[other].method == "reward"]
            if one.reward not in models:
                raise ValueError(
                    f"align.{name}.reward is {one.reward}: give an alignment of method reward ({', '.join(models) or 'there is none'}), "
                    "shorter, longer or word:WORD"
                )
