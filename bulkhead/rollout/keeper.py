"""Keeping what serves as it was written, whatever else goes on: servers that died, changes that others made."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from bulkhead.events import EventKind
from bulkhead.ledger.ledger import Ledger
from bulkhead.ledger.tables import Phase, Revision, Rollout, Service
from bulkhead.rollout.patience import back_off
from bulkhead.rollout.plan import parse_plan
from bulkhead.rollout.world import World
from bulkhead.routers.base import Fence, Split
from bulkhead.settings import ServicePolicy

log = logging.getLogger(__name__)

_CALM = timedelta(minutes=10)
"""After so long without a repair, a service's next one is its first again."""

_BEFORE = (Phase.REQUESTED, Phase.REGISTERED, Phase.LAUNCHED)
_AFTER = (Phase.PROMOTING, Phase.BAKING, Phase.RETIRING)
_STEP = (Phase.ANALYSING, Phase.APPROVING)


class DriftCorrector:
    """Looks after what serves.

    Args:
        ledger: says what is wanted.
        world: is kept so.
        policies: what becomes of a change that somebody else made, by service.
        clock: gives the time in UTC.
    """

    def __init__(
        self,
        ledger: Ledger,
        world: World,
        policies: Mapping[str, ServicePolicy],
        clock: Callable[[], datetime],
    ) -> None:
        self._ledger, self._world, self._policies, self._clock = ledger, world, policies, clock
        self._looked: dict[str, tuple[datetime, timedelta]] = {}

    def tend(self, service: Service, rollout: Rollout | None) -> None:
        """Look after one service, unless that was done within its site's period.

        Args:
            service: as just read from the ledger.
            rollout: of it in progress, or None.

        Raises:
            BulkheadError: something does not answer, or refuses.
        """
        now, name = self._clock(), service.name
        if self._looked_within_period(name, now):
            return
        period = timedelta(seconds=self._world.site(name).resync_s)
        if service.stable_revision is None or self._serves(
            service, self._ledger.revisions.get(service.stable_revision)
        ):
            self._correct_traffic(service, rollout)
        self._looked[name] = (now, period)

    def _looked_within_period(self, name: str, now: datetime) -> bool:
        at, period = self._looked.get(name, (now, timedelta(0)))
        return abs(now - at) < period  # a clock that is set back must not have what serves go without a look

    def _serves(self, service: Service, stable: Revision) -> bool:
        """Have the stable revision serve; whether it does already."""
        workload = self._world.server(service.name, stable.id)
        if workload is None or (workload.status.ended and not workload.restarts):
            if self._may(service, EventKind.REPAIR):
                why = f"server of stable revision {stable.id} ended"
                log.warning("%s: starting it again", why)
                self._world.repair(stable, self._ledger.services.new_generation(service, why))
            return False
        workloads = self._world.site(service.name).workloads
        workloads.sweep()
        drift = workloads.drift(stable, service.generation)
        if drift is not None and self._is_to_repair(service, drift):
            self._world.repair(stable, self._ledger.services.new_generation(service, drift, EventKind.DRIFT))
            return False  # its server is another by now; the next look sees to the rest
        if workload.status.ready:
            self._world.repoint(service.name, stable.id, service.generation)
        return workload.status.ready

    def _correct_traffic(self, service: Service, rollout: Rollout | None) -> None:
        wanted = self._wanted(service, rollout)
        drift = self._world.misrouted(service.name, wanted) if wanted is not None else None
        if wanted is None or drift is None or not self._is_to_repair(service, drift):
            return
        # The fence is of what was read: whoever has moved on since then has a later one.
        if rollout is None:
            fence = Fence(self._ledger.services.new_generation(service, drift, EventKind.DRIFT), 0)
        else:
            self._ledger.events.append(rollout, EventKind.DRIFT, {"why": drift})
            fence = Fence(rollout.generation, rollout.sequence)
        self._world.reroute(service.name, wanted, fence)

    def _wanted(self, service: Service, rollout: Rollout | None) -> Split | None:
        """The traffic that was written; None where it is being written just now, or nothing was."""
        stable = service.stable_revision
        if rollout is not None and rollout.phase in _STEP:
            return self._world.split(rollout, parse_plan(rollout.plan).steps[rollout.step])
        if rollout is not None and rollout.phase in _AFTER:
            return self._world.stable_split(service.name, rollout.revision_id)
        if rollout is None or rollout.phase in _BEFORE:
            return Split() if stable is None else self._world.stable_split(service.name, stable)
        return None

    def _is_to_repair(self, service: Service, drift: str) -> bool:
        """Whether what somebody else has changed is to be written over, now; if it is adopted, that is recorded."""
        policy = self._policies.get(service.name)
        if policy is None or policy.drift == "repair":
            if not self._may(service, EventKind.DRIFT):
                return False  # somebody who writes it back at once is not outdone by writing faster
            log.warning("service %s: %s: written again", service.name, drift)
            return True
        known = self._ledger.events.select(kind=EventKind.DRIFT, service=service.name, since=self._clock() - _CALM)
        if not known or known[-1].data["why"] != drift:
            log.warning("service %s: %s: left as it is", service.name, drift)
            self._ledger.events.record(service.name, EventKind.DRIFT, {"why": drift, "adopted": True})
        return False

    def _may(self, service: Service, kind: str) -> bool:
        """Whether something may be mended once more: at once, then after 1 s, 2 s, 4 s … up to a minute."""
        now = self._clock()
        before = self._ledger.events.select(kind=kind, service=service.name, since=now - _CALM)
        # Whichever way: the clock may have been set back since.
        return not before or abs(now - before[-1].at) >= back_off(len(before) - 1)
