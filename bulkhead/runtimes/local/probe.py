"""The readiness probe of a local pod: HTTP GET on loopback, in a thread, so that nothing waits for it."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Mapping
from typing import Any

_STARTING_S = 0.25


class ReadinessProbe:
    """Kubernetes' ``readinessProbe.httpGet``.

    Args:
        spec: the probe in its JSON form, or None where the container has none (it is then ready at once).
    """

    def __init__(self, spec: Mapping[str, Any] | None) -> None:
        self.ready = spec is None
        self._spec = spec
        self._period_s = float((spec or {}).get("periodSeconds") or 10)
        self._timeout_s = float((spec or {}).get("timeoutSeconds") or 1)
        self._next = time.monotonic()
        self._result: bool | None = None
        self._thread: threading.Thread | None = None

    def next_at(self) -> float | None:
        """When ``poll`` wants to be called next (``time.monotonic``), or None for never."""
        return self._next if self._spec is not None else None

    def poll(self) -> bool:
        """Start a probe that is due, take in one that has answered.

        Returns:
            Whether readiness has changed.
        """
        now = time.monotonic()
        if self._spec is None or now < self._next:
            return False
        if self._thread is not None and self._thread.is_alive():
            self._next = now + 0.1
            return False
        changed = self._result is not None and self._result != self.ready
        if self._result is not None:
            self.ready, self._result = self._result, None
            # A server that is still starting is looked at more often: its first second of service counts.
            self._next = now + (self._period_s if self.ready else min(self._period_s, _STARTING_S))
            self._thread = None
        else:
            self._thread = threading.Thread(target=self._probe, daemon=True)
            self._thread.start()
            self._next = now + 0.1
        return changed

    def _probe(self) -> None:
        assert self._spec is not None
        get = self._spec["httpGet"]
        connection = http.client.HTTPConnection("127.0.0.1", int(get["port"]), timeout=self._timeout_s)
        try:
            connection.request("GET", get.get("path") or "/")
            self._result = 200 <= connection.getresponse().status < 400
        except (OSError, http.client.HTTPException):  # not listening yet is an answer: not ready
            self._result = False
        finally:
            connection.close()
