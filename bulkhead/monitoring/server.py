"""The port of probes and metrics."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_1_0_0, generate_latest

from bulkhead.errors import UnavailableError
from bulkhead.http_handler import HttpHandler

log = logging.getLogger(__name__)

_PLAIN = "text/plain; charset=utf-8"
_FAILING = b"failing; the log says why\n"

Page = tuple[Callable[[], bytes], str]
"""Gives a body, and its content type."""

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
        pages: what else there is to read, by path, as ``/metrics`` is.
    """

    daemon_threads = True

    def __init__(
        self,
        address: tuple[str, int],
        hung: Probe,
        not_ready: Probe,
        registry: CollectorRegistry,
        token: str | None,
        pages: Mapping[str, Page] | None = None,
    ) -> None:
        self.probes = {"/livez": hung, "/readyz": not_ready}
        self.token = token
        self.pages = {"/metrics": (lambda: generate_latest(registry), CONTENT_TYPE_PLAIN_1_0_0), **(pages or {})}
        super().__init__(address, _MonitoringHandler)


@contextmanager
def listening(field: str, address: tuple[str, int], *served: Any) -> Iterator[MonitoringServer]:
    """A server in a thread of its own, for as long as the context lasts.

    Args:
        field: of the configuration, that has the port.
        served: further arguments of ``MonitoringServer``.

    Raises:
        UnavailableError: the port is taken.
    """
    try:
        server = MonitoringServer(address, *served)
    except OSError as error:
        raise UnavailableError(f"{field} {address[1]}: {error}; name one that is free") from error
    thread = threading.Thread(target=server.serve_forever, name="monitoring", daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


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
        elif path not in self.server.pages or self.server.token == "":
            self.answer(404, b"/livez, /readyz; /metrics where a token is configured\n", _PLAIN)
        elif self.server.token is not None and not self.gives(self.server.token):
            self.answer(401, b"give the bearer token\n", _PLAIN)
        else:
            self._answer_page(*self.server.pages[path])

    def _answer_page(self, read: Callable[[], bytes], content_type: str) -> None:
        try:
            self.answer(200, read(), content_type)
        except UnavailableError as error:
            self.answer(503, f"{error}\n".encode(), _PLAIN)
