"""Putting the parts together: settings in, ledger, world and reconciler out."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

from bulkhead import fleets
from bulkhead.errors import NotFoundError, UnavailableError, UnsupportedError
from bulkhead.health.quarantine import QuarantineController
from bulkhead.health.watch import FleetWatch
from bulkhead.ledger.launches import Launches
from bulkhead.ledger.leases import Leases
from bulkhead.ledger.ledger import Ledger
from bulkhead.ledger.quarantines import Quarantines
from bulkhead.ledger.suspicions import Suspicions
from bulkhead.ledger.tables import Intent, Phase, Revision, Rollout
from bulkhead.pods.suspicion import Avoidance
from bulkhead.registries.mlflow import MlflowRegistry
from bulkhead.rollout.devices import Devices
from bulkhead.rollout.plan import Plan, first_release
from bulkhead.rollout.reconciler import Reconciler
from bulkhead.rollout.returning import request_return
from bulkhead.rollout.revision import RevisionSpec
from bulkhead.rollout.wake import looks, wake
from bulkhead.rollout.world import World
from bulkhead.rungs import DEFAULT, Rung
from bulkhead.runtimes.local.runtime import LocalRuntime
from bulkhead.settings import ServicePorts, Settings
from bulkhead.sites import Sites

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Control:
    """The parts that one configuration describes; each is made on first use.

    Attributes:
        settings: the configuration.
    """

    settings: Settings

    @cached_property
    def ledger(self) -> Ledger:
        """The ledger, migrated."""
        return Ledger(self.settings.ledger)

    @cached_property
    def launches(self) -> Launches:
        """The launches of the ledger."""
        return Launches(self.ledger.engine)

    @cached_property
    def quarantines(self) -> Quarantines:
        """The quarantines of the ledger."""
        return Quarantines(self.ledger.engine)

    @cached_property
    def suspicions(self) -> Suspicions:
        """The suspicions of the ledger."""
        return Suspicions(self.ledger.engine)

    def fleet_watch(self) -> FleetWatch:
        """A watch of the fleet, which goes on where the last one ended."""
        return fleets.watch(self.settings, self.quarantines, suspected=lambda: self.avoidance().told)

    def avoidance(self) -> Avoidance:
        """Where launches should not go now; see ``fleets.avoidance``."""
        return fleets.avoidance(self.settings, self.suspicions, self.quarantines)

    def quarantine_controller(self) -> QuarantineController:
        """Who keeps the fleet's sick devices away from work."""
        return fleets.controller(self.settings, self.quarantines)

    @cached_property
    def runtime(self) -> LocalRuntime:
        """The local runtime."""
        return LocalRuntime(self.settings.pods, self.settings.gpu_stand_ins)

    @cached_property
    def site(self) -> Sites:
        """Where a service runs, by its name."""
        return Sites(self.settings, self.runtime)

    @cached_property
    def reconciler(self) -> Reconciler:
        """The reconciler."""
        self.load_credentials()
        devices = Devices(self.quarantines, self.settings.fleet)
        world = World(self.ledger, self.site, MlflowRegistry(self.settings.mlflow_tracking_uri), devices)
        return Reconciler(self.ledger, world, Leases(self.ledger.engine, self.settings.lease_s), self.settings.services)

    def load_credentials(self) -> None:
        """Give this process MLflow's credentials, unless its environment has them already."""
        for variable, (secret, key) in self.site.local_credentials().items():
            if variable not in os.environ:
                os.environ[variable] = (self.runtime.layout.secrets / secret / key).read_text(encoding="utf-8")

    def wake(self) -> None:
        """Wake the reconciler."""
        wake(self.settings.home)

    def watch(self, stop: threading.Event) -> None:
        """Reconcile until told to stop. A ledger that does not answer is waited for: it will.

        Args:
            stop: ends the loop when set.
        """
        self.reconcile_until(stop.is_set, stop)

    def reconcile_until(self, done: Callable[[], bool], stop: threading.Event) -> bool:
        """Reconcile until something is so. Safe beside any number of reconcilers, and works where none runs.

        Args:
            done: asked after each pass.
            stop: ends the loop when set.

        Returns:
            Whether it is so; False where it was stopped before.
        """
        try:
            for _ in looks(self.settings.home, stop):
                try:
                    self._reconcile_once()
                    if done():
                        return True
                except UnavailableError as error:
                    log.warning("cannot reconcile now: %s", error)
                if stop.is_set():
                    return False
            return False
        finally:
            self.reconciler.close()

    def _reconcile_once(self) -> None:
        """One pass. A fault in it that nobody foresaw costs this pass, and not the control plane."""
        try:
            self.reconciler.run_once()
        except UnavailableError:
            raise
        except Exception:
            log.exception("a pass of the reconciler failed; the next one begins anew")

    def release(
        self, revision: RevisionSpec, plan: Plan, *, key: str, owner: str, requested_by: str, cleared: bool = False
    ) -> Rollout:
        """Ask for a revision to be released, and wake the reconciler.

        A service's first revision has nothing to be compared with and nobody else to serve the rest of the
        traffic: it goes to 100 % in one step, and is judged there.

        Args:
            revision: what to release.
            plan: how.
            key: see ``Ledger.request_rollout``.
            owner: see there.
            requested_by: see there.
            cleared: see there.

        Returns:
            The rollout.

        Raises:
            NotFoundError: the configuration does not know the service.
            ConflictError: see ``Ledger.request_rollout``.
        """
        self.settings.service(revision.service)
        if not self._has_stable(revision.service):
            plan = first_release(plan)
        rollout = self.ledger.request_rollout(
            revision.columns(),
            plan.model_dump(mode="json"),
            key=key,
            owner=owner,
            requested_by=requested_by,
            cleared=cleared,
        )
        self.wake()
        return rollout

    def roll_back(self, service: str, *, key: str, reason: str, requested_by: str) -> Rollout:
        """Roll a service back: what is in progress, else to the revision before the stable one.

        Args:
            service: by name.
            key: idempotency key.
            reason: for people.
            requested_by: for the record.

        Returns:
            The rollout that returns the traffic.

        Raises:
            NotFoundError: the service is unknown, or there is nothing to go back to.
        """
        self.ledger.service(service)
        found = self.ledger.request_rollback(key=key, reason=reason, requested_by=requested_by, service=service)
        rollout = found.rollout
        if rollout is None:
            rollout = self._return(service, key, reason, requested_by)
        self.wake()
        return rollout

    def roll_back_revision(
        self, service: str, revision_id: str, *, key: str, reason: str, requested_by: str
    ) -> Rollout | None:
        """Return from one revision, if it still serves: it may have been replaced meanwhile.

        Args:
            service: by name.
            revision_id: that is to lose its traffic.
            key: idempotency key.
            reason: for people.
            requested_by: for the record.

        Returns:
            The rollout that returns the traffic; None where the revision has none.

        Raises:
            NotFoundError: there is nothing to go back to.
            ConflictError: another revision's rollout is in progress, from this one to that.
        """
        asked = {"key": key, "reason": reason, "requested_by": requested_by}
        going = self.ledger.active_rollout(service)
        if going is not None and going.revision_id == revision_id:
            found = self.ledger.request_rollback(rollout_id=going.id, **asked).rollout
            self.wake()
            return found
        if self.ledger.service(service).stable_revision != revision_id:
            return None
        rollout = self._return(service, **asked)
        self.wake()
        return rollout

    def acted(self, key: str) -> Intent | None:
        """What a rollback or an isolation has recorded under a key; None where nothing is.

        Args:
            key: idempotency key that was given to it.
        """
        return self.ledger.intent(key, _return_key(key))

    def roll_back_to(self, revision_id: str, *, key: str, requested_by: str, reason: str = "") -> Rollout:
        """Give all of a service's traffic to a revision that it had before.

        Args:
            revision_id: of the revision.
            key: idempotency key.
            requested_by: for the record.
            reason: for people.

        Returns:
            The rollout that does it.

        Raises:
            NotFoundError: there is no such revision.
            ConflictError: it is isolated, or another rollout of its service is in progress.
        """
        rollout = request_return(self.ledger, revision_id, key=key, requested_by=requested_by, reason=reason)
        self.wake()
        return rollout

    def approve(
        self, rollout_id: int, *, key: str, requested_by: str, reason: str = "", step: int | None = None
    ) -> Rollout:
        """Let a rollout that waits for a person go on.

        Args:
            rollout_id: in the ledger.
            key: idempotency key.
            requested_by: for the record.
            reason: for people.
            step: index of the step that was approved; None: the one at which it waits.

        Returns:
            The rollout.

        Raises:
            NotFoundError: there is no such rollout.
            ConflictError: it does not wait for anybody, or at another step.
        """
        rollout = self.ledger.approve(rollout_id, key=key, requested_by=requested_by, reason=reason, step=step)
        self.wake()
        return rollout

    def roll_back_owner(
        self, owner: str, service: str | None, *, key: str, reason: str, requested_by: str
    ) -> list[Rollout]:
        """Undo what an owner has released, and refuse what it has yet to ask for.

        Args:
            owner: on whose behalf it was released, for instance one DAG run.
            service: where the owner's revision has become the stable one here, return to the one before it; None: only
                what is in progress is taken back.
            key: idempotency key.
            reason: for people.
            requested_by: for the record.

        Returns:
            The rollouts that return the traffic.

        Raises:
            NotFoundError: there is nothing to return to.
            ConflictError: another rollout of the service is in progress.
        """
        turned = list(self.ledger.withdraw(owner=owner, key=key, reason=reason, requested_by=requested_by))
        self.wake()
        if service is not None and self._stable_by(owner, service):
            turned.append(self._return(service, key, reason, requested_by))
            self.wake()
        return turned

    def isolate_released(
        self, owner: str, service: str, *, key: str, reason: str, requested_by: str
    ) -> Revision | None:
        """Isolate what an owner has released to a service, and refuse what it has yet to ask for.

        Args:
            owner: on whose behalf it was released, for instance one DAG run.
            service: by name.
            key: idempotency key.
            reason: for people.
            requested_by: for the record.

        Returns:
            The revision; None where the owner has released nothing there.
        """
        self.ledger.withdraw(owner=owner, key=f"{key}/withdraw", reason=reason, requested_by=requested_by)
        self.wake()
        if not (found := self.ledger.rollouts(service, owner, limit=1)):
            return None
        return self.isolate(found[0].revision_id, key=key, reason=reason, requested_by=requested_by)

    def _return(self, service: str, key: str, reason: str, requested_by: str) -> Rollout:
        """Ask for the revision before the stable one."""
        before = self.ledger.previous_revision(service)
        return request_return(self.ledger, before, key=_return_key(key), requested_by=requested_by, reason=reason)

    def _stable_by(self, owner: str, service: str) -> bool:
        """Whether the stable revision is one that this owner has released."""
        latest = self.ledger.rollouts(service, owner, limit=1)
        if not latest or latest[0].phase is not Phase.PROMOTED:
            return False
        return self.ledger.service(service).stable_revision == latest[0].revision_id

    def isolate(
        self,
        revision_id: str,
        *,
        key: str,
        reason: str,
        requested_by: str,
        rungs: Iterable[Rung] = DEFAULT,
        budgeted: bool = True,
    ) -> Revision:
        """Take a revision's traffic away, and keep it from any.

        Args:
            revision_id: of the revision.
            key: idempotency key.
            reason: for people.
            requested_by: for the record.
            rungs: how far; see ``Rung``.
            budgeted: whether the service's ``max_isolated`` bounds it: for whatever is not a person.

        Returns:
            The revision.

        Raises:
            NotFoundError: there is no such revision.
            ConflictError: the budget is spent.
            UnsupportedError: a rung that the service's runtime does not have.
        """
        wanted, known = tuple(rungs), self.settings.services.get(self.ledger.revision(revision_id).service)
        if Rung.NETWORK in wanted and isinstance(known, ServicePorts):
            remedy = "processes of one machine share its network: leave it out, or serve on Kubernetes"
            raise UnsupportedError("rungs", str(Rung.NETWORK), remedy)
        budget = known.max_isolated if known and budgeted else None
        asked = {"key": key, "reason": reason, "requested_by": requested_by}
        revision = self.ledger.isolate(revision_id, rungs=wanted, budget=budget, **asked)
        self.wake()
        return revision

    def _has_stable(self, service: str) -> bool:
        try:
            return self.ledger.service(service).stable_revision is not None
        except NotFoundError:
            return False


def _return_key(key: str) -> str:
    """Of the rollout that a wish to leave a stable revision becomes."""
    return f"{key}/return"
