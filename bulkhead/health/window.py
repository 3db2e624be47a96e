"""What is kept of a device's observations: enough to judge it, and no more however long it is watched."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from bulkhead.health.conditions import Condition, conditions
from bulkhead.health.observation import COUNTERS, Device, Field, Reading, XidEvent
from bulkhead.health.policy import Policy
from bulkhead.xids import STATES_ACTION, Attribution, RecommendedAction, row_of, stated_action

_MOST_EVENTS = 256


@dataclass(slots=True)
class EvidenceWindow:
    """A device's observations.

    Attributes:
        device: whose.
        latest: reading, or None where only a log spoke of it.
        source: that gave it.
        since: when each condition that is so now began, in seconds since 1970.
        growth: (time, amount) of each growth of a counter.
        xids: that it reported.
        missing: polls in a row that should have shown it and did not.
    """

    device: Device
    latest: Reading | None = None
    source: str = ""
    since: dict[Condition, float] = field(default_factory=dict)
    growth: dict[Field, list[tuple[float, float]]] = field(default_factory=dict)
    xids: list[XidEvent] = field(default_factory=list)
    missing: int = 0

    def take(self, reading: Reading, source: str, policy: Policy, against_peers: Iterable[Condition] = ()) -> None:
        """Take a reading in.

        Args:
            reading: later than those before; an earlier one (the clock was set back) restarts the conditions.
            told: what is so of it besides, against its peers.
        """
        before, same_source = self.latest, source == self.source
        self.device, self.latest, self.source = reading.device, reading, source
        self.missing = 0
        now = [*conditions(reading, before, policy), *against_peers]
        if now or self.since:
            self.since = {key: min(self.since.get(key, reading.at), reading.at) for key in now}
        if before is None:
            self._first(reading)
        elif same_source:  # two sources count from different beginnings
            self._grow(before, reading)
        if self.xids or self.growth:
            self._forget(reading.at, policy)

    def report(self, event: XidEvent) -> None:
        """Take an Xid in, unless it is known: two sources may tell of one.

        Args:
            event: the Xid. Lines of the kernel's log that mean something else (an NVLink event that has become fatal,
                a 154 that states another action) are events of their own.
        """
        near = [at for at, seen in enumerate(self.xids) if seen.xid == event.xid and abs(seen.at - event.at) <= _SAME_S]
        last = self.xids[near[-1]] if near else None
        if last is None or (last.text and event.text and _meaning(last) != _meaning(event)):
            self.xids.append(event)
        elif (event.text and not last.text) or (event.certain and not last.certain):
            # The kernel's line says more than a gauge, and a count that grows more than one that was there.
            when = last.at if last.certain else event.at
            text, certain = event.text or last.text, last.certain or event.certain
            self.xids[near[-1]] = XidEvent(when, event.xid, last.job or event.job, text, certain)

    def answer(self, at: float) -> None:
        """Forget the evidence up to a time: it was answered, by a repair that a test has confirmed.

        Args:
            at: seconds since 1970.
        """
        self.xids = [xid for xid in self.xids if xid.at > at]
        self.growth = {
            counter: kept
            for counter, grown in self.growth.items()
            if (kept := [pair for pair in grown if pair[0] > at])
        }
        self.since = {condition: max(since, at) for condition, since in self.since.items()}

    def grown(self, of: Field, since: float) -> float:
        """How much a counter grew.

        Args:
            since: from when on, in seconds since 1970.
        """
        return sum(amount for at, amount in self.growth.get(of, ()) if at >= since)

    def _first(self, reading: Reading) -> None:
        """An Xid that is there at the first poll is of an unknown age."""
        seen = {int(reading.fields.get(Field.LAST_XID, 0)), *(reading.xid_counts or {})} - {0}
        for xid in sorted(seen):
            if (reading.xid_counts or {}).get(xid, 1.0) > 0:
                self.report(XidEvent(reading.at, xid, reading.job, certain=False))

    def _grow(self, before: Reading, now: Reading) -> None:
        old, new = before.fields, now.fields
        for counter in COUNTERS:
            value = new.get(counter)
            if value is not None and value > old.get(counter, value):
                self.growth.setdefault(counter, []).append((now.at, value - old[counter]))
        if now.xid_counts is not None:
            counted = before.xid_counts or {}
            for xid, count in now.xid_counts.items():
                if count > counted.get(xid, 0.0):
                    self.report(XidEvent(now.at, xid, now.job))
            return
        last = int(new.get(Field.LAST_XID, 0))
        if last and last != int(old.get(Field.LAST_XID, last)):
            self.report(XidEvent(now.at, last, now.job))

    def _forget(self, now: float, policy: Policy) -> None:
        oldest = now - max(policy.xids.application_memory_s, policy.xids.memory_s)
        self.xids = [xid for xid in self.xids if xid.at >= oldest][-_MOST_EVENTS:]
        since = now - max(policy.xids.memory_s, 3600.0)
        self.growth = {
            counter: kept
            for counter, grown in self.growth.items()
            if (kept := [pair for pair in grown if pair[0] >= since][-_MOST_EVENTS:])
        }


_SAME_S = 60.0
"""Two sources that tell of one Xid are at most so far apart: a scrape's interval, in seconds."""


def _meaning(event: XidEvent) -> tuple[Attribution, RecommendedAction, RecommendedAction | None]:
    row = row_of(event.xid, event.text)
    return row.attribution, row.action, stated_action(event.text) if event.xid == STATES_ACTION else None
