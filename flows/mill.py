"""The stages of a recipe over one store, each known by its key before it is made."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from urllib.parse import urlsplit

from flows.recipe import Recipe, Source
from tasks.crawl.stage import Crawl, content_input, crawl_to_use
from tasks.decontaminate.overlap import Overlap
from tasks.decontaminate.stage import Decontaminate
from tasks.dedup.band import Band
from tasks.dedup.match import Match
from tasks.dedup.sign import Sign
from tasks.elect import Elect
from tasks.evaluate.stage import Evaluate
from tasks.extract.archive import ExtractArchive
from tasks.extract.extraction import Extraction
from tasks.extract.stage import Extract
from tasks.extract.table import ExtractTable
from tasks.imported import imported, imported_settings
from tasks.pack import Pack
from tasks.pretrain.stage import Pretrain
from tasks.quality import TrainQuality
from tasks.repetition.stage import Repetition, Tally
from tasks.select import Select
from tasks.signals.stage import Annotate
from tasks.stage import SILENT, Input, MakeParts, Report, Stage, one_by_one, run_stages
from tasks.tokenizer import TrainTokenizer
from warehouse import log
from warehouse.artifact import Manifest, Ref, complete
from warehouse.errors import GristmillError, MissingArtifact
from warehouse.removals import check_all, removals
from warehouse.store import Store

STAGES = (
    "crawl",
    "extract",
    "quality",
    "annotate",
    "sign",
    "band",
    "match",
    "tally",
    "repetition",
    "overlap",
    "decontaminate",
    "elect",
    "select",
    "tokenizer",
    "pack",
    "pretrain",
    "evaluate",
)

# Those that every source has for itself, over its documents.
SOURCE_STAGES: dict[str, type[Stage]] = {
    "annotate": Annotate,
    "sign": Sign,
    "tally": Tally,
    "repetition": Repetition,
    "overlap": Overlap,
}


class Mill:
    """Makes a recipe's artifacts, in the order of ``STAGES``."""

    def __init__(
        self,
        recipe: Recipe,
        make_parts: MakeParts = one_by_one,
        report: Report = SILENT,
        fresh_crawl: bool = False,
        run_id: str = "",
        heed_removals: bool = True,
    ) -> None:
        self.recipe, self.store, self.fresh_crawl = recipe, Store(recipe.store), fresh_crawl
        self._make_parts, self._report = make_parts, report
        self._asked: dict[str, Sequence[Stage]] | None = None
        self.removals = removals(self.store) if heed_removals else ()
        self._run = log.resume_run(self.store, run_id) if run_id else log.new_run(self.store, recipe.name)

    @cached_property
    def whole(self) -> Mill:
        """The same as if nothing were to be forgotten: it names artifacts, it makes none."""
        return Mill(self.recipe, fresh_crawl=self.fresh_crawl, heed_removals=False)

    def _kept(self, stage: Stage) -> Stage:
        """A stage that learns from a whole corpus goes on with what it learnt before some of that was forgotten."""
        if self.removals:
            (whole,) = self.whole.stages(stage.name)
            keys = [removal.kept[whole.ref.key] for removal in self.removals if whole.ref.key in removal.kept]
            refs = [Ref(stage=stage.name, key=key) for key in keys]
            stage.kept = next((ref for ref in refs if complete(self.store, ref) is not None), None)
        return stage

    @cached_property
    def _crawls(self) -> dict[str, Crawl]:
        return {
            name: crawl_to_use(self.store, source.crawl, name, self.fresh_crawl)
            for name, source in self.recipe.sources.items()
            if source.crawl is not None
        }

    def stages(self, name: str) -> Sequence[Stage]:
        """The stage objects of one name: one a source, or one. Raises MissingArtifact before the crawl.

        They are made anew for each question, those that others ask for once.
        """
        outermost = self._asked is None
        asked = self._asked = {} if self._asked is None else self._asked
        try:
            if name not in asked:
                asked[name] = self._stages(name)
            return asked[name]
        finally:
            if outermost:
                self._asked = None

    def _stages(self, name: str) -> Sequence[Stage]:
        if name == "crawl":
            return list(self._crawls.values())
        if name == "extract":
            return [self._extract(source) for source in self.recipe.sources]
        if name == "quality":
            return self._quality()
        if name in ("overlap", "decontaminate") and not self.recipe.decontaminate.sets:
            return []
        if name in SOURCE_STAGES:
            return self._of_sources(name)
        return [self._of_corpus(name)]

    def _of_sources(self, name: str) -> list[Stage]:
        """A stage of every source over its documents."""
        recipe, kind = self.recipe, SOURCE_STAGES[name]
        settings = {
            "annotate": recipe.annotate,
            "sign": recipe.sign,
            "tally": recipe.repetition,
            "repetition": recipe.repetition,
            "overlap": recipe.decontaminate,
        }[name]
        shared = {"annotate": {"quality": "quality"}, "tally": {"duplicates": "match"}}.get(name, {})
        inputs = self._inputs(**shared)
        tallies = {stage.subject: Input.of(stage.ref) for stage in self.stages("tally")} if name == "repetition" else {}
        found: list[Stage] = []
        for documents in self.stages("extract"):
            source = documents.subject
            own = {"tally": tallies[source]} if source in tallies else {}
            found.append(kind(self.store, settings, {"documents": Input.of(documents.ref), **inputs, **own}, source))
        return found

    def _quality(self) -> list[Stage]:
        recipe = self.recipe
        examples = {*recipe.quality.positive, *recipe.quality.negative}
        documents = [stage for stage in self.stages("extract") if stage.subject in examples]
        inputs = {f"documents/{stage.subject}": Input.of(stage.ref) for stage in documents}
        return [self._kept(TrainQuality(self.store, recipe.quality, inputs))] if examples else []

    def _of_corpus(self, name: str) -> Stage:
        """A stage of the whole corpus."""
        recipe, store, inputs = self.recipe, self.store, self._inputs
        measured = {"documents": "extract", "signals": "annotate", "repetition": "repetition"}
        builders: dict[str, Callable[[], Stage]] = {
            "band": lambda: Band(store, recipe.band_settings(), inputs(signatures="sign")),
            "match": lambda: Match(store, recipe.match_settings(), self._match_inputs()),
            "decontaminate": lambda: Decontaminate(
                store, recipe.decontaminate, inputs(documents="extract", overlaps="overlap", duplicates="match")
            ),
            "elect": lambda: Elect(store, recipe.select_settings(), inputs(**measured, duplicates="match")),
            "select": lambda: Select(
                store, recipe.select_settings(), inputs(**measured, elections="elect", contamination="decontaminate")
            ),
            "tokenizer": self._tokenizer,
            "pack": lambda: Pack(store, recipe.pack, inputs(corpus="select", tokenizer="tokenizer")),
            "pretrain": self._pretrain,
            "evaluate": lambda: Evaluate(
                store,
                recipe.evaluate,
                inputs(corpus="select", tokenizer="tokenizer", tokens="pack", checkpoint="pretrain"),
            ),
        }
        return builders[name]()

    def _tokenizer(self) -> Stage:
        """The stage that learns a vocabulary, for which that of imported weights stands in."""
        stage = TrainTokenizer(self.store, self.recipe.tokenizer, self._inputs(corpus="select"))
        if self.recipe.pretrain.initial:
            stage.kept = imported(self.store, self.recipe.pretrain.initial)
            return stage
        return self._kept(stage)

    def _pretrain(self) -> Stage:
        settings, inputs = self.recipe.pretrain_settings(), self._inputs(tokens="pack", tokenizer="tokenizer")
        if settings.initial:
            inputs |= {"initial": Input.of(imported(self.store, settings.initial))}
            settings = imported_settings(self.store, settings)
        return Pretrain(self.store, settings, inputs)

    def _match_inputs(self) -> dict[str, Input]:
        quality = self._inputs(signals="annotate") if self.stages("quality") else {}
        return self._inputs(documents="extract", signatures="sign", candidates="band") | quality

    def _extract(self, name: str) -> Stage:
        """The stage that makes a source's documents without those that are to be forgotten."""
        stage = self._extraction(name)
        stage.removals = self.removals
        return stage

    def _extraction(self, name: str) -> Extraction:
        """The way to a source's documents, whatever the source is."""
        source, settings = self.recipe.sources[name], self.recipe.extract
        if source.warc is not None:
            return ExtractArchive(self.store, settings, source.warc, name)
        if source.parquet is not None:
            return ExtractTable(self.store, settings, "parquet", source.parquet, name)
        if source.jsonl is not None:
            return ExtractTable(self.store, settings, "jsonl", source.jsonl, name)
        if source.text is not None:
            return ExtractTable(self.store, settings, "text", source.text, name)
        return Extract(self.store, settings, {"pages": self._pages(name)}, name)

    def _pages(self, source: str) -> Input:
        manifest = complete(self.store, self._crawls[source].ref)
        if manifest is None:
            raise MissingArtifact(
                f"the source {source} has not been crawled yet: run gristmill crawl or gristmill run first"
            )
        return content_input(self.store, manifest)

    def _inputs(self, **names: str) -> dict[str, Input]:
        """Input name -> stage name, as inputs; a stage with several subjects gives ``name/subject`` each."""
        return {
            f"{name}/{stage.subject}" if stage.subject else name: Input.of(stage.ref)
            for name, stage_name in names.items()
            for stage in self.stages(stage_name)
        }

    def make(self, name: str) -> list[Manifest]:
        """Makes or reuses a stage's artifacts and shows them in the catalog."""
        check_all(self.store)
        stages = self.stages(name)
        with self._demo_sites(stages) if name == "crawl" else ExitStack():
            manifests = run_stages(stages, self._make_parts, self._report)
        if name == "select" and sum(manifest.counts.kept for manifest in manifests) == 0:
            raise GristmillError(
                'the corpus is empty: no document was kept; see why with gristmill sql "FROM funnel", then loosen the policy'
            )
        if manifests:  # a recipe may have nothing to crawl
            log.note_stage(self.store, self._run, [manifest.ref for manifest in manifests])
        return manifests

    def is_made(self, name: str) -> bool:
        """Whether all of a stage's artifacts exist and the catalog shows them."""
        try:
            stages = self.stages(name)
        except MissingArtifact:
            return False
        if not stages:  # nothing to crawl
            return True
        shown = log.current(self.store, recipe=self.recipe.name).get(name, [])
        return [stage.ref for stage in stages] == shown and all(complete(self.store, stage.ref) for stage in stages)

    @property
    def own(self) -> dict[str, list[Ref]]:
        """The recipe's own artifacts that are there, whatever else was made in the store since."""
        found: dict[str, list[Ref]] = {}
        for name in STAGES:
            try:
                refs = [stage.ref for stage in self.stages(name)]
            except MissingArtifact:
                break
            if refs and all(complete(self.store, ref) is not None for ref in refs):
                found[name] = refs
        return found

    @contextmanager
    def _demo_sites(self, crawls: Sequence[Stage]) -> Iterator[None]:
        """Serves the built-in sites of the sources that are about to be crawled."""
        with ExitStack() as sites:
            for crawl in crawls:
                source = self.recipe.sources[crawl.subject]
                if source.demo_site and complete(self.store, crawl.ref) is None:
                    sites.enter_context(serve_demo_site(source))
            yield


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
