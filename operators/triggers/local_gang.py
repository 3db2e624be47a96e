"""Waiting for a distributed job of the local runtime, by the same file watch as everybody else's."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence, Set
from typing import Any

from bulkhead.errors import NotFoundError
from bulkhead.operators.triggers.pod import LocalPodTrigger
from bulkhead.pods.ranks import JobState, job_state
from bulkhead.runtimes.local.runtime import LocalRuntime

_SETTLE_S = 5.0


class LocalGangTrigger(LocalPodTrigger):
    """Fires when all nodes have succeeded, or one has failed and the others have had a moment to end as well.

    Args:
        root: of the local runtime.
        name: of the job.
        nodes: how many pods it has, named after it and their rank.
    """

    def __init__(self, root: str, name: str, nodes: int) -> None:
        super().__init__(root, name)
        self.nodes = nodes
        self._failing_since: float | None = None

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments."""
        arguments = {"root": self.root, "name": self.name, "nodes": self.nodes}
        return (f"{type(self).__module__}.{type(self).__qualname__}", arguments)

    async def on_kill(self) -> None:
        """The task was marked or cleared by a person: take all nodes down."""
        await asyncio.to_thread(
            end_nodes, LocalRuntime(self.root), self.name, self.nodes, "its task was marked or cleared", 25
        )

    def _concerned(self, changed: Set[str]) -> bool:
        return any(f"{self.namespace}.{name}" in changed for name in node_names(self.name, self.nodes))

    async def _ended(self) -> bool:
        return await asyncio.to_thread(self._judge)

    def _judge(self) -> bool:
        try:
            state = job_state(documents(LocalRuntime(self.root), self.name, self.nodes), self.nodes)
        except NotFoundError:
            return True
        if state is JobState.FAILING:
            self._failing_since = self._failing_since or time.monotonic()
            return time.monotonic() - self._failing_since > _SETTLE_S
        return state is not JobState.WAITING


def node_names(job: str, nodes: int) -> Sequence[str]:
    """Names of the pods of a job, by rank."""
    return [f"{job}-{rank}" for rank in range(nodes)]


def documents(runtime: LocalRuntime, job: str, nodes: int) -> Sequence[dict[str, Any]]:
    """The pods of a job with their status, by rank.

    Raises:
        NotFoundError: one is not there.
    """
    return [runtime.document(name) for name in node_names(job, nodes)]


def end_nodes(runtime: LocalRuntime, job: str, nodes: int, reason: str, timeout_s: float = 90) -> None:
    """End every node of a job.

    Args:
        reason: kept in their status.
        timeout_s: how long to wait for the end of each, in seconds.
    """
    for name in node_names(job, nodes):
        runtime.terminate(name, reason=reason, timeout_s=timeout_s)
