"""The verdict over everything that the rules find."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bulkhead.events import UNCLEAR, Rule
from bulkhead.metrics.counters import Answers
from bulkhead.rollout.analysis import outputs, requests
from bulkhead.rollout.analysis.arms import Arm, rate, shown
from bulkhead.rollout.analysis.burn import BurnReading, burn
from bulkhead.rollout.analysis.findings import SHARES, Finding
from bulkhead.rollout.analysis.truth import Truth, broken, lacking
from bulkhead.rollout.plan import Plan, Step

LACKING = (Rule.NO_DATA, Rule.NO_ANSWERS, Rule.MIN_REQUESTS, Rule.NO_GROUND_TRUTH)
"""Rules whose ``hold`` says that evidence is missing, not that it is unclear."""


_UNKNOWN = Truth()


class StepVerdict(enum.StrEnum):
    """No evidence and contradictory evidence are ``hold``: never ``pass``, never ``fail``."""

    PASS = "pass"
    HOLD = "hold"
    FAIL = "fail"


@dataclass(frozen=True)
class Judgement:
    """A verdict and what it rests on.

    Attributes:
        verdict: the verdict.
        reason: one sentence with the numbers.
        rule: name of the rule that decided.
        numbers: both arms, the seconds of the window, and each rule's evidence.
    """

    verdict: StepVerdict
    reason: str
    rule: str
    numbers: Mapping[str, Any]


def judge(
    plan: Plan,
    step: Step,
    candidate: Arm | None,
    stable: Arm | None,
    elapsed_s: float,
    readings: Sequence[BurnReading] = (),
    truth: Truth = _UNKNOWN,
) -> Judgement:
    """Judge a step.

    Args:
        step: what the candidate has been shown all the time.
        candidate: its window; None where there is no reading, or a reset.
        stable: the same time's; None where there is no stable revision or no reading.
        elapsed_s: length of the window in seconds.
        readings: of the candidate since its rollout's first step, for ``plan.objective``.
        truth: what was measured of both meanwhile, for ``plan.truth``.

    Returns:
        ``fail`` if the evidence against the candidate is statistically significant at any moment (``plan.alpha``), and
        does not speak against stable as well; ``pass`` if the step lasted, enough requests came, and the shares are
        within limits; else ``hold``.
    """
    numbers: dict[str, Any] = {"candidate": shown(candidate), "stable": shown(stable), "window_s": round(elapsed_s, 2)}
    if not plan.judged:
        return Judgement(StepVerdict.PASS, "the plan asks for no judgement", Rule.NOT_JUDGED, numbers)
    if (broken_limit := broken(plan.truth, truth)) is not None:
        return Judgement(StepVerdict.FAIL, broken_limit, Rule.GROUND_TRUTH, {**numbers, "truth": asdict(truth)})
    if candidate is None:
        return Judgement(
            StepVerdict.HOLD, "no reading of the candidate, or its counters were reset", Rule.NO_DATA, numbers
        )
    findings = evidence(plan, step, candidate, stable, readings)
    strengths = {finding.rule: _of_what_is_asked(plan, finding) for finding in findings}
    numbers["evidence"] = {rule: round(strength, 3) for rule, strength in strengths.items()}
    beyond = [finding for finding in findings if strengths[finding.rule] >= 1]
    if beyond:
        blamed = [test for test in beyond if not test.shared]
        worst = max(blamed or beyond, key=lambda finding: strengths[finding.rule])
        if blamed:
            return Judgement(StepVerdict.FAIL, worst.reason, worst.rule, numbers)
        reason = f"{worst.reason}; but stable fails too: {worst.shared}"
        return Judgement(StepVerdict.HOLD, reason, Rule.STABLE_FAILS_TOO, numbers)
    judgement = _pass_or_hold(plan, step, candidate, findings, elapsed_s, numbers)
    if judgement.verdict is StepVerdict.PASS and (missing := lacking(plan.truth, truth)):
        reason = f"{', '.join(missing)} of the candidate is not known yet"
        return Judgement(StepVerdict.HOLD, reason, Rule.NO_GROUND_TRUTH, numbers)
    return judgement


def evidence(
    plan: Plan, step: Step, candidate: Arm, stable: Arm | None, readings: Sequence[BurnReading] = ()
) -> list[Finding]:
    """What each rule finds that has anything to look at.

    Args:
        step: what the candidate has been shown all the time.
        stable: the same time's, or None.
        readings: see ``judge``.
    """
    findings = [requests.errors(plan, candidate, stable), requests.latency(plan, candidate, stable)]
    answers = candidate.answers or Answers()
    if answers.seen:
        findings.append(outputs.invalid(plan, answers, stable.answers if stable else None))
    if answers.compared:
        findings.append(outputs.disagreement(plan, answers))
    if plan.objective is not None:
        findings.append(burn(plan.objective, readings, plan.length_s))
    weight = 0.5 if step.mirror else step.weight / 100  # a mirrored request is answered by both
    if stable is not None and 0 < weight < 1 and requests.split_as_planned(weight, candidate, stable):
        findings.append(requests.more_errors(plan, weight, candidate, stable))
        findings.append(requests.more_client_errors(plan, weight, candidate, stable))
        findings.append(requests.slower(plan, weight, candidate, stable))
        if answers.categories and stable.answers is not None and stable.answers.categories:
            findings.append(outputs.drift(plan, weight, answers, stable.answers))
    return findings


def _of_what_is_asked(plan: Plan, finding: Finding) -> float:
    """The evidence as a share of what is asked for: the chance of a false alarm is the whole rollout's, and is shared
    out among rules and steps."""
    return max(0.0, finding.strength) / math.log(len(plan.steps) / (plan.alpha * SHARES[finding.rule]))


def _pass_or_hold(
    plan: Plan,
    step: Step,
    candidate: Arm,
    findings: Sequence[Finding],
    elapsed_s: float,
    numbers: Mapping[str, Any],
) -> Judgement:
    if candidate.valid < plan.min_requests and step.exposes:
        reason = f"{candidate.valid} of at least {plan.min_requests} requests so far{requests.beside(candidate)}"
        return Judgement(StepVerdict.HOLD, reason, Rule.MIN_REQUESTS, numbers)
    if elapsed_s < plan.step_s_of(step):
        reason = f"{elapsed_s:.1f} of {plan.step_s_of(step):g} s so far"
        return Judgement(StepVerdict.HOLD, reason, Rule.MIN_TIME, numbers)
    if candidate.answers is None:
        return Judgement(StepVerdict.HOLD, "what the model answered could not be read", Rule.NO_ANSWERS, numbers)
    for finding in findings:
        if finding.over:
            reason = f"{finding.reason}: over the limit, but not yet statistically significant"
            return Judgement(StepVerdict.HOLD, reason, finding.rule + UNCLEAR, numbers)
    if plan.max_active is not None and candidate.active > plan.max_active:
        reason = f"{candidate.active} requests in flight, limit {plan.max_active}"
        return Judgement(StepVerdict.HOLD, reason, Rule.SATURATED, numbers)
    failed, slow = rate(candidate.failures, candidate.valid), rate(candidate.slow, candidate.timed)
    reason = f"{failed} failed, {slow} slow{requests.beside(candidate)}"
    return Judgement(StepVerdict.PASS, reason, Rule.WITHIN_LIMITS, numbers)
