"""What serves a revision, wherever it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from bulkhead.errors import UnavailableError
from bulkhead.ledger.tables import Revision
from bulkhead.pods.status import PodStatus

STATISTICS = "/statistics"
"""Where our own servers say what their models answered."""


@dataclass(frozen=True)
class Workload:
    """A revision's server as it is now.

    Attributes:
        port: TCP port.
        status: of its pod, or of its pods taken together.
        host: address, or name of its Service.
        restarts: whether its pods are started again when they end: a Deployment does.
    """

    port: int
    status: PodStatus
    host: str = "127.0.0.1"
    restarts: bool = False

    def url(self, path: str) -> str:
        """A URL of the server.

        Args:
            path: with its slash.
        """
        return f"http://{self.host}:{self.port}{path}"


@dataclass(frozen=True)
class Placement:
    """Where a revision's pods run.

    Attributes:
        nodes: by name.
        pods: as ``namespace/name``, as device metrics name the pod that has a device.
    """

    nodes: frozenset[str] = frozenset()
    pods: frozenset[str] = frozenset()


class Workloads(Protocol):
    """The servers of one service's revisions. Every write is idempotent, and carries the writer's generation."""

    def launch(self, revision: Revision, generation: int) -> None:
        """Have a revision's server running; one that was started half is seen through.

        Raises:
            InvalidInputError: it cannot be served as its author asks.
            FencedError: the server was written under a later generation.
        """

    def find(self, revision_id: str) -> Workload | None:
        """A revision's server, or None if there is none."""

    def statistics_endpoints(self, revision_id: str) -> Mapping[str, str]:
        """Where a revision's pods say what their model answered.

        Returns:
            URL by the pod's life: one that was restarted counts from zero, and is another. None of them where its
            server says nothing, or has no pod that answers.
        """

    def placement(self, revision_id: str) -> Placement:
        """Where a revision's pods run; nowhere where it has none."""

    def stop(self, revision_id: str, generation: int) -> None:
        """Stop a revision's server.

        Raises:
            FencedError: the server was written under a later generation.
        """

    def drift(self, revision: Revision, generation: int) -> str | None:
        """What another writer has changed of a revision's server since it was written, in words; None for nothing.

        Args:
            generation: under which it would be written now.
        """

    def evidence(self, revision_id: str) -> dict[str, str]:
        """What a revision's pods show: their logs, their status, what was asked for.

        Returns:
            Text by file name; nothing where it has no pod any more.
        """

    def launch_comparer(self, service: str, candidate: str, stable: str, generation: int) -> None:
        """Have the comparer, which asks candidate and stable the same, running.

        Raises:
            UnavailableError: one of the two has no server.
        """

    def find_comparer(self, candidate: str) -> Workload | None:
        """The comparer of a candidate's answers, or None if there is none."""

    def stop_comparer(self, candidate: str, generation: int) -> None:
        """Stop comparing a candidate's answers.

        Args:
            candidate: revision that was on trial.

        Raises:
            FencedError: it was started under a later generation.
        """

    def deny_network(self, revision_id: str) -> None:
        """Have nothing reach a revision's pods, and them reach nothing.

        Raises:
            UnsupportedError: not where these servers run.
        """

    def allow_network(self, revision_id: str) -> None:
        """Take that back."""

    def orphan(self, revision_id: str) -> None:
        """Keep a revision's pods for inspection: they get no requests, or deletes them with the rest."""

    def expire(self) -> None:
        """End what was kept for inspection for long enough."""


def address(workloads: Workloads, revision_id: str) -> str:
    """HOST:PORT of a revision's server.

    Raises:
        UnavailableError: it has no server.
    """
    workload = workloads.find(revision_id)
    if workload is None:
        raise UnavailableError(f"revision {revision_id} has no server")
    return f"{workload.host}:{workload.port}"
