"""How questions are put: demonstrations by the question's own seed, prompts that fit, numbers that no batch changes."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.architecture import Architecture
from models.bert import build
from models.continuation import Continuation, continuations
from models.interchange import to_transformers
from models.ngram import NGram
from models.score import Network
from tasks.suite.answer import Reader, answers
from tasks.suite.demonstrations import ask, demonstrations, in_order
from tasks.suite.encoding import Encoding
from tasks.suite.question import Prompt, Question, Task, filled
from tests.test_suite_scores import codec  # noqa: F401 (a fixture)

POOL = [Question(f"q{n:03}", {"question": f"what is {n}"}, answers=(str(n),), cluster=str(n // 2)) for n in range(60)]


def drawn(question: Question, pool: Sequence[Question], shots: int = 8, seed: int = 1) -> list[str]:
    return [one.id for one in demonstrations(seed, "task", question, in_order(pool), shots)]


def test_demonstrations_are_the_same_whatever_else_is_asked_in_whichever_order() -> None:
    alone = {question.id: drawn(question, POOL) for question in POOL}
    shuffled = random.Random(4).sample(POOL, len(POOL))
    assert {question.id: drawn(question, shuffled) for question in reversed(shuffled)} == alone
    assert len({tuple(shown) for shown in alone.values()}) == len(POOL)  # each its own
    assert drawn(POOL[0], POOL, seed=2) != alone["q000"]


@given(st.integers(0, 59), st.integers(0, 70), st.integers(0, 5))
def test_demonstrations_are_no_question_twice_none_of_its_passage_and_as_many_as_there_are(
    place: int, shots: int, seed: int
) -> None:
    shown = drawn(POOL[place], POOL, shots, seed)
    assert len(shown) == len(set(shown)) == min(shots, 58)
    assert not {question.id for question in POOL if question.cluster == POOL[place].cluster} & set(shown)
    # More of them begin with the fewer.
    assert drawn(POOL[place], POOL, shots + 1, seed)[:shots] == shown


def test_a_question_of_no_passage_is_not_shown_its_own_answer() -> None:
    alone = [Question(f"q{n}", {"question": str(n)}, answers=(str(n),)) for n in range(6)]
    for question in alone:
        shown = [one.id for one in demonstrations(1, "task", question, alone, 6)]
        assert sorted([*shown, question.id]) == [one.id for one in alone]


def test_demonstrations_of_another_set_are_not_told_by_their_names() -> None:
    shown = demonstrations(1, "task", POOL[0], POOL, 60, apart=True)
    assert len(shown) == 60


def test_joined_pieces_fit_though_each_alone_is_shorter() -> None:
    def count(text: str) -> int:
        return len(text.replace("\n\n", "#")) + text.count(
            "\n\nQ"
        )  # a break before a text is two tokens, at an end one

    prompt = Prompt("Q: {question}\nA:", " {answer}", "\n\n")
    for room in range(60, 400, 7):
        one = ask(prompt, POOL[9], POOL[:8], count, room)
        assert count("".join(one.pairs[0])) <= room
        assert one.shown == "".join(one.pairs[0]).count("Q:") - 1


def test_demonstrations_are_drawn_evenly() -> None:
    counts = np.zeros(60)
    for seed in range(300):
        for one in demonstrations(seed, "task", Question("other", {}), POOL, 10):
            counts[int(one.id[1:])] += 1
    # Each is drawn 50 times on average, with a deviation of sqrt(300 * 1/6 * 5/6) = 6.5.
    assert counts.min() > 25
    assert counts.max() < 75


def test_a_prompt_is_description_demonstrations_and_question_and_the_last_ones_stay_where_room_is_short() -> None:
    prompt = Prompt("Q: {question}\nA:", " {answer}", "\n\n", "Sums.\n")
    whole = ask(prompt, POOL[9], POOL[:3], len, 10_000)
    assert whole.pairs == (
        ("Sums.\nQ: what is 0\nA: 0\n\nQ: what is 1\nA: 1\n\nQ: what is 2\nA: 2\n\nQ: what is 9\nA:", " 9"),
    )
    assert whole.shown == 3
    length = len(whole.pairs[0][0]) + 2
    assert ask(prompt, POOL[9], POOL[:3], len, length).shown == 3
    cut = ask(prompt, POOL[9], POOL[:3], len, length - 1)
    assert cut.shown == 2
    assert cut.pairs[0][0].startswith("Sums.\nQ: what is 1\nA: 1")
    assert ask(prompt, POOL[9], POOL[:3], len, 3).shown == 0  # and the question itself is put all the same


def test_templates_leave_braces_of_texts_alone() -> None:
    assert filled("{a} {b}", {"a": "{b} and {", "b": "x}"}) == "{b} and { x}"
    with pytest.raises(KeyError):
        filled("{c}", {"a": ""})
    # A space at the end of what is shown belongs to the word that is asked.
    assert Prompt("Go on: ", "{choice}").of(Question("0", {}, ("a",))) == [("Go on:", " a")]


def network(band: int = 0, context: int = 48) -> Any:
    model = build(Architecture(vocabulary=300, context=context, layers=3, heads=2, width=32, band=band)).initialise(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    return model


def questions_of(draw: np.random.Generator, count: int, longest: int = 60) -> list[list[Continuation]]:
    found = []
    for _ in range(count):
        stem = draw.integers(0, 300, draw.integers(1, longest))
        # As of partial evaluation, some begin alike and go on differently before what is asked.
        rows = [np.concatenate([stem, draw.integers(0, 300, draw.integers(0, 3))]) for _ in range(draw.integers(1, 6))]
        found.append([Continuation(row, draw.integers(0, 300, draw.integers(1, 12))) for row in rows])
    return found


@pytest.mark.parametrize("band", [0, 5])
def test_answers_behind_one_prompt_are_scored_as_each_alone(band: int) -> None:
    """Against the network's own logits of whole sequences, one at a time."""
    model, asked = network(band), questions_of(np.random.default_rng(1), 40)
    for question, found in zip(asked, continuations(Network(model), asked), strict=True):
        for one, scored in zip(question, found, strict=True):
            whole = torch.from_numpy(np.concatenate(one)[-49:])
            with torch.no_grad():
                logged = torch.log_softmax(model(whole[None, :-1]).double(), -1)[0]
            there = logged.gather(1, whole[1:, None])[-len(one.asked) :, 0].numpy()
            assert scored.log_probability == pytest.approx(there, abs=2e-5)
            assert scored.greedy.tolist() == (logged.argmax(-1) == whole[1:]).tolist()[-len(one.asked) :]


def test_a_batch_of_one_and_of_sixty_four_give_the_same_numbers() -> None:
    model, asked = network(), questions_of(np.random.default_rng(2), 150, longest=40)
    one, many = (continuations(Network(model, batch=size), asked) for size in (1, 64))
    sums = [
        (float(a.log_probability.sum()), float(b.log_probability.sum()))
        for question, other in zip(one, many, strict=True)
        for a, b in zip(question, other, strict=True)
    ]
    assert all(abs(a - b) <= 1e-6 * abs(a) for a, b in sums)
    shuffled = np.random.default_rng(3).permutation(len(asked))
    again = continuations(Network(model), [asked[place] for place in shuffled])
    for place, found in zip(shuffled, again, strict=True):
        assert [one.log_probability.sum() for one in found] == pytest.approx(
            [one.log_probability.sum() for one in many[place]], rel=1e-6
        )


def test_an_answer_longer_than_the_context_is_read_in_windows() -> None:
    model = network(context=16)
    draw = np.random.default_rng(5)
    context, long = draw.integers(0, 300, 4), draw.integers(0, 300, 50)
    ((found,),) = continuations(Network(model), [[Continuation(context, long)]])
    (whole,) = Network(model).score([np.concatenate([context, long])])
    assert found.log_probability == pytest.approx(whole.log_probability[3:], rel=1e-6)
    for empty in (Continuation(context, long[:0]), Continuation(context[:0], long)):
        with pytest.raises(ValueError, match="a continuation needs a token"):
            continuations(Network(model), [[empty]])


def test_an_n_gram_model_answers_too() -> None:
    stream = np.array([1, 2, 3, 1, 2, 4, 1, 2, 3] * 20)
    model = NGram(2, 6, stream)
    ((likely, unlikely),) = continuations(
        model, [[Continuation(np.array([1, 2]), np.array([3])), Continuation(np.array([1, 2]), np.array([5]))]]
    )
    assert likely.log_probability[0] > unlikely.log_probability[0]
    assert likely.greedy.tolist() == [True]


def test_sums_are_those_of_transformers_on_the_exported_network(tmp_path: Path) -> None:
    """The oracle reads the weights as Hugging Face has them, one sequence at a time, in a few lines of its own."""
    import transformers

    model = network()
    config, state = to_transformers(model.arch, model.state_dict())
    theirs = transformers.GPT2LMHeadModel(transformers.GPT2Config(**config))
    theirs.load_state_dict(state, strict=False)
    theirs.eval()
    asked = questions_of(np.random.default_rng(7), 20, longest=30)
    for question, found in zip(asked, continuations(Network(model), asked), strict=True):
        for one, scored in zip(question, found, strict=True):
            ids = torch.from_numpy(np.concatenate(one)[-49:])
            with torch.no_grad():
                logged = torch.log_softmax(theirs(ids[None, :-1]).logits[0].double(), -1)
            total = float(logged.gather(1, ids[1:, None])[-len(one.asked) :].sum())
            assert float(scored.log_probability.sum()) == pytest.approx(total, rel=1e-4)


def test_windows_move_by_the_stride_that_is_set() -> None:
    """By hand: with a stride of the whole context each window but the last begins where the one before ended."""
    model = network(context=8)
    tokens = np.random.default_rng(0).integers(0, 300, 21)
    (found,) = Network(model, stride=8).score([tokens])
    ids = torch.from_numpy(tokens)
    expected: list[float] = []
    for start, new in ((0, 0), (8, 0), (12, 4)):  # 20 are asked: 8, 8, and the last four with all that fits before them
        with torch.no_grad():
            logged = torch.log_softmax(model(ids[None, start : start + 8]).double(), -1)[0]
        expected += logged.gather(1, ids[start + 1 : start + 9, None])[new:, 0].tolist()
    assert found.log_probability == pytest.approx(expected, abs=1e-5)
    (half,) = Network(model).score([tokens])
    assert half.log_probability != pytest.approx(expected, abs=1e-3)


def test_a_border_inside_a_token_leaves_the_context_as_it_is(codec: Any) -> None:  # noqa: F811
    encoding = Encoding(codec, begin=True)
    (whole, parted) = encoding.continuations([("so", " the other"), ("so t", "h")])
    assert codec.decode(whole.asked.tolist()) == " the other"
    assert codec.decode(parted.context[1:].tolist()) == "so t"  # " th" is one token, and would have swallowed it
    assert codec.decode(parted.asked.tolist()) == "h"
    assert whole.context[0] == codec.end_of_text


def test_the_first_prompts_are_kept_to_be_read(codec: Any) -> None:  # noqa: F811
    task = Task("t", (), iter, (Prompt("{question}?"),), "")
    questions = [Question(str(n), {"question": f"w{n}"}, ("a", "b"), 0) for n in range(9)]
    encoding = Encoding(codec, begin=True)
    asked = [ask(task.prompts[0], one, questions[:2], encoding.count, 500) for one in questions]
    told: list[int] = []
    model = build(Architecture(vocabulary=codec.size, context=64, layers=1, heads=1, width=16)).initialise(0)
    rows = answers(task, task.prompts[0], asked, Reader(Network(model), encoding), told.append)
    assert rows[0]["prompt_text"] == "w0? a\n\nw1? a\n\nw0?"
    assert [("prompt_text" in row) for row in rows] == [True] * 5 + [False] * 4
    assert told == [9]
    assert len({row["prompt_digest"] for row in rows}) == 9
