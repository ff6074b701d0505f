"""Training runs by name: what a recipe calls them, the beginning of their keys, or latest; finished or under way."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from tasks.train.job import Job
from tasks.train.names import model_name, run_of_model, step_of_model
from tasks.train.settings import PretrainSettings
from warehouse import log
from warehouse.artifact import Manifest, Ref, complete, read_manifest
from warehouse.errors import MissingArtifact
from warehouse.store import Store
from warehouse.stored import stored

STAGE, LATEST = "pretrain", "latest"
LISTED = 'gristmill sql "FROM models" lists those of the recipe'


@dataclass(frozen=True)
class KnownRun:
    """A training run: what it was trained on, with which settings, and where it saves where it is not finished.

    ``step`` is that of a checkpoint which it pins, where that is meant and not what it ends with.
    """

    key: str
    tokens: Ref
    tokenizer: Ref
    settings: PretrainSettings
    job: Job | None = None
    step: int | None = None

    @property
    def ref(self) -> Ref:
        """The artifact that it is, or will be."""
        return Ref(stage=STAGE, key=self.key)

    @property
    def title(self) -> str:
        """The beginning of its key, with the step that is meant."""
        return model_name(self.key[:12], self.step)


def find_run(store: Store, name: str = LATEST, recipe: str = "", as_of: str | None = None) -> KnownRun:
    """The run that a name means: the one trained last (by ``recipe``, where one is given), a run of the recipe, or a key's beginning.

    ``NAME@STEP`` is a checkpoint that the run pins. Raises MissingArtifact where there is none, or more than one.
    """
    try:
        whole, step = run_of_model(name), step_of_model(name)
    except ValueError:
        raise MissingArtifact(f"{name} names no step: write it as small@1000") from None
    records = log.runs(store, as_of)
    run = _last(store, records, recipe) if whole == LATEST else _named(store, records, whole, recipe)
    if step in (None, run.settings.last_step):
        return run
    if step not in run.settings.pinned_steps:
        pinned = ", ".join(map(str, run.settings.pinned_steps)) or "none: set pretrain.pin_every"
        raise MissingArtifact(f"the run {whole} pins no checkpoint of step {step}; it pins {pinned}")
    return replace(run, step=step)


def _named(store: Store, records: list[log.RunRecord], name: str, recipe: str) -> KnownRun:
    key = log.merged(records, recipe).trained.get(name)
    run = run_of(store, key) if key else None
    if run is not None:
        return run
    known = {key for key in store.names(f"artifacts/{STAGE}") if read_manifest(store, Ref(stage=STAGE, key=key))}
    known |= {path.parent.name for path in (store.scratch_root / STAGE).glob("*/job.json")}
    found = sorted(key for key in known if name and key.startswith(name))
    if len(found) > 1:
        raise MissingArtifact(f"{len(found)} training runs begin with {name}: {', '.join(key[:12] for key in found)}")
    run = run_of(store, found[0]) if found else None
    if run is None:
        raise MissingArtifact(f"there is no training run {name} in this store: {LISTED}")
    return run


def run_of(store: Store, key: str) -> KnownRun | None:
    """A run by its key, or None where the store has nothing of it."""
    manifest = read_manifest(store, Ref(stage=STAGE, key=key))
    return _under_way(store, key) if manifest is None else _finished(manifest)


def _last(store: Store, records: list[log.RunRecord], recipe: str) -> KnownRun:
    for record in reversed(records):
        finished = [complete(store, Ref(stage=STAGE, key=key)) for key in record.stages.get(STAGE, [])]
        there = [manifest for manifest in finished if manifest is not None]
        if there and recipe in ("", record.recipe):
            return _finished(_made_last(store, there))
    whose = f"the recipe {recipe} has" if recipe else "this store has"
    raise MissingArtifact(f"{whose} no trained model yet: run gristmill run, or gristmill pretrain")


def _made_last(store: Store, runs: list[Manifest]) -> Manifest:
    """The run whose training began last; of those that nothing is noted of, the last in the recipe."""
    if len(runs) == 1:
        return runs[0]
    began = {
        row["key"]: row["started_at"]
        for _, row in stored(store, log.WORK, log.work_row)
        if row["stage"] == STAGE and row["part"] is not None and not row["reused"]
    }
    return max(enumerate(runs), key=lambda each: (began.get(each[1].key, ""), each[0]))[1]


def _finished(manifest: Manifest) -> KnownRun:
    tokens, tokenizer = (
        Ref(stage=stage, key=manifest.inputs[name]) for stage, name in (("pack", "tokens"), ("tokenizer", "tokenizer"))
    )
    return KnownRun(manifest.key, tokens, tokenizer, PretrainSettings.model_validate(manifest.settings))


def _under_way(store: Store, key: str) -> KnownRun | None:
    path: Path = store.scratch_root / STAGE / key / "job.json"
    try:
        job = Job.model_validate_json(path.read_text())
    except (OSError, ValidationError):
        return None
    return KnownRun(key, job.tokens, job.tokenizer, job.settings, job)
