"""Answers that many ask for at once, each made again only where what it was made of has changed."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from pydantic import BaseModel

from bulkhead.ledger.changes import NOTHING_KNOWN, Changes

FRESH_S = 2.5
"""For so long an answer is given again without a look: viewers cost the ledger one short query in that time."""

OLDEST_S = 60.0
"""An answer this old is made again whatever has changed: some columns change without an event (when a watch has
looked, that the cluster shows a quarantine), and an event may be seen after a later one was."""

_KEPT = 128
"""Answers that are kept, beside those that somebody watches."""

_WATCHED_S = 4 * FRESH_S
"""What was asked for so lately is watched: a page asks every two seconds."""


@dataclass
class _Entry:
    """One answer. Whoever makes it holds its lock.

    Attributes:
        body: of it.
        made_at: by the clock; never, at first.
        good_at: when the ledger was asked last, and had not changed since it was made.
        made_of: how far each topic had come that it depends on, just before it was made; of the ledger.
    """

    lock: threading.Lock = field(default_factory=threading.Lock)
    body: bytes = b""
    made_at: float = -math.inf
    good_at: float = -math.inf
    made_of: dict[str, str | None] = field(default_factory=dict)


class ResponseCache:
    """Answers by what was asked for.

    Args:
        changes: asks the ledger how far it has come, given what it has answered last.
        clock: seconds that only grow.
    """

    def __init__(self, changes: Callable[[Changes], Changes], clock: Callable[[], float] = time.monotonic) -> None:
        self._ask, self._clock, self._lock = changes, clock, threading.Lock()
        self._entries: dict[str, _Entry] = {}
        self._looking = threading.Lock()
        self._changes = NOTHING_KNOWN
        self._looked_at = -math.inf

    def give(self, key: str, make: Callable[[], tuple[BaseModel, Collection[str]]]) -> bytes:
        """The body of an answer.

        Args:
            key: what was asked for.
            make: reads it, and says on which topics of the ledger it depends; its error goes to each who asks.
        """
        with self._lock:
            self._forget()
            entry = self._entries.setdefault(key, _Entry())
        with entry.lock:
            now = self._clock()
            if now - entry.good_at >= FRESH_S:
                changes, looked_at = self._latest()
                same = all(changes.get(topic) == mark for topic, mark in entry.made_of.items())
                if not same or now - entry.made_at >= OLDEST_S:
                    document, topics = make()
                    entry.body, entry.made_at = document.model_dump_json().encode(), now
                    entry.made_of = {topic: changes.get(topic) for topic in topics}
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
                self._changes, self._looked_at = self._ask(self._changes), now
            return self._changes, self._looked_at

    def _forget(self) -> None:
        """Drop what nobody watches, once there is much of it."""
        if len(self._entries) > _KEPT:
            now = self._clock()
            self._entries = {key: entry for key, entry in self._entries.items() if now - entry.good_at < _WATCHED_S}
