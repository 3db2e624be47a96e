"""Answers that many ask for at once, each made again only where what it was made of has changed."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from pydantic import BaseModel

from bulkhead.ledger.changes import Changes, Part

FRESH_S = 2.0
"""For so long an answer is given again without a look: viewers cost the ledger one short query in that time."""

OLDEST_S = 30.0
"""An answer this old is made again whatever has changed: a few columns change without an event (that an isolation is in
force, that the cluster shows a quarantine), and an event may be seen after a later one was."""

_KEPT = 512
"""Answers that are kept, beside those that are still fresh."""


@dataclass
class _Entry:
    """One answer. Whoever makes it holds its lock.

    Attributes:
        body: of it.
        made_at: by the clock; never, at first.
        good_at: when the ledger was asked last, and had not changed since it was made.
        changes: of the ledger, just before it was made.
    """

    lock: threading.Lock = field(default_factory=threading.Lock)
    body: bytes = b""
    made_at: float = -math.inf
    good_at: float = -math.inf
    changes: Changes = field(default_factory=dict)


class ResponseCache:
    """Answers by what was asked for.

    Args:
        changes: asks the ledger how far it has come.
        clock: seconds that only grow.
    """

    def __init__(self, changes: Callable[[], Changes], clock: Callable[[], float] = time.monotonic) -> None:
        self._ask, self._clock, self._lock = changes, clock, threading.Lock()
        self._entries: dict[str, _Entry] = {}
        self._looking = threading.Lock()
        self._changes: Changes = {}
        self._looked_at = -math.inf

    def give(self, key: str, parts: Part, make: Callable[[], BaseModel]) -> bytes:
        """The body of an answer.

        Args:
            key: what was asked for.
            parts: of the ledger, which it depends on.
            make: reads them; its error goes to each who asks.
        """
        with self._lock:
            self._forget()
            entry = self._entries.setdefault(key, _Entry())
        with entry.lock:
            now = self._clock()
            if now - entry.good_at >= FRESH_S:
                changes, looked_at = self._latest()
                same = all(changes[part] == entry.changes.get(part) for part in parts)
                if not same or now - entry.made_at >= OLDEST_S:
                    entry.body, entry.made_at, entry.changes = make().model_dump_json().encode(), now, changes
                entry.good_at = looked_at
            return entry.body

    def clear(self) -> None:
        """Drop all: whoever asks from now on is told of what has just changed."""
        with self._lock:
            self._entries = {}
        with self._looking:
            self._looked_at = -math.inf

    def _latest(self) -> tuple[Changes, float]:
        with self._looking:
            now = self._clock()
            if now - self._looked_at >= FRESH_S:
                self._changes, self._looked_at = self._ask(), now
            return self._changes, self._looked_at

    def _forget(self) -> None:
        """Drop what nobody has asked for lately, once there is much of it."""
        if len(self._entries) > _KEPT:
            now = self._clock()
            self._entries = {key: entry for key, entry in self._entries.items() if now - entry.good_at < FRESH_S}
