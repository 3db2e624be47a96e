"""Rules over requests: failures and latencies, against the plan's limits and against stable over the same time."""

from __future__ import annotations

import math
from collections.abc import Mapping

from bulkhead.events import Rule
from bulkhead.metrics.counters import NO_ANSWER, fails
from bulkhead.rollout.analysis.arms import Arm, rate, share
from bulkhead.rollout.analysis.findings import Finding
from bulkhead.rollout.analysis.sequential import label_above, share_above
from bulkhead.rollout.plan import Plan

_WARM = 5
"""Times ``min_requests`` after which latencies are compared: a cold start is a difference to stable, but passes."""

_MISMATCH = 0.0001
"""Chance at which a right split of the traffic is taken for a wrong one."""

_SHARED = 0.05
"""Chance at which stable is taken to fail as well."""


def split_as_planned(weight: float, candidate: Arm, stable: Arm) -> bool:
    """Whether the requests were shared out as the weight says; else a comparison of the two says nothing.

    Sticky clients, a stale reading of one of them or another writer's weights show here ("sample ratio mismatch").

    Args:
        weight: the candidate's share of the requests, between 0 and 1, both excluded.
    """
    if not candidate.requests or not stable.requests:
        return False
    more = label_above(candidate.requests, stable.requests, weight)
    fewer = label_above(stable.requests, candidate.requests, 1 - weight)
    return max(more, fewer) < math.log(1 / _MISMATCH)


def errors(plan: Plan, candidate: Arm, stable: Arm | None) -> Finding:
    """The candidate's own share of failures against the plan's limit.

    Args:
        stable: the same time's, or None.
    """

    def measure(seen: Arm) -> tuple[float, str]:
        failed = f"{rate(seen.failures, seen.valid)} requests failed{_mostly(plan, seen)}"
        reason = f"{failed}, limit {plan.max_error_rate:.1%}{beside(seen)}"
        return share_above(seen.failures, seen.valid, plan.max_error_rate), reason

    over = share(candidate.failures, candidate.valid) > plan.max_error_rate
    return _own(Rule.ERRORS, measure(candidate), measure(stable) if stable else None, over)


def latency(plan: Plan, candidate: Arm, stable: Arm | None) -> Finding:
    """The candidate's own share of slow requests against the plan's limit.

    Args:
        stable: the same time's, or None.
    """

    def measure(seen: Arm) -> tuple[float, str]:
        slow = f"{rate(seen.slow, seen.timed)} requests took over {plan.latency_ms:g} ms"
        return share_above(seen.slow, seen.timed, plan.max_slow_rate), f"{slow}, limit {plan.max_slow_rate:.0%}"

    over = share(candidate.slow, candidate.timed) > plan.max_slow_rate
    return _own(Rule.LATENCY, measure(candidate), measure(stable) if stable else None, over)


def more_errors(plan: Plan, weight: float, candidate: Arm, stable: Arm) -> Finding:
    """The candidate's failures against stable's over the same time.

    Args:
        weight: the candidate's share of the requests, between 0 and 1, both excluded.
    """
    ours, theirs = (candidate.failures, candidate.valid), (stable.failures, stable.valid)
    strength = _above_stable(plan, weight, ours, theirs)
    text = f"{rate(*ours)} requests failed{_mostly(plan, candidate)}"
    return Finding(Rule.MORE_ERRORS, strength, f"{text}, of stable's {rate(*theirs)}{beside(candidate)}")


def more_client_errors(plan: Plan, weight: float, candidate: Arm, stable: Arm) -> Finding:
    """The candidate's client errors against stable's: clients make the same mistakes with both, unless it asks for
    something else.

    Args:
        weight: the candidate's share of the requests, between 0 and 1, both excluded.
    """
    ours, theirs = (candidate.client_errors, candidate.requests), (stable.client_errors, stable.requests)
    clients = {status: count for status, count in candidate.statuses.items() if status[:1] == "4"}
    text = f"{rate(*ours)} requests were refused as the client's mistake"
    reason = f"{text}{_commonest(clients, candidate)}, of stable's {rate(*theirs)}"
    return Finding(Rule.CLIENT_ERRORS, _above_stable(plan, weight, ours, theirs), reason)


def beside(seen: Arm) -> str:
    """For people: the client errors of a window, or nothing."""
    return f"; beside them {seen.client_errors} client errors" if seen.client_errors else ""


def _above_stable(plan: Plan, weight: float, ours: tuple[int, int], theirs: tuple[int, int]) -> float:
    """The evidence that the candidate has more of something than stable; none where the difference does not matter.

    Args:
        weight: the candidate's share of the requests, between 0 and 1, both excluded.
        ours: how often the candidate had it, and of how many requests.
    """
    matters = share(*ours) - share(*theirs) >= plan.min_effect
    return label_above(ours[0], theirs[0], weight, plan.max_ratio) if matters else 0.0


def _mostly(plan: Plan, seen: Arm) -> str:
    failing = {status: count for status, count in seen.statuses.items() if fails(status, plan.failing)}
    return _commonest(failing, seen)


def _commonest(statuses: Mapping[str, int], seen: Arm) -> str:
    """The commonest of some statuses, with the commonest of what was said with it."""
    if not statuses:
        return ""
    status = max(sorted(statuses), key=lambda status: statuses[status])
    errors = seen.answers.errors if seen.answers is not None else {}
    said = {text: count for text, count in errors.items() if count > 0 and text.startswith(f"{status} ")}
    text = max(sorted(said), key=lambda text: said[text]).partition(" ")[2] if said else ""
    named = "without an answer" if status == NO_ANSWER else status
    return f", mostly {named}" + (f" ({text})" if text else "")


def slower(plan: Plan, weight: float, candidate: Arm, stable: Arm) -> Finding:
    """The candidate's latencies against stable's: its requests over each bound of the histogram, all bounds alike.

    The mean of e-values is one again, so nothing is paid for looking at many bounds.

    Args:
        weight: the candidate's share of the requests, between 0 and 1, both excluded.
    """
    edges = [edge for edge in candidate.above if edge in stable.above and edge >= plan.latency_floor_ms]
    if candidate.timed < _WARM * plan.min_requests:
        return Finding(Rule.SLOWER, 0.0, "too few latencies: a server's first requests are slow")
    logs: dict[float, float] = {}
    for edge in edges:
        ours, theirs = candidate.above[edge], stable.above[edge]
        if share(ours, candidate.timed) - share(theirs, stable.timed) >= plan.min_effect:
            logs[edge] = label_above(ours, theirs, weight, plan.max_ratio)
    if not logs:
        return Finding(Rule.SLOWER, 0.0, "its latencies are not longer than stable's by any bound")
    edge = max(logs, key=lambda bound: logs[bound])
    highest = logs[edge]
    # A bound where the difference does not matter counts as no evidence at all, so that the mean stays an e-value.
    strength = highest + math.log(sum(math.exp(log - highest) for log in logs.values()) / len(edges))
    ours, theirs = candidate.above[edge], stable.above[edge]
    text = f"{rate(ours, candidate.timed)} requests took over {edge:g} ms"
    return Finding(Rule.SLOWER, strength, f"{text}, of stable's {rate(theirs, stable.timed)}")


def _own(rule: Rule, ours: tuple[float, str], theirs: tuple[float, str] | None, over: bool) -> Finding:
    strength, reason = ours
    # Stable is asked more leniently than the candidate: to blame the candidate for an incident is the worse error.
    shared = theirs[1] if theirs is not None and theirs[0] >= math.log(1 / _SHARED) else ""
    return Finding(rule, strength, reason, shared, over)
