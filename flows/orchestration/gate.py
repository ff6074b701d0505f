"""Prefect's server as it is run here, with what it leaves open closed in front of it: ``python -m flows.orchestration.gate PORT``.

Prefect answers whatever host a request names and whatever page it comes from, so a page in a browser on this machine could
ask its API, by its address or by a name that is bound to it anew. Here a request names this server as its host, and a page
that asks is one of this server's own. The secret that the API wants besides comes to a browser by the link that
``gristmill ui`` prints: it stands behind the #, which no browser sends.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from flows.orchestration.secret import HOST

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN = "/open"  # the page that takes the secret from behind the # to where Prefect's UI looks for it
MISDIRECTED, FORBIDDEN = 421, 403
POLICY_VIOLATION = 1008  # of a web socket
GRACE_SECONDS = 3  # that connections have to end, once the server is told to
_OPEN_PAGE = b"""<!doctype html><title>Gristmill</title>
<script>localStorage.setItem("prefect-password", location.hash.slice(1)); location.replace("/")</script>"""
# No page may show this one inside of itself and have people click there.
_ALONE = [(b"x-frame-options", b"DENY"), (b"content-security-policy", b"frame-ancestors 'none'")]


def origins(port: int) -> list[str]:
    """The origins of the server's own pages."""
    return [f"http://{name}:{port}" for name in (HOST, "localhost")]


class Gate:
    """An ASGI application in front of another one."""

    def __init__(self, application: Application, port: int) -> None:
        self._application = application
        self._origins = {origin.encode() for origin in origins(port)}
        self._hosts = {origin.removeprefix(b"http://") for origin in self._origins}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._application(scope, receive, send)
            return
        status, why = self._refusal(scope["headers"])
        if status and scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": why})
        elif status:
            await _answer(send, status, why.encode(), b"text/plain")
        elif scope["type"] == "http" and scope["path"] == OPEN:
            await _answer(send, 200, _OPEN_PAGE, b"text/html")
        else:
            await self._application(scope, receive, _alone(send))

    def _refusal(self, headers: list[tuple[bytes, bytes]]) -> tuple[int, str]:
        """The status and the reason with which a request is refused; 0 where it is not."""
        if not {value.lower() for name, value in headers if name == b"host"} <= self._hosts:
            return MISDIRECTED, "this server has another name: open it by the address that gristmill ui printed\n"
        if not {value.lower() for name, value in headers if name == b"origin"} <= self._origins:
            return FORBIDDEN, "pages of other servers may not ask this one\n"
        return 0, ""


def _alone(send: Send) -> Send:
    async def with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", []), *_ALONE]
        await send(message)

    return with_headers


async def _answer(send: Send, status: int, content: bytes, kind: bytes) -> None:
    headers = [(b"content-type", kind + b"; charset=utf-8"), (b"content-length", b"%d" % len(content)), *_ALONE]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


def main() -> None:
    """Serves Prefect on the loopback port that the command line names, by the settings in the environment."""
    import uvicorn
    from prefect.server.api.server import create_app

    port = int(sys.argv[1])
    application: Any = create_app(final=True)
    uvicorn.run(
        Gate(application, port),
        host=HOST,
        port=port,
        log_level="warning",
        lifespan="on",
        timeout_graceful_shutdown=GRACE_SECONDS,
    )


if __name__ == "__main__":
    main()
