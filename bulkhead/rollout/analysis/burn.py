"""The burn rate of an objective, in several windows at once.

The burn rate is the share of failures divided by the share that the objective allows: at 1 the error budget is used up
exactly at the period's end. The SRE workbook (Google, "Alerting on SLOs", table 5-8) asks for it in a long window, so
that it matters, and in a short one, so that it goes on now: 1 h and 5 min at 14.4, 6 h and 30 min at 6, 3 d and 6 h at
1. For a rollout these are scaled: its length takes the place of the three days.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from bulkhead.events import Rule
from bulkhead.metrics.counters import Counters
from bulkhead.rollout.analysis.findings import Finding
from bulkhead.rollout.analysis.sequential import share_above

KEPT = 200
"""Readings of a rollout that are kept, at most."""

_SHORT = 12
"""The long window is so many short ones."""

_MIN_FAILURES = 3
"""Fewer failures in the long window say nothing, whatever the rate."""


@dataclass(frozen=True)
class BurnWindow:
    """One condition of an alert.

    Attributes:
        long_s: length of the long window, in seconds.
        short_s: length of the short one, in seconds.
        factor: burn rate that both must reach.
    """

    long_s: float
    short_s: float
    factor: float


WORKBOOK = (BurnWindow(3600, 300, 14.4), BurnWindow(21600, 1800, 6.0), BurnWindow(259200, 21600, 1.0))
"""The SRE workbook's own windows, for a service that runs for weeks."""


@dataclass(frozen=True)
class BurnReading:
    """Counters of one revision at a time.

    Attributes:
        at: when.
        counters: cumulative.
    """

    at: datetime
    counters: Counters


@dataclass(frozen=True)
class Burn:
    """A condition that is met.

    Attributes:
        window: of it.
        long: burn rate in the long window.
        short: burn rate in the short one.
        failures: in the long window.
        requests: in the long window.
    """

    window: BurnWindow
    long: float
    short: float
    failures: int
    requests: int

    def described(self, objective: float) -> str:
        """For people.

        Args:
            objective: share of requests that has to succeed.
        """
        return (
            f"the error budget of {objective:.3%} burns {self.long:.1f} times too fast over {self.window.long_s:g} s "
            f"and {self.short:.1f} times over {self.window.short_s:g} s: {self.failures} of {self.requests} failed"
        )


def scaled(length_s: float) -> tuple[BurnWindow, ...]:
    """The workbook's windows with another length in the place of three days.

    Args:
        length_s: the rollout's, in seconds.
    """
    by = length_s / WORKBOOK[-1].long_s
    return tuple(BurnWindow(row.long_s * by, row.long_s * by / _SHORT, row.factor) for row in WORKBOOK)


def burning(
    readings: Sequence[BurnReading], objective: float, windows: Sequence[BurnWindow], min_failures: int
) -> Burn | None:
    """The first condition that is met.

    Args:
        readings: in the order of their time, the last one now; a window that they do not cover is not judged.
        objective: share of requests that has to succeed, below 1.
        min_failures: fewest failures in the long window; below that a burn rate says nothing.
    """
    for window in windows:
        long, short = _since(readings, window.long_s), _since(readings, window.short_s)
        if long is None or short is None or long[1] < min_failures:
            continue
        rates = [failures / requests / (1 - objective) if requests else 0.0 for requests, failures in (long, short)]
        if min(rates) >= window.factor:
            return Burn(window, rates[0], rates[1], long[1], long[0])
    return None


def _since(readings: Sequence[BurnReading], seconds: float) -> tuple[int, int] | None:
    """Requests and failures of the last so many seconds; None where the readings do not cover them, or were reset."""
    if not readings:
        return None
    last, begin = readings[-1], readings[-1].at - timedelta(seconds=seconds)
    first = max((reading for reading in readings if reading.at <= begin), key=lambda reading: reading.at, default=None)
    if first is None:
        return None
    requests = last.counters.valid - first.counters.valid
    failures = last.counters.failures - first.counters.failures
    return None if min(requests, failures) < 0 else (requests, failures)


def burn(objective: float, readings: Sequence[BurnReading], length_s: float) -> Finding:
    """The burn rate as a rule of a rollout, with a chance of a false alarm that is known.

    A window that begins at a reading that was kept is a test of its own, valid at any moment; so the number of
    readings, at most ``KEPT`` for each of the conditions, is all that must be paid for letting the windows move.

    Args:
        objective: share of the candidate's requests that has to succeed, below 1.
        readings: of the candidate, at most ``KEPT`` and the last one now.
        length_s: the rollout's, in seconds.
    """
    fastest = burning(readings, objective, scaled(length_s), _MIN_FAILURES)
    if fastest is None:
        return Finding(Rule.BURN, 0.0, "the error budget does not burn too fast in any window")
    limit = min(0.5, fastest.window.factor * (1 - objective))
    strength = share_above(fastest.failures, fastest.requests, limit) - math.log(len(WORKBOOK) * KEPT)
    return Finding(Rule.BURN, strength, fastest.described(objective))


def keep(readings: list[BurnReading], now: BurnReading, length_s: float) -> list[BurnReading]:
    """Add a reading, and drop what is no longer needed: at most ``KEPT`` remain, evenly over the rollout's length.

    Args:
        readings: so far, oldest first; the last one may lie as close to the one before as it likes.
        length_s: the rollout's, in seconds.
    """
    apart = timedelta(seconds=length_s / (KEPT - 2))
    if len(readings) >= 2 and readings[-1].at - readings[-2].at < apart:
        readings = readings[:-1]
    return [*readings, now][-KEPT:]
