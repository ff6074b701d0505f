"""extract: main text of real pages, its quality by the article benchmark's own metric and its speed, beside other extractors."""

from __future__ import annotations

import argparse
import gzip
import json
import re
import sys
import tarfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import mean
from typing import NamedTuple

from benchmarks.harness import DATA, Row, measure, side_by_side, write_results
from tasks.web.http import decode

PEERS = "trafilatura-precision,trafilatura-fast,trafilatura,resiliparse,limit"
SHINGLE = 4
LEAST_SECONDS = 3.0  # that a system runs over the pages, again and again
TEXT = (
    "Real pages with their main text, one process each, pages in memory; seconds are of one pass, after a first that "
    "is not timed. `article-extraction-…` are news and blog articles of scrapinghub's article-extraction-benchmark, scored by "
    "that benchmark's own metric: multisets of word 4-grams, precision and recall averaged over pages. `readability-pages` are "
    "those of Mozilla's Readability (articles, documentation, encyclopedias, forums), scored alike. `gristmill` is the "
    "default extractor; every system gives the text alone, without metadata, trafilatura without comments. `limit` is "
    "lexbor's parse alone."
)


class Page(NamedTuple):
    """A page and its main text."""

    html: str
    gold: str


def articles(folder: Path) -> list[Page]:
    """The pages of a folder in the form of article-extraction-benchmark, by the names of their files."""
    gold = json.loads((folder / "ground-truth.json").read_text())
    pages = []
    for name in sorted(gold):
        packed, plain = folder / "html" / f"{name}.html.gz", folder / "html" / f"{name}.html"
        if packed.exists() or plain.exists():
            body = gzip.decompress(packed.read_bytes()) if packed.exists() else plain.read_bytes()
            pages.append(Page(decode(body, "text/html"), gold[name].get("articleBody") or ""))
    return pages


def readability_pages(folder: Path) -> list[Page]:
    """The pages of Readability's tests: a folder each, in an archive."""
    sources: dict[str, dict[str, bytes]] = {}
    with tarfile.open(next(folder.glob("*.tar.*"))) as archive:
        for member in archive:
            page, _, name = member.name.rpartition("/")
            if name in ("source.html", "expected.html"):
                stream = archive.extractfile(member)
                assert stream is not None
                sources.setdefault(page, {})[name] = stream.read()
    return [
        Page(decode(files["source.html"], "text/html"), visible(files["expected.html"].decode()))
        for _, files in sorted(sources.items())
    ]


def visible(html: str) -> str:
    """All text of a page, blocks on lines of their own."""
    from selectolax.lexbor import LexborHTMLParser

    from tasks.extract.dom import flatten
    from tasks.extract.markup import WITHOUT_TEXT

    tree = LexborHTMLParser(html)
    tree.strip_tags(WITHOUT_TEXT)
    page = flatten((tree.body.html if tree.body is not None else "") or "")
    return "\n".join(
        page.text[start:stop].decode() for start, stop in zip(page.blocks.start, page.blocks.stop, strict=True)
    )


def sets_of(data: Path) -> dict[str, list[Page]]:
    """The sets of pages in a folder, or in the folders of a folder, by their names."""
    found = {}
    for folder in (data, *sorted(path for path in data.iterdir() if path.is_dir())):
        if (folder / "ground-truth.json").exists():
            found[folder.name] = articles(folder)
        elif folder.name.startswith("readability") and any(folder.glob("*.tar.*")):
            found[folder.name] = readability_pages(folder)
    return found


def shingle_scores(pairs: Iterable[tuple[str, str]]) -> tuple[float, float, float]:
    """(precision, recall, F1) of (true, extracted) texts, as article-extraction-benchmark defines them."""
    precisions, recalls = [], []
    for gold, found in pairs:
        true, said = _shingles(gold), _shingles(found)
        both = (true & said).total()
        if said:
            precisions.append(both / said.total())
        if true:
            recalls.append(both / true.total())
    precision, recall = mean(precisions), mean(recalls)
    return precision, recall, 2 * precision * recall / (precision + recall)


def _shingles(text: str) -> Counter[tuple[str, ...]]:
    words = re.findall(r"\w+", text)
    starts = range(max(1, len(words) - SHINGLE + 1))
    return Counter(shingle for start in starts if (shingle := tuple(words[start : start + SHINGLE])))


def extractor(system: str) -> tuple[Callable[[str], str], str]:
    """A system's function from HTML to text, and its version."""
    if system == "gristmill":
        from tasks.extract.main_text import main_text
        from tasks.web.parsing import parse

        return lambda html: main_text(parse(html)), "0.1"
    if system == "resiliparse":
        from resiliparse.extract.html2text import extract_plain_text

        plain = partial(extract_plain_text, main_content=True, comments=False, alt_texts=False)
        return plain, version("resiliparse")
    if system == "limit":
        from selectolax.lexbor import LexborHTMLParser

        return lambda html: (LexborHTMLParser(html).body is None and "") or "", version("selectolax")
    from trafilatura import extract

    modes = {"trafilatura-precision": {"favor_precision": True}, "trafilatura-fast": {"fast": True}, "trafilatura": {}}
    return lambda html: extract(html, include_comments=False, **modes[system]) or "", version("trafilatura")


def run(system: str, data: Path, name: str) -> Row:
    """One system over one set of pages."""
    pages = sets_of(data)[name]
    read, release = extractor(system)
    found = [read(page.html) for page in pages]  # imports and compiles, and lets the allocator settle
    passes, started, clock = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - started < LEAST_SECONDS:
        for page in pages:
            read(page.html)
        passes += 1
    seconds, cpu = (time.perf_counter() - started) / passes, (time.process_time() - clock) / passes
    row: Row = {
        "version": release,
        "pages": name,
        "documents": len(pages),
        "bytes": sum(len(page.html.encode()) for page in pages),
        "seconds": seconds,
        "cpu_seconds": cpu,
    }
    if system != "limit":
        scores = shingle_scores((page.gold, text) for page, text in zip(pages, found, strict=True))
        row |= {key: round(value, 4) for key, value in zip(("precision", "recall", "f1"), scores, strict=True)}
    return row


def main() -> None:
    """Runs one system where asked to, else all of them side by side."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data", type=Path, default=DATA / "html", help="folder with ground-truth.json and html/, or of such folders"
    )
    parser.add_argument("--peers", default=PEERS, help="systems beside gristmill")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(run(arguments.one[0], arguments.data, arguments.one[1])))
        return
    sets = list(sets_of(arguments.data))
    systems = ["gristmill", *(peer for peer in arguments.peers.split(",") if peer)]
    rows: list[Row] = []
    for name in sets:
        command = [sys.executable, "-m", "benchmarks.extract", "--data", str(arguments.data), "--one"]
        rows += side_by_side(
            {system: partial(measure, [*command, system, name]) for system in systems}, arguments.repeats
        )
    columns = {
        "pages": "pages",
        "precision": lambda row: f"{row['precision']:.3f}" if "f1" in row else "",
        "recall": lambda row: f"{row['recall']:.3f}" if "f1" in row else "",
        "F1": lambda row: f"{row['f1']:.4f}" if "f1" in row else "",
    }
    write_results("extract", "Extraction", TEXT, rows, columns, arguments.json)


if __name__ == "__main__":
    main()
