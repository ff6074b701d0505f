"""Alignment as a user meets it: conversations out of files and plays, turns as tokens, what each method learns, kills, a page."""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from flows.making import Pipeline
from flows.query import rows
from flows.recipe.loading import load_recipe
from flows.reporting import publish_aligned
from models.architecture import Architecture
from models.bert import build
from models.finetuned import FineTuned
from models.objectives.answers import token_nats
from models.objectives.policy import ActorCritic
from tasks.align.conversation import Conversation, DialogueSettings, Turn
from tasks.align.encode import Turns, answer_batch, ranked_batch
from tasks.align.files import conversations
from tasks.align.offline import Given, objective_of, pair_accuracies, plan_of
from tasks.align.online import program, written
from tasks.align.plays import conversations as of_plays
from tasks.align.settings import AlignSettings
from tasks.align.talk import pieces
from tasks.core.stage import run_stages
from tasks.finetune.plays import Document
from tasks.train.published import load_model
from tasks.train.within import exactly
from tests.conftest import PROJECT, SHARED
from tests.known import recipe_file
from tests.test_finetune_pipeline import NODES, TO_TOKENS
from tests.test_known_scores import SETTINGS, prose
from warehouse.errors import GristmillError, SettingError

# Conversations out of files


def read(folder: Path, name: str, content: str | bytes, **settings: Any) -> list[Conversation]:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(
        conversations(DialogueSettings.model_validate({"sets": {"train": str(path)}, "test_share": 0, **settings}))
    )


def test_a_prompt_with_its_answers_is_one_turn(tmp_path: Path) -> None:
    row = {"instruction": "Say it.", "input": "Now", "output": "It.", "worse": "No."}
    (found,) = read(
        tmp_path,
        "a.json",
        json.dumps([row]),
        prompt="{instruction}\n{input}",
        answers=("{output}", "{worse}"),
        system="Be brief.",
    )
    assert found.turns == (Turn("system", "Be brief."), Turn("user", "Say it.\nNow"))
    assert (found.answers, found.ranks) == (("It.", "No."), (0, 1))


def test_turns_in_a_list_end_with_the_answer_or_have_it_beside_them(tmp_path: Path) -> None:
    said = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}, {"from": "human", "value": "Bye"}]
    whole = {"messages": [*said, {"role": "assistant", "content": "Farewell"}]}
    (found,) = read(tmp_path, "a.jsonl", json.dumps(whole), messages="messages")
    turns = (Turn("user", "Hi"), Turn("assistant", "Hello"), Turn("user", "Bye"))
    assert (found.turns, found.answers) == (turns, ("Farewell",))
    beside = {"c": said, "chosen": {"from": "gpt", "value": "So long"}, "rejected": {"from": "gpt", "value": "Go"}}
    (found,) = read(tmp_path, "b.jsonl", json.dumps(beside), messages="c", answers=("{chosen}", "{rejected}"))
    assert (found.turns, found.answers) == (turns, ("So long", "Go"))


def test_transcripts_are_taken_apart_at_who_speaks(tmp_path: Path) -> None:
    shared = "\n\nHuman: What is\n\nthis?\n\nAssistant: A pen.\n\nHuman: Sure?"
    row = {"chosen": f"{shared}\n\nAssistant: Yes.", "rejected": f"{shared}\n\nAssistant: A Human: no."}
    packed = gzip.compress(json.dumps(row).encode())
    (found,) = read(tmp_path, "a.jsonl.gz", packed, transcripts=True, answers=("{chosen}", "{rejected}"))
    assert found.turns == (Turn("user", "What is\n\nthis?"), Turn("assistant", "A pen."), Turn("user", "Sure?"))
    assert found.answers == ("Yes.", "A Human: no.")
    twice = {"chosen": f"{shared}\n\nAssistant: Yes.\n\nAssistant: Quite.", "rejected": f"{shared}\n\nAssistant: No."}
    (found,) = read(tmp_path, "b.jsonl", json.dumps(twice), transcripts=True, answers=("{chosen}", "{rejected}"))
    assert (found.turns[-1].text, found.answers) == ("Sure?", ("Yes.\n\nQuite.", "No."))
    apart = twice | {"rejected": "\n\nHuman: Other?\n\nAssistant: No."}
    with pytest.raises(GristmillError, match="to different questions"):
        read(tmp_path, "c.jsonl", json.dumps(apart), transcripts=True, answers=("{chosen}", "{rejected}"))


def test_the_same_words_are_as_good_and_one_question_is_of_one_set(tmp_path: Path) -> None:
    rows = [{"q": f"q {n % 30}", "a": "x", "b": "x" if n < 3 else f"y {n}"} for n in range(90)]
    found = read(
        tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows)), prompt="{q}", answers=("{a}", "{b}"), test_share=0.3
    )
    assert [one.ranks for one in found[:4]] == [(0, 0), (0, 0), (0, 0), (0, 1)]
    of_set: dict[str, set[str]] = {}
    for one in found:
        of_set.setdefault(one.set, set()).add(one.turns[0].text)
    assert 3 <= len(of_set["test"]) <= 16
    assert of_set["test"].isdisjoint(of_set["train"])
    assert len({one.id for one in found}) == 90


@pytest.mark.parametrize(
    ("row", "settings", "said"),
    [
        (
            {"a": "x"},
            {"prompt": "{q}", "answers": ("{a}",)},
            "record 1 of .* is no conversation as declared .*it has a",
        ),
        ({"m": [{"role": "assistant", "content": "x"}]}, {"messages": "m"}, "what is answered is no user's turn"),
        ({"m": [{"role": "robot", "content": "x"}]}, {"messages": "m"}, "no conversation as declared"),
    ],
)
def test_a_record_that_is_no_conversation_is_named(
    tmp_path: Path, row: dict[str, Any], settings: Any, said: str
) -> None:
    with pytest.raises(GristmillError, match=said):
        read(tmp_path, "a.jsonl", json.dumps(row), **settings)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"sets": {"test": "a"}, "prompt": "{a}", "answers": ("{b}",)}, "need a set train"),
        ({"sets": {"train": "a"}, "answers": ("{b}",)}, "give one of them"),
        ({"sets": {"train": "a"}, "prompt": "{a}", "messages": "b", "answers": ("{b}",)}, "give one of them"),
        ({"sets": {"train": "a"}, "prompt": "{a}"}, "there are no answers"),
    ],
)
def test_conversations_that_cannot_be_are_refused(settings: Any, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        DialogueSettings.model_validate(settings)


@pytest.mark.skipif(not (SHARED / "align").is_dir(), reason="the real sets of conversations are not on this machine")
def test_real_conversations_are_read_whole() -> None:
    folder = SHARED / "align"
    declared: list[tuple[dict[str, Any], str, int]] = [
        ({"transcripts": True, "answers": ("{chosen}", "{rejected}")}, "hh-rlhf/harmless-base.test.jsonl.gz", 2312),
        ({"prompt": "{instruction}\n{input}", "answers": ("{output}",)}, "llamafactory-demo/alpaca_en_demo.json", 999),
        (
            {"messages": "conversations", "answers": ("{chosen}", "{rejected}")},
            "llamafactory-demo/dpo_en_demo.json",
            300,
        ),
    ]
    for settings, path, count in declared:
        found = list(
            conversations(DialogueSettings.model_validate({"sets": {"train": str(folder / path)}, **settings}))
        )
        assert len(found) == count
        assert all(one.turns[-1].role == "user" for one in found)
        assert sum(bool(answer.strip()) for one in found for answer in one.answers) > 0.99 * count * len(
            found[0].answers
        )


# Turns as tokens


def test_nobody_can_write_the_tokens_of_who_speaks() -> None:
    turns = Turns(lambda text: [ord(letter) for letter in text], 256, 40)
    said = (Turn("system", "s"), Turn("user", "u"), Turn("assistant", "a"), Turn("user", "v"))
    assert turns.prompt(said, 40) == [256, 115, 257, 117, 258, 97, 259, 257, 118, 258]
    assert turns.prompt(said, 4) == [259, 257, 118, 258]  # the last ones
    assert turns.answer("ok") == [111, 107, 259]
    assert len(turns.answer("x" * 99)) == 20
    assert 259 not in turns.answer("x" * 99)  # it has no end, and does not learn that it had
    one = Conversation("x", "train", (Turn("user", "u" * 99),), ("ok", "no, no"), (0, 1))
    for answered in turns.answered(one):
        assert len(answered.ids) == 40
    ids, answered_mask = answer_batch(turns.answered(one))
    assert ids[answered_mask.bool()].tolist() == [*turns.answer("ok"), *turns.answer("no, no")]
    batch = ranked_batch([(turns.answered(one), one.ranks), (turns.answered(one)[:1], (0,))])
    assert batch.ranks.tolist() == [[0, 1], [0, -1]]
    assert batch.lengths.tolist() == [[40, 40], [40, 1]]


def test_a_program_rewards_words() -> None:
    assert program("word:Sun")("the SUN is up") == 1
    assert program("word:sun")("a sunny day") == 0
    assert program("shorter")("one two") > program("shorter")("one two three")
    assert program("longer")("one two") < program("longer")("one two three")


def test_pairs_are_counted_by_their_ranks() -> None:
    one = Conversation("a", "test", (Turn("user", "q"),), ("w", "x", "y"), (0, 1, 1))
    two = Conversation("b", "test", (Turn("user", "q"),), ("w", "x"), (1, 0))
    found = {each.metric: each for each in pair_accuracies([one, two], [[3.0, 1.0, 3.0], [5.0, 2.0]])}
    # Of a: w above x is right, w above y a tie; of b: x above w is wrong.
    assert found["pair accuracy"].after == pytest.approx((1 + 0.5 + 0) / 3)
    assert (found["pair accuracy"].n, found["pair accuracy, rank 0 above 1"].n) == (3, 3)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"method": "ppo"}, "PPO has a reward"),
        ({"method": "sft", "reward": "shorter"}, "PPO has a reward"),
        ({"method": "ppo", "reward": "shorter", "episodes": 10, "batch": 4}, "a multiple of batch"),
    ],
)
def test_an_alignment_that_cannot_be_is_refused(settings: Any, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        AlignSettings.model_validate({"initial": "pretrain", **settings})


def test_what_is_not_said_is_as_published() -> None:
    sft, reward, ppo = (
        AlignSettings.model_validate({"method": method, "initial": "a", **more})
        for method, more in (("sft", {}), ("reward", {}), ("ppo", {"reward": "shorter"}))
    )
    assert (sft.epochs, sft.batch, sft.learning_rate, sft.final_share) == (16, 32, 9.65e-6, 0.1)
    assert (reward.epochs, reward.batch, reward.learning_rate) == (1, 64, 9e-6)
    assert (ppo.episodes, ppo.batch, ppo.kl, ppo.ratio, ppo.temperature, ppo.average) == (
        512,
        64,
        0.02,
        0.2,
        1.0,
        0.992,
    )
    assert AlignSettings.model_validate({"method": "sft", "initial": "a", "epochs": 2}).epochs == 2


def test_settings_reach_the_training_loop() -> None:
    settings = AlignSettings(
        method="dpo",
        initial="a",
        seed=5,
        clip=0.7,
        weight_decay=0.03,
        decay="linear",
        warmup_share=0.25,
        final_share=0.5,
        learning_rate=0.002,
        precision="bf16",
        micro_batch=3,
        save_every=7,
        threads=2,
        device="cpu",
    )
    plan = plan_of(settings, "run", 10, 80)
    assert (plan.seed, plan.clip, plan.optimizer.weight_decay, plan.rate.decay) == (5, 0.7, 0.03, "linear")
    assert (plan.optimizer.learning_rate, plan.bf16, plan.micro_batch, plan.save_every) == (0.002, True, 3, 7)
    assert [plan.rate.share(seen) for seen in (10, 20, 50, 80)] == pytest.approx([0.5, 1, 0.75, 0.5])
    with exactly(settings.threads, settings.device) as device:
        assert (torch.get_num_threads(), device.type) == (2, "cpu")


def test_prices_and_weights_reach_the_objective() -> None:
    """By the loss that they make: of a batch that is known, each doubles what it weighs."""
    model = build(Architecture(vocabulary=9, context=8, layers=1, heads=1, width=8)).initialise(1)
    ids, answered = torch.tensor([[[1, 2, 3], [1, 4, 5]]]), torch.tensor([[[0.0, 1, 1], [0.0, 1, 1]]])
    gained = []
    for beta in (0.1, 0.4):
        settings = AlignSettings(method="dpo", initial="a", beta=beta)
        loss = objective_of(settings).loss(model, ids, answered, torch.tensor([[-9.0, -3.0]])).item()
        gained.append(-math.log(math.exp(loss) - 1))  # what the sigmoid is of
    assert gained[1] == pytest.approx(4 * gained[0], rel=1e-4)
    critic = FineTuned(build(model.arch).initialise(2), 8, 1, 0.0, ranks=True).initialise(3)
    nothing = torch.zeros(1, 2)
    batch = (
        ids[:, 0],
        torch.tensor([[0.0, 1.0]]),
        nothing,
        nothing,
        nothing,
        torch.ones(1, 2),
        torch.zeros(1, 0, 2, dtype=torch.int64),
    )
    losses = [
        objective_of(AlignSettings(method="ppo", initial="a", reward="shorter", value=value))
        .loss(ActorCritic(model, critic), *batch)
        .item()
        for value in (0.5, 1.5)
    ]
    assert losses[1] == pytest.approx(3 * losses[0], rel=1e-5)
    assert losses[0] > 0.1


def test_lambda_and_the_price_make_the_advantages_of_what_is_written() -> None:
    model = build(Architecture(vocabulary=40, context=16, layers=1, heads=1, width=8)).initialise(1)
    reference = build(model.arch).initialise(2)
    critic = FineTuned(build(model.arch).initialise(2), 8, 1, 0.0, ranks=True).initialise(3)
    turns = Turns(lambda text: [ord(letter) % 30 for letter in text], 36, 16)
    asked = [Conversation(name, "train", (Turn("user", name),), ("x",), (0,)) for name in "abc"]
    for gae, kl in ((0.0, 0.5), (1.0, 0.5), (1.0, 0.0)):
        settings = AlignSettings(
            method="ppo", initial="a", reward="shorter", gae=gae, kl=kl, answer_tokens=5, temperature=1.0
        )
        given = Given(asked, asked, turns, settings, "key")
        actor, nothing = ActorCritic(model, critic), torch.zeros(3, 0, 2, dtype=torch.int64)
        made = written(actor, reference, lambda *_: [1.0, 2.0, 3.0], given, str, asked, "abc", 1, nothing).batch
        with torch.no_grad():
            price = (token_nats(model, made.ids) - token_nats(reference, made.ids)) * kl
            worth = actor.values(made.ids)
        for row, reward in enumerate((1.0, 2.0, 3.0)):
            places = made.weights[row].nonzero()[:, 0].tolist()
            ahead = 0.0
            for place in reversed(places):
                last = place == places[-1]
                after = 0.0 if last else worth[row, place + 1].item()
                delta = -price[row, place].item() + (reward if last else 0.0) + after - worth[row, place].item()
                ahead = delta + gae * ahead
                assert made.returns[row, place].item() == pytest.approx(ahead + worth[row, place].item(), abs=1e-4)


# What is learnt

ALIGN = """
[dialogues.weather]
license = "CC0-1.0"
prompt = "{q}"
answers = ["{good}", "{bad}"]
[dialogues.weather.sets]
train = "FOLDER/weather.jsonl"
[dialogues.mixed]
prompt = "{q}"
answers = ["{either}"]
[dialogues.mixed.sets]
train = "FOLDER/weather.jsonl"
[align.sft]
method = "sft"
epochs = 8
learning_rate = 0.005
[align.judge]
method = "reward"
epochs = 4
learning_rate = 0.005
[align.sun]
method = "ppo"
reward = "word:sun"
steps = 12
[align.judged]
method = "ppo"
reward = "judge"
steps = 4
text = 0.5
texts = 1
[align.direct]
method = "dpo"
epochs = 3
learning_rate = 0.001
"""
COMMON = """initial = "{}"
dialogues = "{}"
dropout = 0.0
batch = 8
micro_batch = 4
answer_tokens = 12
save_every = 1
max_tested = 24
"""
PPO = "episodes = 16\nlearning_rate = 0.001\nkl = 0.1\naverage = 0.5\n"


def sections() -> str:
    text = ALIGN
    for name in ("sft", "judge", "sun", "judged", "direct"):
        more = COMMON.format(*(("pretrain", "mixed") if name == "sft" else ("sft", "weather"))) + (
            PPO if name in ("sun", "judged") else ""
        )
        text = text.replace(f"[align.{name}]\n", f"[align.{name}]\n{more}")
    return text


def recipe_at(folder: Path) -> str:
    """Whoever asks gets a sentence with the sun in it for the better answer, and one with fog for the worse."""
    draw = Random(2)
    made = [
        {
            "q": f"{draw.choice(['how', 'what'])} {n}",
            "good": f"the sun {draw.choice('ab')}",
            "bad": f"a fog {draw.choice('ab')}",
        }
        for n in range(120)
    ]
    made = [row | {"either": row[draw.choice(["good", "bad"])]} for row in made]
    (folder / "weather.jsonl").write_text("\n".join(map(json.dumps, made)))
    sources = {name: [prose(draw, 6) for _ in range(24)] for name in ("plays", "pages")}
    settings = SETTINGS.replace("context = 8", "context = 40").replace("width = 16", "width = 32")
    return str(recipe_file(folder, sources, settings + sections().replace("FOLDER", str(folder))))


@pytest.fixture(scope="module")
def aligned(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    made = Pipeline(load_recipe(recipe_at(tmp_path_factory.mktemp("align"))))
    for node in [*NODES, *TO_TOKENS, "pretrain", "dialogue", "align"]:
        made.make(node)
    return made


def figures(made: Pipeline) -> dict[tuple[str, str], dict[str, Any]]:
    return {(row["name"], row["metric"]): row for row in rows(made.store, "FROM aligned", own=made.own)}


def test_each_method_learns_what_it_is_for(aligned: Pipeline) -> None:
    found = figures(aligned)
    told = found["sft", "nats a token of the best answer"]
    assert told["after"] < 0.4 * told["before"]
    assert found["judge", "pair accuracy"]["after"] > 0.95
    assert found["direct", "pair accuracy"]["after"] > 0.95
    sun = found["sun", "reward of an answer"]
    assert sun["after"] > sun["before"] + 2 * sun["stderr"]
    judged = found["judged", "reward of an answer"]
    assert judged["after"] > judged["before"] + 2
    # What is mixed in keeps what was known of text (PPO-ptx).
    assert found["judged", "nats a token of text"]["after"] < found["sun", "nats a token of text"]["after"] - 0.5
    for name in ("sun", "judged"):
        assert 0 < found[name, "nats from where it started"]["after"] < 12
        assert abs(found[name, "nats from where it started"]["before"]) < 1e-4


def test_the_best_answers_are_worth_nothing_on_average(aligned: Pipeline) -> None:
    """The bias of a reward model is set so (Ouyang et al. 2022, section 3.5): on what is held out, nearly."""
    (text,) = rows(
        aligned.store,
        "SELECT avg(reward) AS mean FROM rollouts WHERE name = 'judged' AND contains(text, 'sun')",
        own=aligned.own,
    )
    assert abs(text["mean"]) < 1.5


def test_another_seed_and_fewer_conversations_are_another_network(aligned: Pipeline) -> None:
    recipe = str(Path(aligned.store.url).parent / "recipe.toml")
    again = Pipeline(load_recipe(recipe, ("align.sft.seed=2", "align.sft.max_conversations=10", "align.sft.epochs=1")))
    (sft,) = [one.stage for one in again.plan["align"] if one.subject == "sft"]
    (manifest,) = run_stages([sft])
    assert manifest.statistic("conversations") == 10
    other = Pipeline(load_recipe(recipe, ("align.sft.seed=3", "align.sft.max_conversations=10", "align.sft.epochs=1")))
    (manifest_3,) = run_stages([one.stage for one in other.plan["align"] if one.subject == "sft"])
    weights = [
        {file.path: file.sha256 for file in each.files("checkpoint")}["checkpoint/model.safetensors"]
        for each in (manifest, manifest_3)
    ]
    assert weights[0] != weights[1]


def test_conversations_are_rows(aligned: Pipeline) -> None:
    query = 'SELECT dialogues, example_id, set, roles, turns, answers, ranks, "group", source, license FROM dialogues ORDER BY dialogues, source'
    found = rows(aligned.store, query, own=aligned.own)
    assert Counter(row["dialogues"] for row in found) == {"weather": 120, "mixed": 120}
    for row in found:
        assert row["roles"] == ["user"]
        assert re.fullmatch(r"(how|what) \d+", row["turns"][0])
        assert re.fullmatch(r"train#\d+", row["source"])
        assert (row["group"], row["set"] in ("train", "test"), len(row["example_id"])) == ("", True, 16)
        if row["dialogues"] == "weather":
            assert (row["ranks"], row["license"]) == ([0, 1], "CC0-1.0")
            assert "sun" in row["answers"][0]
            assert "fog" in row["answers"][1]
    assert len({(row["dialogues"], row["example_id"]) for row in found}) == 240


def test_a_figure_and_a_rollout_say_of_which_network_they_are(aligned: Pipeline) -> None:
    keys = {one.subject: one.ref.key for one in aligned.plan["align"]}
    found = rows(aligned.store, "SELECT run, name, n FROM aligned", own=aligned.own)
    assert {(row["name"], row["run"]) for row in found} == set(keys.items())
    assert all(row["n"] >= 11 for row in found)
    said = rows(
        aligned.store,
        "SELECT run, name, example_id, digest FROM rollouts WHERE name = 'sun' AND step = 1",
        own=aligned.own,
    )
    known = {
        row["example_id"]
        for row in rows(aligned.store, "SELECT example_id FROM dialogues WHERE set = 'train'", own=aligned.own)
    }
    assert {row["run"] for row in said} == {keys["sun"]}
    assert {row["example_id"] for row in said} <= known
    assert all(re.fullmatch("[0-9a-f]{16}", row["digest"]) for row in said)


def test_a_file_of_conversations_that_is_fetched_is_known_by_its_digest(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text(json.dumps({"q": "a", "r": "b"}))
    digest = hashlib.sha256((tmp_path / "x.jsonl").read_bytes()).hexdigest()
    settings = {
        "sets": {"train": "https://nowhere.invalid/c.jsonl"},
        "prompt": "{q}",
        "answers": ("{r}",),
        "mirror": str(tmp_path),
    }
    (found,) = conversations(DialogueSettings.model_validate({**settings, "sha256": {"train": digest}}))
    assert found.answers == ("b",)


def test_rollouts_are_rows_before_during_and_after(aligned: Pipeline) -> None:
    found = rows(aligned.store, "FROM rollouts", own=aligned.own)
    steps = {name: Counter(row["step"] for row in found if row["name"] == name) for name in ("sft", "sun", "judge")}
    held_out = steps["sun"][0]
    assert held_out == steps["sun"][None] <= 24
    assert {step: count for step, count in steps["sun"].items() if step} == dict.fromkeys(range(1, 13), 16)
    assert steps["sft"] == {0: held_out, None: held_out}
    assert not steps["judge"]
    for row in found:
        if row["name"] == "sun":
            assert row["reward"] == float("sun" in row["text"].casefold().split())


def test_an_aligned_network_is_a_checkpoint_like_any_other(aligned: Pipeline) -> None:
    refs = {one.subject: one.ref for one in aligned.plan["align"]}
    base = load_model(aligned.store, aligned.plan["pretrain"][0].ref)
    for name in ("sft", "sun", "direct"):
        model = load_model(aligned.store, refs[name], aligned.plan["tokenizer"][0].ref)
        assert model.arch.vocabulary == base.arch.vocabulary + 4
        with torch.no_grad():
            assert model(torch.tensor([[base.arch.vocabulary + 1, 5]])).shape == (1, 2, model.arch.vocabulary)


def parts_of(made: Pipeline, name: str) -> dict[str, str]:
    (one,) = [one for one in made.plan["align"] if one.subject == name]
    query = "SELECT path, sha256 FROM parts WHERE stage = 'align' AND key = $1 ORDER BY path"
    return {row["path"]: row["sha256"] for row in rows(made.store, query, [one.ref.key], own=made.own)}


def killed(command: Sequence[str], folder: Path, pattern: str, wanted: int) -> bool:
    """Starts it and kills it once a file of the pattern has a number so high; whether it was."""
    process = subprocess.Popen(command, cwd=PROJECT, start_new_session=True, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        numbers = [int(re.sub(r"\D", "", path.name)) for path in folder.glob(pattern)]
        if numbers and max(numbers) >= wanted:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return True
        time.sleep(0.005)
    assert process.returncode == 0
    return False


def test_killed_in_every_method_it_ends_in_the_same_bytes(aligned: Pipeline, tmp_path: Path) -> None:
    recipe = recipe_at(tmp_path)
    command = [sys.executable, "-m", "tests.drive", "align", recipe]
    keys = {one.subject: one.ref.key for one in aligned.plan["align"]}
    scratch = tmp_path / "store" / "scratch" / "align"
    kills = [
        killed(command, scratch / keys["sft"], "step-*.json", 5),
        killed(command, scratch / keys["judge"], "step-*.json", 7),
        killed(
            command, scratch / keys["sun"], "rollouts-*.json", 3
        ),  # they are stored, and nothing is learnt of them yet
        killed(command, scratch / keys["sun"], "step-*.json", 9),  # between the two minibatches of one batch
        killed(command, scratch / keys["direct"], "step-*.json", 4),
        killed(command, scratch / keys["judged"], "step-*.json", 3),
    ]
    assert sum(kills) >= 5
    subprocess.run(command, cwd=PROJECT, check=True, stdout=subprocess.DEVNULL)
    again = Pipeline(load_recipe(recipe))
    for name in keys:
        assert parts_of(again, name) == parts_of(aligned, name) != {}, name
    assert not list(scratch.glob("*/*-*"))


def test_the_page_shows_answers_before_and_after(aligned: Pipeline) -> None:
    page = Path(publish_aligned(aligned)).read_text()
    words = re.sub(r"<svg.*?</svg>", "", page, flags=re.DOTALL)
    for name in ("sft", "judge", "sun", "judged", "direct"):
        assert f"<h2>{name}</h2>" in words
    assert page.count("<svg") == 4  # reward and distance of both policies
    assert words.count("before: ") == words.count("after: ") == 4 * 4
    assert "nats from where it started" in words


@pytest.mark.parametrize(
    ("override", "said"),
    [
        (
            "align.sft.initial=pretrained",
            "align.sft.initial is pretrained, which writes nothing; the nearest is pretrain",
        ),
        ("align.direct.initial=judge", "which writes nothing"),
        ("align.sft.initial=direct", "starts from itself"),
        ("align.sun.reward=jugde", "align.sun.reward is jugde: give an alignment of method reward (judge)"),
        ('align.shorter={method="sft", initial="pretrain"}', "align.shorter cannot be called so: that is a reward"),
        ("align.sft.dialogues=wether", "align.sft.dialogues is wether, which is none; the nearest is weather"),
    ],
)
def test_a_chain_that_cannot_be_is_refused(aligned: Pipeline, override: str, said: str) -> None:
    recipe = str(Path(aligned.store.url).parent / "recipe.toml")
    with pytest.raises(SettingError, match=re.escape(said)):
        load_recipe(recipe, (override,))


# Talking


def test_no_piece_is_half_a_letter() -> None:
    letters = "a é日🙂z"
    raw = letters.encode()
    decode = lambda known: bytes(known).decode(errors="replace")  # noqa: E731
    found = list(pieces(raw, decode))
    assert "".join(found) == letters
    assert all("\ufffd" not in piece for piece in found)
    assert "🙂" in found
    assert list(pieces(raw[:-3], decode))[-1] == "\ufffd"  # what is half at the end is shown, and not lost


def chat(made: Pipeline, *lines: str, options: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
    recipe = str(Path(made.store.url).parent / "recipe.toml")
    command = [sys.executable, "-m", "flows.commands.cli", "chat", *options, "--config", recipe, "--tokens", "8"]
    return subprocess.run(
        command, input="\n".join(lines) + "\n", cwd=PROJECT, capture_output=True, text=True, check=False
    )


def test_a_line_is_a_turn_and_reset_forgets(aligned: Pipeline) -> None:
    greedy = ["sft", "--temperature", "0"]
    done = chat(aligned, "how 3", "how 3", "/reset", "how 3", "/nothing", options=greedy)
    assert done.returncode == 0, done.stderr
    first, _, again = done.stdout.splitlines()
    assert first == again  # the same words after nothing
    assert re.match("(the sun|a fog) [ab]", first)
    assert "there is no /nothing: /reset forgets" in done.stderr
    with_system = chat(aligned, "how 3", options=[*greedy, "--system", "be brief"]).stdout
    turned = chat(aligned, "/system be brief", "how 3", options=greedy).stdout
    assert with_system == turned


def test_a_seed_draws_the_same_answers(aligned: Pipeline) -> None:
    hot = ["sft", "--temperature", "3", "--top-k", "0", "--top-p", "0.9"]
    one, two, other = (
        chat(aligned, "how 3", "what 4", options=[*hot, "--seed", seed]).stdout for seed in ("1", "1", "2")
    )
    assert one == two != other


def test_who_cannot_answer_is_told_from_who_can(aligned: Pipeline) -> None:
    assert "judge is no alignment that writes; the nearest is" in chat(aligned, "x", options=["judge"]).stderr
    unmade = chat(aligned, "x", options=["sft", "--set", "align.sft.seed=77"])
    assert unmade.returncode == 1
    assert "run gristmill align" in unmade.stderr


# Plays

SCENE = "\n".join(f"{'ROMEO' if n % 2 else 'JULIET'}.\nThis is speech {n} of {{}} and it has words." for n in range(8))


def test_the_best_answer_of_a_play_is_the_next_speech() -> None:
    plays = [
        f"{name}_gut"
        for name in ("hamlet", "othello", "macbeth", "tempest", "lear", "cymbeline", "pericles", "henry_v")
    ]
    given = [
        Document(f"http://w.example/works/{play}/{n}.html", SCENE.replace("{}", f"{play} {n}"), "works")
        for play in plays
        for n in (1, 2)
    ]
    found = list(of_plays(given))
    assert len(found) > 20
    for one in found:
        number = int(re.search(r"speech (\d)", one.answers[0])[1])  # type: ignore[index]
        told = [int(re.search(r"speech (\d)", turn.text)[1]) for turn in one.turns]  # type: ignore[index]
        assert told == [number - 3, number - 2, number - 1]
        assert [turn.role for turn in one.turns] == ["user", "assistant", "user"]
        here, play = (re.search(r"of ((\w+) \d)", one.answers[0]) or [""])[1], one.source.split("/")[4]
        where = [re.search(r"of ((\w+) \d)", answer) for answer in one.answers]
        assert [bool(w and w[1] == here) for w in where] == [True, True, False, False]
        assert [bool(w and w[2] == play) for w in where] == [True, True, True, False]
    assert {one.set for one in found} == {"train", "test"}
