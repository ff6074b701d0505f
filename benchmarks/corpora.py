"""Real documents for benchmarks, made of the sets in ../shared/data: prose, documentation, licences, and whole web pages."""

from __future__ import annotations

import json
import random
import re
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.pages import sets_of, visible
from tasks.extract.page import PageRefused, read_page

SECTION_CHARS = (200, 12_000)


def documents(data: Path, count: int) -> list[str]:
    """So many texts of all kinds, in a seeded order: a third books, a third pages' main text, a third whole pages and licences."""
    draw = random.Random(1)
    kinds = [list(_book_sections(data, count, draw)), *_pages(data), list(_licences(data))]
    for texts in kinds:
        draw.shuffle(texts)
    books, main_texts, whole, licences = kinds
    chosen = [*licences, *main_texts[: count // 3], *whole[: count // 3]]
    chosen = [*chosen, *books[: max(0, count - len(chosen))]][:count]
    draw.shuffle(chosen)
    return chosen


def _book_sections(data: Path, count: int, draw: random.Random) -> Iterator[str]:
    """Runs of paragraphs of many lengths, from every book."""
    with tarfile.open(data / "prose" / "classic-books.tar.xz") as archive:
        for member in archive:
            stream = archive.extractfile(member) if member.isfile() else None
            if stream is None or not member.name.endswith(".md"):
                continue
            paragraphs = re.split(r"\n\s*\n", stream.read().decode("utf-8", "replace"))
            for _ in range(count // 100):
                start, length = draw.randrange(len(paragraphs)), draw.randint(*SECTION_CHARS)
                text = ""
                for paragraph in paragraphs[start:]:
                    text += " ".join(paragraph.split()) + "\n"
                    if len(text) > length:
                        break
                yield text.strip()


def _pages(data: Path) -> tuple[list[str], list[str]]:
    """The main texts of real pages, and all that can be seen on them."""
    pages = [page.html for found in sets_of(data / "html").values() for page in found]
    with tempfile.TemporaryDirectory() as folder:
        for archive in sorted((data / "html").glob("site-*.tar.*")):
            subprocess.run(["tar", "xf", archive, "-C", folder], check=True)  # noqa: S607
        pages += [path.read_text(errors="replace") for path in sorted(Path(folder).rglob("*.html"))]
    main_texts, whole = [], []
    for html in pages:
        try:
            main_texts.append(read_page(html, "http://site.example/").text)
            whole.append(visible(html))
        except PageRefused:
            continue
    return [text for text in main_texts if text], [text for text in whole if text]


def _licences(data: Path) -> Iterator[str]:
    yield from named_licences(data).values()


def named_licences(data: Path) -> dict[str, str]:
    """SPDX name -> text of a licence."""
    with tempfile.TemporaryDirectory() as folder:
        (archive,) = (data / "dedup").rglob("*.tar.zst")
        subprocess.run(["tar", "--zstd", "-xf", archive, "-C", folder], check=True)  # noqa: S607
        found = {
            path.stem: json.loads(path.read_text()).get("licenseText") for path in sorted(Path(folder).rglob("*.json"))
        }
    return {name: text for name, text in found.items() if text}
