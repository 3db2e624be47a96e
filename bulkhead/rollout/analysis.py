"""Is the candidate good enough? A pure function from two windows of counters to a verdict with its numbers."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from bulkhead.rollout.plan import Plan
from bulkhead.routers.base import Counters


class Verdict(enum.StrEnum):
    """No evidence and contradictory evidence are ``hold``: never ``pass``, never ``fail``."""

    PASS = "pass"
    HOLD = "hold"
    FAIL = "fail"


@dataclass(frozen=True)
class Arm:
    """What one revision did during a window.

    Attributes:
        requests: answered.
        failures: of those, without a 2xx answer.
        timed: requests in the latency histogram (it lags the counters by up to a second).
        slow: of those, over the latency bound.
    """

    requests: int
    failures: int
    timed: int
    slow: int


@dataclass(frozen=True)
class Judgement:
    """A verdict and what it rests on.

    Attributes:
        verdict: the verdict.
        reason: one sentence with the numbers.
        rule: name of the rule that decided.
        numbers: both arms and the seconds of the window.
    """

    verdict: Verdict
    reason: str
    rule: str
    numbers: Mapping[str, Any]


def arm(before: Counters, after: Counters, latency_ms: float) -> Arm | None:
    """What happened between two readings of cumulative counters.

    Args:
        before: at the start of the window.
        after: now.
        latency_ms: a request that took longer is slow; the first histogram bound not below it is used.

    Returns:
        The differences; None if a counter fell, which means that it was reset and says nothing.
    """
    timed = _at(after, math.inf) - _at(before, math.inf)
    bound = min((edge for edge in after.slow if edge >= latency_ms), default=math.inf)
    quick = _at(after, bound) - _at(before, bound)
    found = Arm(after.requests - before.requests, after.failures - before.failures, timed, timed - quick)
    return None if min(found.requests, found.failures, found.timed, found.slow) < 0 else found


def judge(plan: Plan, candidate: Arm | None, stable: Arm | None, elapsed_s: float) -> Judgement:
    """Judge a step.

    Args:
        plan: the limits.
        candidate: its window; None where there is no reading, or a reset.
        stable: the same time's; None where there is no stable revision or no reading.
        elapsed_s: length of the window in seconds.

    Returns:
        ``fail`` if the evidence against the candidate is beyond chance (``plan.alpha``) and stable does not
        show the same; ``pass`` if the step lasted, enough requests came, and the shares are within limits;
        else ``hold``.
    """
    numbers = {
        "candidate": asdict(candidate) if candidate else None,
        "stable": asdict(stable) if stable else None,
        "window_s": round(elapsed_s, 2),
    }
    if not plan.judged:
        return Judgement(Verdict.PASS, "the plan asks for no judgement", "not-judged", numbers)
    if candidate is None:
        return Judgement(Verdict.HOLD, "no reading of the candidate, or its counters were reset", "no-data", numbers)
    failing = _beyond(plan, candidate)
    if failing is not None:
        rule, reason = failing
        shared = stable is not None and _beyond(plan, stable)
        if shared:
            return Judgement(Verdict.HOLD, f"{reason}; but stable fails too: {shared[1]}", "stable-fails-too", numbers)
        return Judgement(Verdict.FAIL, reason, rule, numbers)
    if candidate.requests < plan.min_requests:
        reason = f"{candidate.requests} of at least {plan.min_requests} requests so far"
        return Judgement(Verdict.HOLD, reason, "min-requests", numbers)
    if elapsed_s < plan.step_s:
        return Judgement(Verdict.HOLD, f"{elapsed_s:.1f} of {plan.step_s:g} s so far", "min-time", numbers)
    if _share(candidate.failures, candidate.requests) > plan.max_error_rate:
        reason = f"{_rate(candidate.failures, candidate.requests)} failed: over the limit, but not yet beyond chance"
        return Judgement(Verdict.HOLD, reason, "errors-unclear", numbers)
    if _share(candidate.slow, candidate.timed) > plan.max_slow_rate:
        reason = f"{_rate(candidate.slow, candidate.timed)} were slow: over the limit, but not yet beyond chance"
        return Judgement(Verdict.HOLD, reason, "latency-unclear", numbers)
    reason = f"{_rate(candidate.failures, candidate.requests)} failed, {_rate(candidate.slow, candidate.timed)} slow"
    return Judgement(Verdict.PASS, reason, "within-limits", numbers)


def exceeds(events: int, trials: int, limit: float, alpha: float) -> bool:
    """Whether a share is above a limit beyond chance.

    By the Chernoff bound in its relative-entropy form (Hoeffding 1963, theorem 1): if the true share is at
    most ``limit``, then P(observed share >= q) <= exp(-n KL(q || limit)) for every n, however small.

    Args:
        events: observed events.
        trials: among so many.
        limit: share that is still allowed, between 0 and 1.
        alpha: chance of a false yes.
    """
    if trials <= 0 or events / trials <= limit:
        return False
    share = events / trials
    entropy = share * math.log(share / limit)
    if share < 1:
        entropy += (1 - share) * math.log((1 - share) / (1 - limit))
    return trials * entropy >= -math.log(alpha)


def _beyond(plan: Plan, seen: Arm) -> tuple[str, str] | None:
    if exceeds(seen.failures, seen.requests, plan.max_error_rate, plan.alpha):
        reason = f"{_rate(seen.failures, seen.requests)} requests failed, limit {plan.max_error_rate:.1%}"
        return "errors", reason
    if exceeds(seen.slow, seen.timed, plan.max_slow_rate, plan.alpha):
        reason = (
            f"{_rate(seen.slow, seen.timed)} requests took over {plan.latency_ms:g} ms, limit {plan.max_slow_rate:.0%}"
        )
        return "latency", reason
    return None


def _at(counters: Counters, bound: float) -> int:
    return counters.slow.get(bound, 0)


def _share(events: int, trials: int) -> float:
    return events / trials if trials else 0.0


def _rate(events: int, trials: int) -> str:
    return f"{events} of {trials} ({_share(events, trials):.1%})"
