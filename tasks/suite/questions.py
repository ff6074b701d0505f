"""questions: the data of one task, as a table of questions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tasks.core.stage import Input, Made, Report, Stage
from tasks.suite import endings, synthetic
from tasks.suite.data import Data, file_of, identity_of
from tasks.suite.question import Question, Task
from tasks.suite.settings import QuestionSettings
from tasks.text.normal import normal
from warehouse import schemas
from warehouse.artifact import PartWriter, Ref, read_tables
from warehouse.errors import GristmillError, SettingError
from warehouse.store import Store

PART = "questions"
FREQUENT_WORDS = 10_000  # of the corpus, that scrambles are made of (Brown et al. 2020, section 3.9.2)


class Questions(Stage):
    """The questions of one task. Inputs: none; ``corpus`` where words are scrambled anew, and ``tokens`` of held-out text."""

    name = "questions"
    version = 1
    subject_is_content = False
    settings: QuestionSettings

    def __init__(
        self, store: Store, settings: QuestionSettings, inputs: Mapping[str, Input], subject: str, task: Task
    ) -> None:
        super().__init__(store, settings, inputs, subject)
        self._declared = task
        _ = self._task  # a file that is not given is missed here, before anything is made

    @property
    def _task(self) -> Task:
        return own(self._declared, self.settings)

    @property
    def _made_anew(self) -> int:
        """How many questions are made, where they are not read."""
        return self.settings.synthetic if self._declared.name in (*synthetic.ARITHMETIC, *synthetic.SCRAMBLES) else 0

    @property
    def identity(self) -> dict[str, Any]:
        said: dict[str, Any] = {"task": self._task.name, "version": self._task.version}
        if self._made_anew:
            return said | {"made": self._made_anew, "seed": self.settings.synthetic_seed}
        return said | {"files": [identity_of(data) for data in self._task.files]}

    def plan(self) -> Sequence[str]:
        return [PART]

    def make(self, part: str, writer: PartWriter, report: Report) -> Made:
        """Fetches the files and reads them."""
        task = self._task
        rows = [self._row(question, "asked") for question in self._asked()]
        if task.shown and not self._made_anew:
            rows += [self._row(question, "shown") for question in self._read(task.read_shown or task.read, task.shown)]
        names = {(row["role"], row["example_id"]) for row in rows}
        if not rows or len(names) < len(rows):
            fault = "no question" if not rows else "questions of one name"
            raise GristmillError(
                f"the data of the task {task.name} hold {fault}: look at {task.data[0].address if task.data else 'what the corpus holds out'}"
            )
        writer.table("questions", pa.Table.from_pylist(rows, schema=schemas.QUESTIONS))
        return Made(statistics={"questions": sum(row["role"] == "asked" for row in rows)})

    def _asked(self) -> Iterator[Question]:
        if self._task.name == endings.NAME:
            return endings.endings(self._held_out())
        if not self._made_anew:
            return self._read(self._task.read, self._task.data)
        words = self._frequent_words() if self._task.name in synthetic.SCRAMBLES else ()
        return synthetic.made(self._task.name, self._made_anew, self.settings.synthetic_seed, words)

    def _read(self, read: Any, files: Sequence[Data]) -> Iterator[Question]:
        paths = [file_of(data, self.settings.mirror) for data in files]
        try:
            yield from read(*paths)
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, OSError) as error:
            raise GristmillError(
                f"{paths[0]} is no file of the task {self._task.name} ({type(error).__name__}: {error}): its form is that of {self._task.source}"
            ) from error

    def _held_out(self) -> list[endings.Text]:
        """Documents that are held out whole, and the ends of those whose ends are, by their names."""
        columns = ["doc_id", "source", "split", "n_bytes"]
        spans = read_tables(self.store, self.inputs["tokens"].ref, "token_spans", columns).to_pylist()
        held_out = {span["doc_id"]: span for span in spans if span["split"] == "validation"}
        texts = read_tables(self.store, self.inputs["corpus"].ref, "corpus", ["id", "text"])
        mine = texts.filter(pc.is_in(texts["id"], value_set=pa.array(sorted(held_out), pa.string())))
        return [
            endings.Text(doc_id, held_out[doc_id]["source"], text.encode()[-held_out[doc_id]["n_bytes"] :].decode())
            for doc_id, text in sorted(zip(mine["id"].to_pylist(), mine["text"].to_pylist(), strict=True))
        ]

    def _frequent_words(self) -> list[str]:
        import duckdb

        texts = read_tables(self.store, self.inputs["corpus"].ref, "corpus", ["text"])
        query = """SELECT word FROM (SELECT unnest(regexp_extract_all(lower(text), '[a-z]{4,14}')) AS word FROM texts)
                   GROUP BY word ORDER BY count(*) DESC, word LIMIT ?"""
        with duckdb.connect() as connection:
            connection.register("texts", texts)
            return [word for (word,) in connection.execute(query, [FREQUENT_WORDS]).fetchall()]

    def _row(self, question: Question, role: str) -> dict[str, Any]:
        free = not question.choices
        return {
            "task": self._task.name,
            "example_id": question.id,
            "role": role,
            "fields": json.dumps(dict(question.fields), ensure_ascii=False),
            "choices": None if free else list(question.choices),
            "gold": None if free else question.gold,
            "answers": list(question.answers) or None,
            "cluster": question.cluster,
            "text": normal(self._task.prompts[0].words(question)),
            "license": self._task.data[0].license if self._task.data else "",
        }


def own(task: Task, settings: QuestionSettings) -> Task:
    """The task with the user's own file in the place of its data. Raises SettingError where it has none of its own and none is given."""
    given = settings.files.get(task.name)
    if given and len(task.data) > 1:
        raise SettingError(
            f"the task {task.name} reads {len(task.data)} files that belong together: suite.files can give none of them"
        )
    if given:
        return replace(task, data=(Data(given, license="as the user's own"), *task.data[1:]))
    if any(not data.address for data in task.data):
        raise SettingError(
            f"the task {task.name} has no data that anybody can have: give a file of yours with suite.files.{task.name}=PATH ({task.source}), "
            "or leave it out of suite.tasks"
        )
    return task


def read_questions(store: Store, ref: Ref) -> tuple[list[Question], list[Question]]:
    """The questions that are asked, and those to show, of an artifact."""
    found: dict[str, list[Question]] = {"asked": [], "shown": []}
    for row in read_tables(store, ref, "questions").to_pylist():
        found[row["role"]].append(
            Question(
                row["example_id"],
                json.loads(row["fields"]),
                tuple(row["choices"] or ()),
                row["gold"] or 0,
                tuple(row["answers"] or ()),
                row["cluster"],
            )
        )
    return found["asked"], found["shown"]
