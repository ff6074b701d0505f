"""The losses of preferences and rewards beside trl's own trainers, in an environment of its own (`make peers`)."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from models.finetuned import FineTuned
from models.objectives.answers import REWARD, PairBatch, Preference, RankedBatch, answer_nats
from models.transformer import Transformer
from tasks.interchange.folder import read_folder
from tests.conftest import PROJECT

PEER = PROJECT / ".peers" / "align" / "bin" / "python"
PAIRS = [
    {"prompt": "how is it", "chosen": " the sun is up", "rejected": " fog"},
    {"prompt": "and now", "chosen": " rain", "rejected": " there is a lot of fog in here"},
    {"prompt": "what of the hill behind the house", "chosen": " it is green", "rejected": " no"},
]

pytestmark = pytest.mark.skipif(
    not PEER.exists(), reason="trl has an environment of its own, which make peers installs"
)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    from benchmarks import evaluate

    folder = tmp_path_factory.mktemp("trl")
    network = {"layers": 2, "heads": 2, "width": 32, "context": 64}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate, "NETWORK", network)
        evaluate.make_export(folder / "export")
    (folder / "pairs.json").write_text(json.dumps(PAIRS))
    command = [
        PEER,
        PROJECT / "benchmarks" / "peers_align.py",
        folder / "export",
        folder / "pairs.json",
        folder / "out.json",
    ]
    done = subprocess.run([str(one) for one in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder, json.loads((folder / "out.json").read_text())


def network(folder: Path) -> Transformer:
    _, model, _ = read_folder(folder / "export")
    return model.eval()


def test_direct_preferences_are_trls(told: tuple[Path, dict[str, Any]]) -> None:
    folder, found = told
    theirs, model, reference = found["dpo"], network(folder), network(folder)
    with torch.no_grad():
        for block in model.blocks:
            for layer in (block.up, block.down):
                layer.weight.mul_(1.5)  # type: ignore[operator, union-attr]
    ids, answered = torch.tensor(theirs["ids"]), torch.tensor(theirs["answered"]).float()
    # trl's batch holds the better answers, then the worse.
    half = len(ids) // 2
    pairs = torch.stack([ids[:half], ids[half:]], 1), torch.stack([answered[:half], answered[half:]], 1)
    with torch.no_grad():
        before = answer_nats(reference, ids, answered)
    given = PairBatch(*pairs, torch.stack([before[:half], before[half:]], 1))
    loss = Preference(0.3).objective.loss(model, *given)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == pytest.approx(theirs["loss"], rel=1e-5)
    assert abs(loss.item() - 0.6931) > 0.01  # something was gained
    assert model.tokens.weight.grad is not None
    torch.testing.assert_close(model.tokens.weight.grad, torch.tensor(theirs["gradient"]), rtol=1e-3, atol=1e-6)


def test_pairs_of_rewards_are_trls(told: tuple[Path, dict[str, Any]]) -> None:
    folder, found = told
    theirs = found["reward"]
    model = FineTuned(network(folder), 32, 1, 0.0, ranks=True)
    with torch.no_grad():
        model.head.weight.copy_(torch.tensor(theirs["head"]))
        model.head.bias.zero_()
    ids, lengths = torch.tensor(theirs["ids"]), torch.tensor(theirs["attention"]).sum(1)
    half = len(ids) // 2
    given = RankedBatch(
        torch.stack([ids[:half], ids[half:]], 1),
        torch.stack([lengths[:half], lengths[half:]], 1),
        torch.tensor([[0, 1]] * half),
    )
    loss = REWARD.loss(model.eval(), *given)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == pytest.approx(theirs["loss"], rel=1e-5)
    inner = model.network
    assert isinstance(inner, Transformer)
    assert inner.tokens.weight.grad is not None
    torch.testing.assert_close(inner.tokens.weight.grad, torch.tensor(theirs["gradient"]), rtol=1e-3, atol=1e-6)
