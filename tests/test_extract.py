"""The main text of a page: as good as the best extractor's on real articles, and not lost on pages that are none."""

from __future__ import annotations

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from selectolax.lexbor import LexborHTMLParser

from benchmarks.extract_rules import RULES, without
from benchmarks.pages import scores, sets_of
from tasks.extract import dom, patterns
from tasks.extract.metadata import iso_date
from tasks.extract.page import EXTRACTORS, read_page
from tests.conftest import SHARED

SENTENCE = "The old bridge over the river was built of stone by masons who came from the hills. "
PARAGRAPH = f"<p>{SENTENCE * 3}</p>"
URL = "http://site.example/page"


def text_of(html: str) -> str:
    return read_page(html, URL).text


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the real pages in ../shared/data")
def test_articles_are_extracted_as_well_as_by_trafilatura_at_its_best() -> None:
    for name, pages in sets_of(SHARED / "html").items():
        f1 = scores(pages, [text_of(page.html) for page in pages]).f1
        assert f1 >= {"article-extraction-dev": 0.965, "readability-pages": 0.95, "pages-by-segments": 0.94}[name]


@pytest.mark.parametrize("extractor", EXTRACTORS)
def test_the_same_page_gives_the_same_text_whatever_was_read_before(extractor: str) -> None:
    pages = [
        f"<html><body><h1>{n}</h1>{PARAGRAPH * n}<p>Page number {n} says that.</p></body></html>" for n in range(1, 9)
    ]
    first = [read_page(page, URL, extractor) for page in pages]
    again = [read_page(page, URL, extractor) for page in reversed(pages)]
    assert first == again[::-1]
    assert f"Page number {8}" in first[-1].text


NAMES = st.sampled_from(
    [
        "",
        "nav",
        "sidebar",
        "comments",
        "ad",
        "main",
        "post-content",
        "has-sidebar",
        "articleBody",
        "hidden",
        "promo share",
        "x y",
    ]
)
TAGS = st.sampled_from(
    [
        "div",
        "p",
        "section",
        "ul",
        "li",
        "table",
        "tr",
        "td",
        "span",
        "a",
        "article",
        "aside",
        "footer",
        "pre",
        "h2",
        "b",
    ]
)
TEXTS = st.text(string.ascii_letters + "äß中文ا <>&\"'\u00a0\n", max_size=30)


@st.composite
def pages(draw: st.DrawFn, depth: int = 4) -> str:
    """Markup of any sense or none: elements are left open and closed twice, as on the web."""
    pieces = []
    for _ in range(draw(st.integers(0, 4))):
        tag, name = draw(TAGS), draw(NAMES)
        inner = draw(pages(depth - 1)) if depth and draw(st.booleans()) else draw(TEXTS)
        pieces.append(f'<{tag} class="{name}" style=display:{draw(st.sampled_from(["none", "block"]))}>{inner}')
        pieces.append(draw(st.sampled_from([f"</{tag}>", "", f"</{tag}></{tag}>"])))
    return "".join(pieces)


@settings(deadline=None)  # the first call compiles
@given(pages())
def test_the_arrays_of_a_page_hold_the_text_that_the_parser_sees(body: str) -> None:
    tree = LexborHTMLParser(f"<html><body>{body}</body></html>")
    page = dom.flatten(tree.body.html)
    hidden = {e for e in range(len(page.elements.kind)) if page.elements.kind[e] & 4}  # inline elements that are hidden
    seen = "".join(tree.body.text().split())
    read = "".join(page.text.decode().split())
    assert read == seen if not hidden else len(read) <= len(seen)


@settings(deadline=None)  # the first call compiles
@given(pages())
def test_a_page_with_text_that_can_be_seen_never_comes_out_empty(body: str) -> None:
    tree = LexborHTMLParser(f"<html><body>{body}</body></html>")
    page = dom.flatten(tree.body.html)
    assert bool(text_of(f"<html><body>{body}</body></html>")) == bool(page.text)


@settings(deadline=None)
@given(st.text(max_size=300))
def test_any_string_is_a_page(html: str) -> None:
    read_page(html, URL)


KEPT = {
    "a thread keeps every post": (
        "".join(f'<div class="post"><div class="author">u{n}</div><div class="content">Post {n}: {SENTENCE}</div></div>' for n in range(5)),
        [f"Post {n}" for n in range(5)],
    ),
    "a thread whose posts are comments keeps them": (
        "<main>" + "".join(f'<div class="comment"><p>Reply {n} {SENTENCE * 2}</p></div>' for n in range(6)) + "</main>",
        [f"Reply {n}" for n in range(6)],
    ),
    "a recipe keeps its ingredients": (
        "<article><h1>Bread</h1><h2>Ingredients</h2><ul><li>200 g flour<li>Salt<li>Butter</ul><h2>Method</h2>"
        "<ol><li>Mix the flour and the salt in a large bowl, then add water.<li>Bake it at 220 degrees for forty minutes.</ol></article>",
        ["200 g flour", "Salt", "Butter", "Bake it"],
    ),
    "a list of pages keeps what each is about": (
        "<h1>Walks</h1>" + "".join(f'<div><h2><a href=w{n}>Walk number {n}</a></h2><p>{SENTENCE}<a href=w{n}>More</a></p></div>' for n in range(4)),
        [f"Walk number {n}" for n in range(4)],
    ),
    "a table keeps its rows beside a note": (
        "<table>" + "".join(f"<tr><td>{n}<td>Runner {n}<td>2:11:{n}" for n in range(10, 30)) + f"</table>{PARAGRAPH}",
        ["10\tRunner 10\t2:11:10", "29\tRunner 29\t2:11:29"],
    ),
    "a page laid out by a table keeps the cell that holds its text": (
        f"<table><tr><td><a href=a>Home</a><br><a href=b>Products</a></td><td>{PARAGRAPH * 5}</td></tr></table>",
        ["masons"],
    ),
    "a poem keeps its lines": (
        "<article>" + "".join(f"<p>Line {n} of the poem goes here</p>" for n in range(9)) + f"<p>{SENTENCE}</p></article>",
        [f"Line {n} of" for n in range(9)],
    ),
    "an index of links keeps them": (
        "<h1>Index</h1><ul>" + "".join(f"<li><a href=x>The history of the town number {n}</a>" for n in range(8)) + "</ul><p>Public domain.</p>",
        ["town number 0", "town number 7"],
    ),
    "documentation keeps its commands": (
        f"<main><h1>Lib</h1><h2>Installation</h2><pre>pip install lib\n  --now</pre><h2>print</h2>{PARAGRAPH * 2}</main>",
        ["Installation", "pip install lib\n  --now", "print"],
    ),
    "a page inside of what hides until a script runs": (f'<div style="display:none">{PARAGRAPH * 5}</div><p>Loading</p>', ["masons"]),
    "a class that says what there is none of": (f'<main class="content-with-sidebar">{PARAGRAPH * 5}</main><div>{PARAGRAPH}</div>', ["masons"]),
    "a heading that only begins like a list of links": (
        f"<article>{PARAGRAPH * 2}<section id=tools><h2>Related work</h2><p>Others wrote. {SENTENCE * 3}</p></section></article>",
        ["Others wrote."],
    ),
    "a box of text in the midst of it": (
        f'<div class="text">{PARAGRAPH * 2}<div class="sidebar"><p>A box: {SENTENCE * 2}</p></div>{PARAGRAPH * 2}</div>',
        ["A box:"],
    ),
    "text before an inline element that goes": (
        f'<article><div>KEEP {SENTENCE * 2}<span class="share"><div>Share it</div></span></div>{PARAGRAPH}</article>',
        ["KEEP"],
    ),
    "a formula as its author wrote it": (f"<p>Let <math alttext='x^2'><mi>x</mi></math> be. {SENTENCE}</p>", ["Let x^2 be."]),
}  # fmt: skip


@pytest.mark.parametrize("name", KEPT)
def test_a_page_that_is_no_article_keeps_its_text(name: str) -> None:
    body, wanted = KEPT[name]
    text = text_of(f"<html><body>{body}</body></html>")
    assert [piece for piece in wanted if piece not in text] == []


DROPPED = {
    "navigation": "<nav><ul><li><a href=a>Start</a><li><a href=b>News</a></ul></nav>",
    "a footer": "<footer><p>All rights are with the house of the publisher, and so are all wrongs.</p></footer>",
    "cookies": f'<div id="cookie-banner"><p>We use cookies. {SENTENCE}</p></div>',
    "related pages": '<div><h3>You may also like</h3><ul><li><a href=a>Ten bridges</a> and a longer teaser about them</ul></div>',
    "comments": '<div class="comments"><p>First! What a lovely old bridge that is, I was there in May.</p></div>',
    "what is hidden": "<div hidden><p>Template of a message that nobody ever sees on this page at all.</p></div>",
    "a script": "<script><!-- <script>var bridge = 'old';</script> --></script>",
    "a mark inside of a line": '<p>A line<span class="mw-editsection">[edit]</span> of text that goes on for a while.</p>',
}  # fmt: skip


@pytest.mark.parametrize("name", DROPPED)
def test_what_stands_around_an_article_goes(name: str) -> None:
    text = text_of(f"<html><body><article><h1>Bridge</h1>{PARAGRAPH * 6}</article>{DROPPED[name]}</body></html>")
    assert text.count("masons") == 18
    for word in ("Start", "wrongs", "cookies", "teaser", "First!", "Template", "var bridge", "[edit]"):
        assert word not in text


def test_a_box_of_related_pages_goes_from_the_midst_of_the_text_around_it() -> None:
    teasers = "".join(
        f"<p><a href=t{n}>Ten tunnels</a> A teaser of number {n}, as long as a sentence of the article.</p>"
        for n in range(3)
    )
    text = text_of(
        f"<html><body><div>{PARAGRAPH * 4}<div><h3>You may also like</h3>{teasers}</div></div></body></html>"
    )
    assert "teaser" not in text
    assert text.count("masons") == 12


def test_the_text_around_its_longest_paragraph_or_list_stays() -> None:
    long = f"<p>{SENTENCE * 12}</p>"
    items = "".join(f"<li>{SENTENCE}" for _ in range(12))
    for longest in (long, f"<ol>{items}</ol>", f"<blockquote>{long}</blockquote>"):
        text = text_of(
            f"<html><body><article><p>BEGIN {SENTENCE}</p>{longest}<p>END {SENTENCE}</p></article></body></html>"
        )
        assert "BEGIN" in text
        assert "END" in text


def test_a_layout_table_loses_its_menu() -> None:
    body, _ = KEPT["a page laid out by a table keeps the cell that holds its text"]
    assert "Products" not in text_of(f"<html><body>{body}</body></html>")


def test_metadata_is_what_the_page_says_of_itself() -> None:
    about = read_page(
        """<html lang="de-AT"><head><title>How to fix a roof | Acme</title><link rel="canonical" href="/roof?utm_source=x#top">
        <script type="application/ld+json">{"comment": {"datePublished": "2001-01-01"}, "datePublished": "2020-02-29T10:00:00Z"}</script>
        </head><body><h1>Acme</h1><h1>How to fix a roof</h1></body></html>""",
        URL,
    ).about
    assert about == ("How to fix a roof", "2020-02-29", "de", "http://site.example/roof")


@pytest.mark.parametrize(
    ("claim", "day"),
    [
        ("2019-11-19T08:57:40+01:00", "2019-11-19"),
        ("20191119", "2019-11-19"),
        ("Tue, 19 Nov 2019 08:57:40 GMT", "2019-11-19"),
        ("2019-02-30", None),
        ("1019-01-01", None),
        ("99999999999999999999999 Jan 2020 00:00:00", None),
        ("yesterday", None),
    ],
)
def test_dates_are_days_or_nothing(claim: str, day: str | None) -> None:
    assert iso_date(claim) == day


def test_every_pattern_is_found_in_a_name_made_of_it() -> None:
    for mark, names in patterns.NAMES.items():
        for name in names:
            state, found = 0, 0
            for symbol in map(patterns.SYMBOLS.index, name):
                state = patterns.FOLLOW[state, symbol]
                found |= int(patterns.MARKS[state])
            assert found & mark, name


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_can_be_left_out(rule: str) -> None:
    html = (
        "<html><body><nav><a href=a>Start</a></nav><h1>Bridge</h1><p>The lead of it stands before the text of the article.</p>"
        f"<div itemprop=articleBody>{PARAGRAPH * 5}<h2>Bare</h2><form><p>Name</p></form><p>Photo: Ann Mason</p></div>"
        f"<div class=comments>{PARAGRAPH}</div><footer><p>All rights are with the house of the publisher.</p></footer></body></html>"
    )
    whole = text_of(html)
    with without(rule):
        assert "masons" in text_of(html)
    assert text_of(html) == whole
