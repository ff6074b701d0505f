"""The command chat: talk with an aligned network in the terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.options import Overrides, recipe_of
from flows.terminal import for_stream
from warehouse.errors import MissingArtifact, SettingError, nearest

if TYPE_CHECKING:
    from tasks.align.conversation import Turn

app = typer.Typer()
HELP = "/reset forgets what was said, /system TEXT sets what stands before it, /exit ends"


@app.command()
def chat(
    name: Annotated[str, typer.Argument(help="alignment; the last one that writes, where none is named")] = "",
    config: Annotated[
        str, typer.Option("--config", "-c", help="recipe with alignments: a TOML file, or the name of one in configs/")
    ] = "chat",
    overrides: Overrides = [],
    tokens: Annotated[int, typer.Option(help="tokens of an answer at most", min=1)] = 64,
    temperature: Annotated[float, typer.Option(help="0 for the likeliest answer", min=0)] = 0.8,
    top_k: Annotated[int, typer.Option(help="likeliest tokens to draw from, 0 for all", min=0)] = 50,
    top_p: Annotated[float, typer.Option(help="share of the probability to draw from", min=0, max=1)] = 1.0,
    seed: Annotated[int, typer.Option(help="the same seed and words get the same answers", min=0)] = 1,
    system: Annotated[str, typer.Option(help="what stands before all that is said")] = "",
) -> None:
    """Talks with an aligned network: a line is a turn, and its answer is written as it comes."""
    from flows.making import Pipeline
    from models.generate import Sampling
    from tasks.align.conversation import Turn
    from tasks.align.talk import Talker
    from warehouse.artifact import complete

    recipe = recipe_of(config, overrides)
    known = [one for one, settings in recipe.alignments.items() if settings.method != "reward"]
    if not known:
        raise SettingError(
            f"the recipe {recipe.name} aligns nothing that writes: give it a section [align.NAME], as configs/chat.toml has"
        )
    chosen = name or known[-1]
    if chosen not in known:
        raise SettingError(f"{chosen} is no alignment that writes; the nearest is {nearest(chosen, known)}")
    pipeline = Pipeline(recipe)
    (run,) = [one.ref for one in pipeline.plan["align"] if one.subject == chosen]
    if complete(pipeline.store, run) is None:
        raise MissingArtifact(f"the alignment {chosen} is not made yet: run gristmill align {config} first")
    talker = Talker(pipeline.store, run, pipeline.plan["tokenizer"][0].ref)
    before = [Turn("system", system)] if system else []
    said: list[Turn] = list(before)
    _tell(f"{chosen} of {recipe.name}. {HELP}\n")
    for number, line in enumerate(_lines()):
        if line == "/exit":
            break
        if line == "/reset":
            said = list(before)
        elif line.startswith("/system"):
            before = [Turn("system", text)] if (text := line.removeprefix("/system").strip()) else []
            said = list(before)
        elif line.startswith("/"):
            sys.stderr.write(for_stream(f"there is no {line.split()[0]}: {HELP}\n", sys.stderr))
        elif line:
            said.append(Turn("user", line))
            answer = ""
            for piece in talker.answer(said, tokens, Sampling(temperature, top_k, top_p, seed=seed + number)):
                answer += piece
                sys.stdout.write(for_stream(piece, sys.stdout))
                sys.stdout.flush()
            sys.stdout.write("\n")
            said.append(Turn("assistant", answer.strip()))


def _lines() -> Iterator[str]:
    """What is typed, or piped, line by line; a terminal is asked for it."""
    while True:
        _tell("> ")
        line = sys.stdin.readline()
        if not line:
            _tell("\n")
            return
        yield line.strip()


def _tell(words: str) -> None:
    """What is for a person alone, and not for a pipe."""
    if sys.stdin.isatty():
        sys.stdout.write(for_stream(words, sys.stdout))
        sys.stdout.flush()
