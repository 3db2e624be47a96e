"""The webhook that Alertmanager posts to: outside Airflow, so that an alert is heard whatever becomes of it."""

from __future__ import annotations

import json
import logging
from http.server import ThreadingHTTPServer
from typing import Any

from bulkhead.alerts.alertmanager import Responder, parse_alerts
from bulkhead.errors import InvalidInputError, UnavailableError
from bulkhead.http_handler import SHORTEST_TOKEN, HttpHandler
from bulkhead.logs import about
from bulkhead.text import bounded, storable

log = logging.getLogger(__name__)

PATH = "/alertmanager"
_MOST_BYTES = 1024 * 1024
_MOST_DISCARDED = 16 * _MOST_BYTES


class AlertServer(ThreadingHTTPServer):
    """Hears alerts. Everybody needs the token, except for ``GET /ping``.

    Args:
        address: host and TCP port to listen on.
        responder: does what alerts ask for.

    Raises:
        InvalidInputError: the token is too short to be a secret.
    """

    daemon_threads = True

    def __init__(self, address: tuple[str, int], token: str, responder: Responder) -> None:
        if len(token) < SHORTEST_TOKEN:
            raise InvalidInputError("token", "<hidden>", f"give at least {SHORTEST_TOKEN} characters")
        self.token, self.responder = token, responder
        super().__init__(address, _AlertsHandler)


class _AlertsHandler(HttpHandler):
    server: AlertServer

    def do_GET(self) -> None:
        """Say that the server lives."""
        self._tell(200 if self.path == "/ping" else 404, {})

    def do_POST(self) -> None:
        """Hear alerts. 503 makes Alertmanager tell them again; any other answer does not."""
        length = self.headers.get("Content-Length", "")
        if not self.gives(self.server.token):
            self._tell(401, {"error": "give the bearer token"})
        elif self.path != PATH:
            self._tell(404, {"error": f"alerts are heard at {PATH}"})
        elif not length.isdigit() or int(length) > _MOST_BYTES:
            self._discard(min(int(length), _MOST_DISCARDED) if length.isdigit() else 0)
            self._tell(413, {"error": f"give a Content-Length of at most {_MOST_BYTES}"})
        else:
            self._tell(*self._hear(self.rfile.read(int(length))))

    def _discard(self, length: int) -> None:
        """Read what is refused and throw it away: who still writes would meet a broken pipe in place of the answer."""
        while length > 0:
            read = len(self.rfile.read(min(length, 65536)))
            if not read:
                return
            length -= read

    def _hear(self, body: bytes) -> tuple[int, dict[str, Any]]:
        try:
            alerts = parse_alerts(json.loads(body))
        except (ValueError, RecursionError) as error:  # no JSON, or no payload
            return 400, {"error": bounded(str(error))}
        status, done = 200, []
        for alert in alerts:  # one that cannot be carried out keeps none of the others from it
            did = ""
            with about(service=alert.service, revision=alert.revision):
                try:
                    did = self.server.responder.respond(alert)
                    log.info("alert %s: %s", storable(alert.name), did)
                except UnavailableError as error:
                    status, did = 503, f"is to be told again: {error}"
                    log.warning("alert %s %s", storable(alert.name), did)
                except Exception as error:
                    status, did = 503, f"failed: {type(error).__name__}"
                    log.exception("alert %s %s", storable(alert.name), did)
            done.append({"alert": alert.name, "did": bounded(did)})
        return status, {"alerts": done}

    def _tell(self, status: int, document: dict[str, Any]) -> None:
        self.answer(status, json.dumps(document).encode(), "application/json")
