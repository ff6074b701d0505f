"""Pages as people reported them of other extractors: structure that must come out as it was, and text that must not be lost."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tasks.extract.page import read_page
from tasks.web.charsets import decode
from tests.conftest import SHARED

REPORTS = SHARED / "reports"
URL = "http://site.example/page"
SENTENCE = "The old bridge over the river was built of stone by masons who came from the hills. "
PARAGRAPH = f"<p>{SENTENCE * 3}</p>"
ROWS = "Place\tBoats\tState\nHarbour\t1,204\topen\nInlet\t877\tclosed"
CODE = "def height(t):\n    if t < 0:\n        raise ValueError(t)\n    return a * cos(w * t)"
ITEMS = "200 g flour\nA pinch of salt\nTwo eggs\nButter for the pan"
ANSWERS = (
    "Who may use the slipway?\nAnyone who has paid",
    "Where do I leave my trailer?\nTrailers stand",
    "Is there water and power?\nThere are two taps",
)
INDEX = "anchor\nballast\ncapstan\ndavit\nensign\nfender\ngunwale\nhalyard\njetty\nkeel\nlanyard\nmast"
# Of each page: what its text must hold, and what it must not.
RIGHT: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "01-table-cells/paragraphs.html": ((ROWS + "\nMeadow\t3,410\topen\nQuay\t96\tclosed",), ()),
    "01-table-cells/plain.html": ((ROWS + "\nMeadow\t3,410\topen\nQuay\t96\tclosed",), ()),
    "01-table-cells/paragraphs-last.html": (("Harbour\t1,204\topen\nInlet\t877\tclosed",), ()),
    "01-table-cells/empty.html": (("Harbour\t\t12\nInlet\t7\t\nMeadow\t\t31\nQuay\t5\t9",), ()),
    "02-formulas/kramdown.html": (("is h=a\\cos(wt+g) where a is the", "\\int_0^T h\\,dt = 0"), ()),
    "02-formulas/mediawiki.html": (("{\\displaystyle h=a\\cos(wt+g)}, where {\\displaystyle a} is the",), ()),
    "02-formulas/visible-math.html": (("is h=a\\cos(wt+g) here",), ()),
    "04-doc-sections/sphinx.html": (
        ("Comments\nA comment begins", "# the height of the water\nheight = 12", "More on Lists\nLists grow", "Subscribe to a topic\nA client sends"),
        ("¶",),
    ),
    "04-doc-sections/control.html": (("Remarks\nA comment begins", "Lists in depth\nLists grow"), ("¶",)),
    "05-accordion/open.html": (ANSWERS, ()),
    "05-accordion/until-found.html": (ANSWERS, ()),
    "05-accordion/hidden-attribute.html": (ANSWERS, ()),
    "06-code-lines/inline.html": ((f"\n{CODE}\n",), ()),
    "06-code-lines/table.html": ((f"\n{CODE}\n",), ("1\n2\n3",)),
    "06-code-lines/terms.html": (tuple(f"\n{term}\n" for term in ("open", "print", "next", "save", "close")), ()),
    **{
        f"26-loose-lists/{spacing}-{place}.html": ((f"Ingredients\n{ITEMS}",), ())
        for spacing in ("loose", "tight")
        for place in ("first", "middle", "last")
    },
    "31-page-1/page.html": (("Low water has slowed", "The harbour office counted", "The council will look"), ()),
    "32-page-2/page.html": (("The harbour office counted", "Nobody on the quay"), ("@", "reply")),
    "33-page-3/page.html": (("Low water has slowed", "Nobody on the quay", "Grain for the mills", "The council will look"), ()),
    "34-page-4/page.html": (("The harbour office counted", "Nobody on the quay", "Grain for the mills"), ()),
    "36-page-6/page.html": ((INDEX,), ("hat goes round",)),
}  # fmt: skip


def text_of(html: str) -> str:
    return read_page(html, URL).text


@pytest.mark.skipif(not REPORTS.is_dir(), reason="the shared reports are not on this machine")
@pytest.mark.parametrize("name", RIGHT)
def test_a_reported_page_comes_out_right(name: str) -> None:
    text = text_of(decode((Path(REPORTS) / name).read_bytes(), "text/html"))
    wanted, unwanted = RIGHT[name]
    assert [piece for piece in wanted if piece not in text] == []
    assert [piece for piece in unwanted if piece in text] == []


def page(body: str, head: str = "<title>The bridge</title>") -> str:
    return f"<html><head>{head}</head><body>{body}</body></html>"


KEPT = {
    "a cell of two paragraphs is one": ("<table><tr><td><p>a</p><p>b</p><td>c</table>", "a b\tc"),
    "cells that are empty at the end keep their places": ("<table><tr><td>a<td><td><tr><td>d<td>e<td>f</table>", "a\t\t\nd\te\tf"),
    "a line break in a cell ends no row": ("<table><tr><td>a<br>b<td>c</table>", "a b\tc"),
    "a cell with code keeps its lines": ("<table><tr><td>a<td><pre>x = 1\n  y = 2</pre></table>", "x = 1\n  y = 2"),
    "a table in a table keeps its rows": ("<table><tr><td><table><tr><td>1<td>2<tr><td>3<td>4</table><td>x</table>", "1\t2\n3\t4"),
    "digits of code that is marked as numbered": ('<pre class="line-numbers"><code>x = 42</code></pre>', "x = 42"),
    "a column of figures that is no column of line numbers": ("<table><tr><td>1<td>ten<tr><td>2<td>twenty</table>", "1\tten\n2\ttwenty"),
    "a formula that KaTeX drew": (
        '<p>So <span class="katex"><span class="katex-mathml"><math><mi>q</mi><annotation encoding="application/x-tex">x_1</annotation></math></span>'
        '<span class="katex-html" aria-hidden="true">x1</span></span> grows.</p>',
        "So x_1 grows.",
    ),
    "a formula that MathJax drew is there once": (
        '<p>So <span class="MathJax_Preview"></span><span class="MathJax">x<math><mi>x</mi></math></span><script type="math/tex">x_1</script> grows.</p>',
        "So x_1 grows.",
    ),
    "a formula that is a picture": ('<p>So <img class="tex" alt="x_1" src="f.png"> grows.</p>', "So x_1 grows."),
    "ruby without its readings": ("<p><ruby>漢<rp>(</rp><rt>かん</rt><rp>)</rp></ruby><ruby>字<rt>じ</rt></ruby>を書く。</p>", "漢字を書く。"),
    "a heading that is a link to itself": ('<h2><a href="#deck">The deck of it</a></h2>' + PARAGRAPH, "The deck of it\nThe old"),
    "a question that is a button": (
        '<button class="accordion">Is it old?</button><div class="panel"><p>It is older than the town at its end.</p></div>',
        "Is it old?\nIt is older",
    ),
    "the text of a tab that is not open": (
        '<ul><li><a role="tab" aria-controls="t2">Care</a></ul>'
        '<div id="t2" style="display: none"><p>Oil the hinges of the gate once in a year, not in winter.</p></div>',
        "Oil the hinges",
    ),
    "what is hidden until somebody looks for it": ('<div hidden="until-found"><p>The hinges are under the stone.</p></div>', "The hinges are"),
    "a section whose id is its title": (
        f'<div class="section" id="comments"><h2>Comments<a class="headerlink" href="#comments">¶</a></h2><p>A comment is no token. {SENTENCE}</p></div>',
        "Comments\nA comment is",
    ),
    "terms that are words of buttons": ("<dl><dt>print<dd>Writes the heights.<dt>share<dd>Sends the heights.</dl>", "print\nWrites the heights.\nshare\nSends"),
    "cells that are words of buttons": ("<table><tr><td>save<td>5<tr><td>next<td>7</table>", "save\t5\nnext\t7"),
}  # fmt: skip


@pytest.mark.parametrize("name", KEPT)
def test_a_text_keeps(name: str) -> None:
    body, wanted = KEPT[name]
    text = text_of(page(f"<article>{PARAGRAPH * 2}{body}{PARAGRAPH * 2}</article>"))
    assert wanted in text
    assert text.count("masons") >= 12


STANDFIRSTS = {
    "under a first-level heading": "<h1>Bridge closed</h1>",
    "under another heading that says the title": "<h2>The bridge in winter</h2>",
}


@pytest.mark.parametrize("name", STANDFIRSTS)
def test_the_prose_between_the_headline_and_the_body_is_text(name: str) -> None:
    lead = "For a third winter the old bridge stays closed to carts of any weight"
    body = f'{STANDFIRSTS[name]}<div class="teaser">{lead}</div><p>By Ann Mason, 3 May 2021</p><div itemprop="articleBody">{PARAGRAPH * 5}</div>'
    text = text_of(page(f"<div>{body}</div><div>{PARAGRAPH}</div>", "<title>The bridge in winter</title>"))
    assert text.startswith(f"{lead}\nThe old bridge")
    assert "Ann Mason" not in text


def test_what_is_longer_than_the_body_is_no_standfirst() -> None:
    others = "".join(f"<p>Another story, number {n}: {SENTENCE * 2}</p>" for n in range(8))
    text = text_of(page(f"<h1>Bridge</h1><div>{others}</div><div class='article-body'>{PARAGRAPH * 6}</div>"))
    assert "Another story" not in text


def test_a_row_of_very_many_cells_is_read_in_time() -> None:
    cells = "".join(f"<td>{n}" for n in range(30_000))
    started = time.process_time()
    text = text_of(page(f"<article>{PARAGRAPH}<table><tr>{cells}</table>{PARAGRAPH}</article>"))
    assert "29998\t29999" in text
    assert time.process_time() - started < 5  # a tenth of that here


def test_a_text_in_an_odd_place_stays_where_little_else_is() -> None:
    links = "".join(f"<li><a href=p{n}>Page number {n} of it</a>" for n in range(9))
    for name in ("nav", "footer"):
        assert (
            text_of(page(f"<div>A site of stones, and of what they say.</div><{name}>{PARAGRAPH * 4}</{name}>")).count(
                "masons"
            )
            == 12
        )
    text = text_of(page(f"<ul>{links}</ul><footer>{PARAGRAPH}</footer>"))
    assert "Page number 8" in text
    assert "masons" not in text
    assert "masons" not in text_of(
        page(f"<article><p>{'A short notice. ' * 20}</p></article><footer>{PARAGRAPH * 9}</footer>")
    )


def test_headings_go_whose_text_went() -> None:
    body = (
        f"<h1>Bridge</h1><h2>Its stones</h2>{PARAGRAPH}<h2>More</h2><h3>Its arches</h3>{PARAGRAPH}"
        "<h3>Elsewhere</h3><ul><li><a href=a>Ten tunnels</a></ul><h2>Its keeper</h2>"
        + PARAGRAPH
        + "<h2>Our offers</h2><a href=b>Buy</a>"
    )
    lines = text_of(page(f"<article>{body}</article>")).split("\n")
    assert [line for line in lines if "masons" not in line] == ["Its stones", "More", "Its arches", "Its keeper"]


def test_a_page_of_headings_keeps_them() -> None:
    assert "The third slide" in text_of(page("<h1>Talk</h1><h2>The first slide</h2><h2>The third slide</h2>"))


def test_a_short_article_is_not_lost_to_a_long_thread_of_comments() -> None:
    article = f"<article><h1>Bridge</h1><p>{SENTENCE * 4}</p></article>"
    comments = "".join(
        f'<div class="comment"><p>Reply {n}: {SENTENCE.replace("masons", "giants") * 2}</p></div>' for n in range(30)
    )
    text = text_of(page(f'{article}<div id="comments">{comments}</div>'))
    assert text.count("masons") == 4
    assert "giants" not in text


def test_text_that_only_those_without_scripts_see_is_text() -> None:
    assert text_of(page(f"<div id=app></div><noscript>{PARAGRAPH}</noscript>")).count("masons") == 3
    assert "scripts" not in text_of(page(f"<article>{PARAGRAPH * 2}</article><noscript>Turn scripts on.</noscript>"))


def test_text_that_stands_in_linked_data_alone_is_text() -> None:
    script = f'<script type="application/ld+json">{{"@graph": [{{"@type": "Article", "articleBody": "{SENTENCE * 5}"}}]}}</script>'
    assert text_of(page(f"{script}<p>Read on with our app.</p>")).count("masons") == 5
    assert text_of(page(f"{script}<article>{PARAGRAPH * 2}</article>")).count("masons") == 6


def test_ingredients_that_the_page_names_as_such_are_text_wherever_they_stand() -> None:
    script = '<script type="application/ld+json">{"@type": "Recipe", "recipeIngredient": ["200 g flour", "2 eggs"], "recipeInstructions": [{"text": "x"}]}</script>'
    side = "<div><div><span>200 g flour</span></div><div><span>2 eggs</span></div><div><span>Save it</span></div></div>"
    text = text_of(page(f"{script}{side}<div><div itemprop='articleBody'>{PARAGRAPH * 3}</div></div>"))
    assert "200 g flour\n2 eggs\n" in text
    assert "Save it" not in text


def test_teasers_of_other_pages_go_and_a_list_of_pages_stays() -> None:
    teasers = "".join(
        f"<div><h3><a href=t{n}>Ten tunnels in part {n}</a></h3><p>A teaser of a story that is told elsewhere, and not here, number {n}.</p></div>"
        for n in range(3)
    )
    text = text_of(page(f"<main>{PARAGRAPH * 6}{teasers}</main>"))
    assert "teaser" not in text
    assert text.count("masons") == 18
    assert text_of(page(f"<main>{teasers * 3}</main>")).count("A teaser of") == 9
    assert text_of(page(f"<main>{PARAGRAPH * 2}{teasers * 4}</main>")).count("A teaser of") == 12


def test_a_form_goes_and_a_page_that_is_one_form_stays() -> None:
    form = "<form><p>Your name, which is needed and is not made public</p><input><p>Your address, which nobody gets to see</p></form>"
    text = text_of(page(f"<article>{PARAGRAPH * 4}</article>{form}"))
    assert "Your name" not in text
    assert text_of(page(f"<form>{PARAGRAPH * 4}</form>")).count("masons") == 12
    assert text_of(page(f"<form>{PARAGRAPH * 4}</form><div>{PARAGRAPH * 3}</div>")).count("masons") == 21


@pytest.mark.parametrize(
    "line",
    ["Photo: Ann Mason", "The bridge in May (Image: GETTY)", "The bridge seen from the hill. © Ann Mason", "Bild: dpa / Ann Mason", "Photo credit: A. Mason"],
)  # fmt: skip
def test_a_caption_that_says_whose_picture_it_is_is_no_text(line: str) -> None:
    assert line not in text_of(page(f"<article>{PARAGRAPH * 2}<p>{line}</p>{PARAGRAPH * 2}</article>"))


@pytest.mark.parametrize(
    "line", ["The photo: it shows the bridge in May, before the flood took it.", "Photo by photo she told it."]
)
def test_a_sentence_about_a_picture_is_text(line: str) -> None:
    assert line in text_of(page(f"<article>{PARAGRAPH * 2}<p>{line}</p>{PARAGRAPH * 2}</article>"))


def test_promotion_goes_from_the_end_alone() -> None:
    line = "<p>Sign up for our newsletter and get all the news of bridges every week.</p>"
    text = text_of(page(f"<article>{PARAGRAPH}{line}{PARAGRAPH}{line}</article>"))
    assert text.count("newsletter") == 1
    assert text.endswith("hills.")


def test_markup_in_scripts_formulas_and_noscript_that_is_nested_breaks_nothing() -> None:
    nested = (
        "<noscript><svg><style>x</style><math><mi>y</mi></math></svg><script>1</script><iframe></iframe></noscript>" * 3
    )
    nested += '<span class="mathml"><script type="math/tex">a</script><math><script>b</script><mi>c</mi></math></span><svg><title aria-controls="q">t</title></svg>'
    text = text_of(page(f"<article>{PARAGRAPH}{nested}{PARAGRAPH}</article>"))
    assert text.count("masons") == 6
