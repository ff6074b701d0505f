"""A site to crawl, on loopback, in a process of its own: a folder of files, or pages made on the way."""

from __future__ import annotations

import argparse
import hashlib
import mimetypes
import random
from pathlib import Path

from aiohttp import web

WORDS = tuple(
    f"{a}{b}"
    for a in ("gra", "mil", "sto", "whe", "flo", "bar", "oat", "rye", "hul", "sie")
    for b in ("in", "ler", "ne", "at", "ur", "ley", "en", "ve")
)
PAGE_WORDS = 2500


def folder_site(folder: Path) -> dict[str, tuple[str, bytes]]:
    """Path -> (type, body) of the files of a folder, with a front page that links to every index."""
    files = {f"/{path.relative_to(folder).as_posix()}": path for path in sorted(folder.rglob("*")) if path.is_file()}
    pages = {
        name: (mimetypes.guess_type(name)[0] or "application/octet-stream", path.read_bytes())
        for name, path in files.items()
    }
    indexes = [name for name in pages if name.endswith("/index.html")]
    top = [name for name in indexes if name.count("/") == min(other.count("/") for other in indexes)]
    links = "".join(f'<a href="{name}">{name}</a>' for name in top)
    pages["/"] = ("text/html", f"<html><body>{links}</body></html>".encode())
    return pages


def generated_page(number: int, total: int) -> bytes:
    """A page of words with ten links, the same whenever it is asked for."""
    draw = random.Random(number)
    links = [number * 10 + n for n in range(1, 11) if number * 10 + n < total]
    text = " ".join(draw.choices(WORDS, k=PAGE_WORDS))
    anchors = "".join(f'<a href="/p/{hashlib.md5(str(n).encode()).hexdigest()[:12]}-{n}">{n}</a> ' for n in links)
    return f"<html><head><title>{number}</title></head><body><p>{text}</p>{anchors}</body></html>".encode()


def application(pages: dict[str, tuple[str, bytes]], total: int) -> web.Application:
    """The server: files from memory, or ``total`` generated pages."""

    async def answer(request: web.Request) -> web.Response:
        if total:
            number = (
                0
                if request.path == "/"
                else int(request.path.rpartition("-")[2])
                if request.path.startswith("/p/")
                else -1
            )
            if not 0 <= number < total:
                return web.Response(status=404)
            return web.Response(body=generated_page(number, total), content_type="text/html")
        found = pages.get(request.path)
        if found is None:
            return web.Response(status=404)
        kind, body = found
        etag = f'"{hashlib.md5(body).hexdigest()}"'
        if request.headers.get("If-None-Match") == etag:
            return web.Response(status=304, headers={"ETag": etag})
        return web.Response(body=body, content_type=kind, headers={"ETag": etag})

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    return app


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--generated", type=int, default=0)
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    site = folder_site(arguments.folder) if arguments.folder else {}
    web.run_app(
        application(site, arguments.generated), host="127.0.0.1", port=arguments.port, access_log=None, print=None
    )
