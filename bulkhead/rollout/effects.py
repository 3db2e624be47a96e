"""The effects of a rollout on the world. Each is idempotent and carries the rollout's fence."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from bulkhead.errors import UnavailableError
from bulkhead.isolation_levels import IsolationLevel
from bulkhead.ledger.ledger import Ledger
from bulkhead.metrics.counters import Answers, Counters
from bulkhead.metrics.http_json import read_counters
from bulkhead.registries.base import Registry
from bulkhead.rollout.analysis.truth import Truth
from bulkhead.rollout.context import RolloutContext
from bulkhead.rollout.devices import Devices
from bulkhead.routers.base import Mirror, Pin, Split
from bulkhead.workloads.base import STATISTICS

log = logging.getLogger(__name__)

_AT_ONCE = 16
"""Pods that are asked for their answers at the same time."""


@dataclass(frozen=True)
class Effects:
    """Everything outside the ledger that a rollout changes or measures.

    Attributes:
        ledger: is read for revisions; the only write is a revision's model version.
        registry: holds the models.
        devices: what is known of those under a revision's pods.
    """

    ledger: Ledger
    registry: Registry
    devices: Devices

    def register(self, context: RolloutContext) -> None:
        """Have the candidate in the registry."""
        revision = self.ledger.revisions.get(context.candidate)
        if revision.model_version is not None:
            self.registry.check(revision.model_name, revision.model_version)
            return
        version = self.registry.register(revision.model_name, revision.model_uri, revision.id)
        self.ledger.revisions.set_model_version(revision.id, version)

    def launch(self, context: RolloutContext) -> None:
        """Have the candidate's server running."""
        revision = self.ledger.revisions.get(context.candidate)
        context.backend.workloads.launch(revision, context.rollout.generation)

    def prepare(self, context: RolloutContext) -> bool:
        """Have ready what a step needs beside the two servers: for a mirror, the comparer of their answers.

        Returns:
            Whether it is ready.

        Raises:
            UnavailableError: it does not run.
        """
        if not context.step.mirror or context.stable is None:
            return True
        workloads, rollout = context.backend.workloads, context.rollout
        workloads.launch_comparer(rollout.service, context.candidate, context.stable, rollout.generation)
        comparer = workloads.find_comparer(context.candidate)
        if comparer is None or comparer.status.ended:
            why = comparer.status.message if comparer else "its pod is gone"
            raise UnavailableError(f"the comparer of the answers of {context.candidate} ended: {why}")
        return comparer.status.ready

    def set_weight(self, context: RolloutContext) -> None:
        """Give the candidate what the step says, and the stable revision the rest.

        Raises:
            UnavailableError: one of the two has no server.
        """
        desired = split(context)
        context.backend.router.apply(context.rollout.service, desired, context.fence)
        if desired.mirror is None:
            context.backend.workloads.stop_comparer(context.candidate, context.rollout.generation)

    def restore(self, context: RolloutContext) -> None:
        """Give all traffic to the stable revision; the candidate keeps its endpoint until it is drained."""
        stable, router, service = context.stable, context.backend.router, context.rollout.service
        endpoints = {stable: context.backend.port(stable)} if stable else {}
        _, before = router.read(service)
        if context.candidate in before.endpoints:
            endpoints.setdefault(context.candidate, before.endpoints[context.candidate])
        router.apply(service, Split(endpoints, {stable: 100} if stable else {}), context.fence)

    def stop(self, context: RolloutContext, revision_id: str) -> None:
        """Take a revision without traffic out of the router and stop its server.

        Args:
            context: under whose fence.

        Raises:
            UnavailableError: it still has traffic.
        """
        backend, service = context.backend, context.rollout.service
        _, before = backend.router.read(service)
        if before.weights.get(revision_id) or (before.pin is not None and before.pin.revision == revision_id):
            raise UnavailableError(f"revision {revision_id} still has traffic of service {service}")
        if revision_id in before.endpoints:
            endpoints = {name: port for name, port in before.endpoints.items() if name != revision_id}
            backend.router.apply(service, replace(before, endpoints=endpoints), context.fence)
        levels = [
            isolation.level for isolation in self.ledger.isolations.levels(revision_id) if not isolation.applied_at
        ]
        if {IsolationLevel.POD, IsolationLevel.DEVICE, IsolationLevel.NODE} & set(levels):
            raise UnavailableError(f"what the pods of revision {revision_id} show is yet to be taken")
        backend.workloads.stop_comparer(revision_id, context.rollout.generation)
        backend.workloads.stop(revision_id, context.rollout.generation)

    def point_alias(self, context: RolloutContext, revision_id: str | None) -> None:
        """Have the champion alias name a revision's model version.

        Args:
            context: under whose fence.
            revision_id: the revision; None for no champion.
        """
        rollout, candidate = context.rollout, self.ledger.revisions.get(context.candidate)
        if revision_id is None:
            if candidate.model_version and self.registry.champion(candidate.model_name) == candidate.model_version:
                self.registry.point(candidate.model_name, None, rollout.service, rollout.generation)
            return
        revision = self.ledger.revisions.get(revision_id)
        self.registry.point(revision.model_name, revision.model_version, rollout.service, rollout.generation)

    def counters(self, context: RolloutContext, judged: bool = False) -> dict[str, Counters]:
        """Cumulative numbers of the candidate and the stable revision; a revision unseen so far has zeros.

        Args:
            judged: whether the step is judged by them: while requests are mirrored, the comparer counts; else what a
                server knows of its model's answers is read as well.

        Raises:
            UnavailableError: the source of the numbers does not answer.
        """
        candidate, stable, backend = context.candidate, context.stable, context.backend
        if judged and context.step.mirror and stable is not None:
            comparer = backend.workloads.find_comparer(candidate)
            if comparer is None:
                raise UnavailableError(f"nothing compares the answers of {candidate} with those of {stable}")
            compared = read_counters(comparer.url(STATISTICS), "candidate", "stable")
            return {candidate: compared["candidate"], stable: compared["stable"]}
        names = [name for name in (candidate, stable) if name]
        counters = backend.metrics.counters(context.rollout.service, names)
        if not judged:
            return dict(counters)
        return {
            name: _with_answers(seen, backend.workloads.statistics_endpoints(name)) for name, seen in counters.items()
        }

    def truth(self, context: RolloutContext) -> Truth:
        """What was measured of both revisions since the candidate's first request.

        Raises:
            UnavailableError: the registry does not answer.
        """
        since = context.rollout.exposed_at or context.rollout.created_at
        names = context.plan.truth
        return Truth(*(self._measured(revision, names, since) for revision in (context.candidate, context.stable)))

    def places(self, context: RolloutContext) -> Mapping[str, Any]:
        """Where the candidate's pods run, for the record.

        Returns:
            ``nodes``, and ``devices`` as far as it is known who has them; neither where it has no pod.
        """
        placement = context.backend.workloads.placement(context.candidate)
        return {"nodes": sorted(placement.nodes), "devices": self.devices.of(placement)} if placement.nodes else {}

    def device_fault(self, context: RolloutContext) -> str | None:
        """Which device under the candidate's pods is unhealthy, in words; None where none is known to be."""
        return self.devices.fault(context.backend.workloads.placement(context.candidate))

    def _measured(self, revision_id: str | None, names: Collection[str], since: datetime) -> dict[str, float]:
        revision = self.ledger.revisions.get(revision_id) if revision_id else None
        if revision is None or revision.model_version is None:
            return {}
        return self.registry.measured(revision.model_name, revision.model_version, names, since)


def split(context: RolloutContext) -> Split:
    """What the step gives the candidate, and what is left to the stable revision, if there is one.

    Raises:
        UnavailableError: one of the two has no server.
    """
    candidate, stable, backend, step = context.candidate, context.stable, context.backend, context.step
    weights = {candidate: 100} if stable is None else {candidate: step.weight, stable: 100 - step.weight}
    pin = Pin(candidate, step.headers) if step.headers else None
    comparer = backend.workloads.find_comparer(candidate) if step.mirror else None
    mirror = Mirror(candidate, comparer.port, step.mirror) if comparer else None
    endpoints = {name: backend.port(name) for name in weights}
    return Split(endpoints, {name: share for name, share in weights.items() if share}, pin, mirror)


def _with_answers(counters: Counters, statistics_endpoints: Mapping[str, str]) -> Counters:
    """With what pods say of their answers. One may be down or busy: then that of all of them is unknown."""
    if not statistics_endpoints:
        return counters
    try:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            by_pod = dict(zip(statistics_endpoints, pool.map(_answers, statistics_endpoints.values()), strict=True))
    except UnavailableError as error:
        log.info("what a model answered is unknown: %s", error)
        return replace(counters, answers=None)
    return replace(counters, by_pod=by_pod)


def _answers(url: str) -> Answers:
    answers = read_counters(url, "model")["model"].answers
    return Answers() if answers is None else answers
