"""Gristmill's own extractor: the main text of a page from its tree, without any rules for single sites.

In short: weigh each block by its prose (text that is no link), drop what calls itself boilerplate as long as enough
prose remains, take the deepest element that holds most of what is left, with what stands between it and the page's
headline, and trim its edges. A suspicion is never acted on where too little would remain: a page that is no article
falls back to more of it rather than to nothing.
"""

from __future__ import annotations

from selectolax.lexbor import LexborHTMLParser

from tasks.extract import dom
from tasks.extract.draft import INDEX_PROSE, Draft
from tasks.extract.unseen import Unseen, take_unseen

SHORT_TEXT = 250  # bytes: a text shorter than this is held against the rest of the page


def main_text(tree: LexborHTMLParser) -> str:
    """The main text of a parsed page, a line for each block; the tree loses what has no text."""
    if tree.body is None:
        return ""
    unseen = take_unseen(tree)
    title = tree.head.css_first("title") if tree.head is not None else None
    text = _text_of(tree.body.html or "", title.text() if title is not None else "", unseen)
    if len(text) < SHORT_TEXT:
        text = max([text, *_said_elsewhere(unseen)], key=lambda other: len(other) if len(other) > 2 * len(text) else 0)
    return text


def _text_of(body: str, title: str, unseen: Unseen) -> str:
    page = dom.flatten(body)
    if not len(page.blocks.start):
        return ""
    draft = Draft(page)
    headings = [*draft.headings(), title]
    draft.drop_boilerplate()
    region = draft.region()
    chosen = draft.of(region)
    chosen |= draft.said_in(unseen.recipes(), chosen)
    chosen &= ~draft.teasers(chosen)
    text = "\n".join([*draft.standfirst(region, title), draft.lines(chosen, headings)])
    if len(text) < SHORT_TEXT:  # no article: all that is not boilerplate, or all that there is
        is_index = draft.weights[draft.alive].sum() < INDEX_PROSE
        wider = draft.lines(draft.alive, headings, with_links=is_index)
        text = wider if len(wider) > 2 * len(text) else text
    return text or draft.all_lines()


def _said_elsewhere(unseen: Unseen) -> list[str]:
    """Texts that a page gives only to those who run no scripts, or to search engines."""
    without_scripts = dom.flatten("<body>" + "".join(unseen.noscripts) + "</body>")
    return [Draft(without_scripts).all_lines(), *(_plain(body) for body in unseen.article_bodies())]


def _plain(text: str) -> str:
    """The text of what may be marked up."""
    if "<" in text and ">" in text:
        tree = LexborHTMLParser(text)
        return Draft(dom.flatten((tree.body.html if tree.body is not None else "") or "")).all_lines()
    return "\n".join(line.strip() for line in text.splitlines() if line.strip())
