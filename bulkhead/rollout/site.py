"""Where a service runs: what splits its traffic, what serves its revisions, who counts."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from bulkhead.metrics.counters import Counters
from bulkhead.routers.base import Router
from bulkhead.workloads.base import Workloads


class Metrics(Protocol):
    """Counts what a service's revisions do."""

    def counters(self, service: str, revisions: Collection[str]) -> Mapping[str, Counters]:
        """Cumulative numbers by revision; one unseen so far has zeros.

        Args:
            service: by name.
            revisions: that are wanted.

        Raises:
            UnavailableError: whoever counts does not answer.
        """


@dataclass(frozen=True)
class Site:
    """Where one service runs.

    Attributes:
        router: splits its traffic.
        workloads: serve its revisions.
        metrics: count what those do.
        resync_s: how often to look whether somebody else has changed any of it, in seconds; 0: at every look.
    """

    router: Router
    workloads: Workloads
    metrics: Metrics
    resync_s: float = 0.0
