"""Answers that many ask for at once, each made once."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from pydantic import BaseModel

FRESH_S = 1.0
"""For so long an answer is given again to whoever asks the same: viewers cost the ledger no more than that."""

_KEPT = 512
"""Answers that are kept, beside those that are still fresh."""


@dataclass
class _Entry:
    """One answer: who makes it holds its lock. Attributes: made_at (by the clock; never, at first), body."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    made_at: float = -math.inf
    body: bytes = b""


class ResponseCache:
    """Answers by what was asked for, each made once a second however many ask.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._entries: dict[str, _Entry] = {}

    def give(self, key: str, make: Callable[[], BaseModel]) -> bytes:
        """The body of an answer.

        Args:
            key: what was asked for.
            make: reads the ledger; its error goes to each who asks.
        """
        with self._lock:
            self._forget()
            entry = self._entries.setdefault(key, _Entry())
        with entry.lock:
            if self._clock() - entry.made_at >= FRESH_S:
                entry.body = make().model_dump_json().encode()
                entry.made_at = self._clock()
            return entry.body

    def clear(self) -> None:
        """Drop all: whoever asks from now on is told of what has just changed."""
        with self._lock:
            self._entries = {}

    def _forget(self) -> None:
        """Drop what nobody has asked for lately, once there is much of it."""
        if len(self._entries) > _KEPT:
            now = self._clock()
            self._entries = {key: entry for key, entry in self._entries.items() if now - entry.made_at < FRESH_S}
