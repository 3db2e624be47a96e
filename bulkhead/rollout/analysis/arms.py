"""What a revision did during a window: the difference of two readings of its counters."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bulkhead.metrics.counters import Answers, Counters, fell, minus, total
from bulkhead.rollout.analysis.tally import Tally


@dataclass(frozen=True)
class Arm:
    """What one revision did during a window.

    Attributes:
        requests: answered.
        failures: of those, the server's failures.
        timed: requests in the latency histogram (it lags the counters by up to a second).
        slow: of those, over the latency bound.
        above: of those, over each bound of the histogram, in milliseconds.
        answers: what the model answered; None where that could not be read, or was reset.
        active: requests in flight at the window's end.
        client_errors: of the requests, the clients' mistakes.
        statuses: of the requests, by HTTP status; see ``Counters.statuses``.
    """

    requests: int
    failures: int
    timed: int
    slow: int
    above: Mapping[float, int] = field(default_factory=dict)
    answers: Answers | None = field(default_factory=Answers)
    active: int = 0
    client_errors: int = 0
    statuses: Mapping[str, int] = field(default_factory=dict)

    @property
    def valid(self) -> int:
        """Requests that say something of the release: a client's mistakes neither fail it nor hide its failures."""
        return self.requests - self.client_errors


def arm(before: Counters, after: Counters, latency_ms: float) -> Arm | None:
    """What happened between two readings of cumulative counters.

    Args:
        before: at the start of the window.
        latency_ms: a request that took longer is slow; the first histogram bound not below it is used.

    Returns:
        The differences; None if a counter fell, which means that it was reset and says nothing. Where the source tells
        pods apart, what each has counted since: one that was restarted counts from zero.
    """
    answers = _answered(before, after)
    if before.parts or after.parts:
        before, after = total(before.parts.values()), Tally(before).take(after)
    timed = _at(after, math.inf) - _at(before, math.inf)
    above = {edge: timed - (_at(after, edge) - _at(before, edge)) for edge in after.slow if edge < math.inf}
    bounds = [edge for edge in above if edge >= latency_ms]
    slow = above[min(bounds)] if bounds else 0
    since = minus(after, before)
    if fell(since) or min([timed, *above.values()]) < 0:
        return None
    statuses = {status: count for status, count in since.statuses.items() if count}
    return Arm(since.requests, since.failures, timed, slow, above, answers, after.active, since.client_errors, statuses)


def quantile(seen: Arm, share: float) -> tuple[float, float] | None:
    """Between which two bounds of the histogram a quantile of the latencies lies.

    Args:
        share: 0.99 for the 99th percentile.

    Returns:
        Lower and upper bound in milliseconds, the upper one infinite where no bound is above it; None without
        latencies. More cannot be said: inside a bucket nothing is known of the distribution.
    """
    if not seen.timed:
        return None
    lower = 0.0
    for edge, over in sorted(seen.above.items()):
        if (seen.timed - over) / seen.timed >= share:
            return lower, edge
        lower = edge
    return lower, math.inf


def shown(seen: Arm | None) -> dict[str, Any] | None:
    """An arm as numbers for the event log."""
    if seen is None:
        return None
    numbers: dict[str, Any] = {name: getattr(seen, name) for name in ("requests", "failures", "timed", "slow")}
    if seen.client_errors:
        numbers["client_errors"] = seen.client_errors
    if wrong := {status: count for status, count in seen.statuses.items() if status[0] != "2"}:
        numbers["statuses"] = wrong
    for name, q in (("p50_ms", 0.5), ("p99_ms", 0.99)):
        if (interval := quantile(seen, q)) is not None:
            numbers[name] = [bound if math.isfinite(bound) else "inf" for bound in interval]
    if seen.answers is not None and seen.answers.seen:
        numbers["answers"] = {"seen": seen.answers.seen, "invalid": seen.answers.invalid}
    if seen.answers is not None and seen.answers.compared:
        numbers["agreed"] = [seen.answers.agreed, seen.answers.compared]
    return numbers


def share(events: int, trials: int) -> float:
    """The share of events, 0 without trials."""
    return events / trials if trials else 0.0


def rate(events: int, trials: int) -> str:
    """For people: ``3 of 12 (25.0%)``."""
    return f"{events} of {trials} ({share(events, trials):.1%})"


def _at(counters: Counters, bound: float) -> int:
    return counters.slow.get(bound, 0)


def _answered(before: Counters, after: Counters) -> Answers | None:
    """In all, and by each pod that is still there; what a pod that came since has answered belongs to the window."""
    if before.answers is None or after.answers is None:
        return None
    pods = [_since(before.by_pod.get(pod, Answers()), answers) for pod, answers in after.by_pod.items()]
    total = _since(before.answers, after.answers)
    for part in pods:
        total = _sum(total, part) if total is not None and part is not None else None
    return total


def _sum(answers: Answers, other: Answers) -> Answers:
    names = sorted({*answers.categories, *other.categories})
    return Answers(
        answers.seen + other.seen,
        answers.invalid + other.invalid,
        {name: answers.categories.get(name, 0) + other.categories.get(name, 0) for name in names},
        answers.compared + other.compared,
        answers.agreed + other.agreed,
        {text: answers.errors.get(text, 0) + other.errors.get(text, 0) for text in {**answers.errors, **other.errors}},
    )


def _since(before: Answers, after: Answers) -> Answers | None:
    names = {*before.categories, *after.categories}
    answers = Answers(
        after.seen - before.seen,
        after.invalid - before.invalid,
        {name: after.categories.get(name, 0) - before.categories.get(name, 0) for name in sorted(names)},
        after.compared - before.compared,
        after.agreed - before.agreed,
        {text: count - before.errors.get(text, 0) for text, count in after.errors.items()},
    )
    counts = (answers.seen, answers.invalid, answers.compared, answers.agreed, *answers.categories.values())
    return None if min(counts) < 0 else answers
