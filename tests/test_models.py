"""Networks: the published sizes, one meaning of a mask, logits in chunks, and text that a seed reproduces."""

from __future__ import annotations

import itertools
import json
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.commands.cli import main
from flows.recipe.loading import load_recipe
from models import loss
from models.attention import _blocks, _flex, attend, attend_dense
from models.bert import build
from models.generate import Sampling, choose, generate
from models.planning import GPUS, plan_training
from models.presets import GPT3_TOKENS, PRESETS, Shape, from_depth

# Embeddings tied, biases everywhere: counted from the tables of the papers; BERT with both heads as released.
PARAMETERS = {
    "gpt1": 116_534_784,
    "gpt2-small": 124_439_808,
    "gpt2-medium": 354_823_168,
    "gpt2-large": 774_030_080,
    "gpt2-xl": 1_557_611_200,
    "gpt3-125m": 125_226_240,
    "gpt3-350m": 355_871_744,
    "gpt3-760m": 760_300_032,
    "gpt3-1.3b": 1_315_723_264,
    "gpt3-1.3b-printed": 1_517_123_584,
    "gpt3-2.7b": 2_651_553_280,
    "gpt3-6.7b": 6_658_404_352,
    "gpt3-13b": 12_853_386_240,
    "gpt3-13b-printed": 12_936_488_380,
    "gpt3-175b": 174_604_259_328,
    "bert-base": 110_106_428,
    "bert-large": 336_226_108,
}
# Brown et al. 2020, table D.1: total training compute in FLOPs.
GPT3_FLOPS = {
    "gpt3-125m": 2.25e20,
    "gpt3-350m": 6.41e20,
    "gpt3-760m": 1.37e21,
    "gpt3-1.3b": 2.38e21,
    "gpt3-2.7b": 4.77e21,
    "gpt3-6.7b": 1.20e22,
    "gpt3-13b": 2.31e22,
    "gpt3-175b": 3.14e23,
}


@pytest.mark.parametrize("name", PRESETS)
def test_presets_have_the_parameters_of_their_papers(name: str) -> None:
    architecture = PRESETS[name].architecture
    with torch.device("meta"):
        built = build(architecture).parameter_count()
    assert built == architecture.parameter_count() == PARAMETERS[name]


def test_presets_are_trained_as_their_papers_print() -> None:
    """Brown et al. 2020, table 2.1 and appendix B; Devlin et al. 2018, A.2; Radford et al. 2018, 4.1."""
    rates = {
        "125m": 6e-4,
        "350m": 3e-4,
        "760m": 2.5e-4,
        "1.3b": 2e-4,
        "2.7b": 1.6e-4,
        "6.7b": 1.2e-4,
        "13b": 1e-4,
        "175b": 0.6e-4,
    }
    batches = {"125m": 5e5, "350m": 5e5, "760m": 5e5, "1.3b": 1e6, "2.7b": 1e6, "6.7b": 2e6, "13b": 2e6, "175b": 3.2e6}
    for size, rate in rates.items():
        training = PRESETS[f"gpt3-{size}"].training
        assert training["learning_rate"] == rate
        assert training["batch"] == int(batches[size]) // 2048
        assert training["first_batch"] == 16
        assert (training["tokens"], training["warmup_tokens"], training["decay_tokens"]) == (
            300 * 10**9,
            375 * 10**6,
            260 * 10**9,
        )
        assert (training["beta1"], training["beta2"], training["weight_decay"]) == (0.9, 0.95, 0.1)
        assert (training["clip"], training["final_learning_rate_share"]) == (1.0, 0.1)
    for name in ("bert-base", "bert-large"):
        training = PRESETS[name].training
        assert (training["learning_rate"], training["batch"], training["optimizer"]) == (1e-4, 256, "bert_adam")
        assert (training["beta1"], training["beta2"], training["weight_decay"], training["decay"]) == (
            0.9,
            0.999,
            0.01,
            "linear",
        )
        assert training["tokens"] == 1_000_000 * 256 * 512
        assert training["warmup_tokens"] == 10_000 * 256 * 512
    training = PRESETS["gpt1"].training
    assert (training["learning_rate"], training["batch"], training["warmup_tokens"]) == (2.5e-4, 64, 2000 * 64 * 512)


def test_a_depth_follows_its_formulas_worked_by_hand() -> None:
    """Depth 4: 12 x 4 x 256^2 parameters outside of the embedding; Kaplan et al. 2020, D.6; Bergsma et al. 2025."""
    parameters, reference = 12 * 4 * 256**2, 12 * 12 * 768**2
    _, training = from_depth(4, 256)
    rate, rate_12 = (0.003239 - 0.0001395 * math.log(n) for n in (parameters, reference))
    assert training["learning_rate"] == pytest.approx(rate, abs=1e-6)
    assert training["tokens"] == 20 * parameters
    batch = round(min(500_000 * (parameters / reference) ** 0.383, 20 * parameters / 1000) / 256)
    assert training["batch"] == batch
    decay = 0.1 * (batch * 256 / 500_000) * (rate_12 / rate) * (reference / parameters)
    assert training["weight_decay"] == pytest.approx(decay, abs=1e-4)
    assert training["warmup_tokens"] == int(20 * parameters * 0.05)


def planned(capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, Any]:
    with pytest.raises(SystemExit) as ended:
        main(["plan", "gpt3-175b", "--format", "json", *options])
    assert ended.value.code == 0
    return dict(json.loads(capsys.readouterr().out))


def test_plans_take_the_arithmetic_that_the_paper_prints(capsys: pytest.CaptureFixture[str]) -> None:
    for name, flops in GPT3_FLOPS.items():
        plan = plan_training(PRESETS[name].architecture, GPT3_TOKENS, 1024, GPUS["a100"], 0.4, 1, True, 2.0)
        assert plan.flops == pytest.approx(flops, rel=0.05), name
    cluster = planned(capsys, "--gpus", "1024")
    assert cluster["parameters"] == 174_604_259_328
    # A large cluster holds a slice of the state; one GPU cannot hold it all.
    assert cluster["fits"]
    assert not planned(capsys, "--gpus", "1")["fits"]


def test_preset_brings_its_training_and_what_is_given_wins() -> None:
    recipe = load_recipe("demo-tiny", ("model.preset=gpt3-125m", "model.layers=6", "pretrain.learning_rate=1e-3"))
    assert (recipe.model.layers, recipe.model.width, recipe.model.context) == (6, 768, 2048)
    assert recipe.pretrain.decay_tokens == 260_000_000_000
    assert recipe.pretrain.learning_rate == 1e-3
    assert recipe.trainings["pretrain"].last_step > 90_000
    assert recipe.model == type(recipe.model).model_validate(recipe.model.model_dump())


def test_depth_sets_a_compute_optimal_run() -> None:
    recipe = load_recipe("demo", ("model.depth=2",))
    assert (recipe.model.layers, recipe.model.width, recipe.model.context) == (2, 128, 128)
    assert recipe.trainings["pretrain"].last_step == pytest.approx(1000, rel=0.05)
    assert recipe.pretrain.optimizer == "adamw"
    assert load_recipe("bert-tiny", ("model.depth=2",)).model.family == "bert"
    assert load_recipe("demo", ("model.depth=0", "model.preset=")) == load_recipe("demo")
    (shape, training), (_, larger) = from_depth(4, 256), from_depth(8, 256)
    assert (shape.layers, shape.width, shape.heads) == (4, 256, 4)
    assert training["tokens"] == 20 * 12 * 4 * 256**2
    assert larger["learning_rate"] < training["learning_rate"]
    assert larger["batch"] > training["batch"]


@given(st.integers(2, 90), st.integers(1, 40), st.integers(0, 3))
@settings(max_examples=40, deadline=None)
def test_banded_attention_is_the_dense_reference_on_every_path(time: int, band: int, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    q, k, v = (torch.randn(2, 3, time, 8, generator=draw) for _ in range(3))
    expected = attend_dense(q, k, v, band=band)
    assert torch.allclose(attend(q, k, v, True, band, 0.0), expected, atol=1e-5)
    assert torch.allclose(_blocks(q, k, v, band, 0.0), expected, atol=1e-5)
    last = time // 2 + 1  # as with a cache: the last positions ask
    cached = attend(q[:, :, last - 1 :], k, v, True, band, 0.0)
    assert torch.allclose(cached, expected[:, :, last - 1 :], atol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_flex_attention_sees_what_the_dense_reference_sees() -> None:
    draw = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, 2, 200, 16, generator=draw) for _ in range(3))
    assert torch.allclose(_flex(q, k, v, 33), attend_dense(q, k, v, band=33), atol=1e-5)


def test_a_position_sees_no_later_one_and_none_beyond_the_band() -> None:
    model = build(Shape("gpt", 2, 2, 16, context=32, band=4).architecture(20)).initialise(1).eval()
    attention = model.blocks[1].attention
    x = torch.randn(1, 32, 16, requires_grad=True)
    out = attention(x)
    out[0, 20].sum().backward()
    assert x.grad is not None
    seen = x.grad[0].abs().sum(-1).nonzero().flatten().tolist()
    assert seen == [17, 18, 19, 20]


@given(st.integers(1, 40), st.integers(1, 50), st.booleans(), st.booleans())
@settings(max_examples=40, deadline=None)
def test_chunked_cross_entropy_equals_the_whole_in_value_and_gradients(
    positions: int, rows: int, with_bias: bool, bf16: bool
) -> None:
    draw = torch.Generator().manual_seed(positions)
    shapes = [(positions, 12), (30, 12), (30,)]
    first = [torch.randn(shape, generator=draw, requires_grad=True) for shape in shapes]
    second = [value.detach().clone().requires_grad_() for value in first]
    targets = torch.randint(0, 30, (positions,), generator=draw)
    weights = torch.rand(positions, generator=draw)
    kept, loss.CHUNK_LOGITS = loss.CHUNK_LOGITS, 30 * rows
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
            hidden, output, bias = first
            found = loss.cross_entropy(hidden, output, targets, weights, bias if with_bias else None)
        (2.5 * found).backward()  # as a share of the batch scales it
    finally:
        loss.CHUNK_LOGITS = kept
    hidden, output, bias = second
    expected = loss._whole(hidden, output, targets, weights, bias if with_bias else None)
    (2.5 * expected).backward()
    tolerance = 0.1 if bf16 else 1e-5
    assert found.item() == pytest.approx(expected.item(), rel=tolerance, abs=tolerance)
    for mine, other in zip(first[: 2 + with_bias], second, strict=False):
        assert mine.grad is not None
        assert other.grad is not None
        assert torch.allclose(mine.grad, other.grad, atol=tolerance)


@pytest.mark.parametrize("band", [0, 5])
def test_generation_with_cache_equals_generation_without(band: int) -> None:
    model = build(Shape("gpt", 2, 2, 32, context=16, band=band).architecture(64)).initialise(3).eval()
    prompt, tokens = [1, 2, 3], [1, 2, 3]
    with torch.inference_mode():
        for _ in range(10):
            tokens.append(int(model(torch.tensor([tokens]))[0, -1].argmax()))
    assert generate(model, prompt, 10, Sampling(temperature=0)) == tokens[3:]
    sampling = Sampling(seed=4, top_k=5, top_p=0.9)
    assert generate(model, prompt, 40, sampling) == generate(model, prompt, 40, sampling)
    assert len(generate(model, prompt, 40, Sampling(seed=4))) == 40  # past the context length
    assert len(generate(model, prompt, 40, Sampling(beams=3))) == 40


@given(st.integers(0, 200), st.floats(0.05, 0.95), st.integers(0, 8))
@settings(max_examples=40, deadline=None)
def test_nucleus_and_top_k_draw_from_the_fewest_likeliest_tokens(seed: int, top_p: float, top_k: int) -> None:
    scores = torch.log_softmax(torch.randn(20, generator=torch.Generator().manual_seed(seed)) * 2, 0)
    order = scores.argsort(descending=True).tolist()
    shares = scores.exp()
    if top_k:
        shares = shares / shares[order[:top_k]].sum()
        order = order[:top_k]
    nucleus: list[int] = []
    for token in order:
        nucleus.append(token)
        if shares[nucleus].sum() >= top_p:
            break
    draw = torch.Generator().manual_seed(seed)
    drawn = {choose(scores, Sampling(top_p=top_p, top_k=top_k), draw) for _ in range(60)}
    assert drawn <= set(nucleus)
    assert choose(scores, Sampling(top_p=0.0, top_k=top_k), draw) == order[0]
    assert choose(scores, Sampling(temperature=0), draw) == order[0]


def test_wide_beam_search_finds_the_likeliest_text_of_all() -> None:
    model = build(Shape("gpt", 1, 2, 16, context=8).architecture(5)).initialise(2).eval()
    with torch.no_grad():
        model.tokens.weight.mul_(20)
    scores = {}
    for text in itertools.product(range(5), repeat=3):
        ids = torch.tensor([[1, *text]])
        with torch.inference_mode():
            logged = torch.log_softmax(model(ids), -1)
        scores[text] = sum(float(logged[0, place, token]) for place, token in enumerate(text))
    assert tuple(generate(model, [1], 3, Sampling(beams=25))) == max(scores, key=lambda text: scores[text])


def test_a_bidirectional_model_is_not_asked_to_write() -> None:
    model = build(Shape("bert", 1, 2, 16, context=8).architecture(20)).initialise(1)
    with pytest.raises(ValueError, match="cannot continue"):
        generate(model, [1], 3)


def test_dropout_acts_in_training_alone() -> None:
    shape = Shape("gpt", 2, 2, 16, context=16, dropout=0.5, attention_dropout=0.5)
    plain = Shape("gpt", 2, 2, 16, context=16)
    ids = torch.arange(12)[None]
    with torch.inference_mode():
        dropped = build(shape.architecture(20)).initialise(3)
        assert torch.equal(dropped.eval()(ids), build(plain.architecture(20)).initialise(3).eval()(ids))
        dropped.train()
        assert not torch.equal(dropped(ids), dropped(ids))
    only_attention = (
        build(Shape("gpt", 2, 2, 16, context=16, attention_dropout=0.5).architecture(20)).initialise(3).train()
    )
    assert not torch.equal(only_attention(ids), only_attention(ids))
