"""What a rollout waits for, as events: when it changes, and not at every pass."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from bulkhead.events import EventKind
from bulkhead.ledger.events import Events
from bulkhead.ledger.tables import Phase, Rollout

_MOST_A_PHASE = 20
_AGAIN = timedelta(minutes=1)
_LONGEST = timedelta(hours=1)


class _LatestWait(NamedTuple):
    """What was recorded last of a rollout, how often in its phase, and how often since it changed."""

    phase: Phase
    text: str
    times: int
    at: datetime
    still: int = 0


class WaitingRecorder:
    """Records what rollouts wait for.

    Args:
        clock: gives the time in UTC.
    """

    def __init__(self, events: Events, clock: Callable[[], datetime]) -> None:
        self._events, self._clock = events, clock
        self._latest: dict[int, _LatestWait] = {}

    def record(self, rollout: Rollout, text: str, why: str = "") -> None:
        """Record what a rollout waits for, where that is due.

        Args:
            rollout: as it was read.
            text: for people. One that is another at every pass (it has an address or a time in it) is recorded some
                times a phase, then once a minute. The same one is recorded again after 1 min, 2 min, 4 min … 1 h.
            why: with the numbers of now; may be another at every pass.
        """
        before, now = self._latest.get(rollout.id), self._clock()
        if before is None or before.phase is not rollout.phase:
            before = _LatestWait(rollout.phase, "", 0, now)
        since, still = abs(now - before.at), before.text == text
        if still:
            due = since >= min(_LONGEST, _AGAIN * 2 ** min(before.still, 6))
        else:
            due = before.times < _MOST_A_PHASE or since >= _AGAIN
        if not due:
            return
        self._latest[rollout.id] = _LatestWait(
            rollout.phase, text, before.times + 1, now, before.still + 1 if still else 0
        )
        data: dict[str, Any] = {"phase": rollout.phase, "index": rollout.step, "for": text}
        if why:
            data["why"] = why
        if still:
            data["still"] = True
        self._events.append(rollout, EventKind.WAITING, data)

    def forget_all_but(self, rollout_ids: set[int]) -> None:
        """Drop what is remembered of rollouts that have ended."""
        for ended in self._latest.keys() - rollout_ids:
            del self._latest[ended]
