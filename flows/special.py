"""How the stages of a recipe are made that ask for more than settings: what the node table names as ``made_by``."""

from __future__ import annotations

from flows.given import Given
from tasks.align.dialogue import DECLARED, Dialogue
from tasks.align.plays import NAME as PLAYS
from tasks.align.stage import Align
from tasks.core.stage import Input, Stage
from tasks.crawl.stage import content_input
from tasks.evaluate.stage import Evaluate
from tasks.extract.extraction import Extraction
from tasks.extract.stage import Extract
from tasks.finetune.label import Label
from tasks.finetune.plays import BUILTIN
from tasks.finetune.stage import Finetune, name_of, task_of
from tasks.finetune.task import LabelledSettings
from tasks.interchange.imported import imported, imported_settings, with_sizes
from tasks.suite.declared import TASKS
from tasks.suite.endings import NAME as ENDINGS
from tasks.suite.questions import Questions
from tasks.suite.stage import Answer
from tasks.suite.synthetic import SCRAMBLES
from tasks.train.names import run_of_model
from tasks.train.settings import PretrainSettings
from tasks.train.stage import Pretrain
from warehouse.artifact import complete
from warehouse.errors import MissingArtifact


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


def labelled_of(given: Given, task: str, inputs: dict[str, Input]) -> Stage:
    """The examples of a task: out of its files, or made of the recipe's own documents."""
    licences = {name: source.license for name, source in given.recipe.sources.items()}
    return Label(given.store, labels_of(given, task), inputs if task in BUILTIN else {}, task, licences)


def labels_of(given: Given, task: str) -> LabelledSettings:
    """How a task with labels is declared."""
    return BUILTIN[task].settings if task in BUILTIN else given.recipe.labelled[task]


def tuning_of(given: Given, tuning: str, inputs: dict[str, Input]) -> Stage:
    """A network fine-tuned to one task, from a run's checkpoint or from drawn weights."""
    settings, task = given.recipe.finetune[name_of(tuning)], task_of(tuning)
    run = run_of_model(settings.initial)
    wanted = {"labelled": inputs[f"labelled/{task}"]}
    if settings.reader != "bag of words":
        wanted["tokenizer"] = inputs["tokenizer"]
    if run:
        wanted["checkpoint"] = inputs[f"checkpoint/{run}"]
    model = trained_as(given, run).model if run else given.recipe.model
    return Finetune(given.store, settings.tuning(), wanted, tuning, labels_of(given, task), model, settings.initial)


def dialogue_of(given: Given, name: str, inputs: dict[str, Input]) -> Stage:
    """Conversations: out of files, or made of the recipe's own plays."""
    licences = {source: settings.license for source, settings in given.recipe.sources.items()}
    made = name == PLAYS
    return Dialogue(
        given.store, DECLARED if made else given.recipe.dialogues[name], inputs if made else {}, name, licences
    )


def alignment_of(given: Given, name: str, inputs: dict[str, Input]) -> Stage:
    """An alignment of a run or of another alignment, by a reward model where it has one."""
    settings = given.recipe.align[name]
    wanted = {role: inputs[role] for role in ("tokenizer", "tokens")} | {
        "dialogues": inputs[f"dialogues/{settings.dialogues}"]
    }
    others = {"checkpoint": settings.initial, "reward": settings.reward}
    wanted |= {
        role: Input.of(alignment_of(given, other, inputs).ref)
        for role, other in others.items()
        if other in given.recipe.align
    }
    if "checkpoint" not in wanted:
        wanted["checkpoint"] = inputs[f"checkpoint/{run_of_model(settings.initial)}"]
    return Align(given.store, settings, wanted, name, given.recipe.weights)
