"""Makes a recipe's artifacts in one store: what a flow, a command or a test drives, node by node."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from urllib.parse import urlsplit

from flows.given import Given, given_of
from flows.graph import plan_of
from flows.recipe.settings import Recipe
from flows.recipe.sources import Source
from tasks.core.graph import Artifact, Plan
from tasks.core.stage import SILENT, MakeParts, Report, Stage, one_by_one, reuse, run_stages
from warehouse import log
from warehouse.artifact import Manifest, Ref, complete
from warehouse.errors import GristmillError, MissingArtifact
from warehouse.removals import check_all, removals
from warehouse.store import Store


class Pipeline:
    """One run over a recipe: its plan as the store stands, and the way to make it."""

    def __init__(
        self,
        recipe: Recipe,
        make_parts: MakeParts = one_by_one,
        report: Report = SILENT,
        fresh_crawl: bool = False,
        run_id: str = "",
        pins: Mapping[str, Ref] | None = None,
    ) -> None:
        self.recipe, self.store, self._pins = recipe, Store(recipe.store), pins or {}
        self._make_parts, self._report, self._fresh_crawl = make_parts, report, fresh_crawl
        self.removals = removals(self.store)
        self._run = log.resume_run(self.store, run_id) if run_id else log.new_run(self.store, recipe.name)
        self._run.mixture = recipe.shares

    @cached_property
    def given(self) -> Given:
        """What the plan follows from: which crawls are this run's is decided once."""
        return given_of(self.recipe, self.store, self._fresh_crawl, self.removals, self._pins)

    @property
    def plan(self) -> Plan:
        """Every artifact, as far as its key is known now: what follows a crawl is known when that is complete."""
        return plan_of(self.given)

    def make(self, node: str) -> list[Manifest]:
        """Makes or reuses a node's artifacts and shows them in the catalog."""
        check_all(self.store)
        artifacts = self.plan[node]
        if node == "pretrain":  # a run can be asked by its name while it trains
            self._run.trained = {one.subject: one.ref.key for one in artifacts}
            log.note(self.store, self._run)
        made: list[Manifest] = []
        with self._demo_sites(artifacts) if node == "crawl" else ExitStack():
            for wave in waves([one.stage for one in artifacts if one.pin is None]):
                made += run_stages(wave, self._make_parts, self._report)
        pinned = [reuse(one.stage, one.ref, self._report) for one in artifacts if one.pin is not None]
        found = {manifest.ref: manifest for manifest in (*made, *pinned)}
        manifests = [found[one.ref] for one in artifacts]
        if node == "select" and sum(manifest.counts.kept for manifest in manifests) == 0:
            raise GristmillError(
                'the corpus is empty: no document was kept; see why with gristmill sql "FROM funnel", then loosen the policy'
            )
        if manifests:  # a recipe may have nothing to crawl
            log.note_stage(self.store, self._run, [manifest.ref for manifest in manifests])
        return manifests

    def is_made(self, *nodes: str) -> bool:
        """Whether all artifacts of these nodes exist and the catalog shows them."""
        plan = self.plan
        shown = log.current(self.store, recipe=self.recipe.name)
        try:
            for node in nodes:
                refs = [artifact.ref for artifact in plan[node]]
                # Where there is nothing to crawl, or no evaluation set, there is nothing to show.
                if refs and (refs != shown.get(node, []) or not all(complete(self.store, ref) for ref in refs)):
                    return False
        except MissingArtifact:
            return False
        return True

    @property
    def own(self) -> dict[str, list[Ref]]:
        """The recipe's own artifacts that are there, whatever else was made in the store since."""
        plan = self.plan
        if plan.unknown is not None and not isinstance(plan.unknown, MissingArtifact):
            raise plan.unknown
        refs = {node: [artifact.ref for artifact in plan[node]] for node in plan}
        return {node: found for node, found in refs.items() if found and all(complete(self.store, r) for r in found)}

    @contextmanager
    def _demo_sites(self, crawls: Sequence[Artifact]) -> Iterator[None]:
        """Serves the built-in sites of the sources that are about to be crawled."""
        with ExitStack() as sites:
            for crawl in crawls:
                source = self.recipe.sources[crawl.subject]
                if source.demo_site and complete(self.store, crawl.ref) is None:
                    sites.enter_context(serve_demo_site(source))
            yield


def waves(stages: Sequence[Stage]) -> Iterator[list[Stage]]:
    """Stages in the groups in which they can be made: what one of them reads of another stands in an earlier group."""
    left = list(stages)
    while left:
        keys = {stage.ref.key for stage in left}
        ready = [stage for stage in left if keys.isdisjoint(entry.ref.key for entry in stage.inputs.values())]
        yield ready
        left = [stage for stage in left if stage not in ready]


@contextmanager
def serve_demo_site(source: Source) -> Iterator[str]:
    """Runs ``python -m demo.serve`` at the port of the source's first seed; yields the address once it answers."""
    assert source.crawl is not None
    port = urlsplit(source.crawl.seeds[0]).port
    command = [sys.executable, "-m", "demo.serve", source.demo_site, "--port", str(port)]
    if source.demo_limit is not None:
        command += ["--limit", str(source.demo_limit)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            line = server.stdout.readline()
            event = json.loads(line) if line else {"error": f"the demo site {source.demo_site} did not start"}
            if "error" in event:
                raise GristmillError(event["error"])
            yield event["ready"]
        finally:
            server.kill()
