"""A web server of a test's own, on a free port of this machine."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def serve(handler: type[BaseHTTPRequestHandler]) -> ThreadingHTTPServer:
    """Answers as the handler does, without a word, until it is shut down."""
    quiet = type("Quiet", (handler,), {"log_message": lambda *_: None})
    server = ThreadingHTTPServer(("127.0.0.1", 0), quiet)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def root_of(server: ThreadingHTTPServer) -> str:
    """Its address, without a slash at the end."""
    return f"http://127.0.0.1:{server.server_port}"
