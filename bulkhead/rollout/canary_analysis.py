"""Canary analysis: what is measured of a candidate and of stable, and what that says of the candidate."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from bulkhead.errors import UnavailableError
from bulkhead.events import Rule
from bulkhead.metrics.counters import Counters, load, with_failures
from bulkhead.rollout.analysis.arms import arm
from bulkhead.rollout.analysis.burn import BurnReading, keep
from bulkhead.rollout.analysis.judge import Judgement, StepVerdict, judge
from bulkhead.rollout.analysis.tally import Tally
from bulkhead.rollout.analysis.truth import Truth
from bulkhead.rollout.context import Abort, RolloutContext
from bulkhead.rollout.effects import Effects
from bulkhead.rollout.measurement_recorder import MeasurementRecorder
from bulkhead.rollout.sentences import where

log = logging.getLogger(__name__)

_TRUTH_S = 15.0
_FAULTS_S = 5.0


@dataclass
class CanaryAnalysis:
    """Judges candidates. It keeps what it has measured of each, for rules that look back.

    Attributes:
        effects: by which everything is measured.
        recorder: keeps what was measured.
    """

    effects: Effects
    recorder: MeasurementRecorder
    _readings: dict[int, list[BurnReading]] = field(default_factory=dict)
    _tallies: dict[tuple[int, str], tuple[str, Tally]] = field(default_factory=dict)
    _truths: dict[int, tuple[datetime, Truth]] = field(default_factory=dict)
    _faults: dict[int, tuple[datetime, str | None]] = field(default_factory=dict)

    def failing(self, context: RolloutContext) -> Abort | None:
        """Whether the candidate fails; what it lacks for a pass does not matter here."""
        if (abort := self.hard_failure(context)) is not None:
            return abort
        judgement = self.judge(context)
        return failed(context, judgement) if judgement.verdict is StepVerdict.FAIL else None

    def hard_failure(self, context: RolloutContext) -> Abort | None:
        """What bypasses statistics: a candidate that serves no more, and an unhealthy device, before the model is
        blamed."""
        fault = self._device_fault(context)
        if fault is not None:
            reason = f"a device under the candidate is unhealthy, whatever its model is worth: {fault}"
            return Abort(reason, {"rule": Rule.DEVICE})
        workload = context.backend.workloads.find(context.candidate)
        if workload is not None and not workload.status.ended and workload.status.failure is None:
            return None
        why = workload.status.message if workload else "its pod is gone"
        reason = f"the candidate stopped serving: {why or 'its process ended'}"
        return Abort(reason, {"rule": Rule.NOT_SERVING})

    def judge(self, context: RolloutContext) -> Judgement:
        """What the plan's rules say together of the step, by what was counted since it began.

        Raises:
            UnavailableError: the metrics do not answer.
        """
        rollout, plan = context.rollout, context.plan
        assert rollout.window is not None
        begun = rollout.window["counters"].items()
        before = {name: with_failures(load(counters), plan.failing) for name, counters in begun}
        seen = {
            name: with_failures(read, plan.failing)
            for name, read in self.effects.counters(context, judged=True).items()
        }
        now = {name: self._tallied(context, name, before[name], counters) for name, counters in seen.items()}
        reading = BurnReading(context.clock(), now[context.candidate])
        self._readings[rollout.id] = keep(self._readings.get(rollout.id, []), reading, plan.length_s)
        arms = {name: arm(before[name], now[name], plan.latency_ms) for name in before}
        stable = arms[context.stable] if context.stable else None
        elapsed = context.age_s(datetime.fromisoformat(rollout.window["at"]))
        readings, truth = self._readings[rollout.id], self._truth(context)
        judgement = judge(plan, context.step, arms[context.candidate], stable, elapsed, readings, truth)
        self.recorder.record(context, judgement.numbers)
        return judgement

    def forget_all_but(self, rollout_ids: set[int]) -> None:
        """Drop what was measured of rollouts that have ended."""
        self.recorder.forget_all_but(rollout_ids)
        for measured in (self._readings, self._truths, self._faults):
            for ended in measured.keys() - rollout_ids:
                del measured[ended]
        for key in [key for key in self._tallies if key[0] not in rollout_ids]:
            del self._tallies[key]

    def unreadable_s(self, context: RolloutContext) -> float:
        """How long the candidate's metrics could not be read, in seconds."""
        readings = self._readings.get(context.rollout.id)
        return context.age_s(readings[-1].at if readings else context.rollout.phase_at)

    def _tallied(self, context: RolloutContext, revision_id: str, before: Counters, now: Counters) -> Counters:
        """What a revision has counted since the window began, pods that came and went included.

        A reconciler that takes over knows the window's start and no reading since: it misses what a pod counted in
        between and lost before the first of its own.
        """
        window = context.rollout.window
        assert window is not None
        key = (context.rollout.id, revision_id)
        tally = self._tallies.get(key)
        if tally is None or tally[0] != window["at"]:
            tally = self._tallies[key] = (window["at"], Tally(before))
        return tally[1].take(now)

    def _truth(self, context: RolloutContext) -> Truth:
        """Ground truth, asked for only now and then: it comes late anyway, and the registry is another machine's."""
        at, truth = self._truths.get(context.rollout.id, (None, Truth()))
        if not context.plan.truth or (at is not None and context.age_s(at) < _TRUTH_S):
            return truth
        try:
            truth = self.effects.truth(context)
        except UnavailableError as error:
            log.warning("rollout %s: its ground truth is not known now: %s", context.rollout.id, error)
        self._truths[context.rollout.id] = (context.clock(), truth)
        return truth

    def _device_fault(self, context: RolloutContext) -> str | None:
        """Asked for now and then: the fleet's watch polls no more often."""
        at, fault = self._faults.get(context.rollout.id, (None, None))
        if at is not None and context.age_s(at) < _FAULTS_S:
            return fault
        fault = self.effects.device_fault(context)
        self._faults[context.rollout.id] = (context.clock(), fault)
        return fault


def failed(context: RolloutContext, judgement: Judgement) -> Abort:
    """The rollback that a verdict asks for."""
    return Abort(f"{where(context.step)} {judgement.reason}", decision(context, judgement))


def decision(context: RolloutContext, judgement: Judgement) -> dict[str, Any]:
    """A verdict as the ledger keeps it: the step, the rule that decided, and the numbers behind it."""
    step = context.step.model_dump(mode="json", exclude_defaults=True)
    return {"index": context.rollout.step, "step": step, "rule": judgement.rule, "numbers": judgement.numbers}
