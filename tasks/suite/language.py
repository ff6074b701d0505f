"""Language modelling: perplexity of whole texts as GPT-2 was asked (Radford et al. 2019, section 3.1), and the Children's Book Test.

A perplexity is exp(nats / N). N is what the set's own papers count, words with an end for each line, so that tokenizers can be
compared; the perplexity a token stands beside it. WikiText-2 and WikiText-103 share one test text and differ in which
words are unknown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tasks.suite.data import Data
from tasks.suite.detokenize import NEWS, TREEBANK, WIKI, Style, plain
from tasks.suite.question import Prompt, Question, Task

TEXT = Prompt("", "{text}")
YOURS = (Data("", license="as the user's own"),)  # no copy is known that anybody can have and that we could check
GPT2 = "Radford et al. 2019, section 3.1"
HEADING = re.compile(r" = [^=].* = ")
CANDIDATES = 10


def articles(style: Style, path: Path) -> Iterator[Question]:
    """The articles of a WikiText file, each from its heading on."""
    lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    starts = [number for number, line in enumerate(lines) if HEADING.fullmatch(line) and _stands_alone(lines, number)]
    starts[:1] = [0]  # what is before the first heading goes with it
    for number, (start, stop) in enumerate(zip(starts, [*starts[1:], len(lines)], strict=True)):
        yield _text(str(number), lines[start:stop], style)


def _stands_alone(lines: list[str], number: int) -> bool:
    """Whether empty lines are about it: an equation that is broken over lines looks like a heading."""
    return all(not line.strip() for line in [*lines[max(0, number - 1) : number], *lines[number + 1 : number + 2]])


def sentences(style: Style, path: Path) -> Iterator[Question]:
    """A file whose every line is a text of its own."""
    lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    yield from (_text(str(number), [line], style) for number, line in enumerate(lines) if line.strip())


def one_text(style: Style, path: Path) -> Iterator[Question]:
    """A file whose lines go on from one another."""
    yield _text("0", path.read_text(encoding="utf-8").removesuffix("\n").split("\n"), style)


def untouched(path: Path) -> Iterator[Question]:
    """A file as it is; its words are what white space parts."""
    text = path.read_bytes().decode(errors="replace")
    yield Question("0", {"text": text, "units": str(len(text.split()))})


def _text(name: str, lines: list[str], style: Style) -> Question:
    units = sum(len(line.split()) + 1 for line in lines)
    return Question(name, {"text": "\n".join(plain(line, style) for line in lines), "units": str(units)})


def children(path: Path) -> Iterator[Question]:
    """The Children's Book Test (Hill et al. 2016): twenty sentences, one with a gap, ten candidates for it."""
    for number, block in enumerate(path.read_text(encoding="utf-8").strip().split("\n\n")):
        lines = [line.partition(" ")[2] for line in block.splitlines()]
        query, answer, _, candidates = lines[-1].split("\t")
        before, _, after = plain(query, TREEBANK).partition("XXXXX")
        choices = tuple(dict.fromkeys(candidates.split("|")))[:CANDIDATES]
        context = " ".join(plain(line, TREEBANK) for line in lines[:-1])
        # A mark that opens before the gap is written onto the candidate.
        fields = {
            "context": f"{context} {before}".rstrip(" "),
            "gap": " " if before.endswith(" ") or not before else "",
            "after": after,
        }
        yield Question(str(number), fields, choices, choices.index(answer))


def _language(name: str, data: tuple[Data, ...], read: object, source: str, main: str = "perplexity a word") -> Task:
    return Task(name, data, read, (TEXT,), source, kind="text", main=main)  # type: ignore[arg-type]


TASKS: tuple[Task, ...] = (
    _language(
        "wikitext2",
        (
            Data(
                "https://raw.githubusercontent.com/pytorch/examples/cada773327ba94a5970e0d57c17c847d69dbbb8f/word_language_model/data/wikitext-2/test.txt",
                "d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0",
                "CC BY-SA 3.0",
            ),
        ),
        partial(articles, WIKI),
        f"{GPT2}; each article alone",
    ),
    _language("wikitext103", YOURS, partial(articles, WIKI), f"{GPT2}; each article of wiki.test.tokens alone"),
    _language("ptb", YOURS, partial(one_text, TREEBANK), f"{GPT2}; ptb.test.txt, its lines as one text"),
    _language(
        "1bw",
        (
            Data(
                "https://raw.githubusercontent.com/jermp/tongrams/ddfe1946d7f655a345cf4d9be704289c806b9a3f/test_data/sample_text",
                "265dccd51762253e20425c21ff6ddf09e6da2e11a365da399b0390eebb2d52c8",
                "none stated",
            ),
        ),
        partial(sentences, NEWS),
        f"{GPT2}; news.en.heldout-00000-of-00050, each sentence alone",
    ),
    _language("enwik8", YOURS, untouched, f"{GPT2}; bytes of the file that is given", "bits a byte"),
    _language("text8", YOURS, untouched, f"{GPT2}; characters of the file that is given", "bits a character"),
    *(
        Task(
            f"cbt_{kind}",
            YOURS,
            children,
            (Prompt("{context}", "{gap}{choice}{after}"),),
            f"Radford et al. 2019, section 3.2; cbtest_{kind.upper()}_valid_2000ex.txt, the candidate and all that follows it",
            normaliser="none",
        )
        for kind in ("cn", "ne")
    ),
)
