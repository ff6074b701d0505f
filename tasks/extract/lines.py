"""What single lines of a main text say about themselves: titles, dates, bylines and leftovers of the page around it."""

from __future__ import annotations

import re
from collections.abc import Iterable

from tasks.extract import markup

EDGE_LINE = 60  # bytes: a line at an edge that is shorter, and no sentence, is no prose
PROSE_LINE, SENTENCE = 80, 40  # bytes: prose whatever it ends in, and prose if it ends as a sentence does
TITLE_CHARACTERS = 10  # characters of the words of a heading that can be told to be the title
# Of what kind lines are never taken for a button, nor for a date or byline, nor for a leftover at an edge.
_NEVER_JUNK = markup.TERM | markup.CELL | markup.PRE
_NO_TITLE = markup.ITEM | markup.CELL | markup.PRE
_NO_CRUMB = _NO_TITLE | markup.HEADING
MOST_CRUMBS = 6
JUNK_LINE = 130  # characters: longer lines are never junk
_ENDS = (
    ".",
    "!",
    "?",
    ":",
    ";",
    '"',
    "”",
    "’",
    "»",
    "…",
    ")",
    "'",
    "。",
    "！",
    "？",
    "」",
    "』",
    "।",
    "؟",
    "۔",
    "។",
    "။",
)
_DATE = re.compile(r"\b(?:19|20)\d\d\b|\d{1,2}:\d\d|\b\d{1,2}[./-]\d{1,2}[./-]\d{2,4}\b|\bago\b")
_SENTENCE_END = re.compile(r"[.!?:;…\"”’»)\]](?:\s|$)|[。！？」』।؟۔။]")
_WORD = re.compile(r"\w+")


def _any_of(*words: str, begin: str = r"^\W*(?:", end: str = ")") -> re.Pattern[str]:
    return re.compile(begin + "|".join(words) + end)  # for lines in lower case: twice as fast as one for any


_BYLINE = _any_of(
    "by|von|par|por|di|de|door|av|af|автор|written by|posted|published|updated|last updated|photo|image|source|credit", end=r")\b[: ]"
)  # fmt: skip
# A line, or what ends a caption, that says whose a picture is: a word for a picture or its maker, a sign, and a name.
_PICTURES = (
    r"(?:photo|image|picture|pic|illustration|foto|bild|abbildung|symbolbild|titelbild|archivfoto|grafik|imagen|fotografía|immagine|zdjęcie|фото|изображение"
    r"|photo credit|image credit|credit|crédit|bildquelle|bildnachweis|fotonachweis|quelle|fot\.?)s?(?: ?(?:credits?|source|by|von|par|de|di|photos?))?"
)
_CREDIT = re.compile(
    rf"^\W*{_PICTURES} ?[:©] ?(?P<name>.+)$|^\W*©(?P<holder>.*)$|^\W*(?:写真|撮影|图片来源|圖片來源|摄影|攝影|사진) ?[:：=／/]",
    re.IGNORECASE,
)
_CREDITED = re.compile(
    rf"(?:[(\[]{_PICTURES} ?[:©/] ?(?P<name>[^()\[\]]{{1,60}})[)\]]|(?:©|\b{_PICTURES} ?[:©]) ?(?P<holder>[^.!?:]{{1,60}}))$",
    re.IGNORECASE,
)
_CREDIT_SIGNS = frozenset(":/©：／")
_OF_NAMES = frozenset(
    [
        "von",
        "van",
        "de",
        "der",
        "den",
        "da",
        "di",
        "del",
        "du",
        "la",
        "le",
        "und",
        "and",
        "et",
        "y",
        "e",
        "via",
        "für",
        "for",
        "of",
        "the",
        "dpa",
        "epa",
        "ap",
        "afp",
        "reuters",
        "getty",
    ]
)
MOST_OF_A_NAME = 8  # words
# What asks readers for something, or reserves rights, where a text has ended.
_PROMOTION = re.compile(
    r"^\W*(?:subscribe|sign (?:me )?up|get (?:the|our) (?:latest|news|app)|join (?:us|our)|follow us|download (?:the|our) app|abonnier(?:e|en sie|t)|jetzt abonnieren"
    r"|abonnez-vous|abonne-toi|inscrivez-vous|suscr[ií]b(?:ete|ase|e)|iscriviti|zapisz się|подпи(?:шитесь|сывайтесь)|assine (?:a|o|nossa|já)|schrijf je in|meld je aan|prenumerera"
    r"|folg(?:en sie|t|e) uns|suivez-nous|síguenos|seguici|siga-nos|obserwuj nas|yes[!,] sign me up|do you want to be informed)\b|\bsign up (?:here|now|today|for (?:our|free))\b"
    r"|\b(?:our|the) (?:free )?(?:daily|weekly|monthly )?newsletter[^.]{0,40}\b(?:sign|subscri)|\b(?:all rights reserved|alle rechte vorbehalten|tous droits réservés"
    r"|todos los derechos reservados|tutti i diritti riservati|wszelkie prawa zastrzeżone)\b|все права защищены|版权所有|無断転載"
)
CAPTION_LINE = 200  # characters: a longer line is no caption
PROMOTION_LINE = 120  # characters: a longer line is no promotion
MOST_PROMOTIONS = 3
_RELATED = _any_of(
    r"(?:related|recommended|similar|popular|latest|recent|trending|top|other|more|most (?:read|popular|viewed|commented))"
    r"(?: (?:posts?|articles?|stories|news|content|links?|reading|topics?|products?|items?|videos?|comments?|reads?|coverage|now|today|for you|here|by .{1,30}))*",
    r"more (?:from|on|in|about|like) .{1,30}|more (?:\w+ ){1,2}(?:stories|articles|news|posts|coverage)|you (?:may|might) (?:also )?(?:like|enjoy|be interested).{0,20}|(?:also|next) (?:read|on|see|up)|read (?:also|next)|see also:|don't miss.{0,10}|what to read.{0,10}",
    r"share (?:this|on|via)(?: .{1,20})?|follow us.{0,30}|leave a (?:reply|comment).{0,20}|post a comment|comments?(?: \(?\d+\)?)?|\d+ (?:comments?|responses?|replies).{0,30}|(?:about|meet) the authors?|sign up(?: for .{1,40})?|subscribe.{0,40}|newsletter.{0,20}",
    r"você (?:pode|também pode) (?:gostar|se interessar).{0,10}|leia (?:também|mais)|veja (?:também|mais)|(?:posts |artigos |notícias |artículos |noticias )?relacionad[oa]s|te puede interesar|también te .{3,20}|lee también|más (?:noticias|leídas?|leídos?)|lo más (?:leído|visto)",
    r"à lire (?:aussi|également)|lire aussi|sur le même (?:sujet|thème)|voir aussi|articles? (?:liés|similaires|associés)|dans la même rubrique|les plus lus",
    r"mehr zum thema|mehr (?:aus|von) .{1,30}|mehr artikel|ähnliche (?:artikel|beiträge|themen)|lesen sie auch|das könnte (?:sie|dich) auch interessieren|auch interessant|weitere (?:artikel|nachrichten|beiträge)|verwandte (?:artikel|themen|beiträge)|meistgelesen.{0,20}",
    r"leggi anche|articoli correlati|potrebbe interessarti.{0,10}|ti potrebbe(?:ro)? (?:anche )?(?:interessare|piacere)|altri articoli|lees ook|meer (?:over dit onderwerp|nieuws)|gerelateerd.{0,20}|läs (?:också|mer)|les også|læs også|lue myös",
    r"читайте также|похожие .{3,20}|по теме|czytaj także|zobacz także|przeczytaj także|přečtěte si také|související články|ilgili haberler",
    r"関連(?:記事|リンク|ニュース).{0,6}|(?:相关|相關)(?:阅读|閱讀|新闻|新聞|文章|推荐|推薦|报道|報導|链接)?|推荐阅读|延伸(?:阅读|閱讀)|관련 ?(?:기사|뉴스|글)?",
    end=r")\W*$",
)  # fmt: skip
_JUNK = _any_of(
    r"advertisements?|anzeige|werbung|publicité|publicidad|pubblicità|реклама|广告|広告|supported by|sponsored|loading.{0,5}",
    r"share|tweet|print|email|e-mail|save|reply|like|pin it|close|next|previous|menu|facebook|twitter|whatsapp|linkedin|pinterest|telegram|teilen|drucken|partager|imprimer|compartir|imprimir|condividi|stampa",
    r"click here.{0,40}|skip to .{0,30}|(?:story|article) continues below.{0,30}|continue reading.{0,60}|read more.{0,60}|scroll to continue.{0,30}|view (?:comments|photos|gallery).{0,30}|\d+ (?:shares|comments|likes|views)",
    r"image copyright.{0,60}|image caption.{0,10}|getty images|all rights reserved.{0,30}|copyright ©.*|©.{0,80}",
    r"sign up.{0,60}|subscribe.{0,60}|follow us.{0,80}|filed under.{0,80}|tags?:.{0,120}|posted in.{0,80}",
    end=r")\W*$",
)  # fmt: skip


def heads_a_list_of_links(line: str) -> bool:
    """Whether a short line announces what else there is to read, or what readers said."""
    return _RELATED.match(line.lower()) is not None


def is_about_a_text(line: str) -> bool:
    """Whether a line says when a text was written, by whom or what its picture shows, and is none of it."""
    said = line.lower()
    return _BYLINE.match(said) is not None or (len(line) < PROSE_LINE and _DATE.search(line) is not None)


def is_title(heading: str, title: str) -> bool:
    """Whether a heading says what the page's title says, which may name the site as well."""
    words = _words(heading)
    return len(words) >= TITLE_CHARACTERS and words in _words(title)


def trimmed(lines: list[str], kinds: list[int], headings: Iterable[str]) -> list[str]:
    """The lines without junk; before the first and after the last prose, without titles, dates, bylines and crumbs.

    ``kinds`` are the kinds of the elements that the lines come from; list items and cells are no crumbs.
    """
    prose = [not kind & markup.HEADING and _is_prose(line) for line, kind in zip(lines, kinds, strict=True)]
    kept = [
        bool(kind & _NEVER_JUNK)
        or not _is_leftover(line, bool(kind & markup.HEADING and follows), bool(kind & markup.ITEM))
        for line, kind, follows in zip(lines, kinds, [*prose[1:], False], strict=False)
    ]
    places = [i for i, is_prose in enumerate(prose) if is_prose and kept[i]]
    for i in places[:0:-1][:MOST_PROMOTIONS]:
        if len(lines[i]) > PROMOTION_LINE or not _PROMOTION.search(lines[i].lower()):
            break
        kept[i] = False
    _trim_edges(lines, kinds, kept, [i for i in places if kept[i]], {_words(heading) for heading in headings} - {""})
    if any(good and not kind & markup.HEADING for good, kind in zip(kept, kinds, strict=True)):
        _drop_bare_headings(kinds, kept)
    return [line for line, good in zip(lines, kept, strict=True) if good]


def _trim_edges(lines: list[str], kinds: list[int], kept: list[bool], places: list[int], titles: set[str]) -> None:
    """Marks what is no text around the prose at ``places``, and what stands right after a standfirst."""
    if not places:
        return
    head, tail = range(places[0]), range(places[-1] + 1, len(lines))
    for i in head:
        kept[i] &= not _is_head_matter(lines[i], kinds[i], titles)
    for i in range(places[0] + 1, min([*places[1:2], places[0] + MOST_CRUMBS, len(lines)])):
        kept[i] &= bool(kinds[i] & _NO_CRUMB) or len(lines[i]) >= EDGE_LINE or not is_about_a_text(lines[i])
    for edge in (head, tail):
        crumbs = [i for i in edge if kept[i] and _is_crumb(lines[i], kinds[i])]
        if len(crumbs) <= MOST_CRUMBS:  # more are no leftovers: verse, a dialogue, a list without its tags
            for i in crumbs:
                kept[i] = False


def _drop_bare_headings(kinds: list[int], kept: list[bool]) -> None:
    """Headings go that nothing stands under: no line before the next heading of their level or a higher one."""
    deepest = 0  # level of the lowest heading that what was read, from the end on, can stand under; 0 for none
    for i in reversed(range(len(kinds))):
        if not kept[i]:
            continue
        if not kinds[i] & markup.HEADING:
            deepest = markup.LEVEL
        elif deepest and kinds[i] & markup.LEVEL <= deepest:
            deepest = (kinds[i] & markup.LEVEL) - markup.LEVEL_1
        else:
            kept[i] = False


def _is_leftover(line: str, heads_prose: bool, is_item: bool) -> bool:
    """Whether a line is a button, an advertisement's label, or a caption that says whose its picture is."""
    if len(line) > CAPTION_LINE:
        return False
    if not is_item and not _CREDIT_SIGNS.isdisjoint(line) and _is_credit(line):
        return True
    return not heads_prose and len(line) <= JUNK_LINE and _JUNK.match(line.lower()) is not None


def _is_credit(line: str) -> bool:
    found = _CREDITED.search(line) or (_CREDIT.match(line) if len(line) < PROSE_LINE else None)
    if found is None:
        return False
    if found["name"] is None:
        return found.group().lstrip().startswith("©") or not found["holder"] or _is_name(found["holder"])
    return _is_name(found["name"])


def _is_name(said: str) -> bool:
    """Whether words are those of a name: with capitals, but for what stands between them, and no numbers."""
    words = [word.strip("()[]|/,.&-–\"'") for word in re.split(r"[\s/|,&]+", said)]
    words = [word for word in words if word]
    return 0 < len(words) <= MOST_OF_A_NAME and all(
        word.lower() in _OF_NAMES or (word[0].isupper() and not word.isdigit()) for word in words
    )


def _is_head_matter(line: str, kind: int, titles: set[str]) -> bool:
    if _words(line) in titles:
        return True
    if kind & _NO_TITLE:
        return False
    return _is_address(line) or (len(line) < PROSE_LINE and is_about_a_text(line))


def _is_crumb(line: str, kind: int) -> bool:
    """Whether a line at an edge is too little to belong to the text."""
    return not kind & _NO_CRUMB and _is_short(line) and not _SENTENCE_END.search(line)


def _is_prose(line: str) -> bool:
    is_long = len(line) >= PROSE_LINE or len(line.encode()) >= PROSE_LINE
    return (is_long or (line.endswith(_ENDS) and len(line.encode()) >= SENTENCE)) and not _is_address(line)


def _is_address(line: str) -> bool:
    return " " not in line and line.isascii() and any(mark in line for mark in "/@")


def _is_short(line: str) -> bool:
    return len(line.encode()) < EDGE_LINE


def _words(line: str) -> str:
    return " ".join(_WORD.findall(line.lower()))
