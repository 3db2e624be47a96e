"""Answers that many ask for at once, each made once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from pydantic import BaseModel

from bulkhead.errors import BulkheadError

FRESH_S = 1.0
"""For so long an answer is given again to whoever asks the same: viewers cost the ledger no more than that."""

_KEPT = 512
"""Answers that are kept, beside those that are still fresh."""


class ResponseCache:
    """Answers by what was asked for, each made once a second however many ask.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._bodies: dict[str, tuple[float, bytes]] = {}
        self._making: dict[str, threading.Lock] = {}

    def give(self, key: str, make: Callable[[], BaseModel]) -> bytes:
        """The body of an answer.

        Args:
            key: what was asked for.
            make: reads the ledger; its error goes to each who asks.
        """
        with self._lock:
            turn = self._making.setdefault(key, threading.Lock())
        with turn:
            kept = self._bodies.get(key)
            if kept is not None and self._clock() - kept[0] < FRESH_S:
                return kept[1]
            try:
                body = make().model_dump_json().encode()
            except BulkheadError:
                with self._lock:
                    self._making.pop(key, None)
                raise
            with self._lock:
                self._bodies[key] = (self._clock(), body)
                self._forget()
            return body

    def _forget(self) -> None:
        """Drop what nobody has asked for lately, once there is much of it."""
        if len(self._bodies) <= _KEPT:
            return
        now = self._clock()
        for key in [key for key, (at, _) in self._bodies.items() if now - at >= FRESH_S]:
            del self._bodies[key]
            self._making.pop(key, None)
