"""Alignment's losses by hand: ranked answers, direct preferences, PPO's surrogate with its price and its advantages, and rollouts."""

from __future__ import annotations

import math
from itertools import combinations

import pytest
import torch
import torch.nn.functional as F

from models.architecture import Architecture
from models.bert import build
from models.draws import random_bits
from models.finetuned import FineTuned
from models.objectives.answers import (
    REWARD,
    SFT,
    AnswerBatch,
    PairBatch,
    Preference,
    RankedBatch,
    ranking_loss,
    rewards,
)
from models.objectives.policy import (
    ActorCritic,
    Proximal,
    RolloutBatch,
    advantages,
    loss,
    token_rewards,
    whitened,
)
from models.sampling import draw, sample
from models.transformer import Transformer

ARCH = Architecture(vocabulary=19, context=16, layers=2, heads=2, width=16)


def network(seed: int = 1) -> Transformer:
    model = build(ARCH).initialise(seed).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    return model


def nats_of(model: Transformer, ids: list[int], start: int) -> torch.Tensor:
    """The log-probabilities of the tokens from ``start`` on, one sequence alone."""
    logits = model(torch.tensor([ids]))[0]
    return torch.stack([torch.log_softmax(logits[at - 1], 0)[ids[at]] for at in range(start, len(ids))])


def padded(rows: list[list[int]]) -> torch.Tensor:
    longest = max(map(len, rows))
    return torch.tensor([row + [0] * (longest - len(row)) for row in rows])


def mask(rows: list[list[int]], starts: list[int]) -> torch.Tensor:
    longest = max(map(len, rows))
    return torch.tensor(
        [[float(start <= at < len(row)) for at in range(longest)] for row, start in zip(rows, starts, strict=True)]
    )


ROWS, STARTS = [[1, 2, 3, 4, 5], [6, 7, 8], [9, 10, 11, 12]], [2, 1, 3]


def same_gradients(model: torch.nn.Module, found: torch.Tensor, expected: torch.Tensor) -> None:
    parameters = list(model.parameters())
    ours = torch.autograd.grad(found, parameters, retain_graph=True, allow_unused=True)
    theirs = torch.autograd.grad(expected, parameters, allow_unused=True)
    assert any(one is not None for one in ours)
    for mine, other in zip(ours, theirs, strict=True):
        if other is None:
            assert mine is None or not mine.abs().max()
        else:
            assert mine is not None
            torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-7)


def test_sft_is_the_nats_of_answers_alone() -> None:
    model = network()
    expected = torch.stack([-nats_of(model, row, start).mean() for row, start in zip(ROWS, STARTS, strict=True)]).mean()
    found = SFT.loss(model, *AnswerBatch(padded(ROWS), mask(ROWS, STARTS)))
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    same_gradients(model, found, expected)


def test_a_ranking_is_all_pairs_of_a_prompt_without_ties() -> None:
    scores, ranks = (
        torch.tensor([[2.0, 0.5, 1.0, -1.0], [0.0, 3.0, 9.0, 9.0]]),
        torch.tensor([[0, 1, 1, 2], [1, 0, -1, -1]]),
    )
    first = [(2.0, 0.5), (2.0, 1.0), (2.0, -1.0), (0.5, -1.0), (1.0, -1.0)]  # 0.5 and 1.0 are tied
    expected = [
        sum(math.log(1 + math.exp(-(better - worse))) for better, worse in pairs) / len(pairs)
        for pairs in (first, [(3.0, 0.0)])
    ]
    assert ranking_loss(scores, ranks).item() == pytest.approx(sum(expected) / 2, rel=1e-6)
    # Untied, it is -1 / C(K, 2) times the sum over all pairs.
    four = torch.tensor([[0.3, -0.2, 1.1, 0.4]])
    by_pairs = [-F.logsigmoid(four[0, a] - four[0, b]).item() for a, b in combinations(range(4), 2)]
    assert ranking_loss(four, torch.tensor([[0, 1, 2, 3]])).item() == pytest.approx(sum(by_pairs) / math.comb(4, 2))
    assert ranking_loss(four, torch.tensor([[0, 0, 0, 0]])).item() == 0


def test_a_reward_is_read_at_the_last_token_of_each_answer() -> None:
    model = FineTuned(network(), ARCH.width, 1, 0.0, ranks=True).initialise(2).double()
    ids = padded(ROWS)[None]
    given = RankedBatch(ids, torch.tensor([[len(row) for row in ROWS]]), torch.tensor([[0, 1, 2]]))
    found = rewards(model, given)
    inner = model.network
    assert isinstance(inner, Transformer)
    for place, row in enumerate(ROWS):
        state = inner.hidden(torch.tensor([row]))[0, -1]
        assert found[0, place].item() == pytest.approx(
            (model.head.weight[0] @ state + model.head.bias[0]).item(), rel=1e-5
        )
    told = REWARD.figures(model, *given)
    pairs = [found[0, a].item() > found[0, b].item() for a, b in combinations(range(3), 2)]
    assert told["accuracy"].item() == pytest.approx(sum(pairs) / 3)


def test_a_preference_is_what_was_gained_over_the_reference() -> None:
    model, reference, beta = network(1), network(2), 0.3
    better, worse = [[1, 2, 3, 4], [5, 6, 7]], [[1, 2, 8], [5, 9, 10, 11]]
    expected = []
    told = []
    for good, bad in zip(better, worse, strict=True):
        start = 2 if good[0] == 1 else 1
        with torch.no_grad():
            told.append([nats_of(reference, row, start).sum().item() for row in (good, bad)])
        gained = [nats_of(model, row, start).sum() - old for row, old in zip((good, bad), told[-1], strict=True)]
        expected.append(-F.logsigmoid(beta * (gained[0] - gained[1])))
    rows = [row for pair in zip(better, worse, strict=True) for row in pair]
    ids, answered = padded(rows).view(2, 2, -1), mask(rows, [2, 2, 1, 1]).view(2, 2, -1)
    found = Preference(beta).objective.loss(model, *PairBatch(ids, answered, torch.tensor(told)))
    assert found.item() == pytest.approx(torch.stack(expected).mean().item(), rel=1e-5)
    same_gradients(model, found, torch.stack(expected).mean())
    with torch.no_grad():
        start_loss = Preference(beta).objective.loss(reference, *PairBatch(ids, answered, torch.tensor(told)))
    assert start_loss.item() == pytest.approx(math.log(2), rel=1e-5)  # nothing is gained yet


def test_a_token_earns_the_price_of_leaving_and_the_last_one_the_reward() -> None:
    answered = torch.tensor([[0.0, 1, 1, 1, 0], [1.0, 0, 0, 0, 0]])
    nats, reference = torch.full((2, 5), -1.0), torch.full((2, 5), -1.5)
    found = token_rewards(nats, reference, answered, torch.tensor([7.0, -2.0]), beta=0.2)
    for row, expected in zip(found.tolist(), [[0, -0.1, -0.1, 6.9, 0], [-2.1, 0, 0, 0, 0]], strict=True):
        assert row == pytest.approx(expected, abs=1e-6)


def test_advantages_of_an_episode_are_by_hand() -> None:
    # Three tokens that earn 1, 0, 2 where the critic said 0.5, 1, 1.5; lambda 0.5 and no discount.
    answered = torch.tensor([[0.0, 1, 1, 1, 0]])
    earned, values = torch.tensor([[9.0, 1, 0, 2, 9]]), torch.tensor([[9.0, 0.5, 1, 1.5, 9]])
    found, returns = advantages(earned, values, answered, lam=0.5)
    third = 2 - 1.5
    second = (0 + 1.5 - 1) + 0.5 * third
    first = (1 + 1 - 0.5) + 0.5 * second
    assert found[0].tolist() == pytest.approx([0, first, second, third, 0])
    assert returns[0].tolist() == pytest.approx([0, first + 0.5, second + 1, third + 1.5, 0])
    whole, _ = advantages(earned, values, answered, lam=1.0)  # what is still earned, less what was expected
    assert whole[0].tolist() == pytest.approx([0, 3 - 0.5, 2 - 1, 2 - 1.5, 0])
    white = whitened(found, answered)[0, 1:4]
    assert white.mean().item() == pytest.approx(0, abs=1e-6)
    assert white.var(unbiased=False).item() == pytest.approx(1, rel=1e-5)


def test_the_surrogate_is_clipped_token_by_token() -> None:
    policy, critic = network(1), FineTuned(network(3), ARCH.width, 1, 0.0, ranks=True).initialise(2).double()
    model, how = ActorCritic(policy, critic), Proximal(clip=0.2, value=0.5, text=0.7)
    answered = mask(ROWS, STARTS)[:, 1:].double()
    draws = torch.Generator().manual_seed(1)
    noise = lambda: torch.randn(answered.shape, generator=draws, dtype=torch.double)  # noqa: E731
    ids = padded(ROWS)
    with torch.no_grad():
        old = torch.stack(
            [torch.log_softmax(policy(ids), -1)[:, at].gather(1, ids[:, at + 1, None])[:, 0] for at in range(4)], 1
        )
    old = old + 0.4 * noise()
    gained, returns, before = noise(), noise(), noise()
    text = torch.tensor([[[1, 2, 3]], [[4, 5, 6]], [[7, 8, 9]]])
    count = answered.sum()
    given = RolloutBatch(ids, answered * 3 / count, old, before, gained, returns, text)
    found = loss(how, model, *given)
    inner = critic.network
    assert isinstance(inner, Transformer)
    expected, clipped = torch.zeros((), dtype=torch.double), 0
    for row, start in zip(range(3), STARTS, strict=True):
        tokens = ROWS[row]
        nats = nats_of(policy, tokens, start)
        worth = inner.hidden(torch.tensor([tokens]))[0] @ critic.head.weight[0] + critic.head.bias[0]
        for n, at in enumerate(range(start, len(tokens))):
            place = (row, at - 1)
            ratio, a = torch.exp(nats[n] - old[place]), gained[place]
            bounded = min(max(ratio.item(), 0.8), 1.2)
            clipped += bounded != ratio.item()
            surrogate = ratio * a if (ratio * a).item() <= bounded * a.item() else bounded * a
            value = worth[at - 1]
            near = before[place] + (value - before[place]).clamp(-0.2, 0.2)
            error = torch.maximum((value - returns[place]) ** 2, (near - returns[place]) ** 2) / 2
            expected = expected + (0.5 * error - surrogate) / count
    expected = expected - 0.7 * torch.stack([nats_of(policy, row[0], 1).mean() for row in text.tolist()]).mean()
    assert 0 < clipped < int(count)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    same_gradients(model, found, expected)
    # Seen in two parts, weighted by their sizes, it is the same.
    halves = [loss(how, model, *(tensor[part] for tensor in given)).item() for part in (slice(0, 1), slice(1, 3))]
    assert (halves[0] + 2 * halves[1]) / 3 == pytest.approx(found.item(), rel=1e-6)


# Rollouts


def test_a_row_is_what_it_would_be_alone() -> None:
    model = network().float()
    prompts = [[1], [2, 3, 4, 5], [6, 7]]
    together = sample(model, prompts, 6, ["a", "b", "c"], seed=4)
    for prompt, name, row in zip(prompts, "abc", together, strict=True):
        assert sample(model, [prompt], 6, [name], seed=4) == [row]
    assert sample(model, prompts, 6, ["a", "b", "c"], seed=5) != together


def test_a_token_is_drawn_by_the_probabilities_of_a_plain_forward_pass() -> None:
    model, prompt = network().float(), [1, 2, 3]
    (found,) = sample(model, [prompt], 8, ["x"], seed=9, temperature=0.7)
    tokens = list(prompt)
    for number in range(8):
        with torch.no_grad():
            shares = torch.softmax(model(torch.tensor([tokens]))[0, -1].double() / 0.7, 0)
        drawn = random_bits(9, "token", "x", number) / 2.0**64
        tokens.append(next(token for token in range(ARCH.vocabulary) if shares[: token + 1].sum().item() > drawn))
    assert found == tokens[3:]


def test_an_answer_ends_with_the_stop_token_and_holds_nothing_forbidden() -> None:
    model = network().float()
    rows = sample(model, [[1], [2]] * 20, 12, list(range(40)), seed=1, stop=5, forbidden=(6, 7))
    assert any(row[-1] == 5 for row in rows)
    for row in rows:
        assert 5 not in row[:-1]
        assert not {6, 7} & {*row}
        assert len(row) == 12 or row[-1] == 5
    with pytest.raises(ValueError, match="do not fit into a context of 16"):
        sample(model, [[1]], 16, ["a"], seed=1)


def test_draws_have_the_shares_that_are_asked_for() -> None:
    logits = torch.log(torch.tensor([[0.1, 0.6, 0.3]], dtype=torch.double)).expand(1000, 3)
    drawn = draw(logits, (torch.arange(1000) + 0.5).double() / 1000)
    assert torch.bincount(drawn).tolist() == [100, 600, 300]
