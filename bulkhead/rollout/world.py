"""The effects of the reconciler on the world. Each is idempotent and carries the rollout's fence."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from bulkhead.errors import UnavailableError
from bulkhead.ledger.ledger import Ledger
from bulkhead.ledger.tables import Isolation, Revision, Rollout
from bulkhead.metrics.counters import Answers, Counters
from bulkhead.metrics.http_json import read_counters
from bulkhead.rollout.plan import Step
from bulkhead.rollout.workloads import STATISTICS, LocalWorkloads, Workload
from bulkhead.routers.base import Fence, Mirror, Pin, Router, Split
from bulkhead.rungs import Rung

log = logging.getLogger(__name__)


class Registry(Protocol):
    """What a rollout needs of a model registry; ``bulkhead.registries.mlflow`` documents the methods."""

    def register(self, model_name: str, model_uri: str, revision: str) -> str:
        """Register a version for a revision, once."""

    def check(self, model_name: str, version: str) -> None:
        """Raise NotFoundError unless the version exists."""

    def forbid(self, model_uri: str, model_name: str, version: str | None, reason: str) -> None:
        """Tag a model as isolated."""

    def allow(self, model_uri: str, model_name: str, version: str | None) -> None:
        """Take that back."""

    def keep(self, name: str, files: Mapping[str, str]) -> str:
        """Keep evidence, once a name."""

    def champion(self, model_name: str) -> str | None:
        """The version that the champion alias names."""

    def point(self, model_name: str, version: str | None, service: str, generation: int) -> None:
        """Make the champion alias name a version."""


@dataclass(frozen=True)
class World:
    """Everything outside the ledger that a rollout changes.

    Attributes:
        ledger: read here for revisions; the only write is a revision's model version.
        router: splits the traffic.
        workloads: serve the revisions.
        registry: holds the models.
    """

    ledger: Ledger
    router: Router
    workloads: LocalWorkloads
    registry: Registry

    def register(self, rollout: Rollout) -> None:
        """Have the candidate in the registry.

        Args:
            rollout: whose candidate.
        """
        revision = self.ledger.revision(rollout.revision_id)
        if revision.model_version is not None:
            self.registry.check(revision.model_name, revision.model_version)
            return
        version = self.registry.register(revision.model_name, revision.model_uri, revision.id)
        self.ledger.set_model_version(revision.id, version)

    def launch(self, rollout: Rollout) -> None:
        """Have the candidate's server running.

        Args:
            rollout: whose candidate.
        """
        self.workloads.launch(self.ledger.revision(rollout.revision_id), rollout.generation)

    def candidate(self, rollout: Rollout) -> Workload | None:
        """The candidate's server.

        Args:
            rollout: whose candidate.
        """
        return self.workloads.find(rollout.revision_id)

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
        ports = self._port(rollout.revision_id), self._port(rollout.stable_id)
        self.workloads.launch_comparer(rollout.revision_id, rollout.service, *ports, rollout.generation)
        comparer = self.workloads.find_comparer(rollout.revision_id)
        if comparer is None or comparer.status.ended:
            why = comparer.status.message if comparer else "its pod is gone"
            raise UnavailableError(f"whoever compares the answers of {rollout.revision_id} ended: {why}")
        return comparer.status.ready

    def show(self, rollout: Rollout, step: Step) -> None:
        """Show the candidate what a step says, and give the stable revision the rest.

        Args:
            rollout: whose.
            step: of its plan. A service without a stable revision has no rest to give.
        """
        weights = {rollout.revision_id: step.weight, rollout.stable_id: 100 - step.weight}
        if rollout.stable_id is None:
            weights = {rollout.revision_id: 100}
        pin = Pin(rollout.revision_id, step.headers) if step.headers else None
        names = {rollout.revision_id, rollout.stable_id} - {None}
        comparer = self.workloads.find_comparer(rollout.revision_id) if step.mirror else None
        mirror = Mirror(comparer.port, step.mirror) if comparer else None
        shares = {name: share for name, share in weights.items() if name and share}
        endpoints = {name: self._port(name) for name in names if name}
        self.router.apply(rollout.service, Split(endpoints, shares, pin, mirror), _fence(rollout))
        if mirror is None:
            self.workloads.stop_comparer(rollout.revision_id, rollout.generation)

    def restore(self, rollout: Rollout) -> None:
        """Give all traffic to the stable revision; the candidate keeps its endpoint until it is drained.

        Args:
            rollout: whose.
        """
        stable = rollout.stable_id
        endpoints = {stable: self._port(stable)} if stable else {}
        _, before = self.router.read(rollout.service)
        if rollout.revision_id in before.endpoints:
            endpoints.setdefault(rollout.revision_id, before.endpoints[rollout.revision_id])
        self.router.apply(rollout.service, Split(endpoints, {stable: 100} if stable else {}), _fence(rollout))

    def forget(self, rollout: Rollout, revision_id: str) -> None:
        """Take a revision without traffic out of the router and stop its server.

        Args:
            rollout: under whose fence.
            revision_id: the revision.

        Raises:
            UnavailableError: it still has traffic.
        """
        _, before = self.router.read(rollout.service)
        if before.weights.get(revision_id) or (before.pin is not None and before.pin.revision == revision_id):
            raise UnavailableError(f"revision {revision_id} still has traffic of service {rollout.service}")
        if revision_id in before.endpoints:
            endpoints = {name: port for name, port in before.endpoints.items() if name != revision_id}
            self.router.apply(rollout.service, replace(before, endpoints=endpoints), _fence(rollout))
        kept = [one for one in self.ledger.isolations(revision_id) if one.rung is Rung.POD and not one.applied_at]
        if kept:
            raise UnavailableError(f"the evidence of revision {revision_id} is yet to be taken")
        self.workloads.stop_comparer(revision_id, rollout.generation)
        self.workloads.stop(revision_id, rollout.generation)

    def counters(self, rollout: Rollout, step: Step | None = None) -> dict[str, Counters]:
        """Cumulative numbers of the candidate and the stable revision; a revision unseen so far has zeros.

        Args:
            rollout: whose.
            step: that is judged: while requests are mirrored, whoever compares the answers counts; with any other, what
                a server knows of its model's answers is read as well.

        Raises:
            UnavailableError: whoever counts does not answer.
        """
        candidate, stable = rollout.revision_id, rollout.stable_id
        if step is not None and step.mirror and stable is not None:
            comparer = self.workloads.find_comparer(candidate)
            if comparer is None:
                raise UnavailableError(f"nobody compares the answers of {candidate} with those of {stable}")
            found = read_counters(comparer.url(STATISTICS), "candidate", "stable")
            return {candidate: found["candidate"], stable: found["stable"]}
        seen = self.router.counters(rollout.service)
        known = {name: seen.get(name, Counters()) for name in (candidate, stable) if name}
        if step is None:
            return known
        return {name: replace(one, answers=self._answers(name)) for name, one in known.items()}

    def _answers(self, revision_id: str) -> Answers | None:
        """What a revision's server says of its answers. It may be down or busy: then that alone is unknown."""
        workload = self.workloads.find(revision_id)
        if workload is None or workload.statistics is None:
            return Answers()
        try:
            return read_counters(workload.url(workload.statistics), "model")["model"].answers
        except UnavailableError as error:
            log.info("revision %s: %s", revision_id, error)
            return None

    def point_alias(self, rollout: Rollout, revision_id: str | None) -> None:
        """Have the champion alias name a revision's model version.

        Args:
            rollout: under whose fence.
            revision_id: the revision; None for no champion.
        """
        candidate = self.ledger.revision(rollout.revision_id)
        if revision_id is None:
            if candidate.model_version and self.registry.champion(candidate.model_name) == candidate.model_version:
                self.registry.point(candidate.model_name, None, rollout.service, rollout.generation)
            return
        revision = self.ledger.revision(revision_id)
        self.registry.point(revision.model_name, revision.model_version, rollout.service, rollout.generation)

    def isolate(self, isolation: Isolation) -> bool:
        """Make the world show a rung of a revision's isolation. Idempotent.

        Args:
            isolation: in force.

        Returns:
            Whether it does; if not, there is something to wait for.
        """
        revision = self.ledger.revision(isolation.revision_id)
        match isolation.rung:
            case Rung.TRAFFIC:
                return revision.id not in self.ledger.serving()
            case Rung.MODEL:
                model = (revision.model_uri, revision.model_name, revision.model_version)
                self.registry.forbid(*model, isolation.reason)
            case Rung.POD:
                found = self.workloads.evidence(revision.id)
                self.registry.keep(f"{revision.id}-{isolation.id}", {**found, **self._history(revision)})
            case Rung.NETWORK:
                raise UnavailableError("processes of one machine share its network: release this isolation")
        return True

    def release(self, isolation: Isolation) -> None:
        """Take a rung of a revision's isolation back. Idempotent.

        Args:
            isolation: that was released.
        """
        revision = self.ledger.revision(isolation.revision_id)
        if isolation.rung is Rung.MODEL:
            self.registry.allow(revision.model_uri, revision.model_name, revision.model_version)

    def _history(self, revision: Revision) -> dict[str, str]:
        """What the ledger knows of a revision: the numbers of each of its rollouts, and why each was decided."""
        found = []
        for rollout in self.ledger.rollouts(revision.service):
            if rollout.revision_id == revision.id:
                events = [
                    {"at": event.at.isoformat(), "kind": event.kind, "data": event.data}
                    for event in self.ledger.events(rollout.id)
                ]
                found.append({"rollout": rollout.id, "reason": rollout.reason, "plan": rollout.plan, "events": events})
        return {"rollouts.json": json.dumps(found, indent=1, default=str)}

    def repair(self, revision: Revision, generation: int) -> None:
        """Start a dead server again and point the router at its new port.

        Args:
            revision: whose server.
            generation: a new one of the service.
        """
        self.workloads.launch(revision, generation)

    def repoint(self, service: str, revision_id: str, generation: int) -> bool:
        """Correct the router where a server has moved to another port.

        Args:
            service: by name.
            revision_id: whose server.
            generation: of the service.

        Returns:
            Whether anything had to be changed.
        """
        workload = self.workloads.find(revision_id)
        fence, split = self.router.read(service)
        if workload is None or not workload.status.ready or split.endpoints.get(revision_id) in (None, workload.port):
            return False
        endpoints = {**split.endpoints, revision_id: workload.port}
        self.router.apply(service, replace(split, endpoints=endpoints), Fence(generation, fence.sequence))
        return True

    def _port(self, revision_id: str) -> int:
        workload = self.workloads.find(revision_id)
        if workload is None:
            raise UnavailableError(f"revision {revision_id} has no server")
        return workload.port


def _fence(rollout: Rollout) -> Fence:
    return Fence(rollout.generation, rollout.sequence)
