"""The effects of the reconciler on the world. Each is idempotent and carries the rollout's fence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from bulkhead.errors import UnavailableError
from bulkhead.ledger.ledger import Ledger
from bulkhead.ledger.tables import Revision, Rollout
from bulkhead.rollout.workloads import LocalWorkloads, Workload
from bulkhead.routers.base import Counters, Fence, Router, Split


class Registry(Protocol):
    """What a rollout needs of a model registry; ``bulkhead.registries.mlflow`` documents the methods."""

    def register(self, model_name: str, model_uri: str, revision: str) -> str:
        """Register a version for a revision, once."""

    def check(self, model_name: str, version: str) -> None:
        """Raise NotFoundError unless the version exists."""

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

    def split(self, rollout: Rollout, weight: int) -> None:
        """Give the candidate a share of the traffic and the stable revision the rest.

        Args:
            rollout: whose.
            weight: percent, 0 to 100. A service without a stable revision has no rest to give.
        """
        weights = {rollout.revision_id: weight, rollout.stable_id: 100 - weight}
        if rollout.stable_id is None:
            weights = {rollout.revision_id: 100 if weight else 0}
        shares = {name: share for name, share in weights.items() if name and share}
        # At 100 % the stable revision keeps its endpoint: it stays warm, so that a rollback is one write.
        names = {*shares, rollout.stable_id} - {None}
        endpoints = {name: self._port(name) for name in names if name}
        _, before = self.router.read(rollout.service)
        if weight == 0 and rollout.revision_id in before.endpoints:
            endpoints.setdefault(rollout.revision_id, before.endpoints[rollout.revision_id])  # until it is drained
        self.router.apply(rollout.service, Split(endpoints, shares), _fence(rollout))

    def forget(self, rollout: Rollout, revision_id: str) -> None:
        """Take a revision without traffic out of the router and stop its server.

        Args:
            rollout: under whose fence.
            revision_id: the revision.

        Raises:
            UnavailableError: it still has traffic.
        """
        _, before = self.router.read(rollout.service)
        if before.weights.get(revision_id):
            raise UnavailableError(f"revision {revision_id} still has {before.weights[revision_id]} % of the traffic")
        if revision_id in before.endpoints:
            endpoints = {name: port for name, port in before.endpoints.items() if name != revision_id}
            self.router.apply(rollout.service, Split(endpoints, before.weights), _fence(rollout))
        self.workloads.stop(revision_id, rollout.generation)

    def counters(self, rollout: Rollout) -> dict[str, Counters]:
        """Cumulative numbers of the candidate and the stable revision; a revision unseen so far has zeros.

        Args:
            rollout: whose.
        """
        found = self.router.counters(rollout.service)
        names = [name for name in (rollout.revision_id, rollout.stable_id) if name]
        return {name: found.get(name, Counters()) for name in names}

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
        self.router.apply(service, Split(endpoints, split.weights), Fence(generation, fence.sequence))
        return True

    def _port(self, revision_id: str) -> int:
        workload = self.workloads.find(revision_id)
        if workload is None:
            raise UnavailableError(f"revision {revision_id} has no server")
        return workload.port


def _fence(rollout: Rollout) -> Fence:
    return Fence(rollout.generation, rollout.sequence)


def dump(counters: Mapping[str, Counters]) -> dict[str, Any]:
    """Counters as JSON, for the window that a rollout keeps in the ledger.

    Args:
        counters: by revision.
    """
    return {
        name: {"requests": seen.requests, "failures": seen.failures, "slow": [[b, n] for b, n in seen.slow.items()]}
        for name, seen in counters.items()
    }


def load(data: Mapping[str, Any]) -> dict[str, Counters]:
    """Read what ``dump`` wrote.

    Args:
        data: by revision.
    """
    return {
        name: Counters(seen["requests"], seen["failures"], {float(bound): count for bound, count in seen["slow"]})
        for name, seen in data.items()
    }
