"""The candidate on trial: what it is shown, how it is judged, whom it waits for. Steps of the reconciler."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from bulkhead.errors import InvalidInputError, UnavailableError
from bulkhead.events import EventKind, Rule
from bulkhead.ledger.ledger import Ledger
from bulkhead.ledger.tables import Phase, Rollout
from bulkhead.metrics.counters import Counters, dump, load, with_failures
from bulkhead.rollout.analysis.arms import arm
from bulkhead.rollout.analysis.burn import BurnReading, keep
from bulkhead.rollout.analysis.judge import LACKING, Judgement, StepVerdict, judge
from bulkhead.rollout.analysis.tally import Tally
from bulkhead.rollout.analysis.truth import Truth
from bulkhead.rollout.machine import EFFECTS, following
from bulkhead.rollout.plan import Plan, parse_plan
from bulkhead.rollout.sentences import APPROVAL, HOLD, where
from bulkhead.rollout.world import World

log = logging.getLogger(__name__)

_TRUTH_S = 15.0
_FAULTS_S = 5.0
_COMPLAINTS = 20
_COMPLAIN_AGAIN = timedelta(minutes=1)
_STILL_MOST = timedelta(hours=1)
_ON_TRIAL = (Phase.ANALYSING, Phase.APPROVING, Phase.BAKING)


class _Complaint(NamedTuple):
    """What was recorded last of what a rollout waits for, how often in its phase, and how often since it changed."""

    phase: Phase
    text: str
    times: int
    at: datetime
    still: int = 0


@dataclass
class Trial:
    """The phases from a candidate's first request to the end of its bake.

    Attributes:
        ledger: says what is wanted.
        world: is made to match.
        clock: gives the time in UTC.
    """

    ledger: Ledger
    world: World
    clock: Callable[[], datetime]
    _complaints: dict[int, _Complaint] = field(default_factory=dict)
    _readings: dict[int, list[BurnReading]] = field(default_factory=dict)
    _tallies: dict[tuple[int, str], tuple[str, Tally]] = field(default_factory=dict)
    _truths: dict[int, tuple[datetime, Truth]] = field(default_factory=dict)
    _faults: dict[int, tuple[datetime, str | None]] = field(default_factory=dict)

    def plan(self, rollout: Rollout) -> Plan:
        """The plan of a rollout.

        Where its direction is final, one that cannot be read (an older version's, a restored backup's) is the default:
        it must not keep the traffic where it is.

        Args:
            rollout: as it was read.

        Raises:
            InvalidInputError: it cannot be read, and the rollout can still be taken back.
        """
        try:
            return parse_plan(rollout.plan)
        except InvalidInputError as error:
            if not rollout.phase.settled:
                raise
            log.warning("rollout %s: %s; its bounds are the defaults", rollout.id, error)
            return Plan()

    def move(self, rollout: Rollout, **changes: Any) -> Rollout:
        """Write the phase that follows.

        Args:
            rollout: as it was read.
            changes: other columns to set.

        Returns:
            The rollout as it is now.
        """
        plan = self.plan(rollout)
        phase, step = following(rollout.phase, rollout.step, plan)
        weight = plan.steps[step].weight if step < len(plan.steps) else None
        data = {"effect": EFFECTS[rollout.phase], "step": step, "weight": weight}
        return self.ledger.rollouts.transition(rollout, phase, str(phase), data, step=step, **changes)

    def overdue(self, rollout: Rollout, plan: Plan) -> Rollout | None:
        """Take back a rollout that is longer on its way to 100 % than the plan allows.

        Args:
            rollout: as it was read.
            plan: its plan.

        Returns:
            The rollout as it is now; None if it is in time.
        """
        if plan.max_s is None or rollout.phase is Phase.BAKING or rollout.phase.settled:
            return None
        if self._age(rollout.created_at) <= plan.max_s:
            return None
        return self.ledger.rollouts.abort(
            rollout, f"not at 100 % after {plan.max_s:g} s in all", {"rule": Rule.MAX_TIME}
        )

    def await_ready(self, rollout: Rollout, plan: Plan) -> Rollout | None:
        """Go on once the candidate can answer; None while it cannot yet.

        Args:
            rollout: as it was read.
            plan: its plan.
        """
        workload = self.world.server(rollout.service, rollout.revision_id)
        if workload is None or workload.status.ended:
            why = workload.status.failure if workload else None
            detail = f"{why.failure_class}: {why.message}" if why else "its pod is gone"
            return self.ledger.rollouts.abort(
                rollout, f"the candidate did not start: {detail}", {"rule": Rule.NOT_SERVING}
            )
        if workload.status.ready:
            return self.move(rollout)
        if self._age(rollout.phase_at) > plan.ready_s:
            told = f": {workload.status.message}" if workload.status.message else ""
            reason = f"the candidate was not ready after {plan.ready_s:g} s{told}"
            return self.ledger.rollouts.abort(rollout, reason, {"rule": Rule.NOT_SERVING})
        return None

    def shift(self, rollout: Rollout, plan: Plan) -> Rollout | None:
        """Show the candidate what the step says, and remember the counters from before; None to look again.

        Args:
            rollout: as it was read.
            plan: its plan.
        """
        step = plan.steps[rollout.step]
        if not self.world.prepare(rollout, step):
            return None
        before = {name: dump(seen) for name, seen in self.world.counters(rollout, step).items()}
        self.world.show(rollout, step)
        now = self.clock()
        window = {"at": now.isoformat(), "counters": before}
        exposed = rollout.exposed_at or (now if step.weight or step.headers else None)
        return self.move(rollout, window=window, exposed_at=exposed)

    def analyse(self, rollout: Rollout, plan: Plan) -> Rollout | None:
        """Judge the step: go on, turn round, or None to look again.

        Args:
            rollout: as it was read.
            plan: its plan.
        """
        if (turned := self._hard_failure(rollout)) is not None:
            return turned
        judgement = self._judge(rollout, plan)
        if judgement.verdict is StepVerdict.FAIL:
            return self._fail(rollout, plan, judgement)
        if judgement.verdict is StepVerdict.PASS:
            return self._go_on(rollout, plan, judgement)
        hold_s = plan.hold_s_of(plan.steps[rollout.step])
        if self._age(rollout.phase_at) > hold_s:
            if plan.insufficient == "promote" and judgement.rule in LACKING:
                return self._go_on(rollout, plan, judgement)
            reason = f"no sufficient evidence after {hold_s:g} s at a step: {judgement.reason}"
            return self.ledger.rollouts.abort(rollout, reason, _decision(plan, rollout, judgement))
        self.complain(rollout, f"{HOLD}{judgement.rule}", judgement.reason)
        return None

    def await_approval(self, rollout: Rollout, plan: Plan) -> Rollout | None:
        """Go on once a person has agreed. The candidate is judged all the while.

        Args:
            rollout: as it was read.
            plan: its plan.
        """
        if (turned := self._failing(rollout, plan)) is not None:
            return turned
        if self.ledger.approvals.approved(rollout):
            return self.move(rollout)
        if self._age(rollout.phase_at) > plan.approval_s:
            reason = f"nobody approved of step {rollout.step + 1} within {plan.approval_s:g} s"
            return self.ledger.rollouts.abort(rollout, reason, {"rule": Rule.APPROVAL})
        self.complain(rollout, f"{APPROVAL}: bulkhead approve {rollout.service}")
        return None

    def bake(self, rollout: Rollout, plan: Plan) -> Rollout | None:
        """Judge the candidate at all of the traffic until the bake is over; stable is still warm.

        Args:
            rollout: as it was read.
            plan: its plan.
        """
        if plan.bake_s and (turned := self._failing(rollout, plan)) is not None:
            return turned
        return self.move(rollout) if self._age(rollout.phase_at) >= plan.bake_s else None

    def wait_for(self, rollout: Rollout, error: UnavailableError) -> Rollout | None:
        """Something does not answer: try again, but on the way forward not for ever.

        Args:
            rollout: as it was read.
            error: who does not answer.
        """
        self.complain(rollout, str(error))
        if rollout.phase.settled:
            return None
        plan = self.plan(rollout)
        if rollout.phase in _ON_TRIAL and plan.blind == "roll-back":
            readings = self._readings.get(rollout.id)
            if self._age(readings[-1].at if readings else rollout.phase_at) > plan.blind_s:
                reason = f"its metrics could not be read for {plan.blind_s:g} s: {error}"
                return self.ledger.rollouts.abort(rollout, reason, {"rule": Rule.BLIND})
        limit = plan.hold_s_of(plan.steps[rollout.step]) + _planned(rollout, plan)
        if self._age(rollout.phase_at) > limit:
            return self.ledger.rollouts.abort(
                rollout, f"gave up after {limit:g} s: {error}", {"rule": Rule.UNAVAILABLE}
            )
        return None

    def complain(self, rollout: Rollout, text: str, why: str = "") -> None:
        """Record what a rollout waits for: when that changes, not at every look; the same again ever more rarely.

        Args:
            rollout: as it was read.
            text: for people. One that is another at every look (it has an address or a time in it) is recorded some
                times a phase, then once a minute. The same one is recorded again after 1 min, 2 min, 4 min … 1 h.
            why: with the numbers of now; may be another at every look.
        """
        before, now = self._complaints.get(rollout.id), self.clock()
        if before is None or before.phase is not rollout.phase:
            before = _Complaint(rollout.phase, "", 0, now)
        since, still = abs(now - before.at), before.text == text
        if still:
            due = since >= min(_STILL_MOST, _COMPLAIN_AGAIN * 2 ** min(before.still, 6))
        else:
            due = before.times < _COMPLAINTS or since >= _COMPLAIN_AGAIN
        if due:
            count = before.still + 1 if still else 0
            self._complaints[rollout.id] = _Complaint(rollout.phase, text, before.times + 1, now, count)
            data: dict[str, Any] = {"phase": rollout.phase, "index": rollout.step, "for": text}
            more = {"why": why, "still": still}
            self.ledger.events.append(
                rollout, EventKind.WAITING, data | {name: value for name, value in more.items() if value}
            )

    def _hard_failure(self, rollout: Rollout) -> Rollout | None:
        """What bypasses statistics: a candidate that serves no more, and a sick device, before the model is blamed."""
        fault = self._device_fault(rollout)
        if fault is not None:
            reason = f"a device under the candidate is sick, whatever its model is worth: {fault}"
            return self.ledger.rollouts.abort(rollout, reason, {"rule": Rule.DEVICE})
        workload = self.world.server(rollout.service, rollout.revision_id)
        if workload is not None and not workload.status.ended and workload.status.failure is None:
            return None
        why = workload.status.message if workload else "its pod is gone"
        reason = f"the candidate stopped serving: {why or 'its process ended'}"
        return self.ledger.rollouts.abort(rollout, reason, {"rule": Rule.NOT_SERVING})

    def _failing(self, rollout: Rollout, plan: Plan) -> Rollout | None:
        """Turn round where the candidate fails; what it lacks for a pass does not matter here."""
        if (turned := self._hard_failure(rollout)) is not None:
            return turned
        judgement = self._judge(rollout, plan)
        return self._fail(rollout, plan, judgement) if judgement.verdict is StepVerdict.FAIL else None

    def _fail(self, rollout: Rollout, plan: Plan, judgement: Judgement) -> Rollout:
        reason = f"{where(plan.steps[rollout.step])} {judgement.reason}"
        return self.ledger.rollouts.abort(rollout, reason, _decision(plan, rollout, judgement))

    def _go_on(self, rollout: Rollout, plan: Plan, judgement: Judgement) -> Rollout:
        data = _decision(plan, rollout, judgement)
        self.ledger.events.append(rollout, EventKind.PASSED, {**data, "reason": judgement.reason})
        return self.move(rollout, decision=data)

    def _judge(self, rollout: Rollout, plan: Plan) -> Judgement:
        assert rollout.window is not None
        step = plan.steps[rollout.step]
        begun = rollout.window["counters"].items()
        before = {name: with_failures(load(counters), plan.failing) for name, counters in begun}
        seen = {name: with_failures(one, plan.failing) for name, one in self.world.counters(rollout, step).items()}
        now = {name: self._tallied(rollout, name, before[name], counters) for name, counters in seen.items()}
        reading = BurnReading(self.clock(), now[rollout.revision_id])
        self._readings[rollout.id] = keep(self._readings.get(rollout.id, []), reading, plan.length_s)
        arms = {name: arm(before[name], now[name], plan.latency_ms) for name in before}
        stable = arms[rollout.stable_id] if rollout.stable_id else None
        elapsed = self._age(datetime.fromisoformat(rollout.window["at"]))
        truth = self._truth(rollout, plan)
        return judge(plan, step, arms[rollout.revision_id], stable, elapsed, self._readings[rollout.id], truth)

    def _tallied(self, rollout: Rollout, revision_id: str, before: Counters, now: Counters) -> Counters:
        """What a revision has counted since the window began, pods that came and went included.

        A reconciler that takes over knows the window's start and no reading since: it misses what a pod counted in
        between and lost before the first of its own.
        """
        assert rollout.window is not None
        key = (rollout.id, revision_id)
        known = self._tallies.get(key)
        if known is None or known[0] != rollout.window["at"]:
            known = self._tallies[key] = (rollout.window["at"], Tally(before))
        return known[1].take(now)

    def _truth(self, rollout: Rollout, plan: Plan) -> Truth:
        """Ground truth, asked for only now and then: it comes late anyway, and the registry is another machine's."""
        at, known = self._truths.get(rollout.id, (None, Truth()))
        if not plan.truth or (at is not None and self._age(at) < _TRUTH_S):
            return known
        try:
            known = self.world.truth(rollout, plan.truth)
        except UnavailableError as error:
            log.warning("rollout %s: its ground truth is not known now: %s", rollout.id, error)
        self._truths[rollout.id] = (self.clock(), known)
        return known

    def _device_fault(self, rollout: Rollout) -> str | None:
        """Asked for now and then: the fleet's watch looks no more often."""
        at, known = self._faults.get(rollout.id, (None, None))
        if at is not None and self._age(at) < _FAULTS_S:
            return known
        known = self.world.device_fault(rollout.service, rollout.revision_id)
        self._faults[rollout.id] = (self.clock(), known)
        return known

    def _age(self, at: datetime) -> float:
        return (self.clock() - at).total_seconds()


def _planned(rollout: Rollout, plan: Plan) -> float:
    """How long a phase may last by plan, in seconds, before anything is amiss."""
    return {Phase.BAKING: plan.bake_s, Phase.APPROVING: plan.approval_s}.get(rollout.phase, 0.0)


def _decision(plan: Plan, rollout: Rollout, judgement: Judgement) -> dict[str, Any]:
    step = plan.steps[rollout.step].model_dump(mode="json", exclude_defaults=True)
    return {"index": rollout.step, "step": step, "rule": judgement.rule, "numbers": judgement.numbers}
