"""The extractor's rules one by one, so that each can be left out and judged by what it adds and costs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from tasks.extract import draft, lines, main_text, markup, patterns
from tasks.extract.draft import Chosen, Draft
from tasks.extract.unseen import Unseen

_NOTHING = re.compile(r"(?!)")


class Rule(NamedTuple):
    """Where a rule stands in the code, and what stands there without it."""

    where: Any
    name: str
    instead: Any


def _none(self: Draft, *_: object) -> Chosen:
    return np.zeros_like(self.alive)


def _nothing(*_: object) -> None:
    return None


def _no_texts(*_: object) -> list[str]:
    return []


def _not(marks: int, kinds: int = 0) -> Any:
    """``Draft._drop`` without some names and tags."""
    drop = Draft._drop

    def other(self: Draft, of_kinds: int, of_marks: int, *more: Any, **named: Any) -> None:
        drop(self, of_kinds & ~kinds, of_marks & ~marks, *more, **named)

    return other


RULES: dict[str, Rule] = {
    "elements that are hidden go": Rule(Draft, "_drop", _not(patterns.HIDDEN)),
    "navigation and dialogues go, by their tags": Rule(Draft, "_drop", _not(0, markup.BOILER)),
    "footers go": Rule(Draft, "_drop_footers", _nothing),
    "forms go": Rule(Draft, "_drop_forms", _nothing),
    "names of boilerplate": Rule(Draft, "_drop", _not(patterns.BOILERPLATE)),
    "asides go": Rule(Draft, "_drop", _not(patterns.ASIDE, markup.ASIDE)),
    "captions go": Rule(Draft, "_drop", _not(patterns.CAPTION, markup.FIGCAPTION)),
    "boxes of related links go": Rule(Draft, "_drop_related", _nothing),
    "comments go": Rule(Draft, "_drop", _not(patterns.COMMENTS)),
    "a thread may be far longer than its article": Rule(draft, "THREAD_SHARE", draft.ENOUGH_SHARE),
    "an element that says that it holds the text does": Rule(draft, "NAMED_SHARE", {}),
    "the standfirst is text": Rule(Draft, "standfirst", _no_texts),
    "linked teasers go": Rule(Draft, "teasers", _none),
    "blocks of links go": Rule(Draft, "_of_links", _none),
    "ingredients and steps that JSON-LD names": Rule(Unseen, "recipes", _no_texts),
    "noscript and JSON-LD speak for short texts": Rule(main_text, "_said_elsewhere", _no_texts),
    "headings without text go": Rule(lines, "_drop_bare_headings", _nothing),
    "junk lines go": Rule(lines, "_JUNK", _NOTHING),
    "lines of credits go": Rule(lines, "_CREDIT", _NOTHING),
    "promotion at the end goes": Rule(lines, "_PROMOTION", _NOTHING),
    "titles, dates and bylines at the head go": Rule(lines, "_is_head_matter", lambda *_: False),
    "crumbs at the edges go": Rule(lines, "_is_crumb", lambda *_: False),
}


@contextmanager
def without(name: str) -> Iterator[None]:
    """The extractor without a rule."""
    rule = RULES[name]
    before = getattr(rule.where, rule.name)
    setattr(rule.where, rule.name, rule.instead)
    try:
        yield
    finally:
        setattr(rule.where, rule.name, before)
