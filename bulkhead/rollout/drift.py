"""Correcting drift: servers that died, and changes that others made to what serves."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from bulkhead.events import EventKind
from bulkhead.ledger.ledger import Ledger
from bulkhead.ledger.tables import Phase, Revision, Service
from bulkhead.rollout.backend import ServingBackend
from bulkhead.rollout.backoff import back_off
from bulkhead.rollout.context import RolloutContext
from bulkhead.rollout.effects import split
from bulkhead.routers.base import Fence, Split
from bulkhead.settings import ServicePolicy

log = logging.getLogger(__name__)

_CALM = timedelta(minutes=10)
"""After so long without a repair, a service's next one is its first again."""

_BEFORE = (Phase.REQUESTED, Phase.REGISTERED, Phase.LAUNCHED)
_AFTER = (Phase.PROMOTING, Phase.BAKING, Phase.RETIRING)


class DriftCorrector:
    """Keeps what serves as it was written.

    Args:
        ledger: says what is wanted.
        backends: where a service runs, by its name.
        policies: what becomes of a change that another writer made, by service.
        clock: gives the time in UTC.
    """

    def __init__(
        self,
        ledger: Ledger,
        backends: Callable[[str], ServingBackend],
        policies: Mapping[str, ServicePolicy],
        clock: Callable[[], datetime],
    ) -> None:
        self._ledger, self._backends, self._policies, self._clock = ledger, backends, policies, clock
        self._corrected: dict[str, tuple[datetime, timedelta]] = {}

    def reconcile(self, service: Service, going: Callable[[], RolloutContext | None]) -> None:
        """Correct one service, unless that was done within its backend's period.

        Args:
            service: as just read from the ledger.
            going: gives its rollout in progress, or None.

        Raises:
            BulkheadError: something does not answer, or refuses.
        """
        now, name = self._clock(), service.name
        if self._is_recent(name, now):
            return
        backend, stable = self._backends(name), service.stable_revision
        if stable is None or self._serves(service, self._ledger.revisions.get(stable), backend):
            self._correct_traffic(service, going(), backend)
        self._corrected[name] = (now, timedelta(seconds=backend.resync_s))

    def _is_recent(self, name: str, now: datetime) -> bool:
        at, period = self._corrected.get(name, (now, timedelta(0)))
        return abs(now - at) < period  # a clock that is set back must not have drift go uncorrected

    def _serves(self, service: Service, stable: Revision, backend: ServingBackend) -> bool:
        """Have the stable revision serve; whether it does already."""
        workload = backend.workloads.find(stable.id)
        if workload is None or (workload.status.ended and not workload.restarts):
            if self._may(service, EventKind.REPAIR):
                why = f"server of stable revision {stable.id} ended"
                log.warning("%s: starting it again", why)
                backend.workloads.launch(stable, self._ledger.services.new_generation(service, why))
            return False
        backend.workloads.expire()
        drift = backend.workloads.drift(stable, service.generation)
        if drift is not None and self._is_to_repair(service, drift):
            backend.workloads.launch(stable, self._ledger.services.new_generation(service, drift, EventKind.DRIFT))
            return False  # its server is another by now; the next pass sees to the rest
        if workload.status.ready:
            repoint(backend, service.name, stable.id, service.generation)
        return workload.status.ready

    def _correct_traffic(self, service: Service, going: RolloutContext | None, backend: ServingBackend) -> None:
        desired = self._wanted(service, going, backend)
        if desired is None:
            return
        _, actual = backend.router.read(service.name)
        if actual.routes_as(desired):
            return
        drift = f"traffic is {actual} instead of {desired}, changed by {backend.router.editor(service.name)}"
        if not self._is_to_repair(service, drift):
            return
        # The fence is of what was read: a writer that has moved on since then has a later one.
        if going is None:
            fence = Fence(self._ledger.services.new_generation(service, drift, EventKind.DRIFT), 0)
        else:
            self._ledger.events.append(going.rollout, EventKind.DRIFT, {"why": drift})
            fence = going.fence
        # Whatever else the router knows, it goes on to know.
        written = replace(desired, endpoints={**actual.endpoints, **desired.endpoints})
        backend.router.apply(service.name, written, fence)

    def _wanted(self, service: Service, going: RolloutContext | None, backend: ServingBackend) -> Split | None:
        """The traffic that was written; None where it is being written just now, or nothing was."""
        stable = service.stable_revision
        if going is not None and going.rollout.phase.at_step:
            return split(going)
        if going is not None and going.rollout.phase in _AFTER:
            return _all_to(going.candidate, backend)
        if going is None or going.rollout.phase in _BEFORE:
            return Split() if stable is None else _all_to(stable, backend)
        return None

    def _is_to_repair(self, service: Service, drift: str) -> bool:
        """Whether what another writer has changed is to be written over, now; if it is adopted, that is recorded."""
        policy = self._policies.get(service.name)
        if policy is None or policy.drift == "repair":
            if not self._may(service, EventKind.DRIFT):
                return False  # a writer that writes it back at once is not outdone by writing faster
            log.warning("service %s: %s: written again", service.name, drift)
            return True
        recorded = self._ledger.events.select(kind=EventKind.DRIFT, service=service.name, since=self._clock() - _CALM)
        if not recorded or recorded[-1].data["why"] != drift:
            log.warning("service %s: %s: left as it is", service.name, drift)
            self._ledger.events.record(service.name, EventKind.DRIFT, {"why": drift, "adopted": True})
        return False

    def _may(self, service: Service, kind: str) -> bool:
        """Whether something may be mended once more: at once, then after 1 s, 2 s, 4 s … up to a minute."""
        now = self._clock()
        before = self._ledger.events.select(kind=kind, service=service.name, since=now - _CALM)
        # Whichever way: the clock may have been set back since.
        return not before or abs(now - before[-1].at) >= back_off(len(before) - 1)


def repoint(backend: ServingBackend, service: str, revision_id: str, generation: int) -> bool:
    """Correct the router where a server has moved to another port.

    Args:
        revision_id: of the revision whose server it is.

    Returns:
        Whether anything had to be changed.
    """
    workload = backend.workloads.find(revision_id)
    fence, split = backend.router.read(service)
    if workload is None or not workload.status.ready or split.endpoints.get(revision_id) in (None, workload.port):
        return False
    endpoints = {**split.endpoints, revision_id: workload.port}
    backend.router.apply(service, replace(split, endpoints=endpoints), Fence(generation, fence.sequence))
    return True


def _all_to(revision_id: str, backend: ServingBackend) -> Split:
    return Split({revision_id: backend.port(revision_id)}, {revision_id: 100})
