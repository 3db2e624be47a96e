"""The phases of a rollout: what each does, and what follows it.

::

    requested ─▶ registered ─▶ launched ─▶ shifting ─▶ analysing ─▶ promoting ─▶ baking ─▶ retiring ─▶ promoted
                                              ▲  ▲        │   │
                                              │  └────────┘   ▼
                                              └────────── approving
    from analysing or approving, where a person has it skip steps: shifting, with the last step of the plan
    any of these but retiring, on a verdict, an error or a rollback intent:
                                restoring ─▶ unaliasing ─▶ draining ─▶ rolled_back

In every phase there is one effect; it is idempotent, and only when it has succeeded is the next phase
written. So a reconciler killed anywhere repeats at most one effect.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bulkhead.errors import ConflictError, UnavailableError
from bulkhead.events import EventKind, Rule
from bulkhead.ledger.ledger import Ledger
from bulkhead.ledger.requests import Request
from bulkhead.ledger.tables import Phase
from bulkhead.metrics.counters import dump
from bulkhead.rollout.analysis.judge import LACKING, Judgement, StepVerdict
from bulkhead.rollout.canary_analysis import CanaryAnalysis, decision, failed
from bulkhead.rollout.context import Abort, Continue, Outcome, RolloutContext, Wait
from bulkhead.rollout.effects import Effects
from bulkhead.rollout.plan import Plan
from bulkhead.rollout.sentences import APPROVAL, HOLD
from bulkhead.settings import ServicePolicy

log = logging.getLogger(__name__)

_EXPOSED = (Phase.ANALYSING, Phase.APPROVING, Phase.BAKING)


@dataclass(frozen=True)
class Handlers:
    """What is done in each phase. A handler changes the world and says what came of it; the reconciler writes it down.

    Attributes:
        ledger: is read for what people agreed to, and told of steps that passed.
        effects: on the world.
        analysis: of candidates.
        policies: how far failures are isolated, by service.
    """

    ledger: Ledger
    effects: Effects
    analysis: CanaryAnalysis
    policies: Mapping[str, ServicePolicy]

    def register(self, context: RolloutContext) -> Outcome:
        """Have the model version in the registry."""
        self.effects.register(context)
        return Continue()

    def launch(self, context: RolloutContext) -> Outcome:
        """Have the candidate's server running."""
        self.effects.launch(context)
        return Continue()

    def await_ready(self, context: RolloutContext) -> Outcome:
        """Go on once the candidate can answer."""
        workload = context.backend.workloads.find(context.candidate)
        if workload is None or workload.status.ended:
            why = workload.status.failure if workload else None
            detail = f"{why.failure_class}: {why.message}" if why else "its pod is gone"
            return Abort(f"the candidate did not start: {detail}", {"rule": Rule.NOT_SERVING})
        if workload.status.ready:
            return Continue(noted=self.effects.places(context))
        if context.phase_age_s > context.plan.ready_s:
            message = f": {workload.status.message}" if workload.status.message else ""
            reason = f"the candidate was not ready after {context.plan.ready_s:g} s{message}"
            return Abort(reason, {"rule": Rule.NOT_SERVING})
        return Wait()

    def shift(self, context: RolloutContext) -> Outcome:
        """Give the candidate what the step says, and remember the counters from before."""
        if not self.effects.prepare(context):
            return Wait()
        before = {name: dump(seen) for name, seen in self.effects.counters(context, judged=True).items()}
        self.effects.set_weight(context)
        now, step = context.clock(), context.step
        window = {"at": now.isoformat(), "counters": before}
        exposed = context.rollout.exposed_at or (now if step.weight or step.headers else None)
        return Continue({"window": window, "exposed_at": exposed})

    def analyse(self, context: RolloutContext) -> Outcome:
        """Judge the step."""
        if (abort := self.analysis.hard_failure(context)) is not None:
            return abort
        judgement, plan = self.analysis.judge(context), context.plan
        if judgement.verdict is StepVerdict.FAIL:
            return failed(context, judgement)
        if (skipping := self._skipping(context)) is not None:
            return skipping
        if judgement.verdict is StepVerdict.PASS:
            return self._passed(context, judgement)
        inconclusive_timeout_s = plan.inconclusive_timeout_s_of(context.step)
        if context.phase_age_s > inconclusive_timeout_s:
            if plan.on_insufficient_data == "promote" and judgement.rule in LACKING:
                return self._passed(context, judgement)
            reason = f"no sufficient evidence after {inconclusive_timeout_s:g} s at a step: {judgement.reason}"
            return Abort(reason, decision(context, judgement))
        return Wait(f"{HOLD}{judgement.rule}", judgement.reason)

    def await_approval(self, context: RolloutContext) -> Outcome:
        """Go on once a person has agreed. The candidate is judged all the while."""
        if (abort := self.analysis.failing(context)) is not None:
            return abort
        if (skipping := self._skipping(context)) is not None:
            return skipping
        rollout, approval_s = context.rollout, context.plan.approval_s
        if self.ledger.approvals.approved(rollout):
            return Continue()
        if context.phase_age_s > approval_s:
            reason = f"nobody approved of step {rollout.step + 1} within {approval_s:g} s"
            return Abort(reason, {"rule": Rule.APPROVAL})
        return Wait(f"{APPROVAL}: bulkhead approve {rollout.service}")

    def move_alias(self, context: RolloutContext) -> Outcome:
        """Have the champion alias name the candidate."""
        self.effects.point_alias(context, context.candidate)
        return Continue()

    def bake(self, context: RolloutContext) -> Outcome:
        """Judge the candidate at all of the traffic until the bake is over; stable is still warm."""
        if context.plan.bake_s and (abort := self.analysis.failing(context)) is not None:
            return abort
        return Continue() if context.phase_age_s >= context.plan.bake_s else Wait()

    def retire(self, context: RolloutContext) -> Outcome:
        """Drain and stop the revision that was replaced."""
        return self._drained(context, context.stable)

    def restore(self, context: RolloutContext) -> Outcome:
        """Return all traffic to the stable revision."""
        self.effects.restore(context)
        return Continue({"contained_at": context.clock()})

    def return_alias(self, context: RolloutContext) -> Outcome:
        """Have the champion alias name the stable revision, and isolate the candidate as the policy has it."""
        self._isolate_by_policy(context)
        self.effects.point_alias(context, context.stable)
        return Continue()

    def drain(self, context: RolloutContext) -> Outcome:
        """Drain and stop the candidate."""
        return self._drained(context, context.candidate)

    def unavailable(self, context: RolloutContext, error: UnavailableError) -> Outcome:
        """Something does not answer: try again, but on the way forward not for ever."""
        rollout, plan = context.rollout, context.plan
        if rollout.phase.settled:
            return Wait(str(error))
        unreadable = rollout.phase in _EXPOSED and self.analysis.unreadable_s(context) > plan.metrics_unavailable_s
        if unreadable and plan.on_metrics_unavailable == "roll-back":
            reason = f"its metrics could not be read for {plan.metrics_unavailable_s:g} s: {error}"
            return Abort(reason, {"rule": Rule.METRICS_UNAVAILABLE})
        limit = plan.inconclusive_timeout_s_of(context.step) + _planned_s(context)
        if context.phase_age_s > limit:
            return Abort(f"gave up after {limit:g} s: {error}", {"rule": Rule.UNAVAILABLE})
        return Wait(str(error))

    def _skipping(self, context: RolloutContext) -> Continue | None:
        """The way to the last step, where a person asked for that; the candidate is judged there as by plan."""
        if context.rollout.may_skip and self.ledger.approvals.promoted(context.rollout):
            return Continue(skip_to=len(context.plan.steps) - 1)
        return None

    def _passed(self, context: RolloutContext, judgement: Judgement) -> Outcome:
        data = decision(context, judgement)
        self.ledger.events.append(context.rollout, EventKind.PASSED, {**data, "reason": judgement.reason})
        return Continue({"decision": data})

    def _drained(self, context: RolloutContext, revision_id: str | None) -> Outcome:
        """Stop a revision once its last request is answered, or the plan's time for that is over."""
        if revision_id is not None:
            active = self.effects.counters(context)[revision_id].active
            if active and context.phase_age_s < context.plan.drain_s:
                return Wait()
            self.effects.stop(context, revision_id)
        return Continue()

    def _isolate_by_policy(self, context: RolloutContext) -> None:
        """Isolate what was rolled back, as far as its service's policy has it for the rule that decided."""
        rollout = context.rollout
        rule = str((rollout.decision or {}).get("rule"))
        policy = self.policies.get(rollout.service)
        if policy is None or rule not in policy.isolation:
            return
        request = Request(f"policy/{rollout.id}", rollout.reason or rule, f"reconciler: policy for {rule}")
        levels, budget = policy.isolation[rule], policy.max_isolated
        try:
            self.ledger.isolations.isolate(context.candidate, request, levels=levels, budget=budget)
        except ConflictError as error:
            log.error("rollout %s: %s", rollout.id, error)


def overdue(context: RolloutContext) -> Abort | None:
    """The end of a rollout that is longer on its way to 100 % than its plan allows; None if it is in time."""
    rollout, progress_deadline_s = context.rollout, context.plan.progress_deadline_s
    if progress_deadline_s is None or rollout.phase is Phase.BAKING or rollout.phase.settled:
        return None
    if context.age_s(rollout.created_at) <= progress_deadline_s:
        return None
    return Abort(f"not at 100 % after {progress_deadline_s:g} s in all", {"rule": Rule.PROGRESS_DEADLINE})


def _planned_s(context: RolloutContext) -> float:
    """How long a phase may last by plan, in seconds, before anything is amiss."""
    plan = context.plan
    return {Phase.BAKING: plan.bake_s, Phase.APPROVING: plan.approval_s}.get(context.rollout.phase, 0.0)


Successor = Callable[[Plan, int], tuple[Phase, int]]
"""From a plan and the index of a step to the next phase, and the step in it."""


@dataclass(frozen=True)
class PhaseSpec:
    """One row of the table of phases.

    Attributes:
        handler: what is done in it.
        successor: what follows once that has succeeded.
    """

    handler: Callable[[Handlers, RolloutContext], Outcome]
    successor: Successor


def _to(phase: Phase) -> Successor:
    return lambda _, step: (phase, step)


def _next_step(plan: Plan, step: int) -> tuple[Phase, int]:
    return (Phase.PROMOTING, step) if step + 1 >= len(plan.steps) else (Phase.SHIFTING, step + 1)


def _approval_or_next_step(plan: Plan, step: int) -> tuple[Phase, int]:
    return (Phase.APPROVING, step) if plan.steps[step].approve else _next_step(plan, step)


PHASES: Mapping[Phase, PhaseSpec] = {
    Phase.REQUESTED: PhaseSpec(Handlers.register, _to(Phase.REGISTERED)),
    Phase.REGISTERED: PhaseSpec(Handlers.launch, _to(Phase.LAUNCHED)),
    Phase.LAUNCHED: PhaseSpec(Handlers.await_ready, _to(Phase.SHIFTING)),
    Phase.SHIFTING: PhaseSpec(Handlers.shift, _to(Phase.ANALYSING)),
    Phase.ANALYSING: PhaseSpec(Handlers.analyse, _approval_or_next_step),
    Phase.APPROVING: PhaseSpec(Handlers.await_approval, _next_step),
    Phase.PROMOTING: PhaseSpec(Handlers.move_alias, _to(Phase.BAKING)),
    Phase.BAKING: PhaseSpec(Handlers.bake, _to(Phase.RETIRING)),
    Phase.RETIRING: PhaseSpec(Handlers.retire, _to(Phase.PROMOTED)),
    Phase.RESTORING: PhaseSpec(Handlers.restore, _to(Phase.UNALIASING)),
    Phase.UNALIASING: PhaseSpec(Handlers.return_alias, _to(Phase.DRAINING)),
    Phase.DRAINING: PhaseSpec(Handlers.drain, _to(Phase.ROLLED_BACK)),
}
"""Every phase that has not ended."""


def following(phase: Phase, step: int, plan: Plan, skip_to: int | None = None) -> tuple[Phase, int]:
    """Where a rollout goes when its phase's effect has succeeded.

    Args:
        phase: now; not an ended one.
        step: index of the step now.
        skip_to: index of the step that comes next, in place of what the table has; None: as the table has it.

    Returns:
        The next phase, and the step in it.
    """
    return PHASES[phase].successor(plan, step) if skip_to is None else (Phase.SHIFTING, skip_to)
