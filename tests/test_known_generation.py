"""Generation against a loop without a cache, stop, top-k and top-p by hand, and beams against all texts there are."""

from __future__ import annotations

import itertools
from pathlib import Path
from random import Random

import pytest
import torch

from flows.making import Pipeline
from models.bert import build
from models.generate import Sampling, choose, generate
from models.presets import Shape
from models.transformer import Transformer
from tasks.tokens.tokenizer import Codec
from tests.known import chain, pipeline_over, publish, transitions
from tests.test_known_scores import SETTINGS, prose


def network(vocabulary: int = 40, context: int = 16, band: int = 0, seed: int = 3) -> Transformer:
    """A network whose greedy text is no repetition: large weights, positions included."""
    model = build(Shape("gpt", 2, 2, 32, context=context, band=band).architecture(vocabulary)).initialise(seed).eval()
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.4, generator=draw)
    return model


@torch.inference_mode()
def logits_after(model: Transformer, tokens: list[int], window: int) -> torch.Tensor:
    """Log probabilities after the last ``window`` tokens, from the whole of them at once."""
    return torch.log_softmax(model(torch.tensor([tokens[-window:]]))[0, -1], -1)


def windows(prompt: int, length: int, context: int) -> list[int]:
    """How many tokens the model sees before each one: all, until the context is full; then half, and growing again."""
    seen, out = min(prompt, context), []
    for _ in range(length):
        out.append(seen)
        seen = seen + 1 if seen < context else context // 2
    return out


@pytest.mark.parametrize("band", [0, 5])
@pytest.mark.parametrize("prompt", [[1], [1, 2, 3], list(range(20))])
def test_greedy_text_is_that_of_a_loop_without_cache_past_the_context_too(band: int, prompt: list[int]) -> None:
    model, tokens = network(band=band), list(prompt)
    for window in windows(len(prompt), 40, 16):
        tokens.append(int(logits_after(model, tokens, window).argmax()))
    found = generate(model, prompt, 40, Sampling(temperature=0))
    assert found == tokens[len(prompt) :]
    assert len(set(found)) > 6  # no text of one word


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"), [(1.0, 0, 1.0), (0.7, 0, 1.0), (1.3, 4, 1.0), (1.0, 0, 0.6), (0.8, 6, 0.7)]
)
def test_sampled_text_is_that_of_a_loop_with_the_same_draws(temperature: float, top_k: int, top_p: float) -> None:
    model, tokens, draw = network(), [5, 6], torch.Generator().manual_seed(11)
    for window in windows(2, 30, 16):
        probabilities = torch.softmax(logits_after(model, tokens, window) / temperature, -1)
        order = probabilities.argsort(descending=True).tolist()
        kept = order[:top_k] if top_k else order
        total = sum(float(probabilities[token]) for token in kept)
        nucleus, reached = [], 0.0
        for token in kept:
            if reached / total < top_p:
                nucleus.append(token)
            reached += float(probabilities[token])
        weights = torch.zeros(40)
        weights[nucleus] = probabilities[nucleus]
        tokens.append(int(torch.multinomial(weights / weights.sum(), 1, generator=draw)))
    found = generate(model, [5, 6], 30, Sampling(temperature, top_k, top_p, seed=11))
    assert found == tokens[2:]
    assert found != generate(model, [5, 6], 30, Sampling(temperature, top_k, top_p, seed=12))


def test_text_ends_before_the_stop_token() -> None:
    model = network()
    text = generate(model, [1], 30, Sampling(temperature=0))
    stop = text[10]
    assert generate(model, [1], 30, Sampling(temperature=0), stop=stop) == text[: text.index(stop)]
    drawn = generate(model, [1], 30, Sampling(seed=3))
    stop = drawn[7]
    assert generate(model, [1], 30, Sampling(seed=3), stop=stop) == drawn[: drawn.index(stop)]


@pytest.mark.parametrize(("penalty", "stop"), [(0.0, 4), (0.6, 4), (2.0, 4), (0.6, None)])
def test_beams_wide_enough_find_the_best_of_all_texts(penalty: float, stop: int | None) -> None:
    """Five tokens and four places: every text that ends in ``stop`` or is four tokens long, by log P / length^penalty."""
    model, ranked = network(vocabulary=5, context=8, seed=7), {}
    for length in range(1, 5):
        for text in itertools.product(range(5), repeat=length):
            ended = text[-1] == stop
            if (length < 4 and not ended) or stop in text[:-1]:
                continue
            tokens = [1, *text]
            with torch.inference_mode():
                logged = torch.log_softmax(model(torch.tensor([tokens])), -1)
            score = sum(float(logged[0, place, token]) for place, token in enumerate(text))
            ranked[text] = score / length**penalty
    best = max(ranked, key=lambda text: ranked[text])
    found = generate(model, [1], 4, Sampling(beams=700, length_penalty=penalty), stop=stop)
    assert tuple(found) == (best[:-1] if best[-1] == stop else best)


def test_narrow_beams_keep_so_many_texts() -> None:
    model = network(vocabulary=6, context=8, seed=4)
    beams: list[tuple[float, tuple[int, ...]]] = [(0.0, (1,))]
    for _ in range(4):
        longer = [
            (score + float(logits_after(model, list(text), len(text))[token]), (*text, token))
            for score, text in beams
            for token in range(6)
        ]
        beams = sorted(longer, reverse=True)[:2]
    assert tuple(generate(model, [1], 4, Sampling(beams=2))) == beams[0][1][1:]


def test_coldest_draws_are_greedy_and_ties_of_top_k_stay() -> None:
    scores = torch.log_softmax(torch.tensor([0.0, 3.0, 1.0, 2.9]), 0)
    draw = torch.Generator().manual_seed(0)
    assert {choose(scores, Sampling(temperature=0.0005), draw) for _ in range(50)} == {1}
    assert {choose(scores, Sampling(temperature=5.0, top_k=2), draw) for _ in range(200)} == {1, 3}
    assert {choose(scores, Sampling(temperature=1.0, top_k=3), draw) for _ in range(400)} == {1, 2, 3}


@pytest.fixture(scope="module")
def chained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Pipeline, str, Transformer]:
    folder, draw = tmp_path_factory.mktemp("chained"), Random(2)
    pipeline = pipeline_over(folder, {"plays": [prose(draw, 5) for _ in range(20)]}, sections=SETTINGS)
    model = chain(Codec.load(pipeline.store, pipeline.plan["tokenizer"][0].ref).size, seed=7, scale=0.7)
    return pipeline, publish(pipeline, model, folder), model


def written(chained: tuple[Pipeline, str, Transformer], *options: str) -> str:
    """What the command writes."""
    import contextlib
    import io

    from flows.commands.cli import main

    out = io.StringIO()
    recipe = Path(chained[0].store.url).parent / "recipe.toml"
    with contextlib.redirect_stdout(out), pytest.raises(SystemExit) as ended:
        main(["generate", str(recipe), "--prompt", "A", *options])
    assert ended.value.code == 0
    return out.getvalue()


def test_the_command_writes_what_the_network_would_with_each_of_its_options(
    chained: tuple[Pipeline, str, Transformer],
) -> None:
    pipeline, run, model = chained
    codec = Codec.load(pipeline.store, pipeline.plan["tokenizer"][0].ref)
    start, table = [codec.end_of_text, *codec.encode("A")], transitions(model)
    token, greedy = start[-1], []
    for _ in range(9):
        token = int(table[token].argmax())
        greedy.append(token)
    assert written(chained, "--temperature", "0", "--tokens", "9") == f"A{codec.decode(greedy)}\n"
    for options, sampling in (
        (("--temperature", "1.5"), Sampling(1.5, 50, 1.0, seed=1)),
        (("--top-k", "3"), Sampling(0.8, 3, 1.0, seed=1)),
        (("--top-p", "0.4"), Sampling(0.8, 50, 0.4, seed=1)),
        (("--seed", "8"), Sampling(0.8, 50, 1.0, seed=8)),
        (("--beams", "3"), Sampling(0.8, 50, 1.0, 3, 0.6, 1)),
        (("--beams", "3", "--length-penalty", "-4"), Sampling(0.8, 50, 1.0, 3, -4.0, 1)),
    ):
        expected = generate(model, start, 14, sampling, stop=codec.end_of_text)
        assert written(chained, *options, "--tokens", "14", "--run", run[:6]) == f"A{codec.decode(expected)}\n", options


def test_the_command_stops_where_the_network_ends_the_text(chained: tuple[Pipeline, str, Transformer]) -> None:
    pipeline, _, model = chained
    codec = Codec.load(pipeline.store, pipeline.plan["tokenizer"][0].ref)
    start = [codec.end_of_text, *codec.encode("A")]
    for seed in range(1, 200):
        plain = generate(model, start, 60, Sampling(1.5, 0, 1.0, seed=seed))
        if codec.end_of_text in plain[2:40]:
            break
    end = plain.index(codec.end_of_text)
    options = ("--temperature", "1.5", "--top-k", "0", "--seed", str(seed), "--tokens", "60")
    assert written(chained, *options) == f"A{codec.decode(plain[:end])}\n"
