"""answer: what a trained network answers to the tasks of a suite, question by question, and its scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from models.draws import random_bits
from tasks.core.stage import Input, Made, Report, Stage
from tasks.suite.declared import tasks_named
from tasks.suite.demonstrations import ask, demonstrations, in_order
from tasks.suite.question import Prompt, Question, Task
from tasks.suite.settings import AskingSettings
from tasks.train.names import step_of_model
from tasks.train.settings import PretrainSettings
from warehouse.artifact import PartWriter, load, read_tables
from warehouse.store import Store


class Way(NamedTuple):
    """One part: a task put by one of its prompts, behind so many demonstrations drawn by a seed."""

    task: Task
    shots: int
    prompt: Prompt
    seed: int | None

    @property
    def name(self) -> str:
        by = "" if self.seed is None else f"-seed-{self.seed}"
        return f"{self.task.name}-{self.shots}-shot-{self.prompt.name}{by}"


class Answer(Stage):
    """Answers of one network. Inputs: ``questions/…``, ``exposed``, ``tokenizer``, ``checkpoint``."""

    name = "answer"
    version = 1
    subject_is_content = False
    is_long = True
    settings: AskingSettings

    def __init__(
        self,
        store: Store,
        settings: AskingSettings,
        inputs: Mapping[str, Input],
        subject: str,
        training: PretrainSettings,
    ) -> None:
        super().__init__(store, settings, inputs, subject)
        self._training, self._pinned = training, step_of_model(subject)

    @property
    def identity(self) -> dict[str, Any]:
        said = self.settings.identity()
        shown = {name: said[name] for name in ("max_questions", "begin", "stride", "precision")}
        ways = {name: way.task.digest for name, way in self.ways.items()}
        return shown | {"ways": ways} | ({"step": self._pinned} if self._pinned else {})

    def plan(self) -> Sequence[str]:
        return list(self.ways)

    def part_inputs(self, part: str) -> Sequence[str]:
        way = self.ways[part]
        exposed = load(self.store, self.inputs["exposed"].ref)
        mine = [file.sha256 for file in exposed.files("exposed") if file.path == f"exposed/{way.task.name}.parquet"]
        roles = ("tokenizer", "checkpoint", f"questions/{way.task.name}")
        return [*(self.inputs[role].identity for role in roles), *mine, str(self._step)]

    def part_settings(self, part: str) -> dict[str, Any]:
        identity = self.identity
        return {**identity, "ways": {part: identity["ways"][part]}}

    def make(self, part: str, writer: PartWriter, report: Report) -> Made:
        """Puts the questions of one task."""
        import pyarrow as pa

        from models.score import Network
        from tasks.suite.answer import Reader, answers
        from tasks.suite.encoding import Encoding
        from tasks.suite.questions import read_questions
        from tasks.suite.scores import chance, scored
        from tasks.tokens.tokenizer import Codec
        from tasks.train.published import load_model
        from warehouse import schemas

        way, settings = self.ways[part], self.settings
        run, tokenizer = self.inputs["checkpoint"].ref, self.inputs["tokenizer"].ref
        questions, shown = read_questions(self.store, self.inputs[f"questions/{way.task.name}"].ref)
        network = Network(
            load_model(self.store, run, tokenizer, self._pinned),
            bf16=settings.precision == "bf16",
            stride=settings.stride,
        )
        encoding = Encoding(Codec.load(self.store, tokenizer), settings.begin)
        asked = self._put(way, questions, shown, encoding.count)
        rows = answers(
            way.task,
            way.prompt,
            asked,
            Reader(network, encoding),
            lambda done: report.part_progress(self, part, done, len(asked)),
        )
        dirty = self._dirty(way.task)
        beside = {"run": run.key, "step": self._step, "task": way.task.name, "shots": way.shots}
        beside |= {"prompt": way.prompt.name, "seed": way.seed}
        rows = [row | beside | {"dirty": dirty.get(row["example_id"])} for row in rows]
        writer.table("answers", pa.Table.from_pylist(rows, schema=schemas.ANSWERS))
        guess = chance(way.task, rows)
        protocol = {"protocol": self._protocol(way, network.stride)}
        found = [beside | protocol | figure for figure in scored(way.task, rows)]
        for row in found:
            row["chance"] = guess.value if guess is not None and str(row["metric"]).startswith("accuracy") else None
        writer.table("evaluations", pa.Table.from_pylist(found, schema=schemas.EVALUATIONS))
        return Made(statistics={"questions": len(rows)})

    @property
    def ways(self) -> dict[str, Way]:
        """Part -> how its task is asked. Texts are read without demonstrations, and a wording that is not there is left out."""
        found = []
        for task in tasks_named(self.settings.tasks) if self._training.model.traits.writes else ():
            counts = [task.shots if one == "few" else one for one in self.settings.shots]
            for shots in dict.fromkeys([0] if task.kind == "text" else counts):
                prompts = task.prompts[: self.settings.prompts]
                seeds = self.settings.seeds if shots else (None,)
                found += [Way(task, int(shots), prompt, seed) for prompt in prompts for seed in seeds]
        return {way.name: way for way in found}

    def _put(self, way: Way, questions: list[Question], shown: list[Question], count: Any) -> list[Any]:
        """The questions that are asked, in the words in which they are, within the network's context."""
        pool = in_order(shown or questions)
        context = self._training.model.context
        room = context - (1 if self.settings.begin else 0) - way.task.room_to_answer(context)
        seed = way.seed or 0
        return [
            ask(way.prompt, one, demonstrations(seed, way.task.name, one, pool, way.shots, bool(shown)), count, room)
            for one in self._some(way.task, questions)
        ]

    def _some(self, task: Task, questions: list[Question]) -> list[Question]:
        """As many questions as are to be asked, drawn by their names, in the order of the set."""
        most = self.settings.max_questions
        if not most or most >= len(questions):
            return questions
        drawn = sorted(questions, key=lambda one: random_bits(0, "asked", task.name, one.id))[:most]
        names = {one.id for one in drawn}
        return [one for one in questions if one.id in names]

    def _dirty(self, task: Task) -> dict[str, bool | None]:
        table = read_tables(self.store, self.inputs["exposed"].ref, "exposed", ["example_id", "dirty"], [task.name])
        return dict(zip(table["example_id"].to_pylist(), table["dirty"].to_pylist(), strict=True))

    def _protocol(self, way: Way, stride: int) -> str:
        begin = "end-of-text before it" if self.settings.begin or way.task.kind == "text" else "nothing before it"
        window = f"window {self._training.model.context:,}"
        if way.task.kind == "text":
            return f"{window}, stride {stride:,}, {begin}; {way.task.source}"
        by = {"choice": f"by {way.task.normaliser}", "last word": "greedy", "free": _search(way.task)}[way.task.kind]
        return f"{window}, {begin}, {by}; {way.task.source}"

    @property
    def _step(self) -> int:
        return self._pinned or self._training.last_step


def _search(task: Task) -> str:
    return f"drawn from {task.top_k}" if task.top_k else f"{task.beams} beams" if task.beams > 1 else "greedy"
