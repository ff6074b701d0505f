"""What names of classes, ids, roles and microdata say about an element, as one automaton over all of them."""

from __future__ import annotations

from collections import deque

import numpy as np
import numpy.typing as npt

# What an element's names mark it as.
BOILERPLATE = 1  # navigation, sharing, advertisements, related links, …: no part of a text
COMMENTS = 2
CONTENT = 4  # the text itself, by a convention that many sites follow
ARTICLE_BODY = 8  # schema.org says so
HIDDEN = 16
CAPTION = 32
ASIDE = 64  # beside the text, or a box in the midst of it
NEGATED = (
    128  # it says what an element has or has not, or is made with: no-sidebar, has-menu, elementor-widget, js-gallery
)
FOOTER = 256
FOUND = 512  # hidden until somebody looks for it
NUMBERS = 1024  # the numbers of lines of code
FOLDED = 2048  # a title that unfolds a text

# A name is read in lower case with | for each joint: "articleBody main-text" is |article|body|main|text|.
# Attributes other than class and id begin with their own name and =.
NAMES: dict[int, tuple[str, ...]] = {
    BOILERPLATE: (
        "|nav|", "|navigation|", "|navbar", "|menu|", "|submenu|", "|topmenu|", "|mainmenu|", "|breadcrumb", "|crumbs|",
        "|pagination|", "|paging|", "|pager|", "|pagenav", "|rightrail|", "|rail|",
        "|widget|", "|widgets|", "|share|", "|sharing|", "|sharebar", "|sharetools", "|addthis", "|addtoany", "|sharedaddy|", "|social|", "|socials|", "|sociable",
        "|follow|us|", "|follow|button", "|newsletter", "|subscribe|", "|subscription|", "|signup|", "|sign|up|", "|optin|", "|mailchimp",
        "|related|", "|relatedposts|", "|related|posts|", "|relatedcontent|", "|recommend", "|recirc", "|outbrain|", "|taboola|", "|zergnet",
        "|more|from|", "|more|stories|", "|also|like|", "|see|also|box|", "|you|may|", "|trending|", "|popular|", "|mostread|", "|most|read|", "|most|popular|",
        "|advert", "|ad|", "|ads|", "|adbox|", "|adslot|", "|ad|slot|", "|advertorial|", "|sponsor|", "|sponsored|", "|promo|", "|promotion|", "|promoted|", "|banner|", "|dfp|",
        "|cookie|", "|cookies|", "|gdpr|", "|consent|", "|modal|", "|popup|", "|overlay|", "|lightbox|", "|toolbar|", "|tools|", "|skip|link", "|skip|to|",
        "|login|", "|register|", "|search|form|", "|searchform|", "|search|box|", "|searchbox|", "|tags|", "|tag|list|", "|taglist|", "|tag|links|", "|tags|links|", "|tagcloud|", "|post|tags|", "|entry|tags|",
        "|postprofile|", "|post|profile|", "|signature|", "|userinfo|", "|user|info|", "|message|user|", "|post|author|", "|poster|", "|votecell|", "|vote|count|", "|byline|", "|dateline|", "|author|box|", "|author|bio|", "|authorbox|", "|about|author|", "|author|info|", "|post|meta|", "|entry|meta|", "|article|meta|", "|postmeta|", "|entry|utility|", "|post|footer|", "|entry|footer|", "|meta|info|", "|timestamp|", "|jp|relatedposts|", "|post|navigation|", "|nav|links|", "|prev|next|", "|next|prev|", "|toc|", "|table|of|contents|", "|navbox|", "|catlinks|", "|hatnote|", "|copyright|", "|disclaimer|", "|legal|", "|rating|", "|ratings|", "|vote|", "|votes|", "|slideshow|controls|", "|gallery|nav", "|feedback|", "|report|abuse|", "|error|message|", "|flash|message|", "|ticker|", "|masthead|", "|site|header|", "|siteheader|", "|page|header|bar|", "|topbar|", "|top|bar|", "|language|switcher|", "|lang|switch",
        "role=|navigation|", "role=|banner|", "role=|complementary|", "role=|search|", "role=|dialog|", "role=|alert|", "role=|menu|", "role=|menubar|", "role=|toolbar|", "role=|tablist|",
        "itemtype=|http|schema|org|sitenavigation",
    ),
    FOOTER: ("|footer|", "|foot|links", "role=|contentinfo|", "itemtype=|http|schema|org|wpfooter", "itemtype=|https|schema|org|wpfooter"),
    ASIDE: ("|sidebar|", "|side|bar|", "|aside|"),
    COMMENTS: (
        "|comment|", "|comments|", "|commentlist|", "|comment|list|", "|disqus", "|commentarea", "|comments|area|", "|comentarios|", "|kommentare|", "|commentaires|", "|respond|", "|reply|form", "|livefyre", "|reactions|", "|discussion|", "|user|comments|", "|commentary|section|", "|trackback", "|pingback",
    ),
    CONTENT: (
        "|article|body|", "|articlebody|", "|article|content|", "|articlecontent|", "|article|text|", "|articletext|", "|article|copy|", "|post|content|", "|postcontent|", "|post|body|", "|postbody|", "|post|text|", "|posttext|", "|entry|content|", "|entrycontent|", "|entry|body|", "|entry|text|", "|entrytext|", "|story|body|", "|storybody|", "|story|content|", "|story|text|", "|storytext|", "|main|text|", "|maintext|", "|body|copy|", "|bodycopy|", "|body|text|", "|bodytext|", "|text|body|", "|article|main|", "|blog|content|", "|blogcontent|", "|news|text|", "|news|content|", "|page|content|", "|single|content|", "|content|body|", "|contentbody|", "|mw|parser|output|", "|artikel|text|", "|artikeltext|", "|texte|article|", "|cuerpo|", "|rich|text|", "|richtext|", "|markdown|body|", "|wysiwyg|", "|field|name|body|", "|field|item|even|",
        "role=|main|",
    ),
    ARTICLE_BODY: ("itemprop=|article|body|", "itemprop=|articlebody|"),
    HIDDEN: ("style=|display|none|", "style=|visibility|hidden|", "style=|display|none", "hidden=|", "aria-hidden=|true|", "|sr|only|", "|visually|hidden|", "|visuallyhidden|", "|screen|reader|text|", "|screen|reader|only|", "|mw|editsection|"),
    NEGATED: ("|has|", "|no|", "|with|", "|without|", "|not|", "|elementor|", "|js|"),
    FOUND: ("hidden=|until|found|",),
    NUMBERS: ("|lineno|", "|linenos|", "|linenodiv|", "|line|number|", "|line|numbers|", "|linenumber|", "|linenumbers|", "|line|no|", "|blob|num|", "|hljs|ln|numbers|", "|lnt|", "|rouge|gutter|", "|code|gutter|"),
    FOLDED: ("|accordion", "|collapsible|", "|faq|", "|toggle|title|", "|expander|"),
    CAPTION: ("|caption|", "|wp|caption|", "|image|caption|", "|photo|credit|", "|credit|", "|image|credit|", "|figcaption|", "|media|caption|", "|img|caption|", "|photo|caption|", "|bildunterschrift|", "|legend|", "|imagecaption|", "|captiontext|"),
}  # fmt: skip

SYMBOLS = "abcdefghijklmnopqrstuvwxyz0123456789|=-"
JOINT = SYMBOLS.index("|")
OTHER = 255


def _symbol_table() -> npt.NDArray[np.uint8]:
    """Byte -> symbol: letters of either case alike, every other ASCII byte a joint, bytes of other scripts nothing."""
    table = np.full(256, JOINT, dtype=np.uint8)
    for number, symbol in enumerate(SYMBOLS):
        table[ord(symbol)] = number
        table[ord(symbol.upper())] = number
    table[ord("=")] = table[ord("-")] = JOINT
    table[128:] = OTHER
    return table


def automaton(names: dict[int, tuple[str, ...]]) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint32]]:
    """Finds all names in one pass (Aho and Corasick 1975): (state, symbol) -> state, and state -> marks."""
    follow: list[dict[int, int]] = [{}]
    marks = [0]
    for mark, patterns in names.items():
        for pattern in patterns:
            state = 0
            for symbol in map(SYMBOLS.index, pattern):
                if symbol not in follow[state]:
                    follow[state][symbol] = len(follow)
                    follow.append({})
                    marks.append(0)
                state = follow[state][symbol]
            marks[state] |= mark
    table = np.zeros((len(follow), len(SYMBOLS)), dtype=np.int32)
    fail = [0] * len(follow)
    waiting = deque([0])
    while waiting:
        state = waiting.popleft()
        marks[state] |= marks[fail[state]]
        table[state] = table[fail[state]]  # of the root, nothing yet
        for symbol, child in follow[state].items():
            fail[child] = int(table[state, symbol])
            table[state, symbol] = child
            waiting.append(child)
    return table, np.array(marks, dtype=np.uint32)


SYMBOL_OF = _symbol_table()
FOLLOW, MARKS = automaton(NAMES)
