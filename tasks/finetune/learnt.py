"""What is learnt of labelled examples, by a network or by counting words, and what that answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.torch import save_file

from models.bert import build
from models.draws import random_bits
from models.finetuned import FineTuned, Lstm, grown
from models.objectives.labels import Labels
from models.score import Network as Reading
from tasks.core.stage import Input
from tasks.finetune import bag
from tasks.finetune.encode import LEARNT, Transformation
from tasks.finetune.label import read_examples
from tasks.finetune.metrics import figures
from tasks.finetune.prompts import Prompts
from tasks.finetune.settings import TuningSettings
from tasks.finetune.task import DEV, TRAIN, Example, LabelledSettings
from tasks.finetune.training import labelled_data, plan_of, scores, tuned
from tasks.suite.encoding import Encoding
from tasks.tokens.tokenizer import Codec
from tasks.train.names import step_of_model
from tasks.train.published import load_model
from tasks.train.settings import ModelSettings
from tasks.train.within import exactly
from warehouse.artifact import PartWriter, load
from warehouse.errors import GristmillError
from warehouse.store import Store

Scores = Sequence[npt.NDArray[np.float64]]
TOGETHER = 64  # examples between two words of progress


@dataclass(frozen=True)
class Given:
    """The examples of a task: those that are trained on, and each set that is asked."""

    task: LabelledSettings
    classes: list[str]
    trained: list[Example]
    sets: dict[str, list[Example]]


@dataclass(frozen=True)
class Learnt:
    """The scores of each set's examples, and how large what gave them is."""

    scores: Mapping[str, Scores]
    parameters: int
    truncated: float = 0.0
    language_model: float = 0.0


def given(store: Store, inputs: Mapping[str, Input], task: LabelledSettings, settings: TuningSettings) -> Given:
    """The examples, as many as are wanted. Raises GristmillError where none is left to train on."""
    ref = inputs["labelled"].ref
    examples = read_examples(store, ref)
    of_set = {name: [one for one in examples if one.set == name] for name in dict.fromkeys(one.set for one in examples)}
    if TRAIN not in of_set:
        raise GristmillError(
            "every example that is to be trained on stands in a test set too: give the task another training set"
        )
    trained = _some(of_set.pop(TRAIN), settings.max_examples)
    asked = {name: _some(found, settings.max_tested) for name, found in of_set.items()}
    return Given(task, list(load(store, ref).statistic("classes")), trained, asked)


def _some(examples: list[Example], most: int) -> list[Example]:
    """As many as are wanted, drawn by their names."""
    if not most or len(examples) <= most:
        return examples
    return sorted(examples, key=lambda one: random_bits(0, "labelled", one.id))[:most]


def by_counting(asked: Given) -> Learnt:
    """A bag of words, which has no seed."""
    made = bag.train(asked.task.form, asked.task.number, asked.trained, asked.sets.get(DEV, []))
    return Learnt({name: made.scores(examples) for name, examples in asked.sets.items()}, made.features)


def by_asking(
    store: Store,
    inputs: Mapping[str, Input],
    start: str,
    asked: Given,
    settings: TuningSettings,
    seed: int,
    tell: Callable[[int, int], None],
) -> Learnt:
    """A language model as it is, in words, behind ``shots`` examples that are drawn for each one (Brown et al. 2020, section 2.4).

    A class is as likely as its name behind the text; a choice as likely a token as its words are. Raises GristmillError for numbers, and for a
    network that continues no text.
    """
    if asked.task.number:
        raise GristmillError("a number cannot be asked in words: leave the task to networks that are fine-tuned")
    tokenizer = inputs["tokenizer"].ref
    codec = Codec.load(store, tokenizer)
    with exactly(settings.threads, settings.device) as device:
        model = load_model(store, inputs["checkpoint"].ref, tokenizer, step_of_model(start)).to(device)
        if not model.arch.causal:
            raise GristmillError("a bidirectional network continues no text: fine-tune it, or ask another one")
        network = Reading(model, bf16=settings.precision == "bf16")
        prompts = Prompts(
            asked.task,
            asked.classes,
            asked.trained,
            settings.shots,
            seed,
            Encoding(codec, begin=True),
            model.arch.context,
        )
        found: dict[str, Scores] = {}
        total, done = sum(map(len, asked.sets.values())), 0
        for name, examples in asked.sets.items():
            scored: list[npt.NDArray[np.float64]] = []
            for at in range(0, len(examples), TOGETHER):
                scored += prompts.scores(network, examples[at : at + TOGETHER])
                tell(done + len(scored), total)
            found[name], done = scored, done + len(scored)
    return Learnt(found, sum(parameter.numel() for parameter in model.parameters()))


class Network:
    """A network that is fine-tuned: the checkpoint's where there is one, else the recipe's or an LSTM from drawn weights."""

    def __init__(
        self,
        store: Store,
        inputs: Mapping[str, Input],
        model: ModelSettings,
        start: str,
        settings: TuningSettings,
        seed: int,
    ) -> None:
        self._store, self._inputs, self._model, self._start = store, inputs, model, start
        self._settings, self._seed = settings, seed
        self._is_lstm = settings.reader == "lstm"

    def learn(
        self, asked: Given, run: str, folder: Path, writer: PartWriter, tell: Callable[[int, int], None]
    ) -> Learnt:
        """Trains it, publishes its weights, and answers every set."""
        codec = Codec.load(self._store, self._inputs["tokenizer"].ref)
        objective = "next token" if self._is_lstm else self._model.objective
        way = Transformation(asked.task.form, objective, codec.size, self._model.context)
        encoded = [way(one, codec.encode) for one in asked.trained]
        sets = {name: [way(one, codec.encode) for one in examples] for name, examples in asked.sets.items()}
        labels = Labels(
            self._settings.language_model if objective == "next token" and not self._is_lstm else 0.0, asked.task.number
        )
        data = labelled_data(
            encoded, sets.get(DEV, []), self._settings, self._seed, self._inputs["labelled"].identity, labels.number
        )
        plan = plan_of(self._settings, run, self._seed, data)
        with exactly(self._settings.threads, self._settings.device) as device:
            model = tuned(
                self._made(asked, codec.size), labels, plan, data, folder, lambda step: tell(step, plan.steps), device
            )
            found = {name: scores(model, labels, examples, self._settings) for name, examples in sets.items()}
        self._publish(model, asked, writer, folder)
        size = sum(parameter.numel() for parameter in model.parameters())
        return Learnt(found, size, sum(one.truncated for one in encoded) / len(encoded), labels.language_model)

    def _made(self, asked: Given, vocabulary: int) -> FineTuned:
        outputs = len(asked.classes) if asked.classes else 1
        seed, dropout = self._seed, self._settings.dropout
        if self._is_lstm:
            width = self._settings.lstm_width
            network: Any = Lstm(vocabulary + LEARNT, width, dropout).initialise(seed)
        else:
            network, width = self._transformer(vocabulary), self._model.width
        return FineTuned(network, width, outputs, dropout, asked.task.form == "choice").initialise(seed)

    def _transformer(self, vocabulary: int) -> Any:
        """With the tokens of the input transformations, which only BERT has from its pretraining."""
        specials = len(self._model.traits.special_tokens)
        added = 0 if specials else LEARNT
        dropout = self._settings.dropout
        if "checkpoint" not in self._inputs:
            arch = self._model.architecture(vocabulary + specials + added)
            return build(replace(arch, dropout=dropout, attention_dropout=dropout)).initialise(self._seed)
        tokenizer = self._inputs["tokenizer"].ref
        step = step_of_model(self._start)
        trained = load_model(self._store, self._inputs["checkpoint"].ref, tokenizer, step)
        return grown(
            trained.state_dict(), replace(trained.arch, dropout=dropout, attention_dropout=dropout), added, self._seed
        )

    def _publish(self, model: FineTuned, asked: Given, writer: PartWriter, folder: Path) -> None:
        local = folder / "model.safetensors"
        save_file({name: value.contiguous() for name, value in sorted(model.cpu().state_dict().items())}, local)
        writer.file(f"checkpoint/seed-{self._seed}.safetensors", local)
        arch = getattr(model.network, "arch", None)
        told: dict[str, Any] = {"form": asked.task.form, "classes": asked.classes, "reader": self._settings.reader}
        told |= {
            "architecture": None if arch is None else arch.as_dict(),
            "tokenizer": self._inputs["tokenizer"].ref.key,
        }
        writer.bytes(f"checkpoint/seed-{self._seed}.json", json.dumps(told, indent=1, sort_keys=True).encode())


def predictions(asked: Given, found: Learnt) -> Iterator[dict[str, Any]]:
    """A row for each example of each set."""
    for name, examples in asked.sets.items():
        for one, values in zip(examples, found.scores[name], strict=True):
            answer = _answer(asked, values)
            yield {
                "set": name,
                "example_id": one.id,
                "scores": values.tolist(),
                "answer": _words(asked, one, answer),
                "gold": _words(asked, one, one.gold),
                "correct": None if asked.task.number else answer == one.gold,
            }


def figured(asked: Given, found: Learnt) -> Iterator[dict[str, Any]]:
    """A row for each figure of each set."""
    task = asked.task
    for name, examples in asked.sets.items():
        answers = [_answer(asked, values) for values in found.scores[name]]
        gold, groups = [one.gold for one in examples], [one.group for one in examples]
        for metric, figure in figures(answers, gold, groups, task.number, task.form == "choice").items():
            main = metric == task.main
            yield {
                "set": name,
                "metric": metric,
                "main": main,
                "value": figure.value,
                "stderr": figure.stderr,
                "n": len(examples),
            }


def _answer(asked: Given, values: npt.NDArray[np.float64]) -> float:
    return float(values[0]) if asked.task.number else float(values.argmax())


def _words(asked: Given, one: Example, value: float) -> str:
    if asked.task.number:
        return f"{value:g}"
    return one.choices[int(value)] if one.choices else asked.classes[int(value)]
