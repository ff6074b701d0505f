"""A loopback site that lies in every way that sites do, and knows what an honest crawl of it must find."""

from __future__ import annotations

import gzip
import hashlib
import random
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler

from tests.loopback import root_of, serve

PRIVATE_EVERY, LATE_EVERY, NOINDEX_EVERY = 17, 19, 23
ROBOTS_CHANGE_AFTER = 700  # requests
STORM_EVERY, STORM_LENGTH = 300, 12
BOMB = gzip.compress(bytes(80 << 20))


def words(number: int) -> str:
    draw = random.Random(number)
    return " ".join("".join(draw.choices("abcdefghij", k=draw.randint(2, 9))) for _ in range(120))


class LyingSite:
    """``pages`` pages in a tree, beside traps. Answers are honest after a first lie, or lie always and harmlessly."""

    def __init__(self, pages: int) -> None:
        self.pages, self.hits, self.requests = pages, Counter[str](), 0
        self.guard, self.storm = threading.Lock(), 0
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                site.serve(self)

        self.server = serve(Handler)
        self.root = root_of(self.server)

    def path(self, number: int) -> str:
        folder = "private" if number % PRIVATE_EVERY == 1 else "late" if number % LATE_EVERY == 1 else "page"
        return f"/{folder}/{number}"

    def expected(self) -> dict[str, str]:
        """URL -> SHA-256 of every page that the last robots.txt allows and that does not ask to be left out."""
        allowed = [n for n in range(self.pages) if self.path(n).startswith("/page/") and n % NOINDEX_EVERY != 1]
        return {f"{self.root}{self.path(n)}": hashlib.sha256(self.body(n)).hexdigest() for n in allowed}

    def body(self, number: int) -> bytes:
        # Every page can be reached without the pages that are forbidden: children hang below pages that are not.
        links = [self.path(n) for n in range(self.pages) if self.parent(n) == number] if number < self.pages else []
        traps = [
            "/loop/a",
            "/chain/1",
            "/bomb/1",
            f"/calendar/2026/{number % 12 + 1:02}",
            "/soft/missing",
            "/headers",
            "/unsaid",
        ]
        anchors = "".join(f'<a href="{link}">x</a>' for link in [*links, traps[number % len(traps)]])
        noindex = '<meta name="robots" content="noindex">' if number % NOINDEX_EVERY == 1 else ""
        return f"<html><head>{noindex}<title>Page {number}</title></head><body><p>{words(number)}</p>{anchors}</body></html>".encode()

    def parent(self, number: int) -> int:
        """The page that links to a page: a tenth of its number, or the nearest below that everybody may read."""
        parent = (number - 1) // 10
        while parent > 0 and (not self.path(parent).startswith("/page/")):
            parent -= 1
        return parent if number else -1

    def serve(self, request: BaseHTTPRequestHandler) -> None:
        path = request.path
        with self.guard:
            self.requests += 1
            self.hits[path] += 1
            if self.requests % STORM_EVERY == 0:
                self.storm = STORM_LENGTH
            stormy = self.storm > 0 and path != "/robots.txt"
            self.storm -= stormy
        if stormy:
            later = [
                {},
                {"Retry-After": "0"},
                {"Retry-After": time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time()))},
            ]
            self.answer(request, [429, 503][self.storm % 2], later[self.storm % 3], b"slow down")
        elif path == "/robots.txt":
            late = b"Disallow: /late\n" if self.requests > ROBOTS_CHANGE_AFTER else b""
            self.answer(request, 200, {}, b"User-agent: *\nDisallow: /private\n" + late)
        elif path == "/":
            self.answer(request, 302, {"Location": "/page/0"}, b"")
        elif path.rpartition("/")[2].isdigit() and path.split("/")[1] in ("page", "private", "late"):
            self.page(request, int(path.rpartition("/")[2]))
        else:
            self.trap(request, path)

    def page(self, request: BaseHTTPRequestHandler, number: int) -> None:
        body, kind, first = self.body(number), number % 10, self.hits[request.path] == 1
        headers = {"ETag": f'"{random.random()}"', "Content-Type": "text/html; charset=utf-8"}
        if kind == 3 and first:  # reset in mid-body
            self.answer(request, 200, headers, body[: len(body) // 2], length=len(body), reset=True)
        elif kind == 4:  # says more than it sends, always
            self.answer(request, 200, headers, body, length=len(body) + 50, reset=True)
        elif kind == 5 and number % 100 == 5:  # drop by drop
            self.answer(request, 200, headers, body, slow=0.2)
        elif kind == 6:
            self.answer(request, 200, headers | {"Content-Encoding": "gzip"}, gzip.compress(body))
        elif kind == 7 and first:
            self.answer(request, 500, {}, b"oops")
        else:
            self.answer(request, 200, headers, body)

    def trap(self, request: BaseHTTPRequestHandler, path: str) -> None:
        html = {"Content-Type": "text/html"}
        if path.startswith("/loop/"):
            self.answer(request, 301, {"Location": "/loop/b" if path.endswith("a") else "/loop/a"}, b"")
        elif path.startswith("/chain/"):
            self.answer(request, 302, {"Location": f"/chain/{int(path[7:]) + 1}"}, b"")
        elif path.startswith("/bomb/"):
            self.answer(request, 200, html | {"Content-Encoding": "gzip"}, BOMB)
        elif path.startswith("/calendar/"):
            year, month = int(path.split("/")[2]), int(path.split("/")[3])
            later = f"/calendar/{year + month // 12}/{month % 12 + 1:02}"
            self.answer(
                request,
                200,
                html,
                f'<html><body>Nothing in {month}/{year}<a href="{later}">later</a></body></html>'.encode(),
            )
        elif path == "/headers":
            self.answer(request, 200, {f"X-{n}": "x" * 1000 for n in range(200)}, b"")
        elif path == "/unsaid":
            self.answer(request, 200, {"Content-Encoding": "br", **html}, b"\x0b\x02\x80never asked for")
        else:  # a page that cannot be, answered as if it were one
            self.answer(
                request, 200, html, f"<html><body>Sorry! We looked for {path} everywhere.</body></html>".encode()
            )

    def answer(
        self,
        request: BaseHTTPRequestHandler,
        status: int,
        headers: dict[str, str],
        body: bytes,
        length: int | None = None,
        reset: bool = False,
        slow: float = 0.0,
    ) -> None:
        try:
            request.send_response(status)
            for name, value in headers.items():
                request.send_header(name, value)
            request.send_header("Content-Length", str(len(body) if length is None else length))
            request.end_headers()
            for start in range(0, len(body), max(1, len(body) // 4) if slow else max(1, len(body))):
                request.wfile.write(body[start : start + max(1, len(body) // 4)] if slow else body)
                time.sleep(slow / 4)
            if reset:
                request.wfile.flush()
                request.close_connection = True
        except OSError:
            pass
