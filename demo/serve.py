"""Serves a demo site on loopback: ``python -m demo.serve works --port 8601``.

Prints one JSON line, ``{"ready": URL}``, once it answers, and ends with the process that started it.
"""

from __future__ import annotations

import argparse
import errno
import hashlib
import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from demo import reference, works
from tasks.core.process import die_with_parent

HOST = "127.0.0.1"
SITES = ("works", "reference")


def cache_folder() -> Path:
    """Where downloads are kept for all stores of this user."""
    folder = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "gristmill"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def site_pages(name: str, limit: int | None) -> dict[str, tuple[str, bytes]]:
    """The pages of a site by name."""
    return works.pages(cache_folder(), limit) if name == "works" else reference.pages(limit)


def handler(site: dict[str, tuple[str, bytes]]) -> type[BaseHTTPRequestHandler]:
    """A request handler over pages in memory."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            kind, body = site.get(self.path.split("?")[0], ("", b""))
            self.send_response(200 if kind else 404)
            self.send_header("Content-Type", kind or "text/plain")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()[:16]}"')
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing: the crawl's own table is the log."""

    return Handler


def main() -> int:
    """Builds the site, serves it until the parent ends."""
    parser = argparse.ArgumentParser(description="Serve a demo site on loopback.")
    parser.add_argument("site", choices=SITES)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--limit", type=int, default=None, help="serve only so many works or modules")
    parser.add_argument("--stay", action="store_true", help="go on when the parent process ends")
    arguments = parser.parse_args()
    if not arguments.stay:
        die_with_parent()
    try:
        server = ThreadingHTTPServer((HOST, arguments.port), handler(site_pages(arguments.site, arguments.limit)))
    except OSError as error:
        sentence = (
            f"port {arguments.port} is in use: end what listens there, or give the source other seeds with --set"
            if error.errno == errno.EADDRINUSE
            else str(error)
        )
        print(json.dumps({"error": sentence}), flush=True)
        return 1
    except RuntimeError as error:
        print(json.dumps({"error": str(error)}), flush=True)
        return 1
    server.daemon_threads = True
    print(json.dumps({"ready": f"http://{HOST}:{arguments.port}/"}), flush=True)
    server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
