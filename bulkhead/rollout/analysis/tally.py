"""Counters that never fall: what each pod has counted since a window began, whatever became of the pod.

A pod that is restarted counts from zero again, one that is scaled in takes its counts with it, and a new one brings
none. Where counters of several pods are added up before the difference is taken, such a loss hides in the others'
growth, and a candidate's failures with it. So the difference is taken of each, between every two readings, and what a
pod had counted when it was last seen stays counted (as Prometheus' ``increase`` does, "rate, then sum").
"""

from __future__ import annotations

from dataclasses import replace

from bulkhead.metrics.counters import Counters, fell, minus, plus, total


class Tally:
    """One revision's counters since a window began."""

    def __init__(self, before: Counters) -> None:
        self._grown: dict[str, Counters] = dict(before.parts)
        self._last: dict[str, Counters] = dict(before.parts)

    def take(self, now: Counters) -> Counters:
        """Take a reading in.

        Args:
            now: as the source has it.

        Returns:
            The reading with parts that are at least those of every reading before; the same where the source tells of
            no parts: then it is unknown whose counter fell.
        """
        if not now.parts and not self._last:
            return now
        for name, part in now.parts.items():
            last = self._last.get(name, Counters())
            since = minus(part, last)
            # A counter that fell has begun at zero: what it shows has all come since.
            self._grown[name] = plus(self._grown.get(name, Counters()), part if fell(since) else since)
            self._last[name] = part
        summed = total(self._grown.values())
        return replace(
            now,
            requests=summed.requests,
            failures=summed.failures,
            slow=summed.slow,
            statuses=summed.statuses,
            client_errors=summed.client_errors,
            parts=dict(self._grown),
        )
