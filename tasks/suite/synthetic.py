"""Arithmetic and word scrambling (Brown et al. 2020, sections 3.9.1 and 3.9.2): as published, or made anew at any size.

What is made is a function of a seed and a number, so that a larger set begins with the smaller one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from models.draws import random_bits
from tasks.suite.data import Data
from tasks.suite.question import Prompt, Question, Task
from tasks.text.records import records

FILES = "https://raw.githubusercontent.com/openai/gpt-3/master/data/{}"
LICENSE = "none stated"
SUM = Prompt("Q: {question}\n\nA:", " {answer}")
SCRAMBLE = Prompt(
    "{question} =", " {answer}", "\n", "Please unscramble the letters into a word, and write that word:\n"
)
CYCLE = Prompt("{question} =", " {answer}", "\n", SCRAMBLE.description)
REVERSED = Prompt("{question} =", " {answer}", "\n", "Please reverse the letters of the word, and write that word:\n")
FIRST, LAST = 4, 14  # letters of the words that are scrambled
MARKS = " .,!?;:-/'\""  # what is put between letters
Draw = Callable[[int], int]  # below which number -> a number from 0 on


def published(path: Path) -> Iterator[Question]:
    """A file of OpenAI's: context and completion."""
    for number, row in enumerate(records(path)):
        asked = row["context"].strip().removeprefix("Q: ").removesuffix("A:").strip().removesuffix(" =")
        yield Question(str(number), {"question": asked}, answers=(row["completion"].strip(),))


def made(name: str, count: int, seed: int, words: Sequence[str] = ()) -> Iterator[Question]:
    """``count`` questions of a task, made anew; word tasks draw from ``words`` of 4 to 14 letters."""
    usable = [word for word in words if FIRST <= len(word) <= LAST and word.isalpha()]
    if name in SCRAMBLES and not usable:
        raise ValueError(f"{name} is made of words, and none has from {FIRST} to {LAST} letters")
    for number in range(count):
        drawn = [0]

        def draw(below: int, number: int = number, drawn: list[int] = drawn) -> int:
            drawn[0] += 1
            return random_bits(seed, "question", name, number, drawn[0]) % below

        if name in SCRAMBLES:
            word = usable[draw(len(usable))]
            asked, answer = SCRAMBLES[name](word, draw), word
        else:
            asked, answer = ARITHMETIC[name](draw)
        yield Question(str(number), {"question": asked}, answers=(answer,))


def _addition(digits: int, draw: Draw) -> tuple[str, str]:
    a, b = draw(10**digits), draw(10**digits)
    return f"What is {a} plus {b}?", str(a + b)


def _subtraction(digits: int, draw: Draw) -> tuple[str, str]:
    a, b = draw(10**digits), draw(10**digits)
    return f"What is {a} minus {b}?", str(a - b)


def _multiplication(draw: Draw) -> tuple[str, str]:
    a, b = draw(100), draw(100)
    return f"What is {a} times {b}?", str(a * b)


def _three_operations(draw: Draw) -> tuple[str, str]:
    """Three digits with brackets about two of them; what stands in brackets comes first, then from left to right."""
    a, b, c = draw(9) + 1, draw(9) + 1, draw(9) + 1
    first, second = "+-*"[draw(3)], "+-*"[draw(3)]
    if draw(2):
        return f"What is ({a} {first} {b}) {second} {c}?", str(_of(second, _of(first, a, b), c))
    return f"What is {a} {first} ({b} {second} {c})?", str(_of(first, a, _of(second, b, c)))


def _of(operation: str, a: int, b: int) -> int:
    return a + b if operation == "+" else a - b if operation == "-" else a * b


def _cycled(word: str, draw: Draw) -> str:
    place = 1 + draw(len(word) - 1)
    return word[place:] + word[:place]


def _anagram(kept_behind: int, word: str, draw: Draw) -> str:
    """All letters but the first and the last ``kept_behind`` in another order."""
    kept = min(kept_behind, len(word) - 2)
    letters = list(word[1 : len(word) - kept])
    for place in range(len(letters) - 1, 0, -1):
        other = draw(place + 1)
        letters[place], letters[other] = letters[other], letters[place]
    return word[0] + "".join(letters) + word[len(word) - kept :]


def _anagram_of_two(word: str, draw: Draw) -> str:
    """All letters but the first two and the last two in another order."""
    return word[0] + _anagram(2, word[1:], draw)


def _insertion(word: str, draw: Draw) -> str:
    return "".join(letter + MARKS[draw(len(MARKS))] for letter in word[:-1]) + word[-1]


def _reversed(word: str, draw: Draw) -> str:
    return word[::-1]


WORDS_OF = {2: "two", 3: "three", 4: "four", 5: "five", 6: "six"}
ARITHMETIC: dict[str, Callable[[Draw], tuple[str, str]]] = {
    **{f"{name}_digit_addition": partial(_addition, digits) for digits, name in WORDS_OF.items()},
    **{f"{name}_digit_subtraction": partial(_subtraction, digits) for digits, name in WORDS_OF.items()},
    "two_digit_multiplication": _multiplication,
    "single_digit_three_ops": _three_operations,
}
# The ten of the paper; those of six digits came with its data.
PUBLISHED = tuple(name for name in ARITHMETIC if not name.startswith("six"))
SCRAMBLES: dict[str, Callable[[str, Draw], str]] = {
    "cycle_letters_in_word": _cycled,
    "mid_word_1_anagrams": partial(_anagram, 1),
    "mid_word_2_anagrams": _anagram_of_two,
    "random_insertion_in_word": _insertion,
    "reversed_words": _reversed,
}
DIGESTS = {
    "cycle_letters_in_word": "1689c9002bb8c5988bf5f05e977c9db92f57932c1b5a38998c29ac0dd71e1d42",
    "five_digit_addition": "30ada42efe315b958c6e9649274005d3b720e50298e92c3a2d321f8996e58f54",
    "five_digit_subtraction": "8b98ccfc943cbf9193bcf1984954aa0b1a4527016072d972a2b055cc1482ca3c",
    "four_digit_addition": "459c6f75baa2e8d7cf50bdd07db6d0ca9133a6b137d95d09267db85b6e07f391",
    "four_digit_subtraction": "0c47db40a10c052ef0cf732a9ef2edaa53d66377d43eb47a9c382d33a8af7102",
    "mid_word_1_anagrams": "6768a86896083199de4815d4964cb2f6f1046476cfd80c2a562784f182905979",
    "mid_word_2_anagrams": "c3d839d09a7954b78a27cd2cd75d4ed0488656c56ef4dbd741a005343826cb01",
    "random_insertion_in_word": "72e65d83da53d15752ee0c47379509de149ddbad32d61184e5991df29616b78a",
    "reversed_words": "133a08f875cd6c1ef8608a3233571a773881cc27b1c707de738cc6543439332a",
    "single_digit_three_ops": "08b34e3272a8ff1d4932d63f251519d14c485c38d582366e1e323d0b859c3925",
    "six_digit_addition": "32fd2b1ecb44dd3960a63dc8ce75e51eb0dc7ba9e122f1aad415ca8c60ed7688",
    "six_digit_subtraction": "a1b3dfb4d56409a8080be56a9f6674c315cf9d365717f7dac37c3debee6ae687",
    "three_digit_addition": "124865e30efd2abfbc1855dd34c218fc02d32d780ace970ab9b4ea3fa74c798b",
    "three_digit_subtraction": "7fc6aaedcb0e2bd17c398dd4147c5585b1e608278a8e98b914e69656707d6a29",
    "two_digit_addition": "75a54b7a3db3b23369df74fe440c23025f3d3c51f664300bd3d56632b2617b3d",
    "two_digit_multiplication": "5613d1d1cc3b2c03edc1990252247d34c10ec82944b2cdeb19e71b00f237f431",
    "two_digit_subtraction": "da956066ff108c00b341d360567472784f5fd872d6465071b44a14291205bc03",
}


def _task(name: str, digest: str) -> Task:
    scrambled = name in SCRAMBLES
    file = f"{name}.jsonl.gz" if scrambled else f"{name}.jsonl"
    prompt = REVERSED if name == "reversed_words" else SCRAMBLE if scrambled else SUM
    return Task(
        name,
        (Data(FILES.format(file), digest, LICENSE),),
        published,
        (prompt,),
        "Brown et al. 2020, section 3.9",
        kind="free",
        literal=True,
        metrics=("exact match",),
        main="exact match",
        shots=100 if scrambled else 50,
        beams=1,
        max_tokens=16,
    )


TASKS: tuple[Task, ...] = tuple(_task(name, DIGESTS[name]) for name in (*ARITHMETIC, *SCRAMBLES))
