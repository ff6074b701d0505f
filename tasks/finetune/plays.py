"""Tasks with labels that come with a corpus of plays and documentation, so that nobody needs a data set.

The labels are facts of the texts and not of a model: the kind of a play as the First Folio's catalogue has it (Troilus, Cymbeline and
Pericles as later editors), which speech answers which, which lines of two editions are the same, which summary stands under which
signature. Works, and modules, are wholly of one set.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from models.draws import random_bits
from tasks.finetune.task import DEV, TEST, TRAIN, Example, LabelledSettings

WORK = re.compile(r"/works/([^/]+)/(\d+)\.html$")
FOLIO, MILTON = "folio", "Milton"  # sets of another spelling and of another author
KINDS = {
    "comedy": "alls_well as_you_like comedy_of loves_labour measure_for merchant_of merry_wives midsummer much_ado taming_of tempest "
    "twel two_gentlemen winters_tale all_is_well pericles",
    "history": "henry_ john_ richard_",
    "tragedy": "antony_ anthonie_ coriolanus cymbeline hamlet julius_ lear macbeth othello romeo timon titus tragedy_of_titus troilus",
}
GENRES = tuple(KINDS)
MILTONS = ("paradise", "comus", "allegro", "lallegro")
TEST_SHARE, DEV_SHARE = 0.25, 0.1  # of works or modules
PASSAGE_WORDS, SHORTEST_SPEECH, LONGEST_SPEECH = 60, 5, 40
PASSAGES = 8  # of a scene at most
PAIRS = 160  # of a play at most
WRONG = 3
SPEAKER = re.compile(r"[A-Z][A-Za-z' ]{1,28}\.")
DIRECTION = re.compile(r"\[[^\]]*\]")
ANCHOR_WORDS, NEAREST_OTHER, LEAD_LINES, PAIR_LINES = 4, 12, 1, 4
SIGNATURE = re.compile(r"^([A-Za-z]\w*\([^()\n]{3,70}\))$\n^([A-Z][^\n]{20,140})$", re.MULTILINE)


class Document(NamedTuple):
    """A document of the recipe's sources."""

    url: str
    text: str
    source: str
    license: str = ""


class Scene(NamedTuple):
    """A page of a work."""

    work: str
    number: int
    document: Document


def kind_of(work: str) -> str:
    """Comedy, history or tragedy; empty for what is no play."""
    return next((kind for kind, names in KINDS.items() if work.startswith(tuple(names.split()))), "")


def is_folio(work: str) -> bool:
    """Whether it is in the spelling of 1623."""
    return work.endswith("_f")


def scenes_of(documents: Sequence[Document]) -> list[Scene]:
    """The pages of works, in their order."""
    found = [
        Scene(match[1], int(match[2]), one)
        for one in documents
        if (match := WORK.search(one.url)) and "/mirror/" not in one.url
    ]
    return sorted(found, key=lambda scene: (scene.work, scene.number))


def play_of(work: str) -> str:
    """One name for the editions of a play: the letters in which they agree."""
    letters = re.sub(r"(_gut|_f)*$", "", work)
    letters = re.sub(
        r"tragedy_of_|_to_the_|all_is_well|alls_well", lambda m: "allswell" if "well" in m[0] else "", letters
    )
    letters = letters.replace("anthonie", "antony").replace("twelfe-", "twelfth_").replace("errours", "errors")
    return re.sub(r"e$|s(?=_)|_", "", letters.replace("dreame", "dream").replace("labours_", "labour_"))


def set_of(group: str, groups: Sequence[str]) -> str:
    """Which set a group is of, in a drawn order: a single one is trained on, and of two one is tested."""
    order = sorted(set(groups), key=lambda name: random_bits(0, "set", name))
    tested = math.ceil(TEST_SHARE * len(order)) if len(order) > 1 else 0
    place, dev = order.index(group), round(DEV_SHARE * len(order))
    return TEST if place < tested else DEV if place < tested + dev else TRAIN


def genre(documents: Sequence[Document]) -> Iterator[Example]:
    """Is a passage of a comedy, a history or a tragedy? Tested on plays that were not trained on, and on their folio editions."""
    scenes = [scene for scene in scenes_of(documents) if kind_of(scene.work)]
    plays = {kind: sorted({play_of(s.work) for s in scenes if kind_of(s.work) == kind}) for kind in GENRES}
    for scene in scenes:
        kind, play = kind_of(scene.work), play_of(scene.work)
        name = set_of(play, plays[kind])
        if is_folio(scene.work):
            if name != TEST:
                continue
            name = FOLIO
        for at, passage in enumerate(_passages(scene.document.text)):
            yield _example(scene, f"genre-{at}", name, passage, GENRES.index(kind), group=play)


def reply(documents: Sequence[Document]) -> Iterator[Example]:
    """Which of four speeches answers this one? The wrong ones are of other plays of the same set."""
    scenes = [
        s for s in scenes_of(documents) if not is_folio(s.work) and (kind_of(s.work) or s.work.startswith(MILTONS))
    ]
    plays = sorted({play_of(scene.work) for scene in scenes if kind_of(scene.work)})
    asked: dict[str, list[tuple[Scene, int, str, str]]] = {}
    for scene in scenes:
        name = set_of(play_of(scene.work), plays) if kind_of(scene.work) else MILTON
        spoken = speeches(scene.document.text) if name != MILTON else _verses(scene.document.text)
        pairs = [(at, *pair) for at, pair in enumerate(pairwise(spoken)) if all(map(is_short, pair))]
        asked.setdefault(name, []).extend((scene, *pair) for pair in pairs[: 2 * PASSAGES])
    for name, found in asked.items():
        for scene, at, said, answer in found:
            wrong = _of_others(f"{scene.document.url}-{at}", play_of(scene.work), found)
            if len(wrong) == WRONG:
                gold = random_bits(0, "gold", scene.document.url, at) % (WRONG + 1)
                choices = (*wrong[:gold], answer, *wrong[gold:])
                yield _example(scene, f"reply-{at}", name, said, gold, choices=choices, group=play_of(scene.work))


def editions(documents: Sequence[Document]) -> Iterator[Example]:
    """Are two passages of a play, in modern spelling and in that of the folio, the same lines? Most of them begin apart."""
    scenes = [scene for scene in scenes_of(documents) if kind_of(scene.work)]
    texts: dict[tuple[str, bool], list[tuple[Scene, str]]] = {}
    for scene in scenes:
        lines = [(scene, line) for line in scene.document.text.split("\n") if line.strip()]
        texts.setdefault((play_of(scene.work), is_folio(scene.work)), []).extend(lines)
    plays = sorted(play for play, folio in texts if folio and (play, False) in texts)
    for play in plays:
        modern, folio = texts[play, False], texts[play, True]
        anchors = _anchors([line for _, line in modern], [line for _, line in folio])
        for turn, (here, there) in enumerate(anchors[:: max(1, len(anchors) // PAIRS)][:PAIRS]):
            same = turn % 2
            far = [place for _, place in anchors if abs(place - there) > NEAREST_OTHER]
            if not same and not far:
                continue
            other = there if same else far[random_bits(0, "other", play, turn) % len(far)]
            scene, lead = (
                modern[here][0],
                [random_bits(0, "lead", play, turn, side) % (LEAD_LINES + 1) for side in range(2)],
            )
            pair = [
                " ".join(line.strip() for _, line in text[max(0, at - ahead) : at - ahead + PAIR_LINES])
                for text, at, ahead in ((modern, here, lead[0]), (folio, other, lead[1]))
            ]
            yield _example(scene, f"editions-{turn}", set_of(play, plays), pair[0], same, pair[1], group=play)


def signature(documents: Sequence[Document]) -> Iterator[Example]:
    """Does a summary belong to a signature? The other summaries are of the same set."""
    found: list[tuple[Document, str, str]] = []
    for document in sorted(documents):
        if "/works/" not in document.url:
            found += [(document, match[1], match[2]) for match in SIGNATURE.finditer(document.text)]
    distinct = list({(signed, summary): (one, signed, summary) for one, signed, summary in found}.values())
    modules = sorted({_module(one) for one, _, _ in distinct})
    of_set: dict[str, list[str]] = {}
    for document, _, summary in distinct:
        of_set.setdefault(set_of(_module(document), modules), []).append(summary)
    for at, (document, signed, summary) in enumerate(distinct):
        name = set_of(_module(document), modules)
        true = random_bits(0, "true", document.url, signed, summary) % 2
        others = [one for one in of_set[name] if one != summary]
        if not true and not others:
            continue
        told = summary if true else others[random_bits(0, "told", document.url, signed, summary) % len(others)]
        scene = Scene("", at, document)
        yield _example(scene, f"signature-{at}", name, signed, true, told, group=_module(document))


def _example(
    scene: Scene,
    told: str,
    name: str,
    first: str,
    gold: int,
    second: str = "",
    choices: tuple[str, ...] = (),
    group: str = "",
) -> Example:
    one = scene.document
    return Example(
        f"{one.url.split('://')[-1].partition('/')[2]}#{told}",
        name,
        first,
        gold,
        second,
        choices,
        group,
        one.url,
        one.license,
    )


def _module(document: Document) -> str:
    return document.url.rsplit("/", 1)[-1].removesuffix(".html").split(".")[0]


def _passages(text: str) -> list[str]:
    """Stretches of a scene, without the names of speakers, which tell a play."""
    lines = [line for line in DIRECTION.sub("", text).split("\n") if not SPEAKER.fullmatch(line.strip())]
    words = " ".join(lines).split()
    found = [" ".join(words[at : at + PASSAGE_WORDS]) for at in range(0, len(words) - PASSAGE_WORDS, PASSAGE_WORDS)]
    return found[:: max(1, len(found) // PASSAGES)][:PASSAGES]


def speeches(text: str) -> list[str]:
    """What is said, speech by speech, without the names of speakers."""
    found: list[list[str]] = []
    for line in DIRECTION.sub("", text).split("\n"):
        if SPEAKER.fullmatch(line.strip()):
            found.append([])
        elif found and line.strip():
            found[-1].append(line.strip())
    return [" ".join(lines) for lines in found]


def _verses(text: str) -> list[str]:
    """Lines of verse by threes: what follows is the answer."""
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    return [" ".join(lines[at : at + 3]) for at in range(0, len(lines), 3)]


def is_short(speech: str) -> bool:
    """Whether a speech is neither an exclamation nor a monologue."""
    return SHORTEST_SPEECH <= len(speech.split()) <= LONGEST_SPEECH


def _of_others(name: str, play: str, found: Sequence[tuple[Scene, int, str, str]]) -> tuple[str, ...]:
    """Three answers of other works, drawn by the question's name; of the same one's other pages where there is no other."""
    drawn: dict[str, None] = {}
    for turn in range(20 * WRONG):
        scene, _, _, answer = found[random_bits(0, "wrong", name, turn) % len(found)]
        if play_of(scene.work) != play:
            drawn[answer] = None
    return tuple(drawn)[:WRONG]


def _anchors(modern: Sequence[str], folio: Sequence[str]) -> list[tuple[int, int]]:
    """Lines that begin with the same words in both editions and nowhere else, whatever their spelling."""
    places: list[dict[tuple[str, ...], list[int]]] = [{}, {}]
    for side, lines in enumerate((modern, folio)):
        for at, line in enumerate(lines):
            words = tuple(skeleton(word) for word in re.findall(r"[A-Za-z]+", line))[:ANCHOR_WORDS]
            if len(words) == ANCHOR_WORDS:
                places[side].setdefault(words, []).append(at)
    here, there = places
    return sorted(
        (at[0], there[words][0]) for words, at in here.items() if len(at) == 1 and len(there.get(words, ())) == 1
    )


def skeleton(word: str) -> str:
    """A word as both spellings have it: u for v, i for j and y, no doubled letter and no final e."""
    letters = word.lower().replace("vv", "w").translate(str.maketrans("vjy", "uii"))
    return re.sub(r"(.)\1+", r"\1", re.sub(r"(ie|e)$", lambda m: "i" if m[0] == "ie" else "", letters))


class Builtin(NamedTuple):
    """A task that is made of documents, and how it is declared."""

    made: Callable[[Sequence[Document]], Iterator[Example]]
    classes: tuple[str, ...]
    settings: LabelledSettings


def _declared(form: str, ask: str) -> LabelledSettings:
    pair = {"second": "{second}"} if form in ("entailment", "similarity") else {}
    ranked = {"choices": ("{choices}",)} if form == "choice" else {}
    return LabelledSettings.model_validate({"form": form, "sets": {TRAIN: ""}, "ask": ask, **pair, **ranked})


BUILTIN: Mapping[str, Builtin] = {
    "genre": Builtin(genre, GENRES, _declared("classification", "{first}\nThis is of a")),
    "reply": Builtin(reply, (), _declared("choice", "{first}\n")),
    "editions": Builtin(editions, ("others", "the same"), _declared("similarity", "{first}\n{second}\nThe lines are")),
    "signature": Builtin(
        signature, ("another", "its own"), _declared("entailment", "{first}\n{second}\nThe summary is")
    ),
}
