"""One alignment: its networks out of the store, its method, and its weights into the store."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from models.architecture import Architecture
from models.bert import build
from models.draws import random_bits
from models.finetuned import FineTuned, grown
from models.objectives.answers import RankedBatch, rewards
from models.objectives.policy import ActorCritic
from models.sampling import sample
from models.transformer import Transformer
from tasks.align.conversation import TRAIN, Conversation
from tasks.align.dialogue import read_conversations
from tasks.align.encode import LEARNT, Answered, Turns, padded
from tasks.align.offline import Given, Measured, Tell, preferences, reward_model, supervised
from tasks.align.online import program, proximal
from tasks.align.settings import AlignSettings
from tasks.core.stage import Input
from tasks.tokens.pack import TokenStream, sources_of
from tasks.tokens.tokenizer import Codec
from tasks.train.job import CONFIG, WEIGHTS
from tasks.train.names import step_of_model
from tasks.train.published import load_model
from tasks.train.within import exactly
from warehouse.artifact import PartWriter, Ref, load, verified_path
from warehouse.errors import GristmillError
from warehouse.store import Store

HELD_OUT_TEXTS = 64  # windows of the pretraining's held-out text, to see what an alignment costs


@dataclass
class Result:
    """What was made."""

    figures: list[Measured]
    trained: int
    architecture: dict[str, Any]
    rows: list[dict[str, Any]] = field(default_factory=list)


class Alignment:
    """One alignment of one network."""

    def __init__(
        self,
        store: Store,
        inputs: Mapping[str, Input],
        settings: AlignSettings,
        mixture: Mapping[str, float],
        run: str,
        folder: Path,
    ) -> None:
        self._store, self._inputs, self._settings = store, inputs, settings
        self._mixture, self._run, self._folder = mixture, run, folder
        self._codec = Codec.load(store, inputs["tokenizer"].ref)

    def make(self, writer: PartWriter, tell: Tell) -> Result:
        """By its method."""
        s = self._settings
        model = self._start()
        self._context = model.arch.context
        given = self._given(self._context)
        rows: list[dict[str, Any]] = []
        with exactly(s.threads, s.device) as device:
            before = None if s.method == "reward" else self._asked(model.to(device), given, 0)
            text = self._text_loss(model)
            made: nn.Module = model
            if s.method == "reward":
                made = FineTuned(model, model.arch.width, 1, 0.0, ranks=True).initialise(s.seed)
                figures = reward_model(made, given, self._run, self._folder, tell, device)
            elif s.method == "sft":
                figures = supervised(model, given, self._run, self._folder, tell, device)
            elif s.method == "dpo":
                figures = preferences(model, given, self._run, self._folder, tell, device)
            else:
                made, figures, rows = self._proximal(model, given, tell, device)
            if isinstance(made, Transformer):
                figures += self._text_figures(text, self._text_loss(made))
                rows = rows or [*(before or []), *self._asked(made, given, None)]
            self._publish(made, model.arch, writer)
        return Result(figures, len(given.trained), model.arch.as_dict(), rows)

    # Networks

    def _start(self) -> Transformer:
        """The network that it starts from, with the tokens of who speaks. Raises GristmillError for one that writes nothing."""
        model = self._loaded(self._inputs["checkpoint"].ref, step_of_model(self._settings.initial))
        if not model.arch.causal:
            raise GristmillError("a bidirectional network answers nothing: align one that continues a text")
        added = self._codec.size + LEARNT - model.arch.vocabulary
        if added not in (0, LEARNT):
            raise GristmillError(
                "the network has another vocabulary than the tokenizer: align a run or an alignment of this recipe"
            )
        dropout = self._settings.dropout
        arch = replace(model.arch, dropout=dropout, attention_dropout=dropout)
        return grown(model.state_dict(), arch, added, self._settings.seed)

    def _loaded(self, ref: Ref, step: int | None = None) -> Transformer:
        return load_model(self._store, ref, self._inputs["tokenizer"].ref, step)

    def _reward_network(self) -> FineTuned:
        ref = self._inputs["reward"].ref
        files = {file.path: file for file in load(self._store, ref).files("checkpoint")}
        arch = Architecture(**json.loads(verified_path(self._store, ref, files[CONFIG]).read_text())["architecture"])
        model = FineTuned(build(arch), arch.width, 1, 0.0, ranks=True)
        model.load_state_dict(load_file(verified_path(self._store, ref, files[WEIGHTS])))
        return model.eval()

    def _given(self, context: int) -> Given:
        s = self._settings
        found = read_conversations(self._store, self._inputs["dialogues"].ref)
        if s.answer_tokens >= context:
            raise GristmillError(
                f"answers of {s.answer_tokens} tokens leave no room for a prompt in a context of {context}: lower answer_tokens"
            )
        trained = _some([one for one in found if one.set == TRAIN], s.max_conversations)
        tested = _some([one for one in found if one.set != TRAIN], s.max_tested)
        if not tested:
            raise GristmillError("no conversation is held out: declare a set test, or raise test_share")
        turns = Turns(self._codec.encode, self._codec.size, context)
        return Given(trained, tested, turns, s, self._inputs["dialogues"].identity)

    # PPO

    def _proximal(
        self, model: Transformer, given: Given, tell: Tell, device: torch.device
    ) -> tuple[Transformer, list[Measured], list[dict[str, Any]]]:
        """The critic begins as the reward model, or where a program rewards, as the policy itself (section C.4)."""
        s = self._settings
        reference = _copy(model)
        if s.is_programmatic:
            worth = program(s.reward)
            score = lambda _given, _pairs, texts: [worth(text) for text in texts]  # noqa: E731
            critic = FineTuned(_copy(model), model.arch.width, 1, 0.0, ranks=True).initialise(s.seed)
        else:
            critic, judge = self._reward_network(), self._reward_network().to(device)
            score = lambda _given, pairs, _texts: _judged(judge, pairs)  # noqa: E731
        return proximal(
            ActorCritic(model, critic),
            reference,
            score,
            given,
            self._codec.decode,
            self._text,
            self._run,
            self._folder,
            tell,
            device,
        )

    def _text(self, number: int) -> Tensor:
        """Windows of the pretraining's text for a batch of rollouts, drawn by its number."""
        s = self._settings
        if not s.text:
            return torch.zeros(s.episodes, 0, 2, dtype=torch.int64)
        streams = {
            name: TokenStream(self._store, self._inputs["tokens"].ref, name, "train")
            for name, weight in sorted(self._mixture.items())
            if weight > 0
        }
        shares = np.cumsum([self._mixture[name] for name in streams])
        length = min(self._context, *(stream.length for stream in streams.values()))
        rows = []
        for row in range(s.episodes * s.texts):
            place = random_bits(s.seed, "text source", number, row) / 2.0**64 * shares[-1]
            stream = list(streams.values())[int(np.searchsorted(shares, place, side="right"))]
            rows.append(stream.read(random_bits(s.seed, "text", number, row) % (stream.length - length + 1), length))
        return torch.from_numpy(np.stack(rows)).view(s.episodes, s.texts, length)

    # What is looked at

    def _asked(self, model: Transformer, given: Given, number: int | None) -> list[dict[str, Any]]:
        """What a network answers to some held-out prompts, by the same draws before and after."""
        s = self._settings
        rows = []
        for at in range(0, len(given.tested), s.micro_batch):
            some = given.tested[at : at + s.micro_batch]
            prompts = [given.turns.prompt(one.turns, given.turns.context - s.answer_tokens) for one in some]
            subjects = [f"held out {one.id}" for one in some]
            answers = sample(
                model, prompts, s.answer_tokens, subjects, s.seed, s.temperature, given.turns.end, given.turns.forbidden
            )
            for one, answer in zip(some, answers, strict=True):
                text = self._codec.decode([token for token in answer if token < self._codec.size])
                rows.append({"step": number, "example_id": one.id, "prompt": one.turns[-1].text, "text": text})
        return rows

    @torch.no_grad()
    def _text_loss(self, model: Transformer) -> list[float]:
        """Nats a token of windows of the pretraining's held-out text."""
        ref = self._inputs["tokens"].ref
        streams = [TokenStream(self._store, ref, name, "validation") for name in _held_out_sources(self._store, ref)]
        found = []
        model.eval()
        for stream in streams:
            windows = min(HELD_OUT_TEXTS // len(streams) or 1, stream.length // model.arch.context)
            for at in range(windows):
                start = at * (stream.length // windows)
                ids = torch.from_numpy(stream.read(min(start, stream.length - model.arch.context), model.arch.context))
                logits = model(ids[None].to(model.tokens.weight.device))[0, :-1].float()
                logged = torch.log_softmax(logits, 1).cpu()
                found.append(float(-logged.gather(1, ids[1:, None].long()).mean()))
        return found

    def _text_figures(self, before: Sequence[float], after: Sequence[float]) -> list[Measured]:
        if not before:
            return []
        error = float(np.std(after, ddof=1) / len(after) ** 0.5) if len(after) > 1 else float("nan")
        return [Measured("nats a token of text", float(np.mean(before)), float(np.mean(after)), error, len(after))]

    def _publish(self, made: nn.Module, arch: Architecture, writer: PartWriter) -> None:
        local = self._folder / "model.safetensors"
        save_file({name: value.contiguous() for name, value in sorted(made.cpu().state_dict().items())}, local)
        writer.file(WEIGHTS, local)
        told = {
            "architecture": arch.as_dict(),
            "method": self._settings.method,
            "tokenizer": self._inputs["tokenizer"].ref.key,
        }
        writer.bytes(CONFIG, json.dumps(told, indent=1, sort_keys=True).encode())


def _copy(model: Transformer) -> Transformer:
    made = build(model.arch)
    made.load_state_dict(model.state_dict())
    return made.eval()


def _some(conversations: list[Conversation], most: int) -> list[Conversation]:
    """As many as are wanted, drawn by their names."""
    if not most or len(conversations) <= most:
        return conversations
    return sorted(conversations, key=lambda one: random_bits(0, "dialogue", one.id))[:most]


@torch.no_grad()
def _judged(judge: FineTuned, pairs: Sequence[Answered]) -> list[float]:
    """The reward model's scores of answers."""
    device = judge.head.weight.device
    ids = padded([one.ids for one in pairs])[:, None].to(device)
    lengths = torch.tensor([[len(one.ids)] for one in pairs], device=device)
    return [float(value) for value in rewards(judge, RankedBatch(ids, lengths, torch.zeros_like(lengths)))[:, 0]]


def _held_out_sources(store: Store, tokens: Ref) -> list[str]:
    return [name for name in sources_of(store, tokens) if TokenStream(store, tokens, name, "validation").length > 0]
