"""The node table: what is made from what. The only place where stages are wired."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from flows.given import (
    Given,
    asked,
    asked_models,
    crawled,
    examples,
    has_quality,
    is_example,
    models,
    runs,
    sources,
    tested,
    whole,
    whole_asked,
    whole_tested,
)
from tasks.core.graph import Node, Plan, ancestors, every, one, optional, resolve, same
from tasks.core.stage import Input, Stage, StageSettings
from tasks.crawl.stage import Crawl, content_input
from tasks.decontaminate.overlap import Overlap
from tasks.decontaminate.stage import Decontaminate
from tasks.dedup.band import Band
from tasks.dedup.match import Match
from tasks.dedup.sign import Sign
from tasks.evaluate.stage import Evaluate
from tasks.extract.extraction import Extraction
from tasks.extract.stage import Extract
from tasks.interchange.imported import imported, imported_settings, with_sizes
from tasks.repetition.stage import Repetition, Tally
from tasks.select.elect import Elect
from tasks.select.stage import Select
from tasks.signals.quality import TrainQuality
from tasks.signals.stage import Annotate, AnnotateSettings
from tasks.suite.declared import TASKS
from tasks.suite.endings import NAME as ENDINGS
from tasks.suite.exposure import Expose, Seek
from tasks.suite.questions import Questions
from tasks.suite.stage import Answer
from tasks.suite.synthetic import SCRAMBLES
from tasks.tokens.pack import Pack
from tasks.tokens.relatives import Relatives
from tasks.tokens.split import Split
from tasks.tokens.tokenizer import TrainTokenizer
from tasks.train.names import run_of_model
from tasks.train.settings import PretrainSettings
from tasks.train.stage import Pretrain
from warehouse.artifact import Ref, complete
from warehouse.errors import MissingArtifact, SettingError

TRAINED = ("quality", "tokenizer")  # what is learnt from a whole corpus, and used on when some of it is forgotten


def crawl_of(given: Given, source: str, inputs: dict[str, Input]) -> Stage:
    """The crawl of a source."""
    return given.crawls[source]


def extraction_of(given: Given, name: str, inputs: dict[str, Input]) -> Extraction:
    """The way to a source's documents, whatever the source is, without those that are to be forgotten."""
    source, settings, store = given.recipe.sources[name], given.recipe.extract, given.store
    is_crawl = source.crawl is not None
    stage = (
        Extract(store, settings, {"pages": pages_of(given, name)}, name)
        if is_crawl
        else source.reader(store, settings, name)
    )
    stage.removals = given.removals
    return stage


def pages_of(given: Given, source: str) -> Input:
    """What was crawled, by its content. Raises MissingArtifact before the crawl."""
    manifest = complete(given.store, given.crawls[source].ref)
    if manifest is None:
        raise MissingArtifact(
            f"the source {source} has not been crawled yet: run gristmill crawl or gristmill run first"
        )
    return content_input(given.store, manifest)


def trained_as(given: Given, run: str) -> PretrainSettings:
    """How a run trains its network, with the sizes of the weights that it starts from, whatever those are called."""
    trainings = given.recipe.trainings
    settings = trainings[run]
    if settings.initial in trainings:
        sizes = trained_as(given, settings.initial).model
        return with_sizes(settings.model_copy(update={"initial": ""}), sizes.model_dump())
    return imported_settings(given.store, settings) if settings.initial else settings


def training_of(given: Given, run: str, inputs: dict[str, Input]) -> Stage:
    """A training run, from the weights that the recipe names: another run's, or imported ones."""
    initial = given.recipe.trainings[run].initial
    start = {}
    if initial in given.recipe.trainings:
        start = {"initial": Input.of(training_of(given, initial, inputs).ref)}
    elif initial:
        start = {"initial": Input.of(imported(given.store, initial))}
    return Pretrain(given.store, trained_as(given, run), inputs | start, run)


def evaluation_of(given: Given, model: str, inputs: dict[str, Input]) -> Stage:
    """The evaluation of a network, on held-out text of all that is trained on."""
    training = trained_as(given, run_of_model(model))
    return Evaluate(given.store, given.recipe.evaluate_settings(), inputs, model, training)


def questions_of(given: Given, task: str, inputs: dict[str, Input]) -> Stage:
    """The questions of a task; words that are scrambled anew, and texts that are to be gone on with, are the corpus' own."""
    settings = given.recipe.suite
    wanted = (
        ("corpus", "tokens") if task == ENDINGS else ("corpus",) if settings.synthetic and task in SCRAMBLES else ()
    )
    return Questions(
        given.store, settings.question_settings(), {role: inputs[role] for role in wanted}, task, TASKS[task]
    )


def answers_of(given: Given, model: str, inputs: dict[str, Input]) -> Stage:
    """The answers of a network to the tasks of the recipe."""
    return Answer(
        given.store, given.recipe.suite.asking_settings(), inputs, model, trained_as(given, run_of_model(model))
    )


NODES: tuple[Node[Given], ...] = (
    Node(Crawl, crawled, made_by=crawl_of),
    Node(Extract, sources, reads={"pages": same("crawl")}, made_by=extraction_of),
    Node(TrainQuality, examples, lambda given: given.recipe.quality, {"documents": every("extract", is_example)}),
    Node(
        Annotate,
        sources,
        lambda _: AnnotateSettings(),
        {"documents": same("extract"), "quality": optional("quality")},
    ),
    Node(Sign, sources, lambda given: given.recipe.sign, {"documents": same("extract")}),
    Node(Band, whole, lambda given: given.recipe.band_settings(), {"signatures": every("sign")}),
    Node(
        Match,
        whole,
        lambda given: given.recipe.match_settings(),
        {
            "documents": every("extract"),
            "signatures": every("sign"),
            "candidates": one("band"),
            "signals": every("annotate", has_quality),
        },
    ),
    Node(
        Tally,
        sources,
        lambda given: given.recipe.repetition,
        {"documents": same("extract"), "duplicates": one("match")},
    ),
    Node(
        Repetition,
        sources,
        lambda given: given.recipe.repetition,
        {"documents": same("extract"), "tally": same("tally")},
    ),
    Node(Overlap, tested, lambda given: given.recipe.decontaminate, {"documents": same("extract")}),
    Node(
        Decontaminate,
        whole_tested,
        lambda given: given.recipe.decontaminate,
        {"documents": every("extract"), "overlaps": every("overlap"), "duplicates": one("match")},
    ),
    Node(
        Elect,
        whole,
        lambda given: given.recipe.select_settings(),
        {
            "documents": every("extract"),
            "signals": every("annotate"),
            "repetition": every("repetition"),
            "duplicates": one("match"),
        },
    ),
    Node(
        Select,
        whole,
        lambda given: given.recipe.select_settings(),
        {
            "documents": every("extract"),
            "signals": every("annotate"),
            "repetition": every("repetition"),
            "elections": one("elect"),
            "contamination": optional("decontaminate"),
        },
    ),
    Node(TrainTokenizer, whole, lambda given: given.recipe.tokenizer, {"corpus": one("select")}),
    Node(
        Split,
        whole,
        lambda given: given.recipe.split_settings(),
        {"corpus": one("select"), "duplicates": one("match")},
    ),
    Node(
        Relatives,
        whole,
        lambda given: given.recipe.relatives_settings(),
        {"corpus": one("select"), "split": one("split")},
    ),
    Node(
        Pack,
        whole,
        lambda given: given.recipe.hold_out_settings(),
        {
            "corpus": one("select"),
            "tokenizer": one("tokenizer"),
            "split": one("split"),
            "relatives": one("relatives"),
        },
    ),
    Node(Pretrain, runs, reads={"tokens": one("pack"), "tokenizer": one("tokenizer")}, made_by=training_of),
    Node(
        Evaluate,
        models,
        reads={
            "corpus": one("select"),
            "tokenizer": one("tokenizer"),
            "tokens": one("pack"),
            "split": one("split"),
            "relatives": one("relatives"),
            "checkpoint": same("pretrain", of=run_of_model),
        },
        made_by=evaluation_of,
    ),
    Node(Questions, asked, reads={"corpus": one("select"), "tokens": one("pack")}, made_by=questions_of),
    Node(Seek, whole_asked, lambda _: StageSettings(), {"corpus": one("select"), "questions": every("questions")}),
    Node(
        Expose,
        whole_asked,
        lambda _: StageSettings(),
        {"corpus": one("select"), "tokens": one("pack"), "hits": one("seek"), "questions": every("questions")},
    ),
    Node(
        Answer,
        asked_models,
        reads={
            "questions": every("questions"),
            "exposed": one("expose"),
            "tokenizer": one("tokenizer"),
            "checkpoint": same("pretrain", of=run_of_model),
        },
        made_by=answers_of,
    ),
)
STAGES = tuple(node.name for node in NODES)


def made_from(*names: str, beside: Sequence[str] = ()) -> tuple[str, ...]:
    """These stages and all that they are made from, but some."""
    return tuple(name for name in ancestors(NODES, *names) if name not in beside)


def plan_of(given: Given) -> Plan:
    """Every artifact of the recipe, with what stands in for some of them."""
    return resolve(NODES, given, given.store, pins_of(given))


def pins_of(given: Given) -> dict[str, Ref]:
    """What stands in for what a stage would make: imported vocabularies, and what was learnt before some of it was forgotten."""
    pins: dict[str, Ref] = {}
    if given.removals:
        unforgotten = resolve(NODES, replace(given, removals=()), given.store, _imported(given))
        for name in TRAINED:
            for artifact in unforgotten.artifacts.get(name, ()):
                keys = [wish.kept[artifact.ref.key] for wish in given.removals if artifact.ref.key in wish.kept]
                there = [ref for key in keys if complete(given.store, ref := Ref(stage=name, key=key)) is not None]
                if there:
                    pins[name] = there[0]
    return pins | _imported(given) | dict(given.pins)


def _imported(given: Given) -> dict[str, Ref]:
    tokenizer = imported_tokenizer(given)
    return {} if tokenizer is None else {"tokenizer": tokenizer}


def imported_tokenizer(given: Given) -> Ref | None:
    """The artifact whose tokenizer a recipe's runs share, where one of them starts from imported weights.

    Raises SettingError where there are two.
    """
    trainings = given.recipe.trainings
    found = {
        s.initial: imported(given.store, s.initial) for s in trainings.values() if s.initial not in ("", *trainings)
    }
    if len(set(found.values())) > 1:
        raise SettingError(
            f"the runs of a recipe share one tokenizer, and those of {' and '.join(found)} are two: make them two recipes"
        )
    return next(iter(found.values()), None)
