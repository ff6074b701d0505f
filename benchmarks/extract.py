"""extract: main text of real pages, its quality by their own published metrics and its speed, beside other extractors."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path

from benchmarks.extract_rules import RULES, without
from benchmarks.harness import DATA, Row, measure, side_by_side, write_results
from benchmarks.pages import KINDS, LANGUAGES, Page, scores, sets_of

PEERS = "trafilatura-precision,trafilatura-fast,trafilatura,resiliparse,limit"
GROUPS_AGAINST = "trafilatura"  # whose default mode no language and no kind of page is to be below
LEAST_SECONDS = 3.0  # that a system runs over the pages, again and again
TEXT = (
    "Real pages, one process each, pages in memory; seconds are of one pass, after a first that "
    "is not timed. `article-extraction-…` are news and blog articles of scrapinghub's article-extraction-benchmark, scored by "
    "that benchmark's own metric: multisets of word 4-grams, precision and recall averaged over pages. `readability-pages` are "
    "those of Mozilla's Readability (articles, documentation, encyclopedias, forums), scored alike. `pages-by-segments` are of "
    "trafilatura's evaluation: segments of a page that must stand in its text and others that must not, counted over all pages. "
    "`gristmill` is the default extractor; every system gives the text alone, without metadata, trafilatura without comments. "
    "`limit` is lexbor's parse alone. *Looked at* is the F1 on the half of a set that rules were made with, *held back* that on "
    "the other half, whose failures nobody has looked at since the halves were drawn (by a digest of the host). Rules of before "
    "were made with all of the first two sets.\n\n"
    "Articles and segments disagree about one thing: whether a standfirst between the headline and the body is text. Here it is."
)


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
        row |= {key: round(value, 4) for key, value in scores(pages, found)._asdict().items()}
        for half, held_back in (("looked_at", False), ("held_back", True)):
            row[half] = round(f1_of(pages, found, [page.held_back == held_back for page in pages]), 4)
        row["groups"] = {f"{kind} {group}": [n, round(f1, 4)] for kind, group, n, f1 in by_groups(pages, found)}
    return row


def f1_of(pages: Sequence[Page], texts: Sequence[str], chosen: Sequence[bool]) -> float:
    """F1 of the chosen pages."""
    some = [(page, text) for page, text, good in zip(pages, texts, chosen, strict=True) if good]
    return scores(*zip(*some, strict=True)).f1 if some else float("nan")


def by_groups(pages: Sequence[Page], texts: Sequence[str]) -> list[tuple[str, str, int, float]]:
    """(language or kind, its name, pages, F1) of the pages whose address is known."""
    if not all(page.wanted or page.unwanted for page in pages):
        return []
    found = []
    languages, kinds = [page.language for page in pages], [page.kind for page in pages]
    for label, names, of_page in (("language", LANGUAGES, languages), ("kind", KINDS, kinds)):
        for name in names:
            chosen = [said == name for said in of_page]
            if any(chosen):
                found.append((label, name, sum(chosen), f1_of(pages, texts, chosen)))
    return found


def groups_table(rows: list[Row]) -> str:
    """F1 by language and kind of page, this project's beside a peer's."""
    lines = ["| pages | number | gristmill | " + GROUPS_AGAINST + " |", "| --- | --- | --- | --- |"]
    own = {row["pages"]: row["groups"] for row in rows if row["system"] == "gristmill"}
    other = {row["pages"]: row["groups"] for row in rows if row["system"] == GROUPS_AGAINST}
    for name, groups in own.items():
        for group, (number, f1) in groups.items():
            beside = other.get(name, {}).get(group)
            lines.append(f"| {group} | {number} | {f1:.3f} | {f'{beside[1]:.3f}' if beside else ''} |")
    return "\n".join(lines)


def rules_table(data: Path) -> str:
    """What each rule adds: F1 without it, on both halves of each set, against F1 with all."""
    sets = sets_of(data)
    read, _ = extractor("gristmill")

    def halves() -> list[float]:
        f1s = []
        for pages in sets.values():
            texts = [read(page.html) for page in pages]
            f1s += [f1_of(pages, texts, [page.held_back == half for page in pages]) for half in (False, True)]
        return f1s

    whole = halves()
    names = [f"{name}, {half}" for name in sets for half in ("looked at", "held back")]
    lines = ["| without | " + " | ".join(names) + " |", "|" + " --- |" * (len(names) + 1)]
    lines.append("| nothing: F1 | " + " | ".join(f"{f1:.4f}" for f1 in whole) + " |")
    for rule in RULES:
        with without(rule):
            lines.append(
                f"| {rule} | "
                + " | ".join(f"{f1 - all_of:+.4f}" for f1, all_of in zip(halves(), whole, strict=True))
                + " |"
            )
        print(lines[-1], file=sys.stderr)
    return "\n".join(lines)


def main() -> None:
    """Runs one system where asked to, else all of them side by side."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA / "html", help="folder of sets of pages, or of one set")
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
        "looked at": lambda row: f"{row['looked_at']:.4f}" if "f1" in row else "",
        "held back": lambda row: f"{row['held_back']:.4f}" if "f1" in row else "",
    }
    text = (
        f"{TEXT}\n\nF1 by language and kind of page (as pages say it themselves; few pages of a kind say little):\n\n"
        f"{groups_table(rows)}\n\nWhat each rule adds: the change of F1 where it is left out.\n\n{rules_table(arguments.data)}"
    )
    write_results("extract", "Extraction", text, rows, columns, arguments.json)


if __name__ == "__main__":
    main()
