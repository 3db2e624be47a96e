"""Is the candidate good enough? A pure function from two windows of counters to a verdict with its numbers."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from bulkhead.rollout.plan import Plan
from bulkhead.rollout.sequential import label_above, share_above
from bulkhead.routers.base import Counters

_WARM = 5
"""Times ``min_requests`` after which latencies are compared: a cold start is a difference to stable, but passes."""

_MISMATCH = 0.0001
"""Chance at which a sound split of the traffic is taken for a wrong one."""

_SHARED = 0.05
"""Chance at which stable is taken to fail as well."""


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
        above: of those, over each bound of the histogram, in milliseconds.
    """

    requests: int
    failures: int
    timed: int
    slow: int
    above: Mapping[float, int] = field(default_factory=dict)


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
    above = {edge: timed - (_at(after, edge) - _at(before, edge)) for edge in after.slow if edge < math.inf}
    slow = above.get(min((edge for edge in above if edge >= latency_ms), default=math.inf), 0)
    found = Arm(after.requests - before.requests, after.failures - before.failures, timed, slow, above)
    return None if min(found.requests, found.failures, found.timed, *above.values()) < 0 else found


def judge(plan: Plan, weight: int, candidate: Arm | None, stable: Arm | None, elapsed_s: float) -> Judgement:
    """Judge a step.

    Args:
        plan: the limits.
        weight: percent of the traffic that the candidate has had all the time.
        candidate: its window; None where there is no reading, or a reset.
        stable: the same time's; None where there is no stable revision or no reading.
        elapsed_s: length of the window in seconds.

    Returns:
        ``fail`` if the evidence against the candidate is beyond chance at any moment (``plan.alpha``), and does not
        speak against stable as well; ``pass`` if the step lasted, enough requests came, and the shares are within
        limits; else ``hold``.
    """
    numbers: dict[str, Any] = {
        "candidate": _shown(candidate),
        "stable": _shown(stable),
        "window_s": round(elapsed_s, 2),
    }
    if not plan.judged:
        return Judgement(Verdict.PASS, "the plan asks for no judgement", "not-judged", numbers)
    if candidate is None:
        return Judgement(Verdict.HOLD, "no reading of the candidate, or its counters were reset", "no-data", numbers)
    findings = evidence(plan, weight, candidate, stable)
    numbers["evidence"] = {one.rule: round(one.strength, 3) for one in findings}
    beyond = [one for one in findings if one.strength >= 1]
    if beyond:
        worst = max(beyond, key=lambda one: one.strength)
        if all(one.shared for one in beyond):
            reason = f"{worst.reason}; but stable fails too: {worst.shared}"
            return Judgement(Verdict.HOLD, reason, "stable-fails-too", numbers)
        worst = max((one for one in beyond if not one.shared), key=lambda one: one.strength)
        return Judgement(Verdict.FAIL, worst.reason, worst.rule, numbers)
    return _pass_or_hold(plan, candidate, elapsed_s, numbers)


@dataclass(frozen=True)
class Finding:
    """What one rule found.

    Attributes:
        rule: its name.
        strength: of the evidence against the candidate, as a share of what ``plan.alpha`` asks for: from 1 on it is
            beyond chance.
        reason: one sentence with the numbers.
        shared: what speaks against stable in the same way, or an empty string.
    """

    rule: str
    strength: float
    reason: str
    shared: str = ""


def evidence(plan: Plan, weight: int, candidate: Arm, stable: Arm | None) -> list[Finding]:
    """What each rule finds. The chance of a false alarm is shared out among rules and steps: it is the rollout's.

    Args:
        plan: the limits.
        weight: percent of the traffic that the candidate has had all the time.
        candidate: its window.
        stable: the same time's, or None.
    """
    found = [_over_limit(plan, "errors", candidate, stable), _over_limit(plan, "latency", candidate, stable)]
    if stable is not None and weight < 100 and _split_as_planned(weight / 100, candidate, stable):
        found += [_more_errors(plan, weight / 100, candidate, stable), _slower(plan, weight / 100, candidate, stable)]
    enough = math.log(len(found) * len(plan.weights) / plan.alpha)
    return [replace(one, strength=max(0.0, one.strength) / enough) for one in found]


def _split_as_planned(weight: float, candidate: Arm, stable: Arm) -> bool:
    """Whether the requests were shared out as the weight says; else a comparison of the two says nothing.

    Sticky clients, a stale reading of one of them or somebody else's weights show here ("sample ratio mismatch").
    """
    if not candidate.requests or not stable.requests:
        return False
    more = label_above(candidate.requests, stable.requests, weight)
    fewer = label_above(stable.requests, candidate.requests, 1 - weight)
    return max(more, fewer) < math.log(1 / _MISMATCH)


def _over_limit(plan: Plan, rule: str, candidate: Arm, stable: Arm | None) -> Finding:
    """The candidate's own share against the plan's limit."""

    def look(seen: Arm) -> tuple[float, str]:
        if rule == "errors":
            reason = f"{_rate(seen.failures, seen.requests)} requests failed, limit {plan.max_error_rate:.1%}"
            return share_above(seen.failures, seen.requests, plan.max_error_rate), reason
        slow = f"{_rate(seen.slow, seen.timed)} requests took over {plan.latency_ms:g} ms"
        return share_above(seen.slow, seen.timed, plan.max_slow_rate), f"{slow}, limit {plan.max_slow_rate:.0%}"

    strength, reason = look(candidate)
    theirs, what = look(stable) if stable is not None else (0.0, "")
    # Stable is asked more leniently than the candidate: to blame the candidate for an incident is the worse error.
    return Finding(rule, strength, reason, what if theirs >= math.log(1 / _SHARED) else "")


def _more_errors(plan: Plan, weight: float, candidate: Arm, stable: Arm) -> Finding:
    """The candidate's failures against stable's over the same time."""
    ours, theirs = _share(candidate.failures, candidate.requests), _share(stable.failures, stable.requests)
    matters = ours - theirs >= plan.min_effect
    strength = label_above(candidate.failures, stable.failures, weight, plan.max_ratio) if matters else 0.0
    told = f"{_rate(candidate.failures, candidate.requests)} requests failed"
    return Finding("more-errors", strength, f"{told}, of stable's {_rate(stable.failures, stable.requests)}")


def _slower(plan: Plan, weight: float, candidate: Arm, stable: Arm) -> Finding:
    """The candidate's latencies against stable's: its requests over each bound of the histogram, all bounds alike.

    The mean of e-values is one again, so nothing is paid for looking at many bounds.
    """
    edges = [edge for edge in candidate.above if edge in stable.above and edge >= plan.quick_ms]
    if candidate.timed < _WARM * plan.min_requests:
        return Finding("slower", 0.0, "too few latencies: a server's first requests are slow")
    logs: dict[float, float] = {}
    for edge in edges:
        ours, theirs = candidate.above[edge], stable.above[edge]
        if _share(ours, candidate.timed) - _share(theirs, stable.timed) >= plan.min_effect:
            logs[edge] = label_above(ours, theirs, weight, plan.max_ratio)
    if not logs:
        return Finding("slower", 0.0, "its latencies are not longer than stable's by any bound")
    edge = max(logs, key=lambda one: logs[one])
    highest = logs[edge]
    # A bound where the difference does not matter counts as no evidence at all, so that the mean stays an e-value.
    strength = highest + math.log(sum(math.exp(one - highest) for one in logs.values()) / len(edges))
    ours, theirs = candidate.above[edge], stable.above[edge]
    told = f"{_rate(ours, candidate.timed)} requests took over {edge:g} ms"
    return Finding("slower", strength, f"{told}, of stable's {_rate(theirs, stable.timed)}")


def _pass_or_hold(plan: Plan, candidate: Arm, elapsed_s: float, numbers: Mapping[str, Any]) -> Judgement:
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


def _shown(seen: Arm | None) -> dict[str, int] | None:
    if seen is None:
        return None
    return {"requests": seen.requests, "failures": seen.failures, "timed": seen.timed, "slow": seen.slow}


def _at(counters: Counters, bound: float) -> int:
    return counters.slow.get(bound, 0)


def _share(events: int, trials: int) -> float:
    return events / trials if trials else 0.0


def _rate(events: int, trials: int) -> str:
    return f"{events} of {trials} ({_share(events, trials):.1%})"
