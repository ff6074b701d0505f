"""Training runs by name: the newest of a recipe, or one by the beginning of its key, finished or under way."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from tasks.train.job import Job
from tasks.train.settings import PretrainSettings
from warehouse import log
from warehouse.artifact import Manifest, Ref, complete, read_manifest
from warehouse.errors import MissingArtifact
from warehouse.store import Store

STAGE, LATEST = "pretrain", "latest"
LISTED = "gristmill sql \"SELECT key FROM history.artifacts WHERE stage = 'pretrain'\" lists those that are finished"


@dataclass(frozen=True)
class KnownRun:
    """A training run: what it was trained on, with which settings, and where it saves where it is not finished."""

    key: str
    tokens: Ref
    tokenizer: Ref
    settings: PretrainSettings
    job: Job | None = None

    @property
    def ref(self) -> Ref:
        """The artifact that it is, or will be."""
        return Ref(stage=STAGE, key=self.key)


def find_run(store: Store, name: str = LATEST, recipe: str = "", as_of: str | None = None) -> KnownRun:
    """The run that a name means: the one that was trained last (by ``recipe``, where one is given), or a key's beginning.

    Raises MissingArtifact where there is none, or more than one.
    """
    if name == LATEST:
        return _last(store, recipe, as_of)
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


def _last(store: Store, recipe: str, as_of: str | None) -> KnownRun:
    for record in reversed(log.runs(store, as_of)):
        for key in record.stages.get(STAGE, []):
            manifest = complete(store, Ref(stage=STAGE, key=key))
            if manifest is not None and recipe in ("", record.recipe):
                return _finished(manifest)
    whose = f"the recipe {recipe} has" if recipe else "this store has"
    raise MissingArtifact(f"{whose} no trained model yet: run gristmill run, or gristmill pretrain")


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
