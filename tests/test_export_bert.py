"""BERT outside: pairs are put together as in training, and padding is a token that no text has; imports of all kinds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from flows.making import Pipeline
from models.training.masking import Vocabulary, masked_sequence
from tasks.interchange.folder import export, read_folder
from tasks.interchange.weights import content_of
from tasks.tokens.tokenizer import Codec
from tasks.train.published import load_model, load_run
from tasks.train.runs import find_run
from tests.known import chain, pipeline_over, publish
from tests.test_known_scores import SETTINGS, prose
from warehouse.errors import GristmillError

BERT = SETTINGS.replace("context = 8", 'context = 32\nfamily = "bert"').replace(
    'precision = "fp32"', 'precision = "fp32"\noptimizer = "bert_adam"'
)


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> tuple[Pipeline, Path]:
    folder, draw = tmp_path_factory.mktemp("bert"), Random(2)
    pipeline = pipeline_over(folder, {"plays": [prose(draw, 6) for _ in range(12)]}, sections=BERT, until="pretrain")
    export(pipeline.store, find_run(pipeline.store), folder / "exported", "--config x")
    return pipeline, folder / "exported"


def test_a_pair_is_tokenized_as_bert_was_trained(bert: tuple[Pipeline, Path]) -> None:
    pipeline, folder = bert
    codec = Codec.load(pipeline.store, pipeline.plan["tokenizer"][0].ref)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    first, second = "The river", " stone bridge"
    found = tokenizer(first, second)
    a, b = codec.encode(first), codec.encode(second)
    vocabulary = Vocabulary(codec.size, codec.end_of_text)
    # A training sequence of the same two halves, hidden tokens put back.
    window = np.array(a + b)
    made = next(
        row
        for step in range(200)
        if (row := masked_sequence(window, window, vocabulary, 1, "step", step)).not_next == 0
        and int(np.flatnonzero(row.ids == vocabulary.sep)[0]) == len(a) + 1
    )
    ids = made.ids.copy()
    ids[made.positions[made.weights == 1]] = made.targets[made.weights == 1]
    assert found["input_ids"] == ids.tolist()
    assert found["token_type_ids"] == made.types.tolist()
    assert tokenizer("The river")["input_ids"] == [vocabulary.cls, *a, vocabulary.sep]
    assert tokenizer.mask_token_id == vocabulary.mask


def test_padding_has_a_token_of_its_own_that_no_text_has_and_changes_no_answer(bert: tuple[Pipeline, Path]) -> None:
    pipeline, folder = bert
    codec = Codec.load(pipeline.store, pipeline.plan["tokenizer"][0].ref)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForPreTraining.from_pretrained(folder).eval()
    assert tokenizer.pad_token_id == model.config.pad_token_id == codec.size + 3
    assert model.get_input_embeddings().padding_idx == codec.size + 3
    batch = tokenizer(["The river", "The river stone bridge keeper"], padding=True, return_tensors="pt")
    assert batch["input_ids"][0, -1] == tokenizer.pad_token_id
    assert batch["attention_mask"][0].tolist() == [1] * int(batch["attention_mask"][0].sum()) + [0] * int(
        (batch["attention_mask"][0] == 0).sum()
    )
    with torch.inference_mode():
        logits = model(**batch).prediction_logits
        alone = model(**tokenizer("The river", return_tensors="pt")).prediction_logits
    assert (logits[0, : alone.shape[1]] - alone[0]).abs().max() < 1e-4
    assert (logits.argmax(-1) < tokenizer.pad_token_id).all()
    own = load_run(pipeline.store, find_run(pipeline.store))[0]
    ids = tokenizer("The river", return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        assert (own(ids) - alone[..., : codec.size + 3]).abs().max() < 1e-4


def test_an_export_of_bert_comes_back_as_it_was(bert: tuple[Pipeline, Path]) -> None:
    pipeline, folder = bert
    family, model, _ = read_folder(folder)
    own = load_run(pipeline.store, find_run(pipeline.store))[0]
    assert family == "bert"
    assert model.arch == own.arch
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), own.parameters(), strict=True))


@pytest.fixture(scope="module")
def gpt(tmp_path_factory: pytest.TempPathFactory) -> tuple[Pipeline, Path]:
    folder, draw = tmp_path_factory.mktemp("gpt"), Random(2)
    pipeline = pipeline_over(folder, {"plays": [prose(draw, 6) for _ in range(12)]}, sections=SETTINGS)
    publish(pipeline, chain(Codec.load(pipeline.store, pipeline.plan["tokenizer"][0].ref).size, seed=7), folder)
    export(pipeline.store, find_run(pipeline.store), folder / "exported", "--config x")
    return pipeline, folder / "exported"


def copied(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to)
    return to


def test_an_embedding_that_is_padded_is_imported_without_its_padding(
    gpt: tuple[Pipeline, Path], tmp_path: Path
) -> None:
    pipeline, exported = gpt
    folder = copied(exported, tmp_path / "padded")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    model.resize_token_embeddings(320, mean_resizing=False)
    model.save_pretrained(folder)
    assert json.loads((folder / "config.json").read_text())["vocab_size"] == 320
    _, found, _ = read_folder(folder)
    own = load_model(pipeline.store, find_run(pipeline.store).ref)
    assert found.arch.vocabulary == own.arch.vocabulary
    assert all(torch.equal(a, b) for a, b in zip(found.parameters(), own.parameters(), strict=True))


def test_weights_in_several_files_are_imported(gpt: tuple[Pipeline, Path], tmp_path: Path) -> None:
    pipeline, exported = gpt
    folder = copied(exported, tmp_path / "shards")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="8KB")
    shards = sorted(folder.glob("model-*.safetensors"))
    assert len(shards) > 1
    _, found, _ = read_folder(folder)
    own = load_model(pipeline.store, find_run(pipeline.store).ref)
    assert all(torch.equal(a, b) for a, b in zip(found.parameters(), own.parameters(), strict=True))
    before = content_of(folder)
    tensors = load_file(shards[-1])
    name = next(iter(tensors))
    save_file(tensors | {name: tensors[name] + 1}, shards[-1], metadata={"format": "pt"})
    assert content_of(folder) != before  # every file counts
    shards[0].unlink()
    with pytest.raises(GristmillError, match=rf"has no {shards[0].name}, which model.safetensors.index.json names"):
        content_of(folder)


def test_what_cannot_be_imported_says_the_true_reason(gpt: tuple[Pipeline, Path], tmp_path: Path) -> None:
    _, exported = gpt
    folder = copied(exported, tmp_path / "nan")
    tensors = load_file(folder / "model.safetensors")
    tensors["transformer.h.0.mlp.c_fc.weight"][1, 2] = torch.nan
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(GristmillError, match=r"its weights transformer\.h\.0\.mlp\.c_fc\.weight are not finite"):
        read_folder(folder)
    folder = copied(exported, tmp_path / "small")
    config = json.loads((folder / "config.json").read_text())
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    model.resize_token_embeddings(100, mean_resizing=False)
    model.save_pretrained(folder)
    with pytest.raises(GristmillError, match=rf"has {config['vocab_size']} tokens, and its model an embedding of 100"):
        read_folder(folder)


def test_an_export_whose_logits_differ_is_not_made(
    gpt: tuple[Pipeline, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """transformers is given other weights than the network has: the folder does not appear."""
    import tasks.interchange.folder as interchange

    pipeline, _ = gpt
    real = interchange.to_transformers

    def wrong(arch: object, state: object) -> object:
        config, found = real(arch, state)  # type: ignore[arg-type]
        return config, found | {"transformer.ln_f.bias": found["transformer.ln_f.bias"] + 0.01}

    monkeypatch.setattr(interchange, "to_transformers", wrong)
    with pytest.raises(GristmillError, match=r"transformers computes other logits from .*, by up to 0\.\d+"):
        export(pipeline.store, find_run(pipeline.store), tmp_path / "wrong", "")
    assert not (tmp_path / "wrong").exists()
    assert list(tmp_path.iterdir()) == []
