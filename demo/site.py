"""What both demo sites share: pages with the furniture of real ones."""

from __future__ import annotations

from html import escape
from string import Template

PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>$title</title></head>
<body>
<header><p><a href="/">$site</a></p>
<nav><ul>$navigation</ul></nav></header>
<main><article>
<h1>$heading</h1>
$body
</article></main>
<aside><p>Reader's notice: this page is part of $site. You may read it, print it and hand it on.</p></aside>
<footer><p>$site. Served for reading by people and machines. <a href="/about.html">About</a> <a href="/search?q=">Search</a></p>
<p>All texts as their editors left them. No cookies are set by these pages.</p></footer>
</body>
</html>
""")

ROBOTS = "User-agent: *\nDisallow: /search\nDisallow: /private/\n"


def page(site: str, title: str, heading: str, body: str, navigation: list[tuple[str, str]]) -> str:
    """One page: ``body`` is HTML, everything else is text; navigation is (path, label)."""
    links = "".join(f'<li><a href="{escape(path)}">{escape(label)}</a></li>' for path, label in navigation)
    return PAGE.substitute(site=escape(site), title=escape(title), heading=escape(heading), body=body, navigation=links)


def link_list(links: list[tuple[str, str]]) -> str:
    """An index: a list of links."""
    return "<ul>" + "".join(f'<li><a href="{escape(path)}">{escape(label)}</a></li>' for path, label in links) + "</ul>"


def paragraphs(text: str) -> str:
    """Text as HTML: a paragraph a block, its line breaks kept."""
    blocks = [block for block in text.split("\n\n") if block.strip()]
    return "\n".join(
        "<p>" + "<br>\n".join(escape(line.strip()) for line in block.splitlines() if line.strip()) + "</p>"
        for block in blocks
    )
