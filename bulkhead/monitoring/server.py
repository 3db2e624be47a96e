"""The port of probes and metrics."""

from __future__ import annotations

import hmac
import logging
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_1_0_0, generate_latest

log = logging.getLogger(__name__)

_TIMEOUT_S = 10

Probe = Callable[[], str | None]
"""Why something is not well; None where it is."""


class MonitoringServer(ThreadingHTTPServer):
    """Answers ``/livez``, ``/readyz`` and ``/metrics``. A probe needs no token, and says yes or no.

    Args:
        address: host and TCP port to listen on.
        hung: why the part has to be started anew.
        not_ready: why it does not do its work now.
        registry: of the metrics.
        token: that ``/metrics`` wants as a bearer token; None: it wants none; empty: it is not there.
    """

    daemon_threads = True

    def __init__(
        self, address: tuple[str, int], hung: Probe, not_ready: Probe, registry: CollectorRegistry, token: str | None
    ) -> None:
        self.probes = {"/livez": hung, "/readyz": not_ready}
        self.registry, self.token = registry, token
        super().__init__(address, _MonitoringHandler)


class _MonitoringHandler(BaseHTTPRequestHandler):
    server: MonitoringServer
    timeout = _TIMEOUT_S
    server_version, sys_version = "bulkhead", ""

    def do_GET(self) -> None:
        """A probe, or the metrics."""
        path = self.path.partition("?")[0]
        probe = self.server.probes.get(path)
        if probe is not None:
            why = probe()
            if why is not None:
                log.warning("%s fails: %s", path, why)  # here, and not in the answer: anybody may ask
            self._answer(200 if why is None else 503, b"ok\n" if why is None else b"failing; the log says why\n")
        elif path != "/metrics" or self.server.token == "":
            self._answer(404, b"/livez, /readyz; /metrics where a token is configured\n")
        elif not self._authorized():
            self._answer(401, b"give the bearer token\n")
        else:
            self._answer(200, generate_latest(self.server.registry), CONTENT_TYPE_PLAIN_1_0_0)

    def _authorized(self) -> bool:
        if self.server.token is None:
            return True
        kind, _, given = self.headers.get("Authorization", "").partition(" ")
        return kind == "Bearer" and hmac.compare_digest(given.encode(), self.server.token.encode())

    def _answer(self, status: int, body: bytes, kind: str = "text/plain; charset=utf-8") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def log_message(self, format: str, *arguments: Any) -> None:
        """Into the log, without what clients send as a path."""
        log.debug("%s", self.client_address[0])
