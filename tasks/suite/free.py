"""Free answers: questions without a passage, questions on one, translation, summaries; and the last word of a passage.

GPT-3's protocol searches with four beams and a length penalty of 0.6 (Brown et al. 2020, section 2.4); GPT-2's reads greedily.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

from tasks.suite.choices import READY, packed
from tasks.suite.data import Data
from tasks.suite.question import Prompt, Question, Task
from tasks.text.records import records

MULTI30K = "https://raw.githubusercontent.com/multi30k/dataset/master/data/task1/raw/{}.gz"
CLOSED_BOOK = (
    Prompt("Q: {question}\nA:", " {answer}"),
    Prompt("Question: {question}\nAnswer:", " {answer}", name="long"),
)


def lambada_ready(path: Path) -> Iterator[Question]:
    """LAMBADA (Paperno et al. 2016) with every break of a line as a space."""
    for row in records(path):
        made = row["doc"]
        yield Question(str(made["id"]), {"context": made["query"]}, answers=tuple(made["choices"]))


def lambada(path: Path) -> Iterator[Question]:
    """LAMBADA as OpenAI de-tokenised it."""
    for number, row in enumerate(records(path)):
        yield Question(str(number), {"context": row["context"]}, answers=(row["continuation"],))


def triviaqa(path: Path) -> Iterator[Question]:
    """TriviaQA (Joshi et al. 2017) without passages; any alias is right."""
    seen = set[str]()
    for row in records(path):
        if row["question_id"] not in seen:
            seen.add(row["question_id"])
            aliases = dict.fromkeys([row["answer"]["value"], *row["answer"]["aliases"]])
            yield Question(row["question_id"], {"question": row["question"]}, answers=tuple(aliases))


def natural_questions(path: Path) -> Iterator[Question]:
    """NaturalQuestions (Kwiatkowski et al. 2019) without passages."""
    for number, row in enumerate(records(path)):
        yield Question(str(number), {"question": f"{row['question']}?"}, answers=tuple(row["answer"]))


def coqa(path: Path) -> Iterator[Question]:
    """CoQA (Reddy et al. 2019): a question of a conversation on a passage, what was asked before with its answers."""
    for row in records(path):
        made = row["doc"]
        talk = made["query"].partition("Preceding questions:\n\n")[2].partition("\n\nFinal question:")[0]
        before = talk.replace("Question: ", "Q: ").replace("Answer: ", "A: ").replace("\n\n", "\n")
        fields = {"passage": made["story"], "before": before and before + "\n", "question": made["question"]}
        yield Question(made["id"], fields, answers=tuple(made["answers"]), cluster=made["id"].rpartition("_")[0])


def squad(path: Path) -> Iterator[Question]:
    """SQuAD 1.1's form (Rajpurkar et al. 2016)."""
    for article in json.loads(path.read_text(encoding="utf-8"))["data"]:
        for number, paragraph in enumerate(article["paragraphs"]):
            for asked in paragraph["qas"]:
                fields = {"title": article["title"].replace("_", " "), "passage": paragraph["context"]}
                answers = tuple(dict.fromkeys(answer["text"] for answer in asked["answers"]))
                if not answers:  # as SQuAD 2 has them: nothing of what is written could be right
                    continue
                cluster = f"{article['title']} {number}"
                yield Question(asked["id"], fields | {"question": asked["question"]}, answers=answers, cluster=cluster)


def translations(given: Path, wanted: Path) -> Iterator[Question]:
    """Sentences and their translations, line by line."""
    pairs = zip(*(gzip.decompress(path.read_bytes()).decode().splitlines() for path in (given, wanted)), strict=True)
    for number, (sentence, translated) in enumerate(pairs):
        yield Question(str(number), {"sentence": sentence}, answers=(translated,))


def summaries(path: Path) -> Iterator[Question]:
    """Articles with their highlights (CNN and Daily Mail), as JSON lines of article and highlights."""
    for number, row in enumerate(records(path)):
        yield Question(str(number), {"article": row["article"]}, answers=(row["highlights"],))


def _translation(
    name: str, into: str, files: tuple[tuple[str, str], tuple[str, str]], shown: tuple[tuple[str, str], ...]
) -> Task:
    """One direction of Multi30k, which stands in for WMT: its captions are short and anybody can have them."""
    prompts = (
        Prompt(f"Q: What is the {into} translation of {{sentence}}\nA:", " {answer}"),
        Prompt("{sentence} =", " {answer}", "\n", name="pairs"),
    )
    return Task(
        name,
        tuple(Data(MULTI30K.format(file), digest, "research use") for file, digest in files),
        translations,
        prompts,
        "Brown et al. 2020, figure G.36; Radford et al. 2019, section 3.7 is the prompt pairs",
        kind="free",
        metrics=("bleu",),
        main="bleu",
        shots=64,
        shown=tuple(Data(MULTI30K.format(file), digest, "research use") for file, digest in shown),
        max_tokens=64,
    )


_EN = ("test_2016_flickr.en", "611d361c6334bc7246101d48097c13cf5c4413c5befc793cc629934359d532d9")
_DE = ("test_2016_flickr.de", "9204244e408ccb38d2a55cfcd344df15005fc42a07a6e55ca6c52b6ababb8cc8")
_FR = ("test_2016_flickr.fr", "6d326e188d259fb1d04ac19eae3af956559b3a0b93d7635e56c90987c40c8b90")
_VAL_EN = ("val.en", "14f7d25ddd868909a9213e361768460edcacdd6ab9d1e77b92560dc10c10dc28")
_VAL_DE = ("val.de", "f0cba2f995189cf5770f29a8a9a537a3ad3f51657ad873405082ff6863a5e75a")
_VAL_FR = ("val.fr", "ca3106f1a72390591d25f6c45cb4cd39dec4cd3f123e099748a3ce5256c160e9")
_LAMBADA = Data(
    READY.format("lambada/bpb_0shot"), "b99023d53ab470530dc5494befde5eac975b4200d669ce5399ff2b5b401c35ae", "CC BY 4.0"
)

TASKS: tuple[Task, ...] = (
    Task(
        "lambada",
        (_LAMBADA,),
        lambada_ready,
        (Prompt("{context}", " {answer}"),),
        "Radford et al. 2019, section 3.3; breaks of lines are spaces in this copy",
        kind="last word",
    ),
    Task(
        "lambada_openai",
        (
            Data(
                "https://raw.githubusercontent.com/mosaicml/llm-foundry/main/scripts/eval/local_data/language_understanding/lambada_openai.jsonl",
                "411bfbe5b9054346b6a19299c0242670adbefb9162efd958593cbc0290b8c9dc",
                "CC BY 4.0",
            ),
        ),
        lambada,
        (Prompt("{context}", " {answer}"),),
        "Radford et al. 2019, section 3.3",
        kind="last word",
    ),
    Task(
        "lambada_blank",
        (_LAMBADA,),
        lambada_ready,
        (Prompt("{context} ____. ->", " {answer}", "\n", "Fill in the blank:\n"),),
        "Brown et al. 2020, section 3.1.2",
        kind="last word",
        shots=15,
    ),
    Task(
        "triviaqa",
        (
            packed(
                "trivia_qa/rc.wikipedia.nocontext",
                "2262977fef47414b903d72c1b4e769325d4ef519481102c2ae772262163ae52d",
                "Apache-2.0",
            ),
        ),
        triviaqa,
        CLOSED_BOOK,
        "Brown et al. 2020, section 3.2",
        kind="free",
        metrics=("exact match", "f1"),
        main="exact match",
        shots=64,
    ),
    Task(
        "natural_questions",
        (packed("nq_open/none", "a2e606d6dd478f51ec2e57d1a492fb5a53939533b561365876b30c46eae18dd1", "CC BY-SA 3.0"),),
        natural_questions,
        CLOSED_BOOK,
        "Brown et al. 2020, section 3.2",
        kind="free",
        metrics=("exact match", "f1"),
        main="exact match",
        shots=64,
    ),
    Task(
        "coqa",
        (
            Data(
                READY.format("coqa/bpb_0shot"),
                "19cc813a64576d9e557e927d2896ee8fb1fa83d15ab1c7cf9e1c541667a47c0a",
                "several, see coqa",
            ),
        ),
        coqa,
        (Prompt("{passage}\n\n{before}Q: {question}\nA:", " {answer}"),),
        "Radford et al. 2019, section 3.5: greedy, the answers before the question are the reference's",
        kind="free",
        metrics=("f1", "exact match"),
        main="f1",
        shots=5,
        beams=1,
    ),
    Task(
        "squad",
        (
            Data(
                "https://raw.githubusercontent.com/deepmind/xquad/master/xquad.en.json",
                "e4c57d1c9143aaa1c5d265ba5987a65f4e69528d2a98f29d6e75019b10344f29",
                "CC BY-SA 4.0",
            ),
        ),
        squad,
        (Prompt("Title: {title}\n\nBackground: {passage}\n\nQ: {question}\n\nA:", " {answer}"),),
        "Brown et al. 2020, section 3.6; 240 paragraphs of SQuAD 1.1, every question has an answer",
        kind="free",
        metrics=("f1", "exact match"),
        main="f1",
        shots=16,
    ),
    _translation("en_de", "German", (_EN, _DE), (_VAL_EN, _VAL_DE)),
    _translation("de_en", "English", (_DE, _EN), (_VAL_DE, _VAL_EN)),
    _translation("en_fr", "French", (_EN, _FR), (_VAL_EN, _VAL_FR)),
    _translation("fr_en", "English", (_FR, _EN), (_VAL_FR, _VAL_EN)),
    Task(
        "summaries",
        (Data("", license="as the user's own"),),
        summaries,
        (Prompt("{article}\nTL;DR:", " {answer}"),),
        "Radford et al. 2019, section 3.6: 100 tokens drawn from the two likeliest, of which three sentences count",
        kind="free",
        metrics=("rouge-1", "rouge-2", "rouge-l"),
        main="rouge-l",
        stop="",
        max_tokens=100,
        top_k=2,
    ),
)
