"""Conversations out of plays: prompts are the speeches before, and four answers are ranked by where they come from.

The best is what is answered in the play; then another speech of the same scene, one of the same play, and one of another play.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from models.draws import random_bits
from tasks.align.conversation import TEST, TRAIN, Conversation, Role, Turn
from tasks.finetune.plays import Document, Scene, is_folio, is_short, kind_of, play_of, scenes_of, set_of, speeches

NAME = "plays"
TURNS = 3  # speeches before the answer, so that the first and the last are the user's
OF_A_SCENE = 12  # conversations at most
TRIES = 40


def conversations(documents: Sequence[Document]) -> Iterator[Conversation]:
    """A conversation for each speech that answers others, tested on plays that none is trained on."""
    scenes = [scene for scene in scenes_of(documents) if kind_of(scene.work) and not is_folio(scene.work)]
    spoken = {scene: speeches(scene.document.text) for scene in scenes}
    of_play: dict[str, list[Scene]] = {}
    for scene in scenes:
        of_play.setdefault(play_of(scene.work), []).append(scene)
    sets = {play: TEST if set_of(play, sorted(of_play)) == TEST else TRAIN for play in sorted(of_play)}
    for scene in scenes:
        play, said = play_of(scene.work), spoken[scene]
        found = 0
        for at in range(TURNS, len(said)):
            if found == OF_A_SCENE or not all(map(is_short, said[at - TURNS : at + 1])):
                continue
            others = _others(f"{scene.document.url}-{at}", scene, of_play, sets, spoken)
            if others is not None and len({said[at], *others}) == 1 + len(others):
                found += 1
                yield Conversation(
                    f"{scene.document.url.split('://')[-1].partition('/')[2]}#{at}",
                    sets[play],
                    tuple(Turn(_role(n), text) for n, text in enumerate(said[at - TURNS : at])),
                    (said[at], *others),
                    (0, 1, 2, 3),
                    play,
                    scene.document.url,
                    scene.document.license,
                )


def _role(number: int) -> Role:
    return "user" if number % 2 == 0 else "assistant"


def _others(
    name: str,
    scene: Scene,
    of_play: Mapping[str, list[Scene]],
    sets: Mapping[str, str],
    spoken: Mapping[Scene, list[str]],
) -> tuple[str, ...] | None:
    """Speeches of the scene, of the play's other scenes and of another play of the same set, drawn by the conversation's name."""
    play = play_of(scene.work)
    elsewhere = [one for one in of_play[play] if one is not scene]
    strangers = [one for other in sets if other != play and sets[other] == sets[play] for one in of_play[other]]
    found = []
    for kind, places in (("scene", [scene]), ("play", elsewhere), ("other", strangers)):
        drawn = [_drawn(f"{name} {kind} {turn}", places, spoken) for turn in range(TRIES)] if places else []
        fits = [text for text in drawn if is_short(text)]
        if not fits:
            return None
        found.append(fits[0])
    return tuple(found)


def _drawn(name: str, places: Sequence[Scene], spoken: Mapping[Scene, list[str]]) -> str:
    texts = spoken[places[random_bits(0, "scene", name) % len(places)]]
    return texts[random_bits(0, "speech", name) % len(texts)] if texts else ""
