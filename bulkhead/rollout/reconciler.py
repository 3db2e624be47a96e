"""The reconciler: makes the world match the ledger, one idempotent step at a time.

It may be killed at any instruction and run in any number of processes: what it does next follows from the
ledger and the world alone, the ledger moves by compare-and-swap, and every write carries the fence. A lease on
each service keeps the others from doing the same work; it is no part of what makes this safe.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from bulkhead.errors import BulkheadError, ConflictError, FencedError, NotFoundError, UnavailableError
from bulkhead.events import Rule
from bulkhead.ledger.leases import Leases
from bulkhead.ledger.ledger import Ledger
from bulkhead.ledger.requests import Request
from bulkhead.ledger.tables import Isolation, Phase, Rollout
from bulkhead.logs import about
from bulkhead.rollout.containment import Containment
from bulkhead.rollout.keeper import DriftCorrector
from bulkhead.rollout.patience import Patience
from bulkhead.rollout.plan import Plan
from bulkhead.rollout.returning import request_return
from bulkhead.rollout.trial import Trial
from bulkhead.rollout.world import World
from bulkhead.settings import ServicePolicy

log = logging.getLogger(__name__)


_LONGEST_PAUSE = timedelta(seconds=5)
"""Between two looks at a rollout whose router, cluster or registry does not answer."""

_LONGEST_TENDING_PAUSE = timedelta(seconds=15)
"""Between two looks at what serves, where something does not answer."""

_LONGEST_ISOLATING_PAUSE = timedelta(seconds=60)
"""Between two tries to show an isolation, where a registry is away that nobody else waits for."""

_TENDING = "looking after what serves"
_ADVANCING = "its rollout"


class Reconciler:
    """Steps every rollout in progress.

    Args:
        ledger: says what is wanted.
        world: is made to match.
        leases: this reconciler's; it acts on the services that it holds.
        policies: how far failures are isolated, and what becomes of others' changes, by service.
        clock: gives the time in UTC.
    """

    def __init__(
        self,
        ledger: Ledger,
        world: World,
        leases: Leases,
        policies: Mapping[str, ServicePolicy] | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._ledger, self._world, self._leases, self._clock = ledger, world, leases, clock
        self._policies: Mapping[str, ServicePolicy] = {} if policies is None else policies
        self._trial = Trial(ledger, world, clock)
        self._keeper = DriftCorrector(ledger, world, self._policies, clock)
        self._tending = Containment(ledger, clock, _LONGEST_TENDING_PAUSE)
        self._advancing = Containment(ledger, clock, _LONGEST_PAUSE)
        self._isolating = Containment(ledger, clock, _LONGEST_ISOLATING_PAUSE)
        self._stepping = Patience(clock, _LONGEST_PAUSE)
        self._stuck: dict[int, str] = {}

    @property
    def unsure(self) -> bool:
        """Whether a service's lease is held by a reconciler of which it is yet to be seen that it lives."""
        return self._leases.unsure

    def run_once(self) -> bool:
        """One pass over every service that no other reconciler holds: repair what serves, then step its rollout.

        An error of whatever kind that one service meets is its own: see ``Containment``.

        Returns:
            Whether a rollout is still in progress, of whichever service.

        Raises:
            UnavailableError: the ledger does not answer.
        """
        services = self._ledger.services.all()
        self._leases.hold(services)
        going = {rollout.service: rollout for rollout in self._ledger.rollouts.active()}
        for service in services:
            if self._holds(service.name) and self._tending.ready(service.name, _TENDING):
                matter = about(service=service.name, revision=service.stable_revision)
                with matter, self._tending.of(service.name, _TENDING):
                    self._keeper.tend(service, going.get(service.name))
        stepped = [self._stepped(one) for one in self._ledger.rollouts.active()]
        self._settle_isolations()
        returning = [self._left(isolation) for isolation in self._ledger.isolations.in_force()]
        return any(not rollout.phase.ended for rollout in stepped) or any(returning)

    def close(self) -> None:
        """Let go of every service, for another reconciler to take at once."""
        try:
            self._leases.release()
        except UnavailableError as error:
            log.warning("leases run out by themselves: %s", error)

    def _holds(self, service: str) -> bool:
        return service in self._leases.renew()

    def _settle_isolations(self) -> None:
        """Make the world show what is isolated and what was released."""
        for isolation in self._ledger.isolations.unapplied():
            service = self._ledger.revisions.get(isolation.revision_id).service
            # A registry that is down would keep the rollouts waiting at every look.
            work = f"{isolation.rung} of isolated {isolation.revision_id}"
            if self._holds(service) and self._isolating.ready(service, work):
                with about(service=service, revision=isolation.revision_id), self._isolating.of(service, work):
                    self._settle(isolation)

    def _settle(self, isolation: Isolation) -> None:
        if isolation.released_at is None:
            if self._world.isolate(isolation) and not self._ledger.isolations.mark_applied(isolation):
                self._world.unisolate(isolation)  # it was released while this was written; the next pass sees to it too
        else:
            self._world.unisolate(isolation)
            self._ledger.isolations.mark_applied(isolation)

    def _left(self, isolation: Isolation) -> bool:
        service = self._ledger.revisions.get(isolation.revision_id).service
        work = f"return from isolated {isolation.revision_id}"
        if not self._holds(service) or not self._isolating.ready(service, work):
            return False
        with about(service=service, revision=isolation.revision_id), self._isolating.of(service, work):
            return self._leave_isolated(isolation)
        return False

    def _leave_isolated(self, isolation: Isolation) -> bool:
        """Return from a revision that is isolated, if it is the stable one; whether that was asked for just now."""
        revision = self._ledger.revisions.get(isolation.revision_id)
        service = self._ledger.services.get(revision.service)
        if service.stable_revision != revision.id:
            return False
        if self._ledger.rollouts.active_of(service.name) is not None:
            return False
        try:
            before = self._ledger.revisions.previous(service.name)
            request = Request(f"isolated/{isolation.id}", "", "reconciler: the stable revision is isolated")
            request_return(self._ledger, before, request)
        except (NotFoundError, ConflictError) as error:
            if self._stuck.get(isolation.id) != str(error):  # once, not at every look
                log.error("service %s: its stable revision is isolated and goes on serving: %s", service.name, error)
            self._stuck[isolation.id] = str(error)
            return False
        return True

    def _stepped(self, rollout: Rollout) -> Rollout:
        """A rollout after its steps, as it was read where somebody else holds its service or it failed just now."""
        # The way back is tried at every look: clients meet the bad release meanwhile.
        ready = rollout.phase.returning or self._advancing.ready(rollout.service, _ADVANCING)
        if self._holds(rollout.service) and ready:
            matter = {"service": rollout.service, "revision": rollout.revision_id, "dag_run": rollout.owner}
            with about(rollout=rollout.id, **matter), self._advancing.of(rollout.service, _ADVANCING):
                return self._advance(rollout)
        return rollout

    def _advance(self, rollout: Rollout) -> Rollout:
        """Step a rollout until it ends or has to wait for something."""
        try:
            while not rollout.phase.ended:
                rollout = self._turn_from_isolated(rollout)
                moved = self._attempt(rollout)
                if moved is None:
                    return rollout
                why = f": {moved.reason}" if moved.phase.returning and not rollout.phase.returning else ""
                log.info("rollout %s: %s -> %s%s", rollout.id, rollout.phase, moved.phase, why)
                rollout = moved
        except FencedError as error:
            # Somebody turned it round meanwhile. The next pass reads anew, and carries the newer fence.
            log.info("rollout %s: %s", rollout.id, error)
        return rollout

    def _turn_from_isolated(self, rollout: Rollout) -> Rollout:
        if rollout.phase.settled:
            return rollout
        isolation = self._ledger.isolations.get(rollout.revision_id)
        if isolation is None:
            return rollout
        return self._ledger.rollouts.abort(rollout, f"it was isolated: {isolation.reason}", {"rule": Rule.ISOLATED})

    def _attempt(self, rollout: Rollout) -> Rollout | None:
        """Take one step, or decide what its failure means."""
        step = (rollout.id, rollout.sequence)  # whoever turns it round is heard at once: that is another step
        if not self._stepping.ready(step) and not rollout.phase.returning:
            return None  # the way back is tried at every look: clients meet the bad release meanwhile
        try:
            moved = self._step(rollout)
        except FencedError:
            raise
        except UnavailableError as error:
            self._stepping.failed(step)
            return self._trial.wait_for(rollout, error)
        except Exception as error:  # noqa: BLE001 - whatever one release meets must not keep the others from theirs
            return self._give_up(rollout, error)
        self._stepping.succeeded(step)
        return moved

    def _step(self, rollout: Rollout) -> Rollout | None:
        """Apply the phase's effect and move on; None if there is something to wait for."""
        trial = self._trial
        plan = trial.plan(rollout)
        if (turned := trial.overdue(rollout, plan)) is not None:
            return turned
        match rollout.phase:
            case Phase.REQUESTED:
                self._world.register(rollout)
            case Phase.REGISTERED:
                self._world.launch(rollout)
            case Phase.LAUNCHED:
                return trial.await_ready(rollout, plan)
            case Phase.SHIFTING:
                return trial.shift(rollout, plan)
            case Phase.ANALYSING:
                return trial.analyse(rollout, plan)
            case Phase.APPROVING:
                return trial.await_approval(rollout, plan)
            case Phase.PROMOTING:
                self._world.point_alias(rollout, rollout.revision_id)
            case Phase.BAKING:
                return trial.bake(rollout, plan)
            case Phase.RETIRING:
                if not self._retire(rollout, plan, rollout.stable_id):
                    return None
            case Phase.RESTORING:
                self._world.restore(rollout)
                return trial.move(rollout, contained_at=self._clock())
            case Phase.UNALIASING:
                self._isolate_by_policy(rollout)
                self._world.point_alias(rollout, rollout.stable_id)
            case Phase.DRAINING:
                if not self._retire(rollout, plan, rollout.revision_id):
                    return None
        return trial.move(rollout)

    def _isolate_by_policy(self, rollout: Rollout) -> None:
        """Isolate what was taken back, as far as its service's policy has it for the rule that decided."""
        rule = str((rollout.decision or {}).get("rule"))
        policy = self._policies.get(rollout.service)
        if policy is None or rule not in policy.isolation:
            return
        request = Request(f"policy/{rollout.id}", rollout.reason or rule, f"reconciler: policy for {rule}")
        levels, budget = policy.isolation[rule], policy.max_isolated
        try:
            self._ledger.isolations.isolate(rollout.revision_id, request, rungs=levels, budget=budget)
        except ConflictError as error:
            log.error("rollout %s: %s", rollout.id, error)

    def _retire(self, rollout: Rollout, plan: Plan, revision_id: str | None) -> bool:
        """Stop a revision once its last request is answered; False while there is one."""
        if revision_id is None:
            return True
        active = self._world.counters(rollout)[revision_id].active
        if active and self._age(rollout.phase_at) < plan.drain_s:
            return False
        self._world.forget(rollout, revision_id)
        return True

    def _give_up(self, rollout: Rollout, error: Exception) -> Rollout | None:
        """A step failed in a way that trying again does not mend: turn round, while there is a way back."""
        log.error("rollout %s in phase %s", rollout.id, rollout.phase, exc_info=error)
        text = str(error) if isinstance(error, BulkheadError) else f"{type(error).__name__}: {error}"
        if rollout.phase.settled:
            self._trial.complain(rollout, text)
            return None
        return self._ledger.rollouts.abort(rollout, text, {"rule": Rule.ERROR})

    def _age(self, at: datetime) -> float:
        return (self._clock() - at).total_seconds()
