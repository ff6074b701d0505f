"""What a page says outside of the blocks that it shows: formulas, panels that unfold, noscript and JSON-LD."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from selectolax.lexbor import LexborHTMLParser, LexborNode

# All that is looked for, in one walk over the tree: what has no text, and what has it where it is not seen.
WITHOUT_TEXT = ("script", "style", "noscript", "iframe", "template", "svg", "noembed", "noframes", "xmp", "plaintext")
_LOOKED_FOR = ", ".join((*WITHOUT_TEXT, "math", "[aria-controls]", 'img.tex, img.latex, img[class^="mwe-math"]'))
_LINKED_DATA, _TEX = "application/ld+json", "math/tex"
_UNFOLDING = ("h1", "h2", "h3", "h4", "h5", "h6", "dt", "summary")  # what stands in these unfolds what it controls
_HIDING = ("hidden", "aria-hidden", "style")
_RENDERED = "MathJax"  # a prefix of the classes in which MathJax keeps what it has made of a formula
MOST_NESTED = 64  # levels of JSON-LD that are looked into


class Unseen(NamedTuple):
    """Contents of a page's JSON-LD, and its noscript elements."""

    linked_data: list[str]
    noscripts: list[str]

    def article_bodies(self) -> list[str]:
        """The texts that are called the body of an article."""
        return [text for thing in self._with("articleBody") if isinstance(text := thing["articleBody"], str)]

    def recipes(self) -> list[str]:
        """Ingredients and steps of recipes."""
        parts = ("recipeIngredient", "recipeInstructions")
        return [
            line for thing in self._with("recipeIngredient") for part in parts for line in _texts(thing.get(part), 0)
        ]

    def _with(self, name: str) -> Iterator[dict[str, Any]]:
        for content in self.linked_data:
            if name in content:
                try:
                    yield from _things(json.loads(content, strict=False), name, 0)
                except (ValueError, RecursionError):
                    continue


def _things(data: Any, name: str, depth: int) -> Iterator[dict[str, Any]]:
    """The things in linked data that have a property."""
    if isinstance(data, dict) and name in data:
        yield data
    elif isinstance(data, dict | list) and depth < MOST_NESTED:
        for part in data.values() if isinstance(data, dict) else data:
            yield from _things(part, name, depth + 1)


def _texts(data: Any, depth: int) -> Iterator[str]:
    """The texts of a property: one, a list, or things (HowToSection, HowToStep) that hold them."""
    if isinstance(data, str):
        yield data
    elif isinstance(data, list) and depth < MOST_NESTED:
        for part in data:
            yield from _texts(part, depth + 1)
    elif isinstance(data, dict) and depth < MOST_NESTED:
        yield from _texts(data.get("text") or data.get("itemListElement"), depth + 1)


def take_unseen(tree: LexborHTMLParser) -> Unseen:
    """Takes what has no text out of a tree, puts formulas into its text and shows what its headings unfold.

    Returns what else is not seen.
    """
    linked_data: list[str] = []
    noscripts: list[str] = []
    controls: list[LexborNode] = []
    for node in reversed(tree.css(_LOOKED_FOR)):  # from the end on: what an element holds before the element
        tag = node.tag
        if tag == "math":
            _place_math(node)
        elif tag == "img":
            tex = node.attributes.get("alt") or ""
            if node.parent is None or tex not in node.parent.text():  # else its MathML is there
                node.replace_with(tex)
        elif tag not in WITHOUT_TEXT:
            controls.append(node)
        elif tag == "script" and (kind := (node.attributes.get("type") or "").lower()).startswith(_TEX):
            _hide_rendered(node)
            node.replace_with((node.text() or "").strip())
        else:
            if tag == "script" and kind.startswith(_LINKED_DATA):
                linked_data.append(node.text() or "")
            elif tag == "noscript":
                noscripts.append(node.html or "")
            node.decompose()
    if controls:
        _show_panels(tree, controls)
    return Unseen(linked_data[::-1], noscripts[::-1])


def _place_math(formula: LexborNode) -> None:
    """A formula as its author wrote it, where MathML says how, shown also where a picture or a drawing stands for it."""
    annotation = formula.css_first('annotation[encoding="application/x-tex"]')
    tex = formula.attributes.get("alttext") or (annotation.text() if annotation is not None else formula.text())
    parent = formula.parent
    while parent is not None and parent.tag == "span":
        style = (parent.attributes.get("style") or "").replace(" ", "")
        if "display:none" in style:
            del parent.attrs["style"]
        elif "mathml" not in (parent.attributes.get("class") or "").lower():
            break
        parent = parent.parent
    formula.replace_with(tex)


def _hide_rendered(script: LexborNode) -> None:
    """Hides what MathJax has made of a formula, which stands right before it."""
    node = script.prev
    while node is not None and (node.attributes.get("class") or "").startswith(_RENDERED):
        node.attrs["hidden"] = ""
        node = node.prev


def _show_panels(tree: LexborHTMLParser, controls: list[LexborNode]) -> None:
    """Takes what hides it from all that a heading or a tab unfolds."""
    unfolded = {
        name
        for node in controls
        if node.attributes.get("role") == "tab" or _is_title(node)
        for name in (node.attributes.get("aria-controls") or "").split()
    }
    if not unfolded:
        return
    for panel in tree.css("[id][hidden], [id][aria-hidden], [id][style]"):
        attributes = panel.attributes
        if attributes["id"] in unfolded:
            for sign in _HIDING:
                if sign in attributes:
                    del panel.attrs[sign]


def _is_title(node: LexborNode | None) -> bool:
    for _ in range(3):
        if node is None:
            return False
        if node.tag in _UNFOLDING:
            return True
        node = node.parent
    return False
