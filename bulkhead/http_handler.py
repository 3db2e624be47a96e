"""What the small HTTP servers of the control plane share: whole answers, a bearer token, a quiet log."""

from __future__ import annotations

import hmac
import logging
from http.server import BaseHTTPRequestHandler
from typing import Any

log = logging.getLogger(__name__)

SHORTEST_TOKEN = 16
"""Characters; fewer are no secret."""

_TIMEOUT_S = 10


class HttpHandler(BaseHTTPRequestHandler):
    """One request a connection, each bounded in time."""

    timeout = _TIMEOUT_S
    server_version, sys_version = "bulkhead", ""

    def gives(self, token: str) -> bool:
        """Whether the request has a bearer token, compared in constant time."""
        kind, _, given = self.headers.get("Authorization", "").partition(" ")
        return kind == "Bearer" and hmac.compare_digest(given.encode(), token.encode())

    def answer(self, status: int, body: bytes, content_type: str) -> None:
        """Answer, and close the connection."""
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def log_message(self, format: str, *arguments: Any) -> None:
        """Into the log, without what clients send as a path."""
        log.debug("%s", self.client_address[0])
