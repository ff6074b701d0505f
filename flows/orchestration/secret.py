"""The secret of a Prefect server on this machine: made when it starts, readable by its user alone, found by commands."""

from __future__ import annotations

import base64
import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

HOST = "127.0.0.1"
USER = "gristmill"
CLIENT, SERVER = "PREFECT_API_AUTH_STRING", "PREFECT_SERVER_API_AUTH_STRING"  # in the environment


def new_secret() -> str:
    """Credentials that nobody knows yet, ``user:password`` as Prefect takes them."""
    return f"{USER}:{secrets.token_urlsafe(32)}"


def basic(secret: str) -> str:
    """Credentials as HTTP's basic authentication writes them."""
    return base64.b64encode(secret.encode()).decode()


def _file(port: int) -> Path:
    home = Path(os.environ.get("PREFECT_HOME") or Path.home() / ".prefect")
    return home / f"gristmill-{port}.secret"


@contextlib.contextmanager
def told(port: int, secret: str) -> Iterator[None]:
    """While the block runs, other commands of this user find the secret of the server at that port."""
    path = _file(port)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # one that an earlier server left may be open to others
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(secret)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def secret_for(address: str) -> str | None:
    """The secret of the server on this machine that an API address names, where ``gristmill ui`` runs it."""
    parts = urlsplit(address)
    if parts.hostname not in (HOST, "localhost") or parts.port is None:
        return None
    with contextlib.suppress(OSError):
        return _file(parts.port).read_text()
    return None
