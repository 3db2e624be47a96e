"""Rules over what the model answers: unusable answers, drift against stable, disagreement on the same requests."""

from __future__ import annotations

import math
from collections import Counter

from bulkhead.events import Rule
from bulkhead.metrics.counters import Answers
from bulkhead.rollout.analysis.arms import rate, share
from bulkhead.rollout.analysis.findings import Finding
from bulkhead.rollout.analysis.sequential import label_above, share_above
from bulkhead.rollout.plan import Plan

_SLOTS = 128
"""Over how many tests the drift rule's mean goes, at most: 64 categories, each once more often and once less often.
Fixed beforehand, since the mean of e-values is one only where its number of terms does not follow the data."""

_LEAST_SHARE = 1e-4
"""A category that one of the two never predicts counts as so much in the PSI, which knows no zero."""


def invalid(plan: Plan, candidate: Answers, stable: Answers | None) -> Finding:
    """The candidate's share of answers without a usable prediction against the plan's limit.

    Args:
        stable: the same time's, or None. Where its answers are unusable too, the requests are to blame.
    """

    def measure(seen: Answers) -> tuple[float, str]:
        text = f"{rate(seen.invalid, seen.seen)} answers were not usable (NaN, infinite, empty, not JSON)"
        strength = share_above(seen.invalid, seen.seen, plan.max_invalid_rate)
        return strength, f"{text}, limit {plan.max_invalid_rate:.1%}"

    strength, reason = measure(candidate)
    theirs, what = measure(stable) if stable else (0.0, "")
    over = share(candidate.invalid, candidate.seen) > plan.max_invalid_rate
    return Finding(Rule.INVALID, strength, reason, what if theirs >= math.log(20) else "", over)


def drift(plan: Plan, weight: float, candidate: Answers, stable: Answers) -> Finding:
    """The candidate's predictions against stable's over the same traffic, category by category.

    Of each prediction of a category only its label counts, whose it was: where both models predict alike, that is the
    candidate's with its share of the requests, however the requests change. Beyond chance *and* a total variation
    distance above the limit by more than the sampling noise makes a failure.

    Args:
        weight: the candidate's share of the requests, between 0 and 1, both excluded.
    """
    ours, theirs = candidate.categories, stable.categories
    names = [name for name, _ in (Counter(ours) + Counter(theirs)).most_common(_SLOTS // 2)]
    distance, noise = total_variation(candidate, stable)
    over = distance - noise > plan.max_drift
    logs = [0.0] * (_SLOTS - 2 * len(names))
    for name in names:
        logs.append(label_above(ours.get(name, 0), theirs.get(name, 0), weight))
        logs.append(label_above(theirs.get(name, 0), ours.get(name, 0), 1 - weight))
    highest = max(logs)
    strength = highest + math.log(sum(math.exp(log - highest) for log in logs) / len(logs))
    text = f"its predictions differ from stable's: total variation {distance:.3f} (noise {noise:.3f})"
    psi = stability_index(candidate, stable)
    reason = f"{text}, PSI {psi:.3f}, limit {plan.max_drift:g}"
    return Finding(Rule.DRIFT, strength if over else 0.0, reason, over=over)


def disagreement(plan: Plan, candidate: Answers) -> Finding:
    """The share of mirrored requests to which candidate and stable predict something else, against the limit."""
    compared, differ = candidate.compared, candidate.compared - candidate.agreed
    reason = f"{rate(differ, compared)} answers differ from stable's to the same request"
    strength = share_above(differ, compared, plan.max_disagreement)
    over = share(differ, compared) > plan.max_disagreement
    return Finding(Rule.DISAGREEMENT, strength, f"{reason}, limit {plan.max_disagreement:.1%}", over=over)


def total_variation(ours: Answers, theirs: Answers) -> tuple[float, float]:
    """How far two distributions of predictions are apart, and how far sampling alone would put them.

    Returns:
        Half the sum of the absolute differences of shares, 0 to 1; and its expectation where both samples come from
        their common distribution (by the normal approximation: E|X| = sd * sqrt(2 / pi)). Both 0 without answers.
    """
    n, m = sum(ours.categories.values()), sum(theirs.categories.values())
    if not n or not m:
        return 0.0, 0.0
    distance = noise = 0.0
    for name in {*ours.categories, *theirs.categories}:
        a, b = ours.categories.get(name, 0), theirs.categories.get(name, 0)
        common = (a + b) / (n + m)
        distance += abs(a / n - b / m) / 2
        noise += math.sqrt(common * (1 - common) * (1 / n + 1 / m) * 2 / math.pi) / 2
    return distance, noise


def stability_index(ours: Answers, theirs: Answers) -> float:
    """The population stability index: the sum over categories of (p - q) ln(p / q); 0 where both are alike."""
    n, m = sum(ours.categories.values()), sum(theirs.categories.values())
    if not n or not m:
        return 0.0
    total = 0.0
    for name in {*ours.categories, *theirs.categories}:
        p = max(ours.categories.get(name, 0) / n, _LEAST_SHARE)
        q = max(theirs.categories.get(name, 0) / m, _LEAST_SHARE)
        total += (p - q) * math.log(p / q)
    return total
