"""The Control Room without Airflow: the same pages and the same API, for whoever has the token."""

from __future__ import annotations

import hashlib
import secrets
import socket
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.middleware.trustedhost import TrustedHostMiddleware

from bulkhead.commands import Commands
from bulkhead.web import STANDALONE
from bulkhead.web.actions import Person
from bulkhead.web.api import create_app

_API = "/bulkhead/api"
_TOKEN = "token"
_REFUSED = "Open the address that 'bulkhead ui' has printed: it has a token that this one lacks."
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; "
    "frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_PAGE = f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Bulkhead</title>
<base href="/">
<link rel="icon" href="data:,">
<main></main>
<script type="module" src="{_API}{STANDALONE}"></script>
</html>
"""


def create_standalone(commands: Callable[[], Commands], token: str, user: str) -> FastAPI:
    """Make the application.

    Args:
        commands: see ``create_app``.
        token: who has it may read and act: in the address once, which leaves it in a cookie, or as a bearer token.
        user: in whose name that is.

    Returns:
        It. It answers under loopback's names only.
    """
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])
    # A browser sends cookies to every port of a host: each run of this has one of its own.
    cookie = f"bulkhead_{hashlib.sha256(token.encode()).hexdigest()[:12]}"

    def knows(given: str) -> bool:
        return secrets.compare_digest(given.encode(), token.encode())

    def person(request: Request) -> Person:
        bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not knows(bearer) and not knows(request.cookies.get(cookie, "")):
            raise HTTPException(401, _REFUSED)
        return Person(user, lambda _: True)

    @app.get("/")
    @app.get("/plugin/bulkhead")
    def page(request: Request) -> Response:
        if knows(request.query_params.get(_TOKEN, "")):
            # Out of the address, and so out of the history and of what is copied from it.
            clean = RedirectResponse(str(request.url.remove_query_params(_TOKEN)), 303)
            clean.set_cookie(cookie, token, httponly=True, samesite="lax")
            return clean
        allowed = knows(request.cookies.get(cookie, ""))
        return HTMLResponse(_PAGE if allowed else _REFUSED, 200 if allowed else 401, _HEADERS)

    app.mount(_API, create_app(commands, person))
    return app


def serve(commands: Callable[[], Commands], user: str, port: int, announce: Callable[[str], None]) -> None:
    """Serve on loopback until SIGINT or SIGTERM.

    Args:
        commands, user: see ``create_standalone``.
        port: to listen at; 0: a free one.
        announce: is told the address, with a token of this run.

    Raises:
        OSError: the port is taken.
    """
    token = secrets.token_urlsafe(24)
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", port))
        address = f"http://127.0.0.1:{listening.getsockname()[1]}/?{_TOKEN}={token}"
        # Its access log would have the token.
        configuration = uvicorn.Config(
            create_standalone(commands, token, user), log_level="warning", access_log=False, lifespan="off"
        )
        _Announced(configuration, lambda: announce(address)).run(sockets=[listening])


class _Announced(uvicorn.Server):
    """A server that says so once it answers, and heeds signals: not before."""

    def __init__(self, configuration: uvicorn.Config, announce: Callable[[], None]) -> None:
        super().__init__(configuration)
        self._announce = announce

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._announce()
