"""The node table: what is made from what. The only place where stages are wired."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from flows import special
from flows.given import (
    Given,
    alignments,
    asked,
    asked_models,
    crawled,
    dialogued,
    examples,
    has_quality,
    is_example,
    labelled,
    models,
    runs,
    sources,
    tested,
    tunings,
    whole,
    whole_asked,
    whole_tested,
)
from tasks.align.dialogue import Dialogue
from tasks.align.stage import Align
from tasks.core.graph import Node, Plan, ancestors, every, one, optional, resolve, same
from tasks.core.stage import StageSettings
from tasks.crawl.stage import Crawl
from tasks.decontaminate.overlap import Overlap
from tasks.decontaminate.stage import Decontaminate
from tasks.dedup.band import Band
from tasks.dedup.match import Match
from tasks.dedup.sign import Sign
from tasks.evaluate.stage import Evaluate
from tasks.extract.stage import Extract
from tasks.finetune.label import Label
from tasks.finetune.stage import Finetune
from tasks.interchange.imported import imported
from tasks.repetition.stage import Repetition, Tally
from tasks.select.elect import Elect
from tasks.select.stage import Select
from tasks.signals.quality import TrainQuality
from tasks.signals.stage import Annotate, AnnotateSettings
from tasks.suite.exposure import Expose, Seek
from tasks.suite.questions import Questions
from tasks.suite.stage import Answer
from tasks.tokens.pack import Pack
from tasks.tokens.relatives import Relatives
from tasks.tokens.split import Split
from tasks.tokens.tokenizer import TrainTokenizer
from tasks.train.names import run_of_model
from tasks.train.stage import Pretrain
from warehouse.artifact import Ref, complete
from warehouse.errors import SettingError

TRAINED = ("quality", "tokenizer")  # what is learnt from a whole corpus, and used on when some of it is forgotten


NODES: tuple[Node[Given], ...] = (
    Node(Crawl, crawled, made_by=special.crawl_of),
    Node(Extract, sources, reads={"pages": same("crawl")}, made_by=special.extraction_of),
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
    Node(Pretrain, runs, reads={"tokens": one("pack"), "tokenizer": one("tokenizer")}, made_by=special.training_of),
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
        made_by=special.evaluation_of,
    ),
    Node(Questions, asked, reads={"corpus": one("select"), "tokens": one("pack")}, made_by=special.questions_of),
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
        made_by=special.answers_of,
    ),
    Node(Label, labelled, reads={"documents": every("extract")}, made_by=special.labelled_of),
    Node(
        Finetune,
        tunings,
        reads={"labelled": every("label"), "tokenizer": one("tokenizer"), "checkpoint": every("pretrain")},
        made_by=special.tuning_of,
    ),
    Node(Dialogue, dialogued, reads={"documents": every("extract")}, made_by=special.dialogue_of),
    Node(
        Align,
        alignments,
        reads={
            "dialogues": every("dialogue"),
            "tokenizer": one("tokenizer"),
            "tokens": one("pack"),
            "checkpoint": every("pretrain"),
        },
        made_by=special.alignment_of,
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
