"""Real pages with what is their text, in the forms that are published: whole texts, or segments that belong to it or do not."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import tarfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from statistics import mean
from typing import NamedTuple
from urllib.parse import urlsplit

from benchmarks.harness import DATA
from tasks.extract.metadata import metadata_of
from tasks.web.charsets import decode
from tasks.web.parsing import parse

SHINGLE = 4
KINDS = ("article", "forum", "home", "product", "recipe")
LANGUAGES = ("de", "en", "es", "fr", "pl", "others", "none")
# What an address or the page's own schema.org type says about its kind; what says nothing is an article.
_RECIPE = re.compile(r"rezept|recipe|receta|recette|przepis|ricett|koche|cook", re.IGNORECASE)
_FORUM = re.compile(r"forum|viewtopic|showthread|/threads?/|/topic|community\.|board\.|/questions/", re.IGNORECASE)
_PRODUCT = re.compile(r"shop|product|produkt|/dp/|store\.|kaufen", re.IGNORECASE)
_TYPES = {
    "recipe": re.compile(r'schema\.org/Recipe|"@type"\s*:\s*\[?\s*"Recipe"'),
    "forum": re.compile(r'(?:schema\.org/|"@type"\s*:\s*\[?\s*")(?:DiscussionForumPosting|QAPage)'),
    "product": re.compile(r'schema\.org/Product"|"@type"\s*:\s*\[?\s*"Product"|og:type"\s+content="product'),
}


class Page(NamedTuple):
    """A page and what is right: its main text, or segments of it and segments that are none of it."""

    html: str
    gold: str = ""
    wanted: tuple[str, ...] = ()
    unwanted: tuple[str, ...] = ()
    url: str = ""

    @property
    def language(self) -> str:
        """What the page says that it is written in, the rarer ones as one."""
        language = metadata_of(parse(self.html), self.url).language or "none"
        return language if language in LANGUAGES else "others"

    @property
    def kind(self) -> str:
        """What kind of page it is, by its address and by the type that it gives itself."""
        address = urlsplit(self.url)
        if address.path in ("", "/") and not address.query:
            return "home"
        for kind, said in (("recipe", _RECIPE), ("forum", _FORUM), ("product", _PRODUCT)):
            if said.search(self.url) or _TYPES[kind].search(self.html):
                return kind
        return "article"

    @property
    def held_back(self) -> bool:
        """Whether a page is of the half that rules are judged on, and not made with: by a digest of its host."""
        return hashlib.sha256((urlsplit(self.url).hostname or self.html[:5_000]).encode()).digest()[1] % 2 == 1


def articles(folder: Path) -> list[Page]:
    """The pages of a folder in the form of article-extraction-benchmark, by the names of their files."""
    gold = json.loads((folder / "ground-truth.json").read_text())
    pages = []
    for name in sorted(gold):
        packed, plain = folder / "html" / f"{name}.html.gz", folder / "html" / f"{name}.html"
        if packed.exists() or plain.exists():
            body = gzip.decompress(packed.read_bytes()) if packed.exists() else plain.read_bytes()
            pages.append(
                Page(decode(body, "text/html"), gold[name].get("articleBody") or "", url=gold[name].get("url") or "")
            )
    return pages


def readability_pages(folder: Path) -> list[Page]:
    """The pages of Readability's tests: a folder each, in an archive."""
    sources: dict[str, dict[str, bytes]] = {}
    for path, content in _packed(next(folder.glob("*.tar.*"))):
        page, _, name = path.rpartition("/")
        if name in ("source.html", "expected.html"):
            sources.setdefault(page, {})[name] = content
    return [
        Page(decode(files["source.html"], "text/html"), visible(files["expected.html"].decode()))
        for _, files in sorted(sources.items())
    ]


def segment_pages(folder: Path) -> list[Page]:
    """The pages of trafilatura's evaluation: segments that must be in the text, and others that must not."""
    stated = json.loads((folder / "evaldata.json").read_text())
    contents = {Path(path).name: content for path, content in _packed(next(folder.glob("*.tar.*")))}
    return [
        Page(
            decode(contents[about["file"]], "text/html"),
            wanted=tuple(map(_folded, about["with"])),
            unwanted=tuple(map(_folded, about["without"])),
            url=url,
        )
        for url, about in sorted(stated.items())
        if about["file"] in contents
    ]


def _packed(path: Path) -> Iterable[tuple[str, bytes]]:
    with tarfile.open(path) as archive:
        for member in archive:
            stream = archive.extractfile(member)
            if stream is not None:
                yield member.name, stream.read()


def visible(html: str) -> str:
    """All text of a page, blocks on lines of their own."""
    from selectolax.lexbor import LexborHTMLParser

    from tasks.extract.dom import flatten
    from tasks.extract.unseen import WITHOUT_TEXT

    tree = LexborHTMLParser(html)
    tree.strip_tags(list(WITHOUT_TEXT))
    page = flatten((tree.body.html if tree.body is not None else "") or "")
    return "\n".join(
        page.text[start:stop].decode() for start, stop in zip(page.blocks.start, page.blocks.stop, strict=True)
    )


def sets_of(data: Path = DATA / "html") -> dict[str, list[Page]]:
    """The sets of pages in a folder, or in the folders of a folder, by their names."""
    found = {}
    for folder in (data, *sorted(path for path in data.iterdir() if path.is_dir())):
        if (folder / "ground-truth.json").exists():
            found[folder.name] = articles(folder)
        elif (folder / "evaldata.json").exists() and any(folder.glob("*.tar.*")):
            found[folder.name] = segment_pages(folder)
        elif folder.name.startswith("readability") and any(folder.glob("*.tar.*")):
            found[folder.name] = readability_pages(folder)
    return found


class Scores(NamedTuple):
    """Of a set of pages."""

    precision: float
    recall: float
    f1: float


def scores(pages: Iterable[Page], texts: Iterable[str]) -> Scores:
    """Of pages with segments by their segments, of others by the shingles of their texts."""
    pairs = list(zip(pages, texts, strict=True))
    if any(page.wanted or page.unwanted for page, _ in pairs):
        return segment_scores(pairs)
    return shingle_scores((page.gold, text) for page, text in pairs)


def segment_scores(pairs: Iterable[tuple[Page, str]]) -> Scores:
    """Over all segments, each of which stands in its page's text with white space folded or does not (trafilatura's evaluation)."""
    hits = misses = false = 0
    for page, text in pairs:
        said = _folded(text)
        found = sum(segment in said for segment in page.wanted)
        hits, misses = hits + found, misses + len(page.wanted) - found
        false += sum(segment in said for segment in page.unwanted)
    precision, recall = hits / max(hits + false, 1), hits / max(hits + misses, 1)
    return Scores(precision, recall, 2 * hits / max(2 * hits + misses + false, 1))


def _folded(text: str) -> str:
    return " ".join(text.split())


def shingle_scores(pairs: Iterable[tuple[str, str]]) -> Scores:
    """Of (true, extracted) texts, as article-extraction-benchmark defines them."""
    precisions, recalls = [], []
    for gold, found in pairs:
        true, said = _shingles(gold), _shingles(found)
        both = (true & said).total()
        if said:
            precisions.append(both / said.total())
        if true:
            recalls.append(both / true.total())
    precision, recall = mean(precisions), mean(recalls)
    return Scores(precision, recall, 2 * precision * recall / (precision + recall))


def _shingles(text: str) -> Counter[tuple[str, ...]]:
    words = re.findall(r"\w+", text)
    starts = range(max(1, len(words) - SHINGLE + 1))
    return Counter(shingle for start in starts if (shingle := tuple(words[start : start + SHINGLE])))
