"""SuperGLUE's tasks with 32 training examples to show, as GPT-3 was asked them (Brown et al. 2020, section 3.7): WiC, WSC, MultiRC."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tasks.suite.data import Data
from tasks.suite.question import Prompt, Question, Task
from tasks.text.records import records

FILES = "https://raw.githubusercontent.com/THUDM/P-tuning/main/FewGLUE_32dev/{}.jsonl"
LICENSE = "research use"


def wic(path: Path) -> Iterator[Question]:
    """WiC (Pilehvar and Camacho-Collados 2019): whether a word means the same in two sentences."""
    for row in records(path):
        fields = {name: row[name] for name in ("word", "sentence1", "sentence2")}
        yield Question(str(row["idx"]), fields, ("no", "yes"), int(row["label"]))


def wsc(path: Path) -> Iterator[Question]:
    """WSC: whether a pronoun, marked by stars as in GPT-3's figure G.21, refers to a phrase."""
    for row in records(path):
        target, words = row["target"], row["text"].split(" ")
        place = target["span2_index"]
        words[place] = f"*{words[place]}*"
        fields = {"text": " ".join(words), "pronoun": target["span2_text"], "phrase": target["span1_text"]}
        yield Question(str(row["idx"]), fields, ("no", "yes"), int(row["label"]), cluster=row["text"])


def multirc(path: Path) -> Iterator[Question]:
    """MultiRC (Khashabi et al. 2018): of each answer to a question on a passage, whether it is right."""
    for row in records(path):
        for question in row["passage"]["questions"]:
            for answer in question["answers"]:
                fields = {
                    "passage": row["passage"]["text"],
                    "question": question["question"],
                    "answer_given": answer["text"],
                }
                names = f"{row['idx']}-{question['idx']}-{answer['idx']}"
                yield Question(names, fields, ("False", "True"), int(answer["label"]), cluster=str(row["idx"]))


def _files(name: str, asked: str, shown: str) -> tuple[tuple[Data, ...], tuple[Data, ...]]:
    both = (
        Data(FILES.format(f"{name}/{split}"), digest, LICENSE) for split, digest in (("val", asked), ("train", shown))
    )
    first, second = both
    return (first,), (second,)


_WIC = _files(
    "WiC",
    "9f7207c88beba42cbc139de4c62ce05b23bffc189b3d561594b160e0c3920c0b",
    "b82c0c3f79d2f19bdd3c894f90f9deff0ebff787822a99ff6420db733c2a88f0",
)
_WSC = _files(
    "WSC",
    "e5c685ea4bdc347354036a28176459f6feeb0b6870375ecfb3d6ddb1f0e28bef",
    "e814e1a9a781c1e4b1ad98151f09f2e9326a3db51f9c52639cb0f8b1f428ad47",
)
_MULTIRC = _files(
    "MultiRC",
    "d2b480195b15574ac00d52c4479f630bc161a7ab2de77e970fd00652846953ee",
    "e584db1b55f7da7c1e6a2d0a6b56eb6edcaff26e69393d628390e70c39ccb561",
)
TASKS: tuple[Task, ...] = (
    Task(
        "wic",
        _WIC[0],
        wic,
        (
            Prompt(
                "{sentence1}\n{sentence2}\nquestion: Is the word '{word}' used in the same way in the two sentences above?\nanswer:"
            ),
        ),
        "Brown et al. 2020, figure G.32",
        shots=32,
        shown=_WIC[1],
    ),
    Task(
        "wsc",
        _WSC[0],
        wsc,
        (
            Prompt(
                'Passage: {text}\nQuestion: In the passage above, does the pronoun "*{pronoun}*" refer to "{phrase}"?\nAnswer:'
            ),
        ),
        "Brown et al. 2020, figure G.21",
        shots=32,
        shown=_WSC[1],
    ),
    Task(
        "multirc",
        _MULTIRC[0],
        multirc,
        (Prompt("READING COMPREHENSION\n{passage}\n{question}\n- [{answer_given}]\nIs it right?"),),
        "Brown et al. 2020, section 3.7; each answer a question of its own",
        shots=32,
        shown=_MULTIRC[1],
    ),
)
