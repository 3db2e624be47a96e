"""The backend of a service: what splits its traffic, what serves its revisions, what counts their requests."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from bulkhead.errors import UnavailableError
from bulkhead.metrics.counters import Counters
from bulkhead.routers.base import Router
from bulkhead.workloads.base import Workloads


class Metrics(Protocol):
    """Counts what a service's revisions do."""

    def counters(self, service: str, revisions: Collection[str]) -> Mapping[str, Counters]:
        """Cumulative numbers by revision; one unseen so far has zeros.

        Raises:
            UnavailableError: the source of the numbers does not answer.
        """


@dataclass(frozen=True)
class ServingBackend:
    """Where one service runs.

    Attributes:
        router: splits its traffic.
        workloads: serve its revisions.
        metrics: count what those do.
        resync_s: how often to look whether another writer has changed any of it, in seconds; 0: at every pass.
    """

    router: Router
    workloads: Workloads
    metrics: Metrics
    resync_s: float = 0.0

    def port(self, revision_id: str) -> int:
        """Where a revision's server answers the router.

        Raises:
            UnavailableError: it has no server.
        """
        workload = self.workloads.find(revision_id)
        if workload is None:
            raise UnavailableError(f"revision {revision_id} has no server")
        return workload.port
