"""kept: how much of manuals, code, books, web pages and other languages each shipped policy keeps."""

from __future__ import annotations

import argparse
import re
import sysconfig
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.harness import DATA, Row, write_results
from benchmarks.pages import sets_of
from tasks.extract.main_text import main_text
from tasks.repetition.stage import SIGNALS as OF_REPETITION
from tasks.select import policy
from tasks.select.policy import passing
from tasks.signals.stage import measure
from tasks.web.charsets import decode
from tasks.web.parsing import parse

MOST = 600  # documents of a kind
LANGUAGES = ("de", "en", "es", "fr", "zh")
TEXT = (
    f"Main texts of pages, files of code and books, at most {MOST} of a kind; the share of documents that break no rule of a "
    "policy, and the rule that most of the others break first. Policies after papers are for English prose from crawls: of "
    "manuals they take those whose lines are short, of code nearly all, of other languages all. `documentation` and `site` are "
    "this project's own (their reasons stand in their files). What recurs within a source and the policies that draw are left out."
)


def kinds() -> dict[str, list[str]]:
    """Kind of text -> texts."""
    found: dict[str, list[str]] = {
        "manuals (PostgreSQL, Django), English": list(_site("site-postgresql-django.tar.xz", "")),
    }
    for language in LANGUAGES:
        found[f"a handbook, {language}"] = list(_site("site-debian-handbook-5-languages.tar.xz", language))
    pages = sets_of()["pages-by-segments"]
    for language, name in (("en", "English"), ("de", "German")):
        found[f"web pages, {name}"] = [main_text(parse(page.html)) for page in pages if page.language == language]
    found["threads of forums, German and English"] = [main_text(parse(p.html)) for p in pages if p.kind == "forum"]
    library = Path(sysconfig.get_path("stdlib"))
    found["code (Python's library)"] = [path.read_text(errors="replace") for path in sorted(library.glob("*.py"))]
    with tarfile.open(DATA / "prose" / "classic-books.tar.xz") as archive:
        books = [archive.extractfile(member) for member in archive.getmembers() if member.isfile()]
        chapters = (text[:20_000] for stream in books if stream for text in [stream.read().decode("utf-8", "replace")])
        found["books, English, their first 20,000 characters"] = list(chapters)
    return {kind: [text for text in texts if text][:MOST] for kind, texts in found.items()}


def _site(name: str, language: str) -> Iterator[str]:
    with tarfile.open(DATA / "html" / name) as archive:
        for member in archive:
            if member.name.endswith(".html") and (
                not language or re.search(rf"/{language}(-[A-Z]+)?/", f"/{member.name}")
            ):
                stream = archive.extractfile(member)
                assert stream is not None
                yield main_text(parse(decode(stream.read(), "text/html")))


def row_of(kind: str, texts: list[str]) -> Row:
    """The share of texts that each policy keeps, and what most others break first."""
    columns = {"doc_id": [str(n) for n in range(len(texts))]} | {
        name: pa.array(column, from_pandas=True) for name, column in measure(pa.array(texts, pa.string())).items()
    }
    columns |= {signal.name: np.zeros(len(texts)) for signal in OF_REPETITION}
    row: Row = {"kind": kind, "documents": len(texts)}
    for name in policy.names():
        asked = policy.load(name)
        rules = [rule for rule in asked.rules if rule.signal in columns and not (rule.pareto or rule.top_share)]
        checks = asked.model_copy(update={"rules": tuple(rules)}).checks(pa.table(columns), 1, {})
        kept = passing(checks, len(texts))
        broken = [next(check.label for check in checks if check.broken[n]) for n in np.flatnonzero(~kept)]
        (most, _), *_ = Counter(broken).most_common(1) or [("", 0)]
        row[name] = f"{kept.mean():.0%}" + (f" ({most})" if most else "")
    return row


def main() -> None:
    """All kinds under all policies."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="file for the figures")
    arguments = parser.parse_args()
    rows = [row_of(kind, texts) for kind, texts in kinds().items()]
    columns = {name: name for name in policy.names()}
    write_results(
        "kept", "What policies keep", TEXT, rows, columns, arguments.json, {"kind": "kind", "documents": "documents"}
    )


if __name__ == "__main__":
    main()
