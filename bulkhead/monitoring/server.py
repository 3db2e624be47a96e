"""The port of probes and metrics."""

from __future__ import annotations

import logging
from collections.abc import Callable
from http.server import ThreadingHTTPServer

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_1_0_0, generate_latest

from bulkhead.http_handler import HttpHandler

log = logging.getLogger(__name__)

_PLAIN = "text/plain; charset=utf-8"
_FAILING = b"failing; the log says why\n"

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


class _MonitoringHandler(HttpHandler):
    server: MonitoringServer

    def do_GET(self) -> None:
        """A probe, or the metrics."""
        path = self.path.partition("?")[0]
        probe = self.server.probes.get(path)
        if probe is not None:
            why = probe()
            if why is not None:
                log.warning("%s fails: %s", path, why)  # here, and not in the answer: anybody may ask
            self.answer(200 if why is None else 503, b"ok\n" if why is None else _FAILING, _PLAIN)
        elif path != "/metrics" or self.server.token == "":
            self.answer(404, b"/livez, /readyz; /metrics where a token is configured\n", _PLAIN)
        elif self.server.token is not None and not self.gives(self.server.token):
            self.answer(401, b"give the bearer token\n", _PLAIN)
        else:
            self.answer(200, generate_latest(self.server.registry), CONTENT_TYPE_PLAIN_1_0_0)
