"""The effects of the reconciler on the world. Each is idempotent and carries the rollout's fence."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime

from bulkhead.errors import UnavailableError
from bulkhead.ledger.ledger import Ledger
from bulkhead.ledger.tables import Isolation, Revision, Rollout
from bulkhead.metrics.counters import Answers, Counters
from bulkhead.metrics.http_json import read_counters
from bulkhead.registries.base import Registry
from bulkhead.rollout.analysis.truth import Truth
from bulkhead.rollout.devices import Devices
from bulkhead.rollout.plan import Step
from bulkhead.rollout.site import Site
from bulkhead.routers.base import Fence, Mirror, Pin, Split
from bulkhead.rungs import Rung
from bulkhead.workloads.base import STATISTICS, Workload

log = logging.getLogger(__name__)

_AT_ONCE = 16
"""Pods that are asked for their answers at the same time."""


@dataclass(frozen=True)
class World:
    """Everything outside the ledger that a rollout changes.

    Attributes:
        ledger: read here for revisions; the only write is a revision's model version.
        site: where a service runs, by its name.
        registry: holds the models.
        devices: what is known of those under a revision's pods.
    """

    ledger: Ledger
    site: Callable[[str], Site]
    registry: Registry
    devices: Devices

    def register(self, rollout: Rollout) -> None:
        """Have the candidate in the registry.

        Args:
            rollout: whose candidate.
        """
        revision = self.ledger.revisions.get(rollout.revision_id)
        if revision.model_version is not None:
            self.registry.check(revision.model_name, revision.model_version)
            return
        version = self.registry.register(revision.model_name, revision.model_uri, revision.id)
        self.ledger.revisions.set_model_version(revision.id, version)

    def launch(self, rollout: Rollout) -> None:
        """Have the candidate's server running.

        Args:
            rollout: whose candidate.
        """
        revision = self.ledger.revisions.get(rollout.revision_id)
        self.site(rollout.service).workloads.launch(revision, rollout.generation)

    def server(self, service: str, revision_id: str) -> Workload | None:
        """A revision's server, or None if there is none.

        Args:
            service: by name.
            revision_id: of the revision.
        """
        return self.site(service).workloads.find(revision_id)

    def prepare(self, rollout: Rollout, step: Step) -> bool:
        """Have ready what a step needs beside the two servers: for a mirror, whoever compares the answers.

        Args:
            rollout: whose.
            step: of its plan.

        Returns:
            Whether it is ready.

        Raises:
            UnavailableError: it does not run.
        """
        if not step.mirror or rollout.stable_id is None:
            return True
        workloads = self.site(rollout.service).workloads
        workloads.launch_comparer(rollout.service, rollout.revision_id, rollout.stable_id, rollout.generation)
        comparer = workloads.find_comparer(rollout.revision_id)
        if comparer is None or comparer.status.ended:
            why = comparer.status.message if comparer else "its pod is gone"
            raise UnavailableError(f"whoever compares the answers of {rollout.revision_id} ended: {why}")
        return comparer.status.ready

    def split(self, rollout: Rollout, step: Step) -> Split:
        """What a step shows the candidate, and what is left to the stable revision.

        Args:
            rollout: whose.
            step: of its plan. A service without a stable revision has no rest to give.

        Raises:
            UnavailableError: one of the two has no server.
        """
        weights = {rollout.revision_id: step.weight, rollout.stable_id: 100 - step.weight}
        if rollout.stable_id is None:
            weights = {rollout.revision_id: 100}
        pin = Pin(rollout.revision_id, step.headers) if step.headers else None
        names = [name for name in (rollout.revision_id, rollout.stable_id) if name]
        comparer = self.site(rollout.service).workloads.find_comparer(rollout.revision_id) if step.mirror else None
        mirror = Mirror(rollout.revision_id, comparer.port, step.mirror) if comparer else None
        shares = {name: share for name, share in weights.items() if name and share}
        return Split({name: self._port(rollout.service, name) for name in names}, shares, pin, mirror)

    def show(self, rollout: Rollout, step: Step) -> None:
        """Show the candidate what a step says, and give the stable revision the rest.

        Args:
            rollout: whose.
            step: of its plan.
        """
        site, split = self.site(rollout.service), self.split(rollout, step)
        site.router.apply(rollout.service, split, _fence(rollout))
        if split.mirror is None:
            site.workloads.stop_comparer(rollout.revision_id, rollout.generation)

    def restore(self, rollout: Rollout) -> None:
        """Give all traffic to the stable revision; the candidate keeps its endpoint until it is drained.

        Args:
            rollout: whose.
        """
        stable, router = rollout.stable_id, self.site(rollout.service).router
        endpoints = {stable: self._port(rollout.service, stable)} if stable else {}
        _, before = router.read(rollout.service)
        if rollout.revision_id in before.endpoints:
            endpoints.setdefault(rollout.revision_id, before.endpoints[rollout.revision_id])
        router.apply(rollout.service, Split(endpoints, {stable: 100} if stable else {}), _fence(rollout))

    def forget(self, rollout: Rollout, revision_id: str) -> None:
        """Take a revision without traffic out of the router and stop its server.

        Args:
            rollout: under whose fence.
            revision_id: the revision.

        Raises:
            UnavailableError: it still has traffic.
        """
        site = self.site(rollout.service)
        _, before = site.router.read(rollout.service)
        if before.weights.get(revision_id) or (before.pin is not None and before.pin.revision == revision_id):
            raise UnavailableError(f"revision {revision_id} still has traffic of service {rollout.service}")
        if revision_id in before.endpoints:
            endpoints = {name: port for name, port in before.endpoints.items() if name != revision_id}
            site.router.apply(rollout.service, replace(before, endpoints=endpoints), _fence(rollout))
        rungs = [one.rung for one in self.ledger.isolations.levels(revision_id) if not one.applied_at]
        if {Rung.POD, Rung.DEVICE, Rung.NODE} & set(rungs):
            raise UnavailableError(f"what the pods of revision {revision_id} show is yet to be taken")
        site.workloads.stop_comparer(revision_id, rollout.generation)
        site.workloads.stop(revision_id, rollout.generation)

    def counters(self, rollout: Rollout, step: Step | None = None) -> dict[str, Counters]:
        """Cumulative numbers of the candidate and the stable revision; a revision unseen so far has zeros.

        Args:
            rollout: whose.
            step: that is judged: while requests are mirrored, whoever compares the answers counts; with any other, what
                a server knows of its model's answers is read as well.

        Raises:
            UnavailableError: whoever counts does not answer.
        """
        candidate, stable, site = rollout.revision_id, rollout.stable_id, self.site(rollout.service)
        if step is not None and step.mirror and stable is not None:
            comparer = site.workloads.find_comparer(candidate)
            if comparer is None:
                raise UnavailableError(f"nobody compares the answers of {candidate} with those of {stable}")
            found = read_counters(comparer.url(STATISTICS), "candidate", "stable")
            return {candidate: found["candidate"], stable: found["stable"]}
        known = site.metrics.counters(rollout.service, [name for name in (candidate, stable) if name])
        if step is None:
            return dict(known)
        return {name: _with_answers(one, site.workloads.tellers(name)) for name, one in known.items()}

    def truth(self, rollout: Rollout, names: Collection[str]) -> Truth:
        """What was measured of both revisions since the candidate's first request.

        Args:
            rollout: whose.
            names: of the metrics.

        Raises:
            UnavailableError: the registry does not answer.
        """
        since = rollout.exposed_at or rollout.created_at
        found = [self._measured(name, names, since) for name in (rollout.revision_id, rollout.stable_id)]
        return Truth(*found)

    def _measured(self, revision_id: str | None, names: Collection[str], since: datetime) -> dict[str, float]:
        revision = self.ledger.revisions.get(revision_id) if revision_id else None
        if revision is None or revision.model_version is None:
            return {}
        return self.registry.measured(revision.model_name, revision.model_version, names, since)

    def point_alias(self, rollout: Rollout, revision_id: str | None) -> None:
        """Have the champion alias name a revision's model version.

        Args:
            rollout: under whose fence.
            revision_id: the revision; None for no champion.
        """
        candidate = self.ledger.revisions.get(rollout.revision_id)
        if revision_id is None:
            if candidate.model_version and self.registry.champion(candidate.model_name) == candidate.model_version:
                self.registry.point(candidate.model_name, None, rollout.service, rollout.generation)
            return
        revision = self.ledger.revisions.get(revision_id)
        self.registry.point(revision.model_name, revision.model_version, rollout.service, rollout.generation)

    def isolate(self, isolation: Isolation) -> bool:
        """Make the world show a rung of a revision's isolation. Idempotent.

        Args:
            isolation: in force.

        Returns:
            Whether it does; if not, there is something to wait for.
        """
        revision = self.ledger.revisions.get(isolation.revision_id)
        workloads = self.site(revision.service).workloads
        match isolation.rung:
            case Rung.TRAFFIC:
                return revision.id not in self.ledger.revisions.serving()
            case Rung.NETWORK:
                if revision.id in self.ledger.revisions.serving():
                    return False  # its clients would meet a closed door
                workloads.cut_off(revision.id)
            case Rung.MODEL:
                model = (revision.model_uri, revision.model_name, revision.model_version)
                self.registry.forbid(*model, isolation.reason)
            case Rung.POD:
                if revision.id in self.ledger.revisions.serving():
                    return False  # its pods still answer clients; they are not stopped before this is done
                found = workloads.evidence(revision.id)
                self.registry.keep(f"{revision.id}-{isolation.id}", {**found, **self._history(revision)})
                workloads.let_go(revision.id)
            case Rung.DEVICE | Rung.NODE:
                self.devices.quarantine(isolation, workloads.placement(revision.id))
        return True

    def unisolate(self, isolation: Isolation) -> None:
        """Take a rung of a revision's isolation back. Idempotent.

        Args:
            isolation: that was released.
        """
        revision = self.ledger.revisions.get(isolation.revision_id)
        if isolation.rung is Rung.MODEL:
            self.registry.allow(revision.model_uri, revision.model_name, revision.model_version)
        elif isolation.rung is Rung.NETWORK:
            self.site(revision.service).workloads.reconnect(revision.id)
        elif isolation.rung in (Rung.DEVICE, Rung.NODE):
            self.devices.unisolate(isolation)

    def device_fault(self, service: str, revision_id: str) -> str | None:
        """Which device under a revision's pods is sick, in words; None where none is known to be.

        Args:
            service: by name.
            revision_id: of the revision.
        """
        return self.devices.fault(self.site(service).workloads.placement(revision_id))

    def _history(self, revision: Revision) -> dict[str, str]:
        """What the ledger knows of a revision: the numbers of each of its rollouts, and why each was decided."""
        found = []
        for rollout in self.ledger.rollouts.latest(revision.service):
            if rollout.revision_id == revision.id:
                events = [
                    {"at": event.at.isoformat(), "kind": event.kind, "data": event.data}
                    for event in self.ledger.events.select(rollout.id)
                ]
                found.append({"rollout": rollout.id, "reason": rollout.reason, "plan": rollout.plan, "events": events})
        return {"rollouts.json": json.dumps(found, indent=1, default=str)}

    def repair(self, revision: Revision, generation: int) -> None:
        """Have a server again where it is dead, gone, or was changed by somebody else.

        Args:
            revision: whose server.
            generation: of the service.
        """
        self.site(revision.service).workloads.launch(revision, generation)

    def repoint(self, service: str, revision_id: str, generation: int) -> bool:
        """Correct the router where a server has moved to another port.

        Args:
            service: by name.
            revision_id: whose server.
            generation: of the service.

        Returns:
            Whether anything had to be changed.
        """
        workload, router = self.server(service, revision_id), self.site(service).router
        fence, split = router.read(service)
        if workload is None or not workload.status.ready or split.endpoints.get(revision_id) in (None, workload.port):
            return False
        endpoints = {**split.endpoints, revision_id: workload.port}
        router.apply(service, replace(split, endpoints=endpoints), Fence(generation, fence.sequence))
        return True

    def misrouted(self, service: str, wanted: Split) -> str | None:
        """What somebody else has made of a service's traffic, in words; None where it is as it was written.

        Args:
            service: by name.
            wanted: what was written.
        """
        router = self.site(service).router
        _, found = router.read(service)
        if found.routes_as(wanted):
            return None
        return f"traffic is {found} instead of {wanted}, changed by {router.editor(service)}"

    def reroute(self, service: str, wanted: Split, fence: Fence) -> None:
        """Write a service's traffic again; whatever else the router knows, it goes on to know.

        Args:
            service: by name.
            wanted: split.
            fence: of the writer.

        Raises:
            FencedError: somebody has moved on since.
        """
        router = self.site(service).router
        _, found = router.read(service)
        router.apply(service, replace(wanted, endpoints={**found.endpoints, **wanted.endpoints}), fence)

    def stable_split(self, service: str, revision_id: str) -> Split:
        """All traffic to one revision.

        Args:
            service: by name.
            revision_id: that has it.

        Raises:
            UnavailableError: it has no server.
        """
        return Split({revision_id: self._port(service, revision_id)}, {revision_id: 100})

    def _port(self, service: str, revision_id: str) -> int:
        workload = self.server(service, revision_id)
        if workload is None:
            raise UnavailableError(f"revision {revision_id} has no server")
        return workload.port


def _with_answers(known: Counters, tellers: Mapping[str, str]) -> Counters:
    """With what pods say of their answers. One may be down or busy: then that of all of them is unknown."""
    if not tellers:
        return known
    try:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            told = dict(zip(tellers, pool.map(_answers, tellers.values()), strict=True))
    except UnavailableError as error:
        log.info("what a model answered is unknown: %s", error)
        return replace(known, answers=None)
    return replace(known, by_pod=told)


def _answers(url: str) -> Answers:
    answers = read_counters(url, "model")["model"].answers
    return Answers() if answers is None else answers


def _fence(rollout: Rollout) -> Fence:
    return Fence(rollout.generation, rollout.sequence)
