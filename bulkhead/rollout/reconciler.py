"""The reconciler: makes the world match the ledger, one idempotent step at a time.

It may be killed at any instruction and run in any number of processes: what it does next follows from the
ledger and the world alone, the ledger moves by compare-and-swap, and every write carries the fence. A lease on
each service keeps the others from doing the same work; it is no part of what makes this safe.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from bulkhead.errors import BulkheadError, FencedError, UnavailableError
from bulkhead.events import Rule
from bulkhead.ledger.leases import Leases
from bulkhead.ledger.ledger import Ledger
from bulkhead.ledger.tables import Isolation, Rollout, Service
from bulkhead.logs import about
from bulkhead.registries.base import Registry
from bulkhead.rollout import traces
from bulkhead.rollout.backend import ServingBackend
from bulkhead.rollout.backoff import Backoff
from bulkhead.rollout.canary_analysis import CanaryAnalysis
from bulkhead.rollout.containment import Containment
from bulkhead.rollout.context import Abort, Contexts, Continue, Outcome, RolloutContext, Wait
from bulkhead.rollout.devices import Devices
from bulkhead.rollout.drift import DriftCorrector
from bulkhead.rollout.effects import Effects
from bulkhead.rollout.isolation import Isolator
from bulkhead.rollout.measurement_recorder import MeasurementRecorder
from bulkhead.rollout.phases import PHASES, Handlers, following, overdue
from bulkhead.rollout.waiting import WaitingRecorder
from bulkhead.settings import ServicePolicy

log = logging.getLogger(__name__)


_LONGEST_PAUSE = timedelta(seconds=5)
"""Between two tries of a rollout whose router, cluster or registry does not answer."""

_LONGEST_CORRECTING_PAUSE = timedelta(seconds=15)
"""Between two corrections of what serves, where something does not answer."""

_LONGEST_ISOLATING_PAUSE = timedelta(seconds=60)
"""Between two tries to put an isolation in force, where a registry is away that nothing else waits for."""

_CORRECTING = "looking after what serves"
_ADVANCING = "its rollout"


class Reconciler:
    """Steps every rollout in progress.

    Args:
        ledger: says what is wanted.
        backends: where a service runs, by its name.
        devices: under the revisions' pods.
        leases: this reconciler's; it acts on the services that it holds.
        policies: how far failures are isolated, and what becomes of others' changes, by service.
        clock: gives the time in UTC.
    """

    def __init__(
        self,
        ledger: Ledger,
        backends: Callable[[str], ServingBackend],
        registry: Registry,
        devices: Devices,
        leases: Leases,
        policies: Mapping[str, ServicePolicy] | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._ledger, self._leases = ledger, leases
        policies = {} if policies is None else policies
        effects = Effects(ledger, registry, devices)
        self._contexts = Contexts(backends, clock)
        self._analysis = CanaryAnalysis(effects, MeasurementRecorder(ledger.measurements))
        self._handlers = Handlers(ledger, effects, self._analysis, policies)
        self._waiting = WaitingRecorder(ledger.events, clock)
        self._drift = DriftCorrector(ledger, backends, policies, clock)
        self._isolator = Isolator(ledger, backends, registry, devices)
        self._correcting = Containment(ledger, clock, _LONGEST_CORRECTING_PAUSE)
        self._advancing = Containment(ledger, clock, _LONGEST_PAUSE)
        self._isolating = Containment(ledger, clock, _LONGEST_ISOLATING_PAUSE)
        self._stepping = Backoff(clock, _LONGEST_PAUSE)

    @property
    def unsure(self) -> bool:
        """Whether a service's lease is held by a reconciler of which it is yet to be seen that it lives."""
        return self._leases.unsure

    def run_once(self) -> bool:
        """One pass over every service that no other reconciler holds: correct what serves, then step its rollout.

        An error of whatever kind that one service meets is its own: see ``Containment``.

        Returns:
            Whether a rollout is still in progress, of whichever service.

        Raises:
            UnavailableError: the ledger does not answer.
        """
        services = self._ledger.services.all()
        self._leases.hold(services)
        going = {rollout.service: rollout for rollout in self._ledger.rollouts.active()}
        for memory in (self._contexts, self._analysis, self._waiting):
            memory.forget_all_but({rollout.id for rollout in going.values()})
        for service in services:
            self._correct_drift(service, going.get(service.name))
        stepped = [self._stepped(rollout) for rollout in self._ledger.rollouts.active()]
        for isolation in self._ledger.isolations.unapplied():
            self._apply(isolation)
        returning = [self._return_from(isolation) for isolation in self._ledger.isolations.in_force()]
        return any(not rollout.phase.ended for rollout in stepped) or any(returning)

    def close(self) -> None:
        """Give every service back, for another reconciler to take at once."""
        try:
            self._leases.release()
        except UnavailableError as error:
            log.warning("leases run out by themselves: %s", error)

    def _holds(self, service: str) -> bool:
        return service in self._leases.renew()

    def _correct_drift(self, service: Service, rollout: Rollout | None) -> None:
        if not self._holds(service.name) or not self._correcting.ready(service.name, _CORRECTING):
            return
        matter = about(service=service.name, revision=service.stable_revision)
        with matter, self._correcting.of(service.name, _CORRECTING):
            self._drift.reconcile(service, lambda: None if rollout is None else self._contexts.of(rollout))

    def _apply(self, isolation: Isolation) -> None:
        """Make the world show what is isolated, and what is isolated no more."""
        service = self._ledger.revisions.get(isolation.revision_id).service
        # A registry that is down would keep the rollouts waiting at every pass.
        work = f"{isolation.level} of isolated {isolation.revision_id}"
        if self._holds(service) and self._isolating.ready(service, work):
            with about(service=service, revision=isolation.revision_id), self._isolating.of(service, work):
                self._isolator.apply(isolation)

    def _return_from(self, isolation: Isolation) -> bool:
        service = self._ledger.revisions.get(isolation.revision_id).service
        work = f"return from isolated {isolation.revision_id}"
        if not self._holds(service) or not self._isolating.ready(service, work):
            return False
        with about(service=service, revision=isolation.revision_id), self._isolating.of(service, work):
            return self._isolator.return_from(isolation)
        return False

    def _stepped(self, rollout: Rollout) -> Rollout:
        """A rollout after its steps, as it was read where another reconciler holds its service or it failed just
        now."""
        # The way back is tried at every pass: clients meet the bad release meanwhile.
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
                rollout = self._abort_if_isolated(rollout)
                moved = self._attempt(rollout)
                if moved is None:
                    return rollout
                why = f": {moved.reason}" if moved.phase.returning and not rollout.phase.returning else ""
                log.info("rollout %s: %s -> %s%s", rollout.id, rollout.phase, moved.phase, why)
                rollout = moved
            traces.release(rollout, lambda: self._ledger.events.select(rollout.id))
        except FencedError as error:
            # It was aborted meanwhile. The next pass reads again, and carries the newer fence.
            log.info("rollout %s: %s", rollout.id, error)
        return rollout

    def _abort_if_isolated(self, rollout: Rollout) -> Rollout:
        if rollout.phase.settled:
            return rollout
        isolation = self._ledger.isolations.get(rollout.revision_id)
        if isolation is None:
            return rollout
        return self._ledger.rollouts.abort(rollout, f"it was isolated: {isolation.reason}", {"rule": Rule.ISOLATED})

    def _attempt(self, rollout: Rollout) -> Rollout | None:
        """Take one step, or decide what its failure means; the rollout as it is then, None where it has to wait."""
        step = (rollout.id, rollout.sequence)  # an abort counts at once: that is another step
        if not self._stepping.ready(step) and not rollout.phase.returning:
            return None  # the way back is tried at every pass: clients meet the bad release meanwhile
        try:
            context = self._contexts.of(rollout)
        except UnavailableError:  # without its backend nothing can be said of it: see Containment
            raise
        except Exception as error:  # noqa: BLE001 - see below
            return self._give_up(rollout, error)
        began_ns = time.time_ns()
        try:
            moved = self._write(context, self._outcome(context))
        except FencedError:
            raise
        except UnavailableError as error:
            traces.step(rollout, began_ns, error)
            self._stepping.failed(step)
            return self._write(context, self._handlers.unavailable(context, error))
        except Exception as error:  # noqa: BLE001 - whatever one release meets must not keep the others from theirs
            traces.step(rollout, began_ns, error)
            return self._give_up(rollout, error)
        self._stepping.succeeded(step)
        if moved is not None:
            traces.step(rollout, began_ns)
        return moved

    def _outcome(self, context: RolloutContext) -> Outcome:
        return overdue(context) or PHASES[context.rollout.phase].handler(self._handlers, context)

    def _write(self, context: RolloutContext, outcome: Outcome) -> Rollout | None:
        """Write down what a step has come to. Nothing is written before the world shows it."""
        rollout, plan = context.rollout, context.plan
        match outcome:
            case Abort(reason, decision):
                return self._ledger.rollouts.abort(rollout, reason, decision)
            case Continue(changes, noted, skip_to):
                phase, step = following(rollout.phase, rollout.step, plan, skip_to)
                weight = plan.steps[step].weight if step < len(plan.steps) else None
                data = {**noted, "after": rollout.phase, "step": step, "weight": weight}
                return self._ledger.rollouts.transition(rollout, phase, str(phase), data, step=step, **changes)
            case Wait(reason, detail):
                if reason:
                    self._waiting.record(rollout, reason, detail)
                return None

    def _give_up(self, rollout: Rollout, error: Exception) -> Rollout | None:
        """A step failed in a way that trying again does not mend: abort, while there is a way back."""
        log.error("rollout %s in phase %s", rollout.id, rollout.phase, exc_info=error)
        text = str(error) if isinstance(error, BulkheadError) else f"{type(error).__name__}: {error}"
        if rollout.phase.settled:
            self._waiting.record(rollout, text)
            return None
        return self._ledger.rollouts.abort(rollout, text, {"rule": Rule.ERROR})
